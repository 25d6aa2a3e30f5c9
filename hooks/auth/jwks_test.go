package auth

import (
	"context"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

func raw64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func jwkRSA(kid string) map[string]any {
	return map[string]any{
		"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256",
		"n": raw64(rsaKey.N.Bytes()), "e": raw64(big.NewInt(int64(rsaKey.E)).Bytes()),
	}
}

func jwkEC(kid string, key *ecdsa.PublicKey) map[string]any {
	point, err := key.Bytes() // 4, x, y
	if err != nil {
		panic(err)
	}
	return map[string]any{"kty": "EC", "kid": kid, "crv": "P-256", "x": raw64(point[1:33]), "y": raw64(point[33:])}
}

func jwkEd(kid string) map[string]any {
	return map[string]any{"kty": "OKP", "kid": kid, "crv": "Ed25519", "x": raw64(edPub)}
}

// issuer is a JWKS server whose answer can be changed.
type issuer struct {
	*httptest.Server
	hits atomic.Int64

	mu     sync.Mutex
	status int
	body   []byte
}

func newIssuer(t testing.TB, keys ...map[string]any) *issuer {
	i := &issuer{status: http.StatusOK}
	i.set(keys...)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.hits.Add(1)
		i.mu.Lock()
		defer i.mu.Unlock()
		w.WriteHeader(i.status)
		_, _ = w.Write(i.body)
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) set(keys ...map[string]any) {
	body, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	i.answer(http.StatusOK, body)
}

func (i *issuer) answer(status int, body []byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.status, i.body = status, body
}

func TestKeySet(t *testing.T) {
	oct := map[string]any{"kty": "oct", "kid": "sym", "k": raw64(hmacSecret)}
	encryption := jwkRSA("enc")
	encryption["use"] = "enc"
	otherAlg := jwkRSA("rs512")
	otherAlg["alg"] = "RS512"
	broken := map[string]any{"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"}
	idp := newIssuer(t, broken, oct, encryption, otherAlg, jwkRSA("r1"), jwkEC("e1", &ecKey.PublicKey), jwkEd("d1"), jwkEd("same"), jwkRSA("same"))
	c := newChain(t, Config{JWT: JWTConfig{JWKSURL: idp.URL}})
	for _, tt := range []struct {
		name, token, want string
	}{
		{"RS256", mint(t, "RS256", rsaKey, with(), "kid", "r1"), ""},
		{"ES256", mint(t, "ES256", ecKey, with(), "kid", "e1"), ""},
		{"EdDSA", mint(t, "EdDSA", edKey, with(), "kid", "d1"), ""},
		{"two keys of one id", mint(t, "EdDSA", edKey, with(), "kid", "same"), ""},
		{"without key id", mint(t, "ES256", ecKey, with()), ""},
		{"key id of another kind of key", mint(t, "RS256", rsaKey, with(), "kid", "e1"), "key id is not in the key set"},
		{"unknown key id", mint(t, "RS256", rsaKey, with(), "kid", "r2"), "key id is not in the key set"},
		{"key id as a path", mint(t, "RS256", rsaKey, with(), "kid", "../r1"), "key id is not in the key set"},
		{"key id as a URL", mint(t, "RS256", rsaKey, with(), "kid", idp.URL), "key id is not in the key set"},
		{"for encryption", mint(t, "RS256", rsaKey, with(), "kid", "enc"), "key id is not in the key set"},
		{"for another algorithm", mint(t, "RS256", rsaKey, with(), "kid", "rs512"), "key id is not in the key set"},
		{"another key", mint(t, "RS256", otherRSA, with(), "kid", "r1"), "signature"},
		{"symmetric", mint(t, "HS256", hmacSecret, with(), "kid", "sym"), "no key for"},
		{"the token's own key", mint(t, "EdDSA", strangerEd, with(), "kid", "d1", "jwk", jwkEd("x"), "jku", idp.URL), "signature"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := c.VerifyToken(t.Context(), tt.token)
			if tt.want != "" {
				wantRefusal(t, err, CodeUnauthenticated, tt.want)
			} else if err != nil || describe(id) != "chat/alice jwt" {
				t.Errorf("%+v, %v", id, err)
			}
		})
	}
	// The first fetch, and one more for all the unknown key ids together.
	if n := idp.hits.Load(); n > 2 {
		t.Errorf("%d requests", n)
	}
}

// TestKeySetChange: a token with a new key id is good at once, without waiting for the regular refresh; a key that was
// withdrawn is bad after the next fetch.
func TestKeySetChange(t *testing.T) {
	idp := newIssuer(t, jwkRSA("old"))
	c := newChain(t, Config{JWT: JWTConfig{JWKSURL: idp.URL}})
	old, fresh := mint(t, "RS256", rsaKey, with(), "kid", "old"), mint(t, "ES256", ecKey, with(), "kid", "new")
	if _, err := c.VerifyToken(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	idp.set(jwkEC("new", &ecKey.PublicKey))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := c.VerifyToken(t.Context(), fresh); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := idp.hits.Load(); n != 2 {
		t.Errorf("%d requests", n)
	}
	_, err := c.VerifyToken(t.Context(), old)
	wantRefusal(t, err, CodeUnauthenticated, "key id is not in the key set")
}

// TestKeySetOutOfReach: the start does not wait; until there was a first set, tokens are refused for now only; later
// the last good set stays in force.
func TestKeySetOutOfReach(t *testing.T) {
	idp := newIssuer(t)
	idp.answer(http.StatusBadGateway, []byte("<html>"))
	token := mint(t, "RS256", rsaKey, with(), "kid", "r1")
	c := newChain(t, Config{JWT: JWTConfig{JWKSURL: idp.URL}})
	_, err := c.VerifyToken(t.Context(), token)
	if r := wantRefusal(t, err, CodeNoQuorum, "cannot be reached yet"); r.RetryAfter <= 0 {
		t.Error("no RetryAfter")
	}
	idp.set(jwkRSA("r1"))
	refetch(t, c)
	if _, err := c.VerifyToken(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]struct {
		status int
		body   string
	}{
		"an error":       {500, `{"keys":[]}`},
		"not JSON":       {200, `<html>`},
		"no keys member": {200, `{}`},
		"too large":      {200, `{"keys":[],"pad":"` + strings.Repeat("x", maxJWKS) + `"}`},
	} {
		idp.answer(answer.status, []byte(answer.body))
		refetch(t, c)
		if _, err := c.VerifyToken(t.Context(), token); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
	}
	idp.answer(200, []byte(`{"keys":[]}`)) // withdrawn on purpose
	refetch(t, c)
	_, err = c.VerifyToken(t.Context(), token)
	wantRefusal(t, err, CodeUnauthenticated, "not in the key set")
}

// refetch makes the chain fetch its key set now and waits until it has.
func refetch(t *testing.T, c *Chain) {
	t.Helper()
	c.jwks.demand.SetLimit(rate.Inf)
	if !c.jwks.refresh(t.Context()) {
		t.Fatal("no fetch")
	}
	if c.jwks.refresh(t.Context()) { // the one before may have been under way since before the change
		return
	}
	t.Fatal("no second fetch")
}

func TestKeySetSilentServer(t *testing.T) {
	release := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer silent.Close()
	defer close(release)
	c, err := New(t.Context(), Config{JWT: JWTConfig{JWKSURL: silent.URL}}, knownSecret)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = c.VerifyToken(ctx, mint(t, "RS256", rsaKey, with(), "kid", "r1"))
	wantRefusal(t, err, CodeNoQuorum, "cannot be reached yet")
	c.Close() // ends the request under way
}

func TestKeySetRedirects(t *testing.T) {
	s, err := newKeySet("https://idp.example/keys", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for to, allowed := range map[string]bool{
		"https://other.example/": true, "http://127.0.0.1:8000/": true, "http://[::1]/": true, "http://localhost/": true,
		"http://idp.example/": false, "http://169.254.169.254/": false, "ftp://idp.example/": false,
	} {
		u, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.client.CheckRedirect(&http.Request{URL: u}, make([]*http.Request, 1)); (err == nil) != allowed {
			t.Errorf("%s: %v", to, err)
		}
		if err := s.client.CheckRedirect(&http.Request{URL: u}, make([]*http.Request, 3)); err == nil {
			t.Errorf("a third redirect to %s is followed", to)
		}
	}
}

func TestParseKeySetIsBounded(t *testing.T) {
	var keys []map[string]any
	for i := range 200 {
		keys = append(keys, jwkEd(fmt.Sprint(i)))
	}
	body, _ := json.Marshal(map[string]any{"keys": keys})
	got, skipped, err := parseKeySet(body)
	if err != nil || len(got) != maxJWKSKeys || skipped != 200-maxJWKSKeys {
		t.Errorf("%d keys, %d skipped, %v", len(got), skipped, err)
	}
}

func FuzzParseKeySet(f *testing.F) {
	body, _ := json.Marshal(map[string]any{"keys": []any{jwkEd("d"), jwkRSA("r"), jwkEC("e", &ecKey.PublicKey)}})
	f.Add(body)
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"RSA","n":"AA","e":"AAAAAAAAAAAAAAAA"}]}`))
	f.Add([]byte(`{"keys":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, _, err := parseKeySet(body)
		if err != nil {
			return
		}
		for _, list := range keys {
			for _, k := range list {
				if alg, err := algorithmOf(k.key); err != nil || alg != k.alg {
					t.Fatalf("a key of %T for %s: %v", k.key, k.alg, err)
				}
				token{alg: k.alg, signed: "a.b", signature: []byte("x")}.verifiedBy([]any{k.key})
			}
		}
	})
}
