package auth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/madang-chat/madang/internal/clock"
)

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

var (
	rsaKey, _        = rsa.GenerateKey(rand.Reader, 2048)
	ecKey, _         = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	edPub, edKey, _  = ed25519.GenerateKey(rand.Reader)
	otherRSA, _      = rsa.GenerateKey(rand.Reader, 2048)
	hmacSecret       = []byte("an HMAC secret of more than 32 bytes, for tests")
	_, strangerEd, _ = ed25519.GenerateKey(rand.Reader)
)

func publicPEM(t testing.TB, keys ...crypto.PublicKey) string {
	t.Helper()
	var b bytes.Buffer
	for _, key := range keys {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if err := pem.Encode(&b, &pem.Block{Type: "PUBLIC KEY", Bytes: der}); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func certificatePEM(t testing.TB, key crypto.Signer) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// mint signs any header and claims with any key, as an honest issuer or an attacker would.
func mint(t testing.TB, alg string, key any, claims map[string]any, header ...any) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.GetSigningMethod(alg), jwt.MapClaims(claims))
	for i := 0; i < len(header); i += 2 {
		token.Header[header[i].(string)] = header[i+1]
	}
	s, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// with returns good claims of alice, changed by pairs of name and value; a nil value removes one.
func with(pairs ...any) map[string]any {
	now := clock.Now().Unix()
	c := map[string]any{"sub": "alice", "iat": now, "exp": now + 600}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == nil {
			delete(c, pairs[i].(string))
		} else {
			c[pairs[i].(string)] = pairs[i+1]
		}
	}
	return c
}

func TestVerifyToken(t *testing.T) {
	secretFile := writeFile(t, "secret", string(hmacSecret)+"\n")
	publicFile := writeFile(t, "pub.pem", publicPEM(t, &rsaKey.PublicKey, &ecKey.PublicKey, edPub))
	all := JWTConfig{HMACSecretFile: secretFile, PublicKeyFile: publicFile}
	onlyHMAC := JWTConfig{HMACSecretFile: secretFile}
	onlyRSA := JWTConfig{PublicKeyFile: writeFile(t, "rsa.pem", publicPEM(t, &rsaKey.PublicKey))}
	certs := JWTConfig{PublicKeyFile: writeFile(t, "c.pem", certificatePEM(t, ecKey)+certificatePEM(t, rsaKey))}
	strict := all
	strict.Issuer, strict.Audience = "https://idp.example", "madang-prod"
	rsaPublicDER, _ := x509.MarshalPKIXPublicKey(&rsaKey.PublicKey)
	now := clock.Now().Unix()
	hs := func(claims map[string]any, header ...any) string {
		return mint(t, "HS256", hmacSecret, claims, header...)
	}
	raw := func(header, payload string) string {
		s := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
		sig, _ := jwt.SigningMethodHS256.Sign(s, hmacSecret)
		return s + "." + base64.RawURLEncoding.EncodeToString(sig)
	}
	good := hs(with())
	exp := `,"exp":99999999999}`

	tests := []struct {
		name  string
		jwt   JWTConfig
		token string
		want  string // as in TestAuthenticate
	}{
		{"HS256", all, good, "chat/alice jwt"},
		{"RS256", all, mint(t, "RS256", rsaKey, with()), "chat/alice jwt"},
		{"ES256", all, mint(t, "ES256", ecKey, with()), "chat/alice jwt"},
		{"EdDSA", all, mint(t, "EdDSA", edKey, with()), "chat/alice jwt"},
		{"ES256 by certificate", certs, mint(t, "ES256", ecKey, with()), "chat/alice jwt"},
		{"RS256 by certificate", certs, mint(t, "RS256", rsaKey, with()), "chat/alice jwt"},
		{"namespace", all, hs(with("sub", "acme/bob")), "acme/bob jwt"},
		{"roles", all, hs(with("roles", []string{"admin", "auditor", "editor"})), "chat/alice jwt admin auditor"},
		{"any kid", all, hs(with(), "kid", "../../../../dev/null"), "chat/alice jwt"},
		{"kid as SQL", all, hs(with(), "kid", "x' UNION SELECT 'key"), "chat/alice jwt"},
		{"issuer and audience", strict, hs(with("iss", "https://idp.example", "aud", "madang-prod")), "chat/alice jwt"},
		{"one of several audiences", strict, hs(with("iss", "https://idp.example", "aud", []string{"x", "madang-prod"})), "chat/alice jwt"},
		{"not before, within leeway", all, hs(with("nbf", now+20)), "chat/alice jwt"},
		{"issued, within leeway", all, hs(with("iat", now+20)), "chat/alice jwt"},
		{"fractions", all, hs(with("exp", float64(now)+600.5, "iat", float64(now)-0.25)), "chat/alice jwt"},
		{"guest false", all, hs(with("guest", false)), "chat/alice jwt"},
		{"no iat", all, hs(with("iat", nil)), "chat/alice jwt"},
		{"other case is another claim", all, raw(`{"alg":"HS256"}`, `{"sub":"alice","Roles":["admin"],"SUB":"root"`+exp), "chat/alice jwt"},

		{"none", all, mint(t, "none", jwt.UnsafeAllowNoneSignatureType, with()), "unauthenticated: algorithm is not accepted"},
		{"None", all, strings.Replace(good, good[:strings.Index(good, ".")], base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"None"}`)), 1), "unauthenticated: algorithm is not accepted"},
		{"hs256", all, raw(`{"alg":"hs256"}`, `{"sub":"alice"`+exp), "unauthenticated: algorithm is not accepted"},
		{"HS256 with a blank", all, raw(`{"alg":"HS256 "}`, `{"sub":"alice"`+exp), "unauthenticated: algorithm is not accepted"},
		{"two algorithms, the last one wrong", all, raw(`{"alg":"HS256","alg":"none"}`, `{"sub":"alice"`+exp), "unauthenticated: "},
		{"algorithm as list", all, raw(`{"alg":["HS256"]}`, `{"sub":"alice"`+exp), "unauthenticated: "},
		{"Alg", all, raw(`{"Alg":"HS256"}`, `{"sub":"alice"`+exp), "unauthenticated: algorithm is not accepted"},
		{"brings its key", onlyRSA, mint(t, "RS256", otherRSA, with(), "jwk", map[string]any{
			"kty": "RSA", "n": base64.RawURLEncoding.EncodeToString(otherRSA.N.Bytes()), "e": "AQAB",
		}), "unauthenticated: signature"},
		{"says where its key is", onlyRSA, mint(t, "RS256", otherRSA, with(), "jku", "http://127.0.0.1:1/", "x5u", "file:///etc/hostname"), "unauthenticated: signature"},
		{"kid is an empty file", onlyRSA, mint(t, "HS256", []byte{}, with(), "kid", "/dev/null"), "unauthenticated: no key for"},
		{"no algorithm", all, raw(`{"typ":"JWT"}`, `{"sub":"alice"`+exp), "unauthenticated: algorithm is not accepted"},
		{"HS384", all, mint(t, "HS384", hmacSecret, with()), "unauthenticated: algorithm is not accepted"},
		{"RS512", all, mint(t, "RS512", rsaKey, with()), "unauthenticated: algorithm is not accepted"},
		{"PS256", all, mint(t, "PS256", rsaKey, with()), "unauthenticated: algorithm is not accepted"},
		{"HS256 with the RSA key as secret, PEM", onlyRSA, mint(t, "HS256", []byte(publicPEM(t, &rsaKey.PublicKey)), with()), "unauthenticated: no key for"},
		{"HS256 with the RSA key as secret, DER", all, mint(t, "HS256", rsaPublicDER, with()), "unauthenticated: signature"},
		{"HS256 with an empty secret", onlyRSA, mint(t, "HS256", []byte{}, with()), "unauthenticated: no key for"},
		{"RS256 without such a key", onlyHMAC, mint(t, "RS256", rsaKey, with()), "unauthenticated: no key for"},
		{"another RSA key", all, mint(t, "RS256", otherRSA, with()), "unauthenticated: signature"},
		{"another Ed25519 key", all, mint(t, "EdDSA", strangerEd, with()), "unauthenticated: signature"},
		{"another secret", all, mint(t, "HS256", clusterSecret, with()), "unauthenticated: signature"},
		{"secret with its line end", all, mint(t, "HS256", append(bytes.Clone(hmacSecret), '\n'), with()), "unauthenticated: signature"},
		{"signature cut off", all, good[:strings.LastIndex(good, ".")+1], "unauthenticated: signature"},
		{"payload exchanged", all, strings.Join([]string{strings.Split(good, ".")[0], strings.Split(hs(with("sub", "root")), ".")[1], strings.Split(good, ".")[2]}, "."), "unauthenticated: signature"},
		{"the broker's key id", all, hs(with("iss", "madang", "aud", "madang", "use", "login"), "kid", brokerKeyID), "unauthenticated: signature"},
		{"the broker's key id, RS256", all, mint(t, "RS256", rsaKey, with(), "kid", brokerKeyID), "unauthenticated: signature"},
		{"the cluster's secret as the broker's key", all, mint(t, "HS256", clusterSecret, with("iss", "madang", "aud", "madang", "sub", "chat/guest~x", "use", "guest"), "kid", brokerKeyID), "unauthenticated: signature"},

		{"no exp", all, hs(with("exp", nil)), "unauthenticated: no expiry"},
		{"exp as text", all, hs(with("exp", "2099-01-01")), "unauthenticated: no expiry"},
		{"exp null", all, raw(`{"alg":"HS256"}`, `{"sub":"alice","exp":null}`), "unauthenticated: no expiry"},
		{"exp beyond all numbers", all, raw(`{"alg":"HS256"}`, `{"sub":"alice","exp":1e300}`), "unauthenticated: no expiry"},
		{"exp negative", all, hs(with("exp", -1)), "unauthenticated: no expiry"},
		{"expired", all, hs(with("exp", now-1)), "token_expired: expired"},
		{"expires now: no leeway", all, hs(with("exp", now)), "token_expired: expired"},
		{"not yet", all, hs(with("nbf", now+60)), "unauthenticated: not valid yet (claim nbf)"},
		{"from the future", all, hs(with("iat", now+60)), "unauthenticated: not valid yet (claim iat)"},
		{"nbf as text", all, hs(with("nbf", "x")), "unauthenticated: claim nbf is not a time"},
		{"no issuer", strict, hs(with("aud", "madang-prod")), "unauthenticated: claim iss"},
		{"wrong issuer", strict, hs(with("iss", "https://idp.example/", "aud", "madang-prod")), "unauthenticated: claim iss"},
		{"no audience", strict, hs(with("iss", "https://idp.example")), "unauthenticated: claim aud"},
		{"wrong audience", strict, hs(with("iss", "https://idp.example", "aud", "other")), "unauthenticated: claim aud"},
		{"wrong audiences", strict, hs(with("iss", "https://idp.example", "aud", []string{"a", "b"})), "unauthenticated: claim aud"},
		{"audience as object", strict, hs(with("iss", "https://idp.example", "aud", map[string]any{"madang-prod": 1})), "unauthenticated: claim aud"},
		{"no subject", all, hs(with("sub", nil)), "unauthenticated: claim sub"},
		{"subject as number", all, hs(with("sub", 7)), "unauthenticated: claim sub"},
		{"subject is a guest", all, hs(with("sub", "guest~x")), "unauthenticated: claim sub"},
		{"subject is a service", all, hs(with("sub", "svc~x")), "unauthenticated: claim sub"},
		{"subject is a wildcard", all, hs(with("sub", "+")), "unauthenticated: claim sub"},
		{"subject is the dash", all, hs(with("sub", "-")), "unauthenticated: claim sub"},
		{"subject with two slashes", all, hs(with("sub", "a/b/c")), "unauthenticated: claim sub"},
		{"guest", all, hs(with("guest", true)), "unauthenticated: only the broker itself"},
		{"level with a fraction", all, hs(with("level", 1.5)), "unauthenticated: claim level"},
		{"level as text", all, hs(with("level", "3")), "unauthenticated: claim level"},
		{"level too large", all, raw(`{"alg":"HS256"}`, `{"sub":"alice","level":9007199254740992`+exp), "unauthenticated: claim level"},
		{"roles as text", all, hs(with("roles", "admin")), "unauthenticated: claim roles"},
		{"roles as numbers", all, hs(with("roles", []any{1})), "unauthenticated: claim roles"},
		{"name as number", all, hs(with("name", 5)), "unauthenticated: claim name"},
		{"crit", all, hs(with(), "crit", []string{"b64"}, "b64", false), "unauthenticated: extension"},
		{"kid as number", all, hs(with(), "kid", 7), "unauthenticated: key id"},
		{"kid as object", all, hs(with(), "kid", map[string]any{"a": 1}), "unauthenticated: key id"},
		{"long kid", all, hs(with(), "kid", strings.Repeat("x", 257)), "unauthenticated: key id"},
		{"claims not an object", all, raw(`{"alg":"HS256"}`, `["alice"]`), "unauthenticated: not a JSON object"},
		{"claims and more", all, raw(`{"alg":"HS256"}`, `{"sub":"alice","exp":99999999999}{"sub":"root"}`), "unauthenticated: not a JSON object"},
		{"claims and a closing bracket", all, raw(`{"alg":"HS256"}`, `{"sub":"alice"`+exp+`}`), "unauthenticated: not a JSON object"},
		{"header and a closing bracket", all, raw(`{"alg":"HS256"}]`, `{"sub":"alice"`+exp), "unauthenticated: not a JWT"},
		{"namespace too long for a topic", all, hs(with("sub", strings.Repeat("n", 61)+"/alice")), "unauthenticated: claim sub"},
		{"too large", all, hs(with("pad", strings.Repeat("x", maxToken))), "unauthenticated: larger than 8 KiB"},
		{"empty", all, "", "unauthenticated: not a JWT"},
		{"two parts", all, "eyJhbGciOiJIUzI1NiJ9.e30", "unauthenticated: not a JWT"},
		{"four parts", all, good + ".x", "unauthenticated: not a JWT"},
		{"dots", all, "..", "unauthenticated: not a JWT"},
		{"padding", all, good + "=", "unauthenticated: not a JWT"},
		{"blank around", all, " " + good, "unauthenticated: not a JWT"},
		{"no keys at all", JWTConfig{}, good, "unauthenticated: no key for"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newChain(t, Config{JWT: tt.jwt, Guest: GuestRead, Admins: []string{"root"}})
			id, err := c.VerifyToken(t.Context(), tt.token)
			viaMQTT, errMQTT := c.Authenticate(t.Context(), login("-", tt.token))
			if (err == nil) != (errMQTT == nil) && tt.token != "" || viaMQTT.User != id.User {
				t.Errorf("CONNECT gives %+v, %v", viaMQTT, errMQTT)
			}
			if code, title, refused := strings.Cut(tt.want, ": "); refused {
				wantRefusal(t, err, code, title)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(id); got != tt.want && got != strings.Replace(tt.want, "admin auditor", "auditor admin", 1) {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if id.Expires.IsZero() {
				t.Error("no expiry")
			}
		})
	}
}

func TestClaimsBecomeIdentity(t *testing.T) {
	c := newChain(t, Config{JWT: JWTConfig{HMACSecretFile: writeFile(t, "s", string(hmacSecret))}})
	level := int64(7)
	token, err := IssueToken(hmacSecret, "acme/alice", TokenClaims{Name: "Alice", Level: &level, Roles: []string{"auditor"}}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	id, err := c.VerifyToken(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if id.Level == nil || *id.Level != 7 {
		t.Errorf("level %v", id.Level)
	}
	if d := clock.Until(id.Expires); d < 59*time.Minute || d > time.Hour {
		t.Errorf("expires in %v", d)
	}
	id.Level, id.Expires, id.TokenID, id.Issued = nil, time.Time{}, "", time.Time{}
	want := Identity{Namespace: "acme", User: "alice", Name: "Alice", Auditor: true, Method: MethodJWT}
	if id != want {
		t.Errorf("%+v, want %+v", id, want)
	}
	// A display name from elsewhere is made to fit.
	for in, out := range map[string]string{
		"": "", "  Bob ": "Bob", "a\nb\x00c\u202e": "abc", strings.Repeat("마", 70): strings.Repeat("마", 64),
	} {
		id, err := c.VerifyToken(t.Context(), mint(t, "HS256", hmacSecret, with("name", in)))
		if err != nil || id.Name != out {
			t.Errorf("name %q became %q, %v", in, id.Name, err)
		}
	}
}

func TestTokenWithUsername(t *testing.T) {
	jwtConfig := JWTConfig{HMACSecretFile: writeFile(t, "s", string(hmacSecret))}
	good := mint(t, "HS256", hmacSecret, with())
	acme := mint(t, "HS256", hmacSecret, with("sub", "acme/alice"))
	expired := mint(t, "HS256", hmacSecret, with("exp", clock.Now().Unix()-5))
	foreign := mint(t, "HS256", clusterSecret, with())
	tests := []struct {
		trust              bool
		user, token, wants string
	}{
		{false, "alice", good, "chat/alice jwt"},
		{false, "chat/alice", good, "chat/alice jwt"},
		{false, "acme/alice", acme, "acme/alice jwt"},
		{false, "alice", acme, "unauthenticated: another user's"},
		{false, "acme/alice", good, "unauthenticated: another user's"},
		{false, "bob", good, "unauthenticated: another user's"},
		{false, "alice", expired, "token_expired: "},
		{false, "alice", foreign, "unauthenticated: signature"},
		{true, "alice", good, "chat/alice jwt"},
		{true, "bob", good, "unauthenticated: another user's"},
		{true, "alice", expired, "token_expired: "},
		{true, "alice", foreign, "chat/alice trust"},
		{true, "-", good, "chat/alice jwt"},
		{true, "-", foreign, "unauthenticated: signature"},
		{true, "-", expired, "token_expired: "},
	}
	for _, tt := range tests {
		c := newChain(t, Config{Trust: tt.trust, JWT: jwtConfig})
		id, err := c.Authenticate(t.Context(), login(tt.user, tt.token))
		if code, title, refused := strings.Cut(tt.wants, ": "); refused {
			wantRefusal(t, err, code, title)
		} else if err != nil || describe(id) != tt.wants {
			t.Errorf("trust %v, %s: %s, %v, want %s", tt.trust, tt.user, describe(id), err, tt.wants)
		}
	}
}

func TestLooksLikeToken(t *testing.T) {
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`))
	for s, want := range map[string]bool{
		header + ".e30.AA": true, header + ".e30.": true,
		"": false, ".": false, "..": false, "a.b.c": false, "my.pass.word": false, header + ".e30": false,
		header + ".e30.AA.AA": false, header + ".e30.A A": false, header + "..AA": false,
		base64.RawURLEncoding.EncodeToString([]byte(`[1]`)) + ".e30.AA": false,
	} {
		if got := looksLikeToken([]byte(s)); got != want {
			t.Errorf("looksLikeToken(%q) = %v", s, got)
		}
	}
}

func TestIssueTokenRefuses(t *testing.T) {
	for _, tt := range []struct {
		secret []byte
		user   string
		claims TokenClaims
		ttl    time.Duration
		want   error
	}{
		{hmacSecret[:31], "alice", TokenClaims{}, time.Hour, ErrBadKey},
		{nil, "alice", TokenClaims{}, time.Hour, ErrBadKey},
		{hmacSecret, "guest~x", TokenClaims{}, time.Hour, ErrBadName},
		{hmacSecret, "", TokenClaims{}, time.Hour, ErrBadName},
		{hmacSecret, "alice", TokenClaims{Name: "a\nb"}, time.Hour, ErrBadName},
		{hmacSecret, "alice", TokenClaims{Roles: []string{"root"}}, time.Hour, ErrBadConfig},
		{hmacSecret, "alice", TokenClaims{}, 0, ErrBadConfig},
	} {
		if _, err := IssueToken(tt.secret, tt.user, tt.claims, tt.ttl); !errors.Is(err, tt.want) {
			t.Errorf("%q: %v, want %v", tt.user, err, tt.want)
		}
	}
}

func TestKeyFiles(t *testing.T) {
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	weak := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 1023, 1), E: 65537}
	private, _ := x509.MarshalPKCS8PrivateKey(edKey)
	for _, tt := range []struct {
		name, secret, public, want string
	}{
		{"short secret", "too short\n", "", "at least 32 bytes, this one has 9"},
		{"short but for the line end", strings.Repeat("x", 31) + "\n", "", "this one has 31"},
		{"public key as secret", publicPEM(t, &rsaKey.PublicKey), "", "not an HMAC secret"},
		{"empty", "", "\n", "no PEM block"},
		{"garbage", "", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "invalid key"},
		{"private key", "", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), "private key"},
		{"another block", "", "-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n", "neither"},
		{"P-384", "", publicPEM(t, &p384.PublicKey), "other than P-256"},
		{"1024 bits", "", publicPEM(t, weak), "1024 bits"},
		{"one of two", "", publicPEM(t, edPub, &p384.PublicKey), "other than P-256"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var cfg JWTConfig
			if tt.secret != "" {
				cfg.HMACSecretFile = writeFile(t, "secret", tt.secret)
			} else {
				cfg.PublicKeyFile = writeFile(t, "public", tt.public)
			}
			_, err := New(context.Background(), Config{JWT: cfg}, knownSecret)
			if !errors.Is(err, ErrBadKey) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "too short") {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
	for _, end := range []string{"", "\n", "\r\n"} {
		if got, err := ReadSecretFile(writeFile(t, "s", string(hmacSecret)+end)); err != nil || !bytes.Equal(got, hmacSecret) {
			t.Errorf("secret with %q: %q, %v", end, got, err)
		}
	}
}

// FuzzVerifyToken: nothing an attacker can write is accepted or makes it fail badly.
func FuzzVerifyToken(f *testing.F) {
	secret := writeFuzzSecret(f)
	c := newChain(f, Config{Guest: GuestRead, JWT: JWTConfig{HMACSecretFile: secret}})
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("eyJhbGciOiJIUzI1NiIsImtpZCI6Im1hZGFuZy5icm9rZXIuMSJ9.e30.AA")
	f.Add(mint(f, "HS256", clusterSecret, with()))
	f.Add(mint(f, "EdDSA", edKey, with()))
	f.Fuzz(func(t *testing.T, s string) {
		looksLikeToken([]byte(s))
		id, err := c.VerifyToken(t.Context(), s)
		if err == nil {
			t.Fatalf("accepted as %+v", id)
		}
		wantRefusal(t, err, CodeUnauthenticated, "")
	})
}

func writeFuzzSecret(f *testing.F) string {
	f.Helper()
	path := f.TempDir() + "/secret"
	if err := os.WriteFile(path, hmacSecret, 0o600); err != nil {
		f.Fatal(err)
	}
	return path
}
