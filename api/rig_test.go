package api

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/madang-chat/madang/hooks"
	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/calls/callstest"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

// rig is the API over a real store and a log that applies at once. The bearer tokens are the names of their users.
type rig struct {
	*API
	t      testing.TB
	log    *callstest.Log
	tokens *callstest.Tokens
}

// change is what a test wants other than usual.
type change func(*calls.Config, *Config)

func newRig(t testing.TB, changes ...change) *rig {
	t.Helper()
	log := callstest.NewLog(t, storage.Options{Dir: "data", FS: vfs.NewMem()})
	tokens := &callstest.Tokens{}
	cc := calls.Config{Log: log, Store: log.Store, Auth: tokens, Node: "n1", Limits: calls.Limits{Message: 1000, AckWait: time.Minute}}
	ready := make(chan struct{})
	close(ready)
	c := Config{
		Ready: readiness(ready), Version: "v1",
		AllowOrigin: func(origin, host string) bool { return origin == "http://"+host || origin == "https://chat.example" },
	}
	for _, f := range changes {
		f(&cc, &c)
	}
	c.Calls = calls.New(cc)
	c.Rules = &hooks.Publishing{Access: hooks.Access{Rooms: log.Store}, Posting: c.Calls}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{API: a, t: t, log: log, tokens: tokens}
}

type readiness chan struct{}

func (r readiness) Ready() <-chan struct{} { return r }

// rooms makes pub and priv of alice, with bob in priv, and open, where guests write.
func (r *rig) rooms() *rig {
	r.t.Helper()
	key := func(room string) storage.RoomKey { return storage.RoomKey{NS: "chat", Room: room} }
	for _, c := range []storage.Command{
		&storage.RoomCreate{Room: key("pub"), By: storage.Actor{User: "alice"}, Kind: storage.Public, Name: "Public"},
		&storage.RoomCreate{Room: key("priv"), By: storage.Actor{User: "alice"}, Kind: storage.Private},
		&storage.Join{Room: key("priv"), By: storage.Actor{User: "bob", Admin: true}},
		&storage.RoomCreate{Room: key("open"), By: storage.Actor{User: "alice"}, Kind: storage.Public, Guest: storage.GuestWrite},
	} {
		if res := r.log.Apply(c); res.Outcome != storage.Done {
			r.t.Fatalf("%T: %+v", c, res)
		}
	}
	return r
}

// request makes a request: "POST /rooms" is below Base, a path that begins with /api, or with two slashes, is taken as it
// stands. headers are "Name: value" each.
func request(token, line, body string, headers ...string) *http.Request {
	method, path, _ := strings.Cut(line, " ")
	if !strings.HasPrefix(path, "/api") && !strings.HasPrefix(path, "//") {
		path = Base + path
	}
	var b io.Reader
	if body != "" {
		b = strings.NewReader(body)
	}
	req := httptest.NewRequest(method, path, b)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	return req
}

func (r *rig) do(token, line, body string, headers ...string) *httptest.ResponseRecorder {
	return r.serve(request(token, line, body, headers...))
}

func (r *rig) serve(req *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	r.conforms(w, req)
	return w
}

// answer is the body of an answer without its line end.
func answerOf(w *httptest.ResponseRecorder) string { return strings.TrimSuffix(w.Body.String(), "\n") }

// problemOf checks that an answer is a refusal in the RFC 9457 form, and returns its members.
func problemOf(t testing.TB, w *httptest.ResponseRecorder) (code problem.Code, detail string) {
	t.Helper()
	var p struct {
		Type, Title, Code, Detail string
		Status                    int
		RetryAfter                int64 `json:"retry_after"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("%d %q: %v", w.Code, w.Body, err)
	}
	if ct := w.Header().Get("Content-Type"); ct != "application/problem+json" {
		t.Errorf("content type %q", ct)
	}
	if p.Status != w.Code || p.Type != "urn:madang:problem:"+p.Code || p.Title == "" {
		t.Errorf("%d with %s", w.Code, w.Body)
	}
	if auth := w.Header().Get("WWW-Authenticate"); (auth != "") != (w.Code == http.StatusUnauthorized) {
		t.Errorf("%d with WWW-Authenticate %q", w.Code, auth)
	}
	if after := w.Header().Get("Retry-After"); (after != "") != (p.RetryAfter > 0) {
		t.Errorf("Retry-After %q, retry_after %d", after, p.RetryAfter)
	}
	return problem.Code(p.Code), p.Detail
}

// refused checks a refusal.
func (r *rig) refused(w *httptest.ResponseRecorder, status int, code problem.Code, says string) {
	r.t.Helper()
	if w.Code < 400 {
		r.t.Errorf("answered %d %s, want %s", w.Code, w.Body, code)
		return
	}
	got, detail := problemOf(r.t, w)
	if w.Code != status || got != code || !strings.Contains(detail, says) {
		r.t.Errorf("%d %s %q, want %d %s saying %q", w.Code, got, detail, status, code, says)
	}
}

// logged collects what is logged.
func logged(b *strings.Builder) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }
