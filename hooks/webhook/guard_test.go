package webhook

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestGuard(t *testing.T) {
	const (
		never, always, private, publicTLS = "never", "always", "with allow_private", "with https"
	)
	for addr, when := range map[string]string{
		"169.254.169.254": never, "fe80::1": never, "fd00:ec2::254": never, "0.0.0.0": never, "::": never, "224.0.0.1": never,
		"::ffff:169.254.169.254": never, "255.255.255.255": never,
		"127.0.0.1": private, "::1": private, "10.1.2.3": private, "192.168.0.1": private, "172.31.0.1": private, "100.64.0.1": private,
		"fd12::1": private, "::ffff:10.0.0.1": private, "64:ff9b::a00:1": private,
		"93.184.216.34": publicTLS, "2606:2800:220:1::1": publicTLS,
	} {
		for _, g := range []guard{{}, {private: true}, {private: true, plain: true}} {
			err := g.check(netip.MustParseAddr(addr))
			want := when == always || when == private && g.private || when == publicTLS && !g.plain
			if (err == nil) != want {
				t.Errorf("%s (%s) with %+v: %v", addr, when, g, err)
			}
		}
	}
	for url, good := range map[string]bool{
		"https://x.example/hook": true, "http://10.0.0.1/": false, "ftp://x": false, "": false, "https://": false, "x": false,
	} {
		if _, err := checkURL(url, false); (err == nil) != good {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := checkURL("http://10.0.0.1/", true); err != nil {
		t.Error(err)
	}
}

// secretFile is a file with the secret of the example.
func secretFile(t *testing.T) string {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(exampleSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	return secret
}

// endpoint posts to a server of the test.
func endpoint(t *testing.T, url string, change ...func(*Target)) *Endpoint {
	t.Helper()
	target := Target{URL: url, SecretFile: secretFile(t), AllowPrivate: true, Timeout: 10 * time.Second}
	for _, f := range change {
		f(&target)
	}
	e, err := NewEndpoint(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// A receiver cannot send us elsewhere, nor make us read without an end; without allow_private it cannot be on this machine.
func TestEndpointIsCareful(t *testing.T) {
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, "/other", http.StatusTemporaryRedirect)
		case "/other":
			t.Error("a redirect was followed")
		case "/long":
			for range 1000 {
				if _, err := w.Write(make([]byte, 1<<10)); err != nil {
					return
				}
			}
		case "/busy":
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer srv.Close()
	ctx := context.Background()
	if a, err := endpoint(t, srv.URL+"/away").Post(ctx, "1", nil); err != nil || a.Status != http.StatusTemporaryRedirect || a.OK() {
		t.Errorf("redirected: %+v, %v", a, err)
	}
	if a, err := endpoint(t, srv.URL+"/long").Post(ctx, "1", nil); err != nil || len(a.Body) != maxAnswer || !a.Cut {
		t.Errorf("a long answer: %d bytes, cut %v, %v", len(a.Body), a.Cut, err)
	}
	if a, err := endpoint(t, srv.URL+"/busy").Post(ctx, "1", nil); err != nil || a.RetryAfter != 7*time.Second {
		t.Errorf("busy: %+v, %v", a, err)
	}
	before := asked
	closed := endpoint(t, strings.Replace(srv.URL, "http:", "https:", 1), func(t *Target) { t.AllowPrivate = false })
	if _, err := closed.Post(ctx, "1", nil); !errors.Is(err, ErrAddress) || strings.Contains(err.Error(), "https:") {
		t.Errorf("to this machine: %v", err)
	}
	if asked != before {
		t.Error("it was asked all the same")
	}
}

func TestRetryAfter(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, " 5 ": 5 * time.Second, "-5": 0, "soon": 0, "99999999999999": 0, "Mon, 01 Jan 2001 00:00:00 GMT": 0,
	} {
		if got := retryAfter(s); got != want {
			t.Errorf("%q is %v, want %v", s, got, want)
		}
	}
}
