package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
)

// A long poll and a stream of one who is logged out, or has lost a role or a scope, meanwhile give nothing more.
func TestPollsAndStreamsEndWithTheirUser(t *testing.T) {
	r := newRig(t).rooms()
	r.do("bob", "POST /rooms/pub/messages", "secret", "Content-Type: text/plain")
	for _, tc := range []struct {
		what, token string
		now         func(id auth.Identity) (auth.Identity, error)
		code        string
	}{
		{"logged out", "bob", func(auth.Identity) (auth.Identity, error) {
			return auth.Identity{}, &auth.Refusal{Code: auth.CodeUnauthenticated, Title: "this was logged out"}
		}, string(problem.Unauthenticated)},
		{"no auditor", "auditor", func(id auth.Identity) (auth.Identity, error) {
			id.Auditor = false
			return id, nil
		}, string(problem.Forbidden)},
		{"no scope", "svc~x:read,users", func(id auth.Identity) (auth.Identity, error) {
			id.Scopes = auth.ScopeUsers
			return id, nil
		}, string(problem.Forbidden)},
	} {
		r.tokens.Now = tc.now
		for _, query := range []string{"?after=0&wait=1", "?after=0"} {
			w := httptest.NewRecorder()
			r.ServeHTTP(w, request(tc.token, "GET /rooms/pub/events"+query, "")) // a stream is no JSON
			if body := w.Body.String(); strings.Contains(body, "secret") || !strings.Contains(body, tc.code) {
				t.Errorf("%s, %s: %d %s", tc.what, query, w.Code, body)
			}
		}
		r.tokens.Now = nil
		if w := r.do(tc.token, "GET /rooms/pub/events?after=0&wait=1", ""); w.Code != http.StatusOK {
			t.Errorf("%s, before: %d %s", tc.what, w.Code, w.Body)
		}
	}
}
