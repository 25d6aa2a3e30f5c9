package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

func TestTokenClaims(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := call(t, "", "token", "create", "--user", "ns/alice", "--ttl", "1d", "--secret-file", file,
		"--name", "Alice", "--level", "3", "--role", "admin,auditor", "--set", "auth.jwt.issuer=me", "--set", "auth.jwt.audience=madang")
	if code != exitOK {
		t.Fatalf("code %d: %s", code, errOut)
	}
	var claims jwt.MapClaims
	_, err := jwt.ParseWithClaims(strings.TrimSpace(out), &claims, func(*jwt.Token) (any, error) { return []byte(secret), nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer("me"), jwt.WithAudience("madang"))
	if err != nil {
		t.Fatal(err)
	}
	exp, err := claims.GetExpirationTime()
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(exp.Time); left < 24*time.Hour-time.Minute || left > 24*time.Hour {
		t.Errorf("the token lives for %v", left)
	}
	delete(claims, "exp")
	delete(claims, "iat")
	want := jwt.MapClaims{
		"sub": "ns/alice", "name": "Alice", "level": 3.0, "roles": []any{"admin", "auditor"}, "iss": "me", "aud": "madang",
	}
	if diff := cmp.Diff(want, claims); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
