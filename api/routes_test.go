package api

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

// stamps replaces times of the log.
func stamps(s string) string {
	for i := strings.Index(s, "17954300"); i >= 0; i = strings.Index(s, "17954300") {
		s = s[:i] + "TS" + s[i+13:]
	}
	return s
}

// One conversation with every route, in order.
func TestRoutesAnswer(t *testing.T) {
	r := newRig(t).rooms()
	const (
		hello = `{"room":"pub","seq":1,"n":1,"ts":TS,"type":"text","from":{"user":"bob","role":"member"},"cid":"c1","data":{"text":"안녕"}}`
		chat  = `{"room":"pub","seq":1,"n":1,"ts":TS,"type":"text","from":{"user":"bob","role":"member"},"cid":"c1","data":{"text":"안녕"},"replies":1}`
		image = `{"room":"pub","seq":2,"n":2,"ts":TS,"type":"image","from":{"user":"alice","role":"owner"},"reply_to":1,"ttl":60,"data":{"url":"x","html":"<b>"}}`
		join  = `{"room":"pub","seq":3,"n":2,"ts":TS,"type":"system","from":{"user":"carol","role":"member"},"data":{"event":"joined","user":"carol"}}`
		info  = `{"room":"new","kind":"public","name":"<New>","guest":"read","frozen":false,"slow_mode":0,"state":"members","state_interval_ms":0,"live_interval_ms":0,"pinned":[],"members":1,"head":0,"n":0,"first":1,"created_at":TS,"role":"owner"}`
	)
	for _, c := range []struct {
		token, line, body string
		status            int
		want              string
	}{
		{"", "GET /health", "", 200, `{"status":"ok"}`},
		{"", "POST /auth/login", `{"user":"alice","password":"secret"}`, 200, `{"token":"alice","expires_at":1795440000000}`},
		{"", "POST /auth/login", `{"user":"ns/bob","password":"secret"}`, 200, `{"token":"ns/bob","expires_at":1795440000000}`},
		{"", "POST /auth/guest", `{"name":"Zoe"}`, 201, `{"token":"guest~1","expires_at":1795440000000,"user":"guest~1"}`},
		{"", "POST /auth/guest", `{}`, 201, `{"token":"guest~1","expires_at":1795440000000,"user":"guest~1"}`},
		{"", "POST /auth/guest", ``, 201, `{"token":"guest~1","expires_at":1795440000000,"user":"guest~1"}`},
		{"alice", "GET /whoami", "", 200, `{"user":"alice","namespace":"chat","guest":false,"admin":false,"node":"n1"}`},
		{"ns/bob", "GET /whoami", "", 200, `{"user":"bob","namespace":"ns","guest":false,"admin":false,"node":"n1"}`},
		{"", "GET /whoami", "", 200, `{"user":"guest~0","namespace":"chat","guest":true,"admin":false,"node":"n1"}`},

		{"bob", "POST /rooms/pub/messages?cid=c1", "안녕", 201, `{"seq":1,"ts":TS}`},
		{"bob", "POST /rooms/pub/messages?cid=c1", "안녕", 201, `{"seq":1,"ts":TS,"duplicate":true}`},
		{"alice", "POST /rooms/pub/messages?type=image", `{"data":{"url":"x","html":"<b>"},"ttl":60,"reply_to":1}`, 201, `{"seq":2,"ts":TS}`},
		{"carol", "POST /rooms/pub/join", "", 200, `{"room":"pub","role":"member","seq":3}`},
		{"carol", "POST /rooms/pub/join", "{}", 200, `{"room":"pub","role":"member","seq":3}`},
		{"guest~1", "POST /rooms/open/messages", "hi", 201, `{"seq":1,"ts":TS}`},

		{"dave", "GET /rooms/pub/messages?consistency=strong&limit=1&before=2", "", 200, `{"messages":[` + chat + `],"head":3,"first":1,"more":false}`},
		{"", "GET /rooms?consistency=strong", "", 200, `{"rooms":[],"more":false}`},
		{"dave", "GET /rooms/pub/messages", "", 200, `{"messages":[` + chat + `,` + image + `],"head":3,"first":1,"more":false}`},
		{"dave", "GET /rooms/pub/messages?view=log", "", 200, `{"messages":[` + hello + `,` + image + `,` + join + `],"head":3,"first":1,"more":false}`},
		{"dave", "GET /rooms/pub/messages?limit=1", "", 200, `{"messages":[` + image + `],"head":3,"first":1,"more":true,"next":2}`},
		{"dave", "GET /rooms/pub/messages?before=2", "", 200, `{"messages":[` + chat + `],"head":3,"first":1,"more":false}`},
		{"dave", "GET /rooms/pub/messages?before=0", "", 200, `{"messages":[],"head":3,"first":1,"more":false}`},
		{"dave", "GET /rooms/pub/messages?after=0&limit=1", "", 200, `{"messages":[` + chat + `],"head":3,"first":1,"more":true,"next":1}`},
		{"dave", "GET /rooms/pub/messages?after=1&view=log", "", 200, `{"messages":[` + image + `,` + join + `],"head":3,"first":1,"more":false}`},
		{"dave", "GET /rooms/pub/messages?after=18446744073709551615", "", 200, `{"messages":[],"head":3,"first":1,"more":false}`},
		{"dave", "GET /rooms/pub/messages?around=2&limit=2&view=log", "", 200, `{"messages":[` + image + `,` + join + `],"head":3,"first":1,"more":true}`},
		{"", "GET /rooms/pub/messages?limit=100000&view=chat&before=", "", 200, `{"messages":[` + chat + `,` + image + `],"head":3,"first":1,"more":false}`},

		{"eve", "POST /rooms", `{"room":"new","kind":"public","name":"<New>"}`, 201, info},
		{"eve", "GET /rooms/new", "", 200, info},
		{"eve", "GET /rooms/new?consistency=strong", "", 200, info},
		{"dave", "GET /rooms/new", "", 200, strings.Replace(info, `,"role":"owner"`, "", 1)},
		{"", "GET /rooms/new", "", 200, strings.Replace(info, `"owner"`, `"guest"`, 1)},
		{"eve", "GET /rooms", "", 200, `{"rooms":[{"room":"new","kind":"public","name":"<New>","role":"owner","members":1,"head":0,"n":0,"read":0,"unread":0}],"unread":0,"more":false}`},
		{"alice", "GET /rooms?limit=1&after=open", "", 200, `{"rooms":[{"room":"priv","kind":"private","name":"","role":"owner","members":2,"head":1,"n":0,"read":0,"unread":0}],"next":"priv","more":true}`},
		{"", "GET /rooms", "", 200, `{"rooms":[],"more":false}`},
		{
			"eve", "PATCH /rooms/new", `{"name":"N","kind":"private","guest":"write"}`, 200,
			strings.NewReplacer(`"public"`, `"private"`, `"<New>"`, `"N"`, `"guest":"read"`, `"guest":"write"`).Replace(info),
		},
		{"carol", "POST /rooms/pub/leave", "", 200, `{"room":"pub","seq":4}`},
		{"eve", "DELETE /rooms/new", "", 200, `{"room":"new","head":0}`},
		{"carol", "POST /rooms", `{"room":"dflt"}`, 201, strings.NewReplacer(`"new"`, `"dflt"`, `"public"`, `"private"`, `"<New>"`, `""`,
			`"guest":"read"`, `"guest":"none"`).Replace(info)},
	} {
		w := r.do(c.token, c.line, c.body, contentType(c.line, c.body)...)
		if w.Code != c.status || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s %s %s: %d %s %s", c.token, c.line, c.body, w.Code, w.Header().Get("Content-Type"), w.Body)
			continue
		}
		if diff := cmp.Diff(c.want, stamps(answerOf(w))); diff != "" {
			t.Errorf("%s %s %s: %s", c.token, c.line, c.body, diff)
		}
	}
}

// contentType is what a client would say of the body: messages here are bytes, all else is JSON.
func contentType(line, body string) []string {
	if body == "" {
		return nil
	}
	if strings.Contains(line, "/messages") {
		return []string{"Content-Type: text/plain"}
	}
	return []string{"Content-Type: application/json"}
}

// The same names as other people's rooms are other rooms.
func TestNamespacesAreApart(t *testing.T) {
	r := newRig(t).rooms()
	if w := r.do("ns/bob", "POST /rooms", `{"room":"pub","kind":"public"}`); w.Code != http.StatusCreated {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	r.do("bob", "POST /rooms/pub/messages", "here", "Content-Type: text/plain")
	w := r.do("ns/bob", "GET /rooms/pub/messages", "")
	if got := answerOf(w); got != `{"messages":[],"head":0,"first":1,"more":false}` {
		t.Error(got)
	}
	r.refused(r.do("ns/bob", "GET /rooms/open", ""), 404, "not_found", "open")
}

// The body of a HEAD is left out by net/http; the rest is as for GET.
func TestHead(t *testing.T) {
	r := newRig(t).rooms()
	if w := r.do("bob", "HEAD /rooms/pub", ""); w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// consistency=strong waits for the node to have everything; other reads do not.
func TestConsistency(t *testing.T) {
	waited, err := 0, error(nil)
	r := newRig(t, func(_ *calls.Config, c *Config) {
		c.Barrier = func(context.Context) error { waited++; return err }
	}).rooms()
	paths := []string{"/rooms", "/rooms/pub", "/rooms/pub/messages", "/rooms/pub/members", "/rooms/pub/audit"}
	for i, path := range paths {
		r.do("alice", "GET "+path, "")
		if w := r.do("alice", "GET "+path+"?consistency=strong", ""); w.Code != 200 || waited != i+1 {
			t.Errorf("%s: %d %s, waited %d times", path, w.Code, w.Body, waited)
		}
		r.refused(r.do("alice", "GET "+path+"?consistency=weak", ""), 400, problem.BadPayload, "query.consistency")
	}
	err = calls.Refused(calls.ErrNoQuorum)
	for _, path := range paths {
		r.refused(r.do("alice", "GET "+path+"?consistency=strong", ""), 503, problem.NoQuorum, "")
	}
}

func TestAutoCreate(t *testing.T) {
	r := newRig(t, autoCreate)
	if w := r.do("bob", "POST /rooms/made/messages", "x", "Content-Type: text/plain"); w.Code != http.StatusCreated {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	r.refused(r.do("bob", "POST /rooms/second/messages", "x", "Content-Type: text/plain"), 403, "limit", "1 rooms")
	r.refused(r.do("guest~1", "POST /rooms/third/messages", "x", "Content-Type: text/plain"), 403, "guest_read_only", "")
	if w := r.do("carol", "POST /rooms/dm~bob~carol/messages", "x", "Content-Type: text/plain"); w.Code != http.StatusCreated {
		t.Errorf("a direct room: %d %s", w.Code, w.Body)
	}
	w := r.do("bob", "GET /rooms/made/messages", "")
	if !strings.Contains(w.Body.String(), `"seq":1,"n":1,`) || !strings.Contains(w.Body.String(), `"role":"owner"`) {
		t.Error(w.Body)
	}
	if r.log.Seen[0].(*storage.Append).AutoCreate != storage.Public {
		t.Errorf("%+v", r.log.Seen[0])
	}
}
