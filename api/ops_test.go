package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

// node is what the operator asks.
type node struct {
	live, ready []Check
	cluster     ClusterStatus
}

func (n *node) Live(context.Context) []Check  { return n.live }
func (n *node) Ready(context.Context) []Check { return n.ready }
func (n *node) Cluster() ClusterStatus        { return n.cluster }

type noDigest struct{}

func (noDigest) Digest(storage.RoomKey) (storage.Digest, error) {
	return storage.Digest{}, errors.New("disk on fire")
}

func newOps(t *testing.T, r *rig, n *node, change func(*OpsConfig)) func(line string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	metrics := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "madang_test_total", Help: "Tests."})
	metrics.MustRegister(c)
	c.Inc()
	cfg := OpsConfig{Node: n, Digester: r.log.Store, Metrics: metrics}
	if change != nil {
		change(&cfg)
	}
	h := NewOps(cfg)
	return func(line string, headers ...string) *httptest.ResponseRecorder {
		method, path, _ := strings.Cut(line, " ")
		req := httptest.NewRequest(method, path, nil)
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			req.Header.Add(name, value)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", line, w.Header())
		}
		return w
	}
}

func TestOpsHealth(t *testing.T) {
	bad := errors.New("no leader")
	for _, c := range []struct {
		path          string
		live, ready   []Check
		status        int
		body, retryIn string
	}{
		{"/livez", []Check{{Name: "log"}}, []Check{{"log", bad}}, 200, "ok\n", ""},
		{"/livez", nil, nil, 200, "ok\n", ""},
		{"/livez?verbose", []Check{{Name: "log"}, {Name: "disk"}}, nil, 200, "[+]log ok\n[+]disk ok\nok\n", ""},
		{"/livez", []Check{{"log", bad}}, nil, 503, "[-]log: no leader\n1 of 1 checks failed\n", "1"},
		{"/readyz", nil, []Check{{Name: "log"}, {Name: "lobby"}}, 200, "ok\n", ""},
		{"/readyz?verbose", nil, []Check{{Name: "log"}, {Name: "lobby"}}, 200, "[+]log ok\n[+]lobby ok\nok\n", ""},
		{"/readyz", nil, []Check{{Name: "log"}, {"lobby", bad}}, 503, "[-]lobby: no leader\n1 of 2 checks failed\n", "1"},
		{"/readyz?verbose", nil, []Check{{Name: "log"}, {"lobby", bad}}, 503, "[+]log ok\n[-]lobby: no leader\n1 of 2 checks failed\n", "1"},
	} {
		get := newOps(t, newRig(t), &node{live: c.live, ready: c.ready}, nil)
		w := get("GET " + c.path)
		if w.Code != c.status || w.Body.String() != c.body || w.Header().Get("Retry-After") != c.retryIn {
			t.Errorf("%s: %d %q, want %d %q", c.path, w.Code, w.Body, c.status, c.body)
		}
	}
}

func TestOpsAnswers(t *testing.T) {
	r := newRig(t).rooms()
	r.do("bob", "POST /rooms/pub/messages", "one", asText)
	r.do("ns/bob", "POST /rooms", `{"room":"theirs"}`, asJSON)
	n := &node{cluster: ClusterStatus{Node: "n1", Leader: "", Role: "follower", Term: 3, Applied: 9}}
	get := newOps(t, r, n, nil)
	empty := fmt.Sprintf("%x", sha256.Sum256(nil))
	for line, want := range map[string]string{
		"GET /cluster":                   `{"node":"n1","leader":"","role":"follower","term":3,"applied":9,"nodes":[]}`,
		"GET /digest?room=open":          `{"room":"open","first":1,"head":0,"sha256":"` + empty + `"}`,
		"GET /digest?ns=ns&room=theirs":  `{"room":"theirs","first":1,"head":0,"sha256":"` + empty + `"}`,
		"GET /digest?ns=chat&room=open":  `{"room":"open","first":1,"head":0,"sha256":"` + empty + `"}`,
		"HEAD /digest?ns=chat&room=open": `{"room":"open","first":1,"head":0,"sha256":"` + empty + `"}`,
	} {
		w := get(line)
		if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %v", line, w.Code, w.Header())
		}
		if diff := cmp.Diff(want, answerOf(w)); diff != "" {
			t.Errorf("%s: %s", line, diff)
		}
	}
	n.cluster.Leader, n.cluster.Nodes = "n2", []ClusterNode{{Node: "n2", Address: "127.0.0.2:7946", Voter: true}}
	if got := answerOf(get("GET /cluster")); !strings.Contains(got, `"leader":"n2"`) ||
		!strings.HasSuffix(got, `"nodes":[{"node":"n2","address":"127.0.0.2:7946","voter":true,"up":false,"connections":0}]}`) {
		t.Error(got)
	}
	first := answerOf(get("GET /digest?room=pub"))
	r.do("bob", "POST /rooms/pub/messages", "two", asText)
	if second := answerOf(get("GET /digest?room=pub")); first == second || !strings.HasPrefix(second, `{"room":"pub","first":1,"head":2,"sha256":"`) {
		t.Errorf("%s, then %s", first, second)
	}
	if w := get("GET /metrics"); w.Code != 200 || !strings.Contains(w.Body.String(), "madang_test_total 1") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, p := range []string{"/debug/pprof/", "/debug/pprof/goroutine?debug=1", "/debug/pprof/cmdline", "/debug/pprof/symbol"} {
		if w := get("GET " + p); w.Code != 200 || w.Body.Len() == 0 {
			t.Errorf("%s: %d %.100s", p, w.Code, w.Body)
		}
	}
}

func TestOpsRefuses(t *testing.T) {
	var out strings.Builder
	r := newRig(t).rooms()
	get := newOps(t, r, &node{}, nil)
	for _, c := range []struct {
		line   string
		status int
		code   problem.Code
		says   string
	}{
		{"GET /", 404, problem.NotFound, "/livez"},
		{"GET /api/v1/rooms", 404, problem.NotFound, "/livez"},
		{"GET /livez/x", 404, problem.NotFound, "/livez"},
		{"POST /livez", 405, problem.Unsupported, "GET"},
		{"DELETE /digest?room=pub", 405, problem.Unsupported, "GET"},
		{"POST /debug/pprof/profile", 405, problem.Unsupported, "GET"},
		{"GET /digest", 400, problem.BadPayload, "Name a room"},
		{"GET /digest?room=a%20b", 400, problem.BadPayload, "Name a room"},
		{"GET /digest?room=pub&ns=a/b", 400, problem.BadPayload, "Name a room"},
		{"GET /digest?room=none", 404, problem.NotFound, "none"},
		{"GET /digest?room=pub&ns=other", 404, problem.NotFound, "other"},
	} {
		w := get(c.line)
		r.refused(w, c.status, c.code, c.says)
		if (w.Header().Get("Allow") != "") != (c.status == 405) {
			t.Errorf("%s: Allow %q", c.line, w.Header().Get("Allow"))
		}
	}
	get = newOps(t, r, &node{}, func(c *OpsConfig) { c.Digester, c.Logger = noDigest{}, logged(&out) })
	w := get("GET /digest?room=pub")
	r.refused(w, 500, calls.Internal, "")
	if strings.Contains(w.Body.String(), "fire") || !strings.Contains(out.String(), "fire") {
		t.Errorf("%s; logged %s", w.Body, out.String())
	}
}

func TestOpsToken(t *testing.T) {
	r := newRig(t)
	get := newOps(t, r, &node{}, func(c *OpsConfig) { c.Token = "s3cret" })
	for _, p := range []string{"/livez", "/readyz", "/metrics", "/cluster", "/digest?room=pub", "/debug/pprof/", "/nothing"} {
		for _, h := range []string{"", "s3cret", "Basic s3cret", "Bearer", "Bearer s3cre", "Bearer s3cret2", "Bearer S3CRET"} {
			r.refused(get("GET "+p, "Authorization: "+h), http.StatusUnauthorized, problem.Unauthenticated, "Bearer TOKEN")
		}
	}
	if w := get("GET /livez", "Authorization: Bearer s3cret"); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := get("GET /livez", "Authorization: bearer  s3cret"); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
