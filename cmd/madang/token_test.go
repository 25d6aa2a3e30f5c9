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

// A token for registering names nobody unless it is told to; a service key is shown, and its line beside it.
func TestTokensForOthers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("0123456789abcdef0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	for user, sub := range map[string]string{"": "*", "zoe": "zoe", "ns/*": "ns/*"} {
		args := []string{"token", "create", "--register", "--ttl", "1h", "--secret-file", file}
		if user != "" {
			args = append(args, "--user", user)
		}
		code, out, errOut := call(t, "", args...)
		var claims jwt.MapClaims
		if _, _, err := jwt.NewParser().ParseUnverified(strings.TrimSpace(out), &claims); code != exitOK || err != nil {
			t.Fatalf("%q: %d %s %v", user, code, errOut, err)
		}
		if claims["sub"] != sub || claims["use"] != "register" {
			t.Errorf("%q: %v", user, claims)
		}
	}
	code, out, errOut := call(t, "", "token", "service", "game", "--scope", "users,send_as", "--namespace", "acme")
	if code != exitOK || !strings.HasPrefix(out, "mdk_") || !strings.Contains(errOut, "\ngame acme send_as,users ") || strings.Contains(errOut, strings.TrimSpace(out)) {
		t.Errorf("%d %q %q", code, out, errOut)
	}
	for _, args := range [][]string{{"game"}, {"game", "--scope", "x"}, {"a~b", "--scope", "read"}, {"game", "--scope", "read", "--namespace", "a/b"}} {
		if code, out, _ := call(t, "", append([]string{"token", "service"}, args...)...); code != exitUsage || out != "" {
			t.Errorf("%v: %d %q", args, code, out)
		}
	}
}
