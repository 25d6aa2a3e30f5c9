package auth

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func benchUsers(b *testing.B) string {
	b.Helper()
	f := NewUsersFile(filepath.Join(b.TempDir(), "users"))
	if err := f.Set("alice", []byte("right")); err != nil {
		b.Fatal(err)
	}
	if err := f.Save(); err != nil {
		b.Fatal(err)
	}
	return f.path
}

func benchAuthenticate(b *testing.B, cfg Config) {
	c := newChain(b, cfg)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Authenticate(b.Context(), login("alice", "right")); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAuthenticateUncached(b *testing.B) {
	benchAuthenticate(b, Config{UsersFile: benchUsers(b), BackOff: true, CacheTTL: -1})
}

func BenchmarkAuthenticateCached(b *testing.B) {
	benchAuthenticate(b, Config{UsersFile: benchUsers(b), BackOff: true})
}

func BenchmarkAuthenticateTrust(b *testing.B) { benchAuthenticate(b, Config{Trust: true}) }

func BenchmarkAuthenticateGuest(b *testing.B) {
	c := newChain(b, Config{Guest: GuestRead})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Authenticate(b.Context(), Credentials{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyToken(b *testing.B) {
	dir := b.TempDir()
	secret, public := filepath.Join(dir, "secret"), filepath.Join(dir, "public.pem")
	if err := os.WriteFile(secret, hmacSecret, 0o600); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(public, []byte(publicPEM(b, &rsaKey.PublicKey, &ecKey.PublicKey, edPub)), 0o600); err != nil {
		b.Fatal(err)
	}
	c := newChain(b, Config{Trust: true, JWT: JWTConfig{HMACSecretFile: secret, PublicKeyFile: public}})
	own, _, _, err := c.Login(b.Context(), "alice", "x", home)
	if err != nil {
		b.Fatal(err)
	}
	claims := with("exp", time.Now().Add(time.Hour).Unix())
	for _, bb := range []struct{ name, token string }{
		{"own", own},
		{"HS256", mint(b, "HS256", hmacSecret, claims)},
		{"RS256", mint(b, "RS256", rsaKey, claims)},
		{"ES256", mint(b, "ES256", ecKey, claims)},
		{"EdDSA", mint(b, "EdDSA", edKey, claims)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.VerifyToken(b.Context(), bb.token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
