package api

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

func TestRoutesRefuse(t *testing.T) {
	r := newRig(t, func(c *calls.Config, _ *Config) { c.RoomsPerUser = 4 }).rooms()
	if w := r.do("alice", "POST /rooms", `{"room":"fourth"}`); w.Code != 201 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	long := strings.Repeat("x", maxSmallBody)
	for _, c := range []struct {
		token, line, body string
		status            int
		code              problem.Code
		says              string
	}{
		// Logins.
		{"", "POST /auth/login", `{"user":"alice","password":"wrong"}`, 401, problem.Unauthenticated, "Unknown user or wrong password."},
		{"", "POST /auth/login", `{"user":"alice"}`, 400, problem.BadPayload, "password"},
		{"", "POST /auth/login", `{"user":"alice","password":5}`, 400, problem.BadPayload, "body.password"},
		{"", "POST /auth/login", `{"user":"alice","password":"hunter2","x":1}`, 400, problem.BadPayload, "x"},
		{"", "POST /auth/login", `{"user":"alice","password":"hunter2"`, 400, problem.BadPayload, "body"},
		{"", "POST /auth/login", `{"user":"alice","password":"hunter2"}{}`, 400, problem.BadPayload, "body"},
		{"", "POST /auth/login", `[]`, 400, problem.BadPayload, "object"},
		{"", "POST /auth/login", ``, 400, problem.BadPayload, "body is required"},
		{"", "POST /auth/login", `{"user":"alice","password":"` + long + `"}`, 413, problem.TooLarge, ""},
		{"", "POST /auth/login?user=x", `{"user":"alice","password":"secret"}`, 400, problem.BadPayload, "query.user"},
		{"", "POST /auth/guest", `{"name":"a\nb"}`, 400, problem.BadPayload, "line breaks"},
		{"", "POST /auth/guest", `{"nick":"a"}`, 400, problem.BadPayload, "nick"},
		{"", "POST /auth/guest", `{"name":"` + long + `"}`, 413, problem.TooLarge, ""},

		// Tokens.
		{"expired", "GET /whoami", "", 401, problem.TokenExpired, "expired"},
		{"guest~", "GET /whoami?x=1", "", 400, problem.BadPayload, "query.x"},
		{"a b", "GET /whoami", "", 401, problem.Unauthenticated, "signature"},
		{"expired", "POST /rooms/pub/messages", "x", 401, problem.TokenExpired, ""},
		{"starting", "GET /rooms", "", 503, problem.NoQuorum, ""},
		{strings.Repeat("t", maxToken+1), "GET /rooms", "", 401, problem.Unauthenticated, "Bearer TOKEN"},

		// Rooms.
		{"carol", "POST /rooms", `{"room":"pub"}`, 409, problem.Conflict, "exists"},
		{"carol", "POST /rooms", `{"room":"a b"}`, 400, problem.BadPayload, "room"},
		{"carol", "POST /rooms", `{"room":""}`, 400, problem.BadPayload, "room"},
		{"carol", "POST /rooms", `{"room":"guest~x"}`, 400, problem.BadPayload, "room"},
		{"carol", "POST /rooms", `{"room":"` + strings.Repeat("r", 129) + `"}`, 400, problem.BadPayload, "room"},
		{"carol", "POST /rooms", `{"kind":"public"}`, 400, problem.BadPayload, "room"},
		{"carol", "POST /rooms", `{"room":"x","kind":"direct"}`, 400, problem.BadPayload, "kind"},
		{"carol", "POST /rooms", `{"room":"x","guest":"admin"}`, 400, problem.BadPayload, "guest"},
		{"carol", "POST /rooms", `{"room":"x","name":"a\u0000b"}`, 400, problem.BadPayload, "name"},
		{"carol", "POST /rooms", `{"room":"x","owner":"bob"}`, 400, problem.BadPayload, "owner"},
		{"carol", "POST /rooms", `{"Room":"x"}`, 400, problem.BadPayload, "Room"},
		{"carol", "POST /rooms", `{`, 400, problem.BadPayload, "body"},
		{"", "POST /rooms", `{"room":"x"}`, 403, problem.GuestReadOnly, "make rooms"},
		{"guest~1", "POST /rooms", `{"room":"x"}`, 403, problem.GuestReadOnly, "make rooms"},
		{"alice", "POST /rooms", `{"room":"fifth"}`, 403, problem.Limit, "4 rooms"},
		{"carol", "GET /rooms?limit=-1", "", 400, problem.BadPayload, "query.limit"},
		{"carol", "GET /rooms?limit=x", "", 400, problem.BadPayload, "query.limit"},
		{"carol", "GET /rooms?before=x", "", 400, problem.BadPayload, "query.before"},
		{"carol", "GET /rooms/none", "", 404, problem.NotFound, "none"},
		{"carol", "GET /rooms/priv", "", 403, problem.NotMember, ""},
		{"", "GET /rooms/priv", "", 403, problem.NotMember, "guests"},
		{"carol", "GET /rooms/priv?x=1", "", 400, problem.BadPayload, "query.x"},
		{"carol", "PATCH /rooms/pub", `{"name":"x"}`, 403, problem.Forbidden, "wners"},
		{"alice", "PATCH /rooms/pub", `{}`, 400, problem.BadPayload, "nothing to change"},
		{"alice", "PATCH /rooms/pub", `{"kind":"x"}`, 400, problem.BadPayload, "kind"},
		{"alice", "PATCH /rooms/pub", `{"frozen":true}`, 400, problem.BadPayload, "frozen"},
		{"alice", "PATCH /rooms/none", `{"name":"x"}`, 404, problem.NotFound, "none"},
		{"", "PATCH /rooms/pub", `{"name":"x"}`, 403, problem.GuestReadOnly, ""},
		{"carol", "DELETE /rooms/pub", "", 403, problem.Forbidden, "wners"},
		{"carol", "DELETE /rooms/none", "", 404, problem.NotFound, ""},
		{"guest~1", "DELETE /rooms/open", "", 403, problem.GuestReadOnly, ""},
		{"carol", "POST /rooms/priv/join", "", 403, problem.Forbidden, "private"},
		{"carol", "POST /rooms/none/join", "", 404, problem.NotFound, ""},
		{"carol", "POST /rooms/dm~carol~dave/join", "", 404, problem.NotFound, ""},
		{"", "POST /rooms/pub/join", "", 403, problem.GuestReadOnly, "join"},
		{"alice", "POST /rooms/pub/join?as=owner", "", 400, problem.BadPayload, "query.as"},
		{"carol", "POST /rooms/none/leave", "", 404, problem.NotFound, ""},
		{"guest~1", "POST /rooms/open/leave", "", 403, problem.GuestReadOnly, "leave"},
		{"carol", "POST /rooms/pub/join", `{"role":"owner"}`, 400, problem.BadPayload, "role"},
		{"alice", "POST /rooms/pub/leave", `{"user":"bob"}`, 400, problem.BadPayload, "user"},
		{"alice", "POST /rooms/pub/leave", `[]`, 400, problem.BadPayload, "object"},
		{"alice", "POST /rooms/pub/leave", `{"x":"` + long + `"}`, 413, problem.TooLarge, ""},
		{"", "POST /auth/login", "{\"user\":\"a\xff\",\"password\":\"x\"}", 400, problem.BadPayload, "UTF-8"},

		// Histories.
		{"carol", "GET /rooms/priv/messages", "", 403, problem.NotMember, ""},
		{"guest~1", "GET /rooms/priv/messages", "", 403, problem.NotMember, "guests"},
		{"carol", "GET /rooms/none/messages", "", 404, problem.NotFound, "none"},
		{"carol", "GET /rooms/pub/messages?before=1&after=2", "", 400, problem.BadPayload, "one of"},
		{"carol", "GET /rooms/pub/messages?around=1&before=1", "", 400, problem.BadPayload, "one of"},
		{"carol", "GET /rooms/pub/messages?before=x", "", 400, problem.BadPayload, "query.before"},
		{"carol", "GET /rooms/pub/messages?after=-1", "", 400, problem.BadPayload, "query.after"},
		{"carol", "GET /rooms/pub/messages?around=1.5", "", 400, problem.BadPayload, "query.around"},
		{"carol", "GET /rooms/pub/messages?after=18446744073709551616", "", 400, problem.BadPayload, "query.after"},
		{"carol", "GET /rooms/pub/messages?limit=-1", "", 400, problem.BadPayload, "query.limit"},
		{"carol", "GET /rooms/pub/messages?view=all", "", 400, problem.BadPayload, "query.view"},
		{"carol", "GET /rooms/pub/messages?sort=desc", "", 400, problem.BadPayload, "query.sort"},
	} {
		var headers []string
		if c.body != "" && !strings.Contains(c.line, "messages") {
			headers = []string{asJSON}
		}
		before := t.Failed()
		w := r.do(c.token, c.line, c.body, headers...)
		r.refused(w, c.status, c.code, c.says)
		if strings.Contains(w.Body.String(), "hunter2") {
			t.Errorf("a password comes back: %s", w.Body)
		}
		if t.Failed() && !before {
			t.Logf("%.40s %s %.60s", c.token, c.line, c.body)
		}
	}
}

func TestAuthorizationHeader(t *testing.T) {
	r := newRig(t).rooms()
	for _, h := range []string{"alice", "Basic YWxpY2U6c2VjcmV0", "Bearer", "Bearer ", "", "Bearer a b"} {
		r.refused(r.do("", "GET /whoami", "", "Authorization: "+h), 401, problem.Unauthenticated, "")
	}
	r.refused(r.do("alice", "GET /whoami", "", "Authorization: Bearer bob"), 401, problem.Unauthenticated, "Bearer TOKEN")
	for _, h := range []string{"Bearer alice", "bearer alice", "BEARER  alice "} {
		if w := r.do("", "GET /whoami", "", "Authorization: "+h); w.Code != 200 || !strings.Contains(w.Body.String(), `"alice"`) {
			t.Errorf("%q: %d %s", h, w.Code, w.Body)
		}
	}
	r.refused(r.do("alice", "GET /whoami", "", "Madang-As: bob"), 403, problem.Forbidden, "send_as")
	r.refused(r.do("svc~bot:read", "GET /whoami", "", "Madang-As: bob"), 403, problem.Forbidden, "send_as")
	// Nobody is asked who they are where it does not matter.
	if w := r.do("expired", "POST /auth/login", `{"user":"alice","password":"secret"}`, asJSON); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := r.do("expired", "GET /health", ""); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestNoGuests(t *testing.T) {
	r := newRig(t).rooms()
	r.tokens.NoGuests = true
	for _, line := range []string{"GET /whoami", "GET /rooms", "GET /rooms/pub", "GET /rooms/pub/messages", "POST /rooms/pub/messages"} {
		r.refused(r.do("", line, ""), 401, problem.Unauthenticated, "/auth/login")
	}
	r.refused(r.do("", "POST /auth/guest", ""), 403, problem.Forbidden, "not admitted")
}

func TestLoginBackOff(t *testing.T) {
	r := newRig(t)
	req := request("", "POST /auth/login", `{"user":"alice","password":"secret"}`, asJSON)
	req.RemoteAddr = "192.0.2.66:1234" // callstest.Tokens has had enough of it
	w := r.serve(req)
	r.refused(w, 429, problem.RateLimited, "Too many failed logins")
	if after := w.Header().Get("Retry-After"); after != "4" {
		t.Errorf("Retry-After %q", after)
	}
	w = r.do("starting", "GET /whoami", "")
	if after := w.Header().Get("Retry-After"); after != "2" { // 1.5 s, rounded up
		t.Errorf("Retry-After %q", after)
	}
}

func TestContentTypes(t *testing.T) {
	r := newRig(t).rooms()
	for _, line := range []string{"POST /auth/login", "POST /auth/guest", "POST /rooms", "PATCH /rooms/pub"} {
		r.refused(r.do("alice", line, `user=alice`, "Content-Type: application/x-www-form-urlencoded"), 415, problem.Unsupported, "application/json")
	}
	// Text that is not UTF-8, and compressed bodies, would be stored as something else than was meant.
	for _, h := range []string{
		"Content-Type: text/plain; charset=euc-kr", "Content-Type: application/json; charset=utf-16", "Content-Encoding: gzip", "Content-Encoding: br",
	} {
		for _, line := range []string{"POST /rooms/pub/messages", "POST /auth/login", "POST /rooms", "PATCH /rooms/pub"} {
			r.refused(r.do("alice", line, `{"data":1}`, h), 415, problem.Unsupported, "")
		}
	}
	for _, h := range []string{"Content-Type: text/plain; charset=UTF-8", "Content-Type: text/plain; charset=us-ascii", "Content-Encoding: identity"} {
		if w := r.do("alice", "POST /rooms/pub/messages", "x", h); w.Code != 201 {
			t.Errorf("%s: %d %s", h, w.Code, w.Body)
		}
	}
	for _, accept := range []string{"text/html", "application/cbor", "*/*;q=0", "nonsense"} {
		w := r.do("alice", "GET /rooms/pub", "", "Accept: "+accept)
		if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("Accept %s: %d %s", accept, w.Code, w.Header().Get("Content-Type"))
		}
		r.refused(r.do("alice", "GET /rooms/none", "", "Accept: "+accept), 404, problem.NotFound, "")
	}
}

// What the log answers instead of a result.
func TestLogErrors(t *testing.T) {
	r := newRig(t).rooms()
	for _, c := range []struct {
		err    error
		status int
		code   problem.Code
	}{
		{calls.ErrNoQuorum, 503, problem.NoQuorum},
		{fmt.Errorf("x: %w", calls.ErrStorageFull), 503, problem.StorageFull},
		{calls.ErrTooLarge, 413, problem.TooLarge},
		{calls.ErrOverloaded, 503, problem.RateLimited},
		{calls.ErrStopping, 503, problem.NoQuorum},
		{errors.New("raft shut down"), 503, problem.OutcomeUnknown},
	} {
		r.log.Err = c.err
		for _, line := range []string{"POST /rooms/pub/messages", "POST /rooms/pub/join", "POST /rooms/pub/leave", "DELETE /rooms/pub"} {
			if c.status == 413 && strings.HasPrefix(line, "DELETE") {
				continue // it carries nothing that could be too large
			}
			w := r.do("bob", line, "")
			r.refused(w, c.status, c.code, "")
			if c.status != 413 && w.Header().Get("Retry-After") == "" {
				t.Errorf("%s: %s without Retry-After", line, c.code)
			}
			if strings.Contains(w.Body.String(), "raft") {
				t.Errorf("an error's text is shown: %s", w.Body)
			}
		}
		r.refused(r.do("bob", "POST /rooms", `{"room":"x"}`, asJSON), c.status, c.code, "")
		r.refused(r.do("alice", "PATCH /rooms/pub", `{"name":"x"}`, asJSON), c.status, c.code, "")
	}
}

func TestStoreIsClosed(t *testing.T) {
	r := newRig(t).rooms()
	if err := r.log.Store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"GET /rooms", "GET /rooms/unread", "GET /rooms/unread/messages"} {
		r.refused(r.do("zoe", line, ""), 503, problem.NoQuorum, "stopping")
	}
}

// Admins and auditors read every room, which is audited; only admins write, and that does not join.
func TestAdminsAndAuditorsRead(t *testing.T) {
	var seen []string
	r := newRig(t, func(c *calls.Config, _ *Config) {
		c.Audit = func(a calls.AuditedRead) { seen = append(seen, a.Reader.User+" "+a.Room.Room) }
	}).rooms()
	for _, token := range []string{"admin", "auditor", "bob"} {
		if w := r.do(token, "GET /rooms/priv/messages?view=log", ""); w.Code != 200 {
			t.Errorf("%s: %d %s", token, w.Code, w.Body)
		}
	}
	if strings.Join(seen, ",") != "admin priv,auditor priv" {
		t.Error(seen)
	}
	r.refused(r.do("auditor", "POST /rooms/priv/messages", "x"), 403, problem.NotMember, "")
	if w := r.do("admin", "POST /rooms/priv/messages", "x"); w.Code != 201 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if m, err := r.log.Store.Member(storage.RoomKey{NS: "chat", Room: "priv"}, "admin"); err != nil || m.Role != "" {
		t.Errorf("writing joined: %+v %v", m, err)
	}
}
