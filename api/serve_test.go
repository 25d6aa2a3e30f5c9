package api

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/problem"
)

func TestUnknownPathsAndMethods(t *testing.T) {
	r := newRig(t).rooms()
	for _, line := range []string{
		"GET /", "GET /nothing", "GET /rooms/", "GET /rooms/pub/nothing", "POST /rooms/pub", "GET /rooms/pub/join/",
		"GET /api", "GET /api/v2/rooms", "GET /api/v1", "GET //api/v1/rooms", "GET /rooms/../rooms", "GET /rooms/./pub", "GET //metrics",
		"GET /api/v1/debug/pprof/", "GET /api/metrics", "POST /rooms//messages",
	} {
		w := r.do("alice", line, "")
		if line == "POST /rooms/pub" {
			continue // a method, see below
		}
		r.refused(w, 404, problem.NotFound, OpenAPIPath)
		if w.Header().Get("Location") != "" {
			t.Errorf("%s is sent to %s", line, w.Header().Get("Location"))
		}
	}
	for line, allow := range map[string]string{
		"POST /rooms/pub":           "DELETE, GET, HEAD, PATCH",
		"PUT /rooms":                "GET, HEAD, POST",
		"DELETE /rooms/pub/join":    "POST",
		"GET /auth/login":           "POST",
		"POST /whoami":              "GET, HEAD",
		"POST /health":              "GET, HEAD",
		"OPTIONS /rooms":            "GET, HEAD, POST",
		"POST /api/openapi.json":    "GET, HEAD",
		"TRACE /rooms/pub/messages": "GET, HEAD, POST",
	} {
		w := r.do("alice", line, "")
		r.refused(w, 405, problem.Unsupported, allow)
		if got := w.Header().Get("Allow"); got != allow {
			t.Errorf("%s: Allow %q, want %q", line, got, allow)
		}
	}
	// The operator's things are not here.
	for _, p := range []string{"/debug/pprof/", "/metrics", "/livez", "/readyz", "/cluster", "/digest"} {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, p, nil))
		r.refused(w, 404, problem.NotFound, p)
	}
}

func TestHeaders(t *testing.T) {
	r := newRig(t).rooms()
	for _, line := range []string{"GET /rooms/pub", "GET /rooms/none", "GET /nothing", "PUT /rooms", "GET /health", "GET /api/openapi.json"} {
		h := r.do("alice", line, "").Header()
		for name, want := range map[string]string{
			"X-Content-Type-Options":       "nosniff",
			"Cache-Control":                "no-store",
			"Content-Security-Policy":      "default-src 'none'; frame-ancestors 'none'",
			"Referrer-Policy":              "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin",
			"Access-Control-Allow-Origin":  "",
			"Vary":                         "",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s %q, want %q", line, name, got, want)
			}
		}
	}
}

func TestCORS(t *testing.T) {
	r := newRig(t).rooms()
	for _, c := range []struct {
		line, origin string
		status       int
		allowed      bool
	}{
		{"GET /rooms/pub", "https://chat.example", 200, true},
		{"GET /rooms/none", "https://chat.example", 404, true},
		{"GET /nothing", "https://chat.example", 404, true},
		{"GET /rooms/pub", "http://example.com", 200, true}, // the host of httptest
		{"GET /rooms/pub", "https://evil.example", 200, false},
		{"GET /rooms/pub", "null", 200, false},
		{"OPTIONS /rooms", "https://chat.example", 204, true},
		{"OPTIONS /rooms", "https://evil.example", 405, false},
	} {
		headers := []string{"Origin: " + c.origin}
		if strings.HasPrefix(c.line, "OPTIONS") {
			headers = append(headers, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization")
		}
		w := r.do("", c.line, "", headers...)
		h := w.Header()
		want := ""
		if c.allowed {
			want = c.origin
		}
		if w.Code != c.status || h.Get("Access-Control-Allow-Origin") != want || h.Get("Vary") != "Origin" {
			t.Errorf("%s from %s: %d %v", c.line, c.origin, w.Code, h)
		}
		if h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s from %s: credentials", c.line, c.origin)
		}
		if w.Code == 204 && (!strings.Contains(h.Get("Access-Control-Allow-Headers"), "Idempotency-Key") ||
			!strings.Contains(h.Get("Access-Control-Allow-Methods"), "PATCH") || w.Body.Len() > 0) {
			t.Errorf("preflight: %v %s", h, w.Body)
		}
	}
	if w := r.do("", "OPTIONS /rooms", "", "Origin: https://chat.example"); w.Code != 405 { // no preflight
		t.Errorf("%d", w.Code)
	}
	closed := newRig(t, func(_ *calls.Config, c *Config) { c.AllowOrigin = nil })
	if w := closed.do("", "GET /health", "", "Origin: http://example.com"); w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%v", w.Header())
	}
}

// A request that comes while the node starts is held for a while; health and the description are answered at once.
func TestNodeStarts(t *testing.T) {
	r := newRig(t).rooms()
	synctest.Test(t, func(t *testing.T) {
		ready := make(chan struct{})
		r.cfg.Ready = readiness(ready)
		start := time.Now()
		w := r.do("alice", "GET /rooms/pub", "")
		r.refused(w, 503, problem.NoQuorum, "starting")
		if time.Since(start) != 5*time.Second || w.Header().Get("Retry-After") != "2" {
			t.Errorf("after %v, Retry-After %q", time.Since(start), w.Header().Get("Retry-After"))
		}
		start = time.Now()
		for line, status := range map[string]int{
			"GET /health": 200, "GET /api/openapi.json": 200, "GET /nothing": 404, "PUT /rooms": 405, "GET /rooms?x": 400,
		} {
			if w := r.do("alice", line, ""); w.Code != status || time.Since(start) != 0 {
				t.Errorf("%s: %d after %v", line, w.Code, time.Since(start))
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		r.refused(r.serve(request("alice", "GET /rooms/pub", "").WithContext(ctx)), 503, problem.NoQuorum, "")
		if time.Since(start) != time.Second {
			t.Errorf("a client that is gone was waited for: %v", time.Since(start))
		}
		go func() {
			<-time.After(2 * time.Second)
			close(ready)
		}()
		if w := r.do("alice", "GET /rooms/pub", ""); w.Code != 200 || time.Since(start) != 3*time.Second {
			t.Errorf("%d %s after %v", w.Code, w.Body, time.Since(start))
		}
	})
}

func TestNoOutcome(t *testing.T) {
	r := newRig(t, func(c *calls.Config, _ *Config) { c.AckWait = 30 * time.Second }).rooms()
	r.log.Silent = true
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r.refused(r.do("bob", "POST /rooms/pub/messages", "x"), 503, problem.OutcomeUnknown, "")
		r.refused(r.do("bob", "POST /rooms", `{"room":"x"}`, asJSON), 503, problem.OutcomeUnknown, "")
		if time.Since(start) != time.Minute {
			t.Errorf("after %v", time.Since(start))
		}
	})
}

// panics is an authority that fails badly.
type panics struct {
	calls.Tokens
	with any
}

func (p panics) VerifyToken(context.Context, string) (auth.Identity, error) { panic(p.with) }

func (p panics) LoginOn(context.Context, string, string, string, netip.Addr) (string, time.Time, auth.Identity, error) {
	return "", time.Time{}, auth.Identity{}, errors.New("/etc/secret: no such file")
}

func TestPanics(t *testing.T) {
	var out strings.Builder
	r := newRig(t, func(c *calls.Config, a *Config) {
		c.Auth, a.Logger = panics{c.Auth, "secret"}, logged(&out)
	})
	w := r.do("alice", "GET /whoami", "")
	r.refused(w, 500, calls.Internal, "")
	if strings.Contains(w.Body.String(), "secret") || !strings.Contains(out.String(), "secret") || !strings.Contains(out.String(), "/api/v1/whoami") {
		t.Errorf("%s; logged %s", w.Body, out.String())
	}
	w = r.do("", "POST /auth/login", `{"user":"a","password":"b"}`, asJSON)
	r.refused(w, 500, calls.Internal, "")
	if strings.Contains(w.Body.String(), "secret") {
		t.Error(w.Body)
	}
	defer func() {
		if v := recover(); v != http.ErrAbortHandler { //nolint:errorlint // panic value
			t.Errorf("%v", v)
		}
	}()
	newRig(t, func(c *calls.Config, _ *Config) { c.Auth = panics{c.Auth, http.ErrAbortHandler} }).do("alice", "GET /whoami", "")
	t.Error("the abort was swallowed")
}

// An answer that was begun cannot become a refusal: the connection is cut.
func TestPanicInTheMiddleOfAnAnswer(t *testing.T) {
	r := newRig(t)
	r.mux.HandleFunc("GET /api/half", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("{"))
		panic("now")
	})
	defer func() {
		if v := recover(); v != http.ErrAbortHandler { //nolint:errorlint // panic value
			t.Errorf("%v", v)
		}
	}()
	r.do("", "GET /api/half", "")
	t.Error("half an answer looks whole")
}

func TestRemoteAddr(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1", "[::ffff:192.0.2.1]:80": "192.0.2.1", "[2001:db8::1]:80": "2001:db8::1", "pipe": "invalid IP", "": "invalid IP",
	} {
		if got := remoteAddr(&http.Request{RemoteAddr: in}).String(); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}
