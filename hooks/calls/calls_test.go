package calls

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/calls/callstest"
	"github.com/madang-chat/madang/hooks/envelope"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

type rig struct {
	*Calls
	log *callstest.Log
	t   testing.TB
}

func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	log := callstest.NewLog(t, storage.Options{Dir: "data", FS: vfs.NewMem()})
	cfg := Config{Log: log, Store: log.Store, Auth: &callstest.Tokens{}, Node: "n1"}
	if change != nil {
		change(&cfg)
	}
	return &rig{Calls: New(cfg), log: log, t: t}
}

// as returns the identity of a token.
func as(token string) auth.Identity {
	if token == "" {
		id, _ := (&callstest.Tokens{}).Guest()
		return id
	}
	id, err := (&callstest.Tokens{}).VerifyToken(context.Background(), token)
	if err != nil {
		panic(err)
	}
	return id
}

// rooms makes the rooms of most tests: pub and priv of alice, with bob in priv; open, where guests write; shut, where
// guests read nothing; frozen rooms cannot be made by a command yet.
func (r *rig) rooms() *rig {
	r.t.Helper()
	for _, c := range []storage.Command{
		&storage.RoomCreate{Room: key("pub"), By: storage.Actor{User: "alice"}, Kind: storage.Public, Name: "Public"},
		&storage.RoomCreate{Room: key("priv"), By: storage.Actor{User: "alice"}, Kind: storage.Private},
		&storage.Join{Room: key("priv"), By: storage.Actor{User: "bob", Admin: true}},
		&storage.RoomCreate{Room: key("open"), By: storage.Actor{User: "alice"}, Kind: storage.Public, Guest: storage.GuestWrite},
		&storage.RoomCreate{Room: key("shut"), By: storage.Actor{User: "alice"}, Kind: storage.Public, Guest: storage.GuestNone},
	} {
		if res := r.log.Apply(c); res.Outcome != storage.Done {
			r.t.Fatalf("%T: %+v", c, res)
		}
	}
	return r
}

func key(room string) storage.RoomKey { return storage.RoomKey{NS: "chat", Room: room} }

func (r *rig) call(token, method, params string) (string, *problem.Problem) {
	out, err := r.Dispatch(context.Background(), as(token), method, json.RawMessage(params))
	if err != nil {
		return "", ProblemFrom(err)
	}
	if !json.Valid(out) {
		r.t.Fatalf("%s: no JSON: %s", method, out)
	}
	return string(out), nil
}

func (r *rig) must(token, method, params string) string {
	r.t.Helper()
	out, p := r.call(token, method, params)
	if p != nil {
		r.t.Fatalf("%s %s %s: %v", token, method, params, p)
	}
	return out
}

func (r *rig) post(token, room, body string) Posted {
	r.t.Helper()
	p, err := r.Post(context.Background(), as(token), PostInput{Room: room, Body: []byte(body)})
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func TestCallsAnswer(t *testing.T) {
	r := newRig(t, nil).rooms()
	r.post("bob", "pub", "hello")
	for _, c := range []struct{ token, method, params, want string }{
		{"alice", "whoami", ``, `{"user":"alice","namespace":"chat","guest":false,"admin":false,"node":"n1"}`},
		{"", "whoami", `{}`, `{"user":"guest~0","namespace":"chat","guest":true,"admin":false,"node":"n1"}`},
		{"admin", "whoami", `null`, `{"user":"admin","namespace":"chat","guest":false,"admin":true,"node":"n1"}`},
		{
			"carol", "room.create", `{"room":"new","kind":"public","name":"New","guest":"none"}`,
			`{"room":"new","kind":"public","name":"New","guest":"none","frozen":false,"slow_mode":0,"state":"members","state_interval_ms":0,"live_interval_ms":0,"pinned":[],"members":1,"head":0,"n":0,"first":1,"created_at":TS,"role":"owner"}`,
		},
		{
			"carol", "room.get", `{"room":"new"}`,
			`{"room":"new","kind":"public","name":"New","guest":"none","frozen":false,"slow_mode":0,"state":"members","state_interval_ms":0,"live_interval_ms":0,"pinned":[],"members":1,"head":0,"n":0,"first":1,"created_at":TS,"role":"owner"}`,
		},
		{"carol", "rooms.list", ``, `{"rooms":[{"room":"new","kind":"public","name":"New","role":"owner","members":1,"head":0,"n":0,"read":0,"unread":0}],"unread":0,"more":false}`},
		{"carol", "room.join", `{"room":"pub"}`, `{"room":"pub","role":"member","seq":2}`},
		{"carol", "room.join", `{"room":"pub"}`, `{"room":"pub","role":"member","seq":2}`},
		{"carol", "rooms.list", `{"limit":1}`, `{"rooms":[{"room":"new","kind":"public","name":"New","role":"owner","members":1,"head":0,"n":0,"read":0,"unread":0}],"unread":0,"next":"new","more":true}`},
		{"carol", "rooms.list", `{"limit":1,"after":"new"}`, `{"rooms":[{"room":"pub","kind":"public","name":"Public","role":"member","members":2,"head":2,"n":1,"read":2,"unread":0,"last":{"seq":1,"ts":TS,"type":"text","from":{"user":"bob"},"text":"hello"}}],"more":false}`},
		{"carol", "room.leave", `{"room":"pub"}`, `{"room":"pub","seq":3}`},
		{"carol", "rooms.list", `{"after":"new"}`, `{"rooms":[],"more":false}`},
		{
			"carol", "room.set", `{"room":"new","name":"Newer","kind":"private"}`,
			`{"room":"new","kind":"private","name":"Newer","guest":"none","frozen":false,"slow_mode":0,"state":"members","state_interval_ms":0,"live_interval_ms":0,"pinned":[],"members":1,"head":0,"n":0,"first":1,"created_at":TS,"role":"owner"}`,
		},
		{"carol", "room.delete", `{"room":"new"}`, `{"room":"new","head":0}`},
		{"carol", "rooms.list", ``, `{"rooms":[],"unread":0,"more":false}`},
		{
			"dave", "room.create", `{"room":"dflt"}`,
			`{"room":"dflt","kind":"private","name":"","guest":"none","frozen":false,"slow_mode":0,"state":"members","state_interval_ms":0,"live_interval_ms":0,"pinned":[],"members":1,"head":0,"n":0,"first":1,"created_at":TS,"role":"owner"}`,
		},
		{"", "rooms.list", ``, `{"rooms":[],"more":false}`},
		{
			"", "room.get", `{"room":"pub"}`,
			`{"room":"pub","kind":"public","name":"Public","guest":"read","frozen":false,"slow_mode":0,"state":"members","state_interval_ms":0,"live_interval_ms":0,"pinned":[],"members":1,"head":3,"n":1,"first":1,"created_at":TS,"role":"guest"}`,
		},
		{
			"eve", "history", `{"room":"pub"}`,
			`{"messages":[{"room":"pub","seq":1,"n":1,"ts":TS,"type":"text","from":{"user":"bob","role":"member"},"data":{"text":"hello"}}],"head":3,"first":1,"more":false}`,
		},
		{"eve", "sync", `{"pub":3}`, `{"rooms":[{"room":"pub","from":4,"to":3,"gap":false,"first":1,"live":true,"messages":[]}],"more":false}`},
		{"eve", "sync", `{"rooms":{"pub":9}}`, `{"rooms":[{"room":"pub","from":4,"to":3,"gap":true,"first":1,"live":true,"messages":[]}],"more":false}`},
		{
			"eve", "sync", `{"rooms":{"pub":0},"limit":1}`,
			`{"rooms":[{"room":"pub","from":1,"to":1,"gap":false,"first":1,"live":false,"messages":[{"room":"pub","seq":1,"n":1,"ts":TS,"type":"text","from":{"user":"bob","role":"member"},"data":{"text":"hello"}}]}],"more":true}`,
		},
		{"eve", "sync", `{}`, `{"rooms":[],"more":false}`},
	} {
		got := stamps(r.must(c.token, c.method, c.params))
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s %s %s: %s", c.token, c.method, c.params, diff)
		}
	}
}

// stamps replaces times of the log.
func stamps(s string) string {
	for i := strings.Index(s, "17954300"); i >= 0; i = strings.Index(s, "17954300") {
		s = s[:i] + "TS" + s[i+13:]
	}
	return s
}

func TestCallsRefuse(t *testing.T) {
	r := newRig(t, func(c *Config) { c.RoomsPerUser = 4 }).rooms()
	for _, c := range []struct {
		token, method, params string
		code                  problem.Code
		says                  string
	}{
		{"alice", "nothing", ``, problem.Unsupported, "rooms.list"},
		{"alice", "room.get", ``, problem.NotFound, ""},
		{"alice", "room.get", `[]`, problem.BadPayload, "object"},
		{"alice", "room.get", `{"room":"pub"}x`, problem.BadPayload, ""},
		{"alice", "room.get", `{"room":"pub","x":1}`, problem.BadPayload, `"x"`},
		{"alice", "room.get", `{"room":5}`, problem.BadPayload, "room"},
		{"alice", "room.get", `{"room":"no such"}`, problem.NotFound, "no such"},
		{"alice", "room.get", `{"room":"none"}`, problem.NotFound, "none"},
		{"alice", "room.get", `{"room":"dm~alice~bob"}`, problem.NotFound, ""},
		{"alice", "room.get", `{"room":"dm~bob~alice"}`, problem.NotFound, ""},
		{"carol", "room.get", `{"room":"priv"}`, problem.NotMember, ""},
		{"carol", "history", `{"room":"priv"}`, problem.NotMember, ""},
		{"", "room.get", `{"room":"priv"}`, problem.NotMember, "guests"},
		{"", "history", `{"room":"shut"}`, problem.NotMember, "guests"},
		{"other/alice", "room.get", `{"room":"pub"}`, problem.NotFound, ""},
		{"alice", "history", `{"room":"pub","before":1,"after":2}`, problem.BadPayload, "one of"},
		{"alice", "history", `{"room":"pub","limit":-1}`, problem.BadPayload, "limit"},
		{"alice", "history", `{"room":"pub","before":-1}`, problem.BadPayload, "before"},
		{"alice", "history", `{"room":"pub","view":"x"}`, problem.BadPayload, "view"},
		{"alice", "rooms.list", `{"limit":-1}`, problem.BadPayload, "limit"},
		{"alice", "sync", `{"rooms":{"a":"b"}}`, problem.BadPayload, ""},
		{"alice", "sync", `{"limit":-1,"rooms":{}}`, problem.BadPayload, "limit"},
		{"", "room.create", `{"room":"x"}`, problem.GuestReadOnly, "log in"},
		{"", "room.set", `{"room":"pub","name":"x"}`, problem.GuestReadOnly, "log in"},
		{"guest~1", "room.delete", `{"room":"open"}`, problem.GuestReadOnly, "log in"},
		{"guest~1", "room.join", `{"room":"open"}`, problem.GuestReadOnly, "log in"},
		{"", "room.leave", `{"room":"pub"}`, problem.GuestReadOnly, "log in"},
		{"alice", "room.create", `{"room":"other"}`, problem.Limit, "4"},
		{"carol", "room.create", `{"room":"pub"}`, problem.Conflict, "exists"},
		{"carol", "room.create", `{"room":"a b"}`, problem.BadPayload, "room:"},
		{"carol", "room.create", `{"room":"dm~a~b"}`, problem.BadPayload, "room:"},
		{"carol", "room.create", `{"room":"x","kind":"direct"}`, problem.BadPayload, "kind:"},
		{"carol", "room.create", `{"room":"x","guest":"all"}`, problem.BadPayload, "guest:"},
		{"carol", "room.create", `{"room":"x","name":"a\nb"}`, problem.BadPayload, "control"},
		{"carol", "room.create", `{"room":"x","name":"` + strings.Repeat("ü", 129) + `"}`, problem.BadPayload, "128"},
		{"alice", "room.set", `{"room":"pub"}`, problem.BadPayload, "nothing to change"},
		{"alice", "room.set", `{"room":"pub","kind":"x"}`, problem.BadPayload, "kind:"},
		{"alice", "room.set", `{"room":"pub","guest":"x"}`, problem.BadPayload, "guest:"},
		{"alice", "room.set", `{"room":"pub","name":"\u0007"}`, problem.BadPayload, "name:"},
		{"bob", "room.set", `{"room":"priv","name":"x"}`, problem.Forbidden, "Owners"},
		{"bob", "room.delete", `{"room":"priv"}`, problem.Forbidden, "Owners"},
		{"carol", "room.delete", `{"room":"none"}`, problem.NotFound, "none"},
		{"carol", "room.join", `{"room":"priv"}`, problem.Forbidden, "private"},
		{"carol", "room.join", `{"room":"none"}`, problem.NotFound, ""},
		{"carol", "room.leave", `{"room":"none"}`, problem.NotFound, ""},
	} {
		out, p := r.call(c.token, c.method, c.params)
		if p == nil {
			t.Errorf("%s %s %s: answered %s", c.token, c.method, c.params, out)
		} else if p.Code != c.code || !strings.Contains(p.Sentence(), c.says) {
			t.Errorf("%s %s %s: %v, want %s saying %q", c.token, c.method, c.params, p, c.code, c.says)
		}
	}
}

func TestPost(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Message = 1000 }).rooms()
	for _, c := range []struct {
		name, token string
		in          PostInput
		want        Posted
		code        problem.Code
	}{
		{"bytes", "alice", PostInput{Room: "pub", Body: []byte("hi")}, Posted{Seq: 1}, ""},
		{"same cid", "alice", PostInput{Room: "pub", CID: "c1", Body: []byte("one")}, Posted{Seq: 2}, ""},
		{"again", "alice", PostInput{Room: "pub", IdempotencyKey: "c1", Body: []byte("one")}, Posted{Seq: 2, Duplicate: true}, ""},
		{"other content", "alice", PostInput{Room: "pub", CID: "c1", Body: []byte("two")}, Posted{}, problem.CIDConflict},
		{"other user", "bob", PostInput{Room: "pub", CID: "c1", Body: []byte("two")}, Posted{Seq: 3}, ""},
		{"envelope", "bob", PostInput{Room: "pub", ContentType: "application/json", Body: []byte(`{"type":"image","data":{"url":"x"}}`)}, Posted{Seq: 4}, ""},
		{"unknown key", "bob", PostInput{Room: "pub", ContentType: "application/json", Body: []byte(`{"data":1,"x":2}`)}, Posted{}, problem.BadPayload},
		{"too large", "bob", PostInput{Room: "pub", Body: make([]byte, 1001)}, Posted{}, problem.TooLarge},
		{"edit", "bob", PostInput{Room: "pub", ContentType: "application/json", Body: []byte(`{"type":"edit","target":1,"data":{"text":"x"}}`)}, Posted{}, problem.Forbidden},
		{"reaction", "bob", PostInput{Room: "pub", ContentType: "application/json", Body: []byte(`{"type":"reaction","target":1,"data":{"emoji":"👍","on":true}}`)}, Posted{Seq: 5}, ""},
		{"delete", "bob", PostInput{Room: "pub", ContentType: "application/json", Body: []byte(`{"type":"delete","target":1,"data":{}}`)}, Posted{}, problem.Forbidden},
		{"system", "bob", PostInput{Room: "pub", Type: "system", Body: []byte(`x`)}, Posted{}, problem.Forbidden},
		{"no room", "bob", PostInput{Room: "none", Body: []byte(`x`)}, Posted{}, problem.NotFound},
		{"no name", "bob", PostInput{Room: "a/b", Body: []byte(`x`)}, Posted{}, problem.NotFound},
		{"direct", "bob", PostInput{Room: "dm~alice~bob", Body: []byte(`x`)}, Posted{Seq: 1}, ""},
		{"direct, of others", "carol", PostInput{Room: "dm~alice~bob", Body: []byte(`x`)}, Posted{}, problem.NotMember},
		{"direct, of others, new", "carol", PostInput{Room: "dm~alice~zoe", Body: []byte(`x`)}, Posted{}, problem.NotFound},
		{"private", "carol", PostInput{Room: "priv", Body: []byte(`x`)}, Posted{}, problem.NotMember},
		{"member", "bob", PostInput{Room: "priv", Body: []byte(`x`)}, Posted{Seq: 2}, ""},
		{"admin", "admin", PostInput{Room: "priv", Body: []byte(`x`)}, Posted{Seq: 3}, ""},
		{"guest in pub", "guest~1", PostInput{Room: "pub", Body: []byte(`x`)}, Posted{}, problem.GuestReadOnly},
		{"guest in open", "guest~1", PostInput{Room: "open", Body: []byte(`x`)}, Posted{Seq: 1}, ""},
		{"nameless guest in open", "", PostInput{Room: "open", Body: []byte(`x`)}, Posted{}, problem.GuestReadOnly},
		{"guest in none", "guest~1", PostInput{Room: "none", Body: []byte(`x`)}, Posted{}, problem.GuestReadOnly},
		{"guest, bad body", "guest~1", PostInput{Room: "pub", ContentType: "application/json", Body: []byte(`x`)}, Posted{}, problem.GuestReadOnly},
	} {
		got, err := r.Post(context.Background(), as(c.token), c.in)
		switch {
		case c.code == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.code == "":
			if got.TS == 0 {
				t.Errorf("%s: no ts", c.name)
			}
			got.TS = 0
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s: %s", c.name, diff)
			}
		case err == nil || ProblemFrom(err).Code != c.code:
			t.Errorf("%s: %+v %v, want %s", c.name, got, err, c.code)
		}
	}
}

func TestSendOfAParsedMessage(t *testing.T) {
	r := newRig(t, func(c *Config) { c.AutoCreate, c.RoomsPerDay = storage.Public, 1 })
	m, p := envelope.Parse("text", []byte(`{"data":{"text":"x"},"ttl":5,"cid":"c"}`), envelope.Options{})
	if p != nil {
		t.Fatal(p)
	}
	for i := range 2 {
		got, err := r.Send(context.Background(), as("alice"), "made", &m)
		if err != nil || got.Seq != 1 || got.Duplicate != (i == 1) {
			t.Fatalf("%+v %v", got, err)
		}
	}
	if _, err := r.Send(context.Background(), as("alice"), "second", &m); ProblemFrom(err).Code != problem.Limit {
		t.Errorf("rooms per day: %v", err)
	}
	if _, err := r.Send(context.Background(), as("alice"), "dm~alice~bob", &m); ProblemFrom(err).Code != problem.Limit {
		t.Errorf("direct room: %v", err)
	}
	if _, err := r.Send(context.Background(), as("guest~1"), "third", &m); ProblemFrom(err).Code != problem.GuestReadOnly {
		t.Errorf("guest: %v", err)
	}
	cmd, err := r.AppendOf(as("alice"), "made", &m)
	if err != nil || cmd.TTL != 5 || cmd.CID != "c" || cmd.AutoCreate != storage.Public || cmd.Hash != m.Hash() {
		t.Errorf("%+v %v", cmd, err)
	}
	if _, err := r.AppendOf(as("alice"), "a b", &m); ProblemFrom(err).Code != problem.NotFound {
		t.Error(err)
	}
}
