package calls

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/envelope"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

type rig struct {
	*Calls
	log *instantLog
	t   testing.TB
}

func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	log := newLog(t, storage.Options{Dir: "data", FS: vfs.NewMem()})
	cfg := Config{Log: log, Store: log.Store, Auth: &testTokens{}, Node: "n1"}
	if change != nil {
		change(&cfg)
	}
	return &rig{Calls: New(cfg), log: log, t: t}
}

// as returns the identity of a token.
func as(token string) auth.Identity {
	if token == "" {
		id, _ := (&testTokens{}).Guest()
		return id
	}
	id, err := (&testTokens{}).VerifyToken(context.Background(), token)
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
		{"carol", "room.create", `{"room":"new","kind":"public","name":"New","guest":"none"}`,
			`{"room":"new","kind":"public","name":"New","guest":"none","frozen":false,"members":1,"head":0,"n":0,"first":1,"created_at":TS,"role":"owner"}`},
		{"carol", "room.get", `{"room":"new"}`,
			`{"room":"new","kind":"public","name":"New","guest":"none","frozen":false,"members":1,"head":0,"n":0,"first":1,"created_at":TS,"role":"owner"}`},
		{"carol", "rooms.list", ``, `{"rooms":[{"room":"new","kind":"public","name":"New","role":"owner","head":0,"n":0}],"more":false}`},
		{"carol", "room.join", `{"room":"pub"}`, `{"room":"pub","role":"member","seq":2}`},
		{"carol", "room.join", `{"room":"pub"}`, `{"room":"pub","role":"member","seq":2}`},
		{"carol", "rooms.list", `{"limit":1}`, `{"rooms":[{"room":"new","kind":"public","name":"New","role":"owner","head":0,"n":0}],"next":"new","more":true}`},
		{"carol", "rooms.list", `{"limit":1,"after":"new"}`, `{"rooms":[{"room":"pub","kind":"public","name":"Public","role":"member","head":2,"n":1}],"more":false}`},
		{"carol", "room.leave", `{"room":"pub"}`, `{"room":"pub","seq":3}`},
		{"carol", "rooms.list", `{"after":"new"}`, `{"rooms":[],"more":false}`},
		{"carol", "room.set", `{"room":"new","name":"Newer","kind":"private"}`,
			`{"room":"new","kind":"private","name":"Newer","guest":"none","frozen":false,"members":1,"head":0,"n":0,"first":1,"created_at":TS,"role":"owner"}`},
		{"carol", "room.delete", `{"room":"new"}`, `{"room":"new","head":0}`},
		{"carol", "rooms.list", ``, `{"rooms":[],"more":false}`},
		{"dave", "room.create", `{"room":"dflt"}`,
			`{"room":"dflt","kind":"private","name":"","guest":"none","frozen":false,"members":1,"head":0,"n":0,"first":1,"created_at":TS,"role":"owner"}`},
		{"", "rooms.list", ``, `{"rooms":[],"more":false}`},
		{"", "room.get", `{"room":"pub"}`,
			`{"room":"pub","kind":"public","name":"Public","guest":"read","frozen":false,"members":1,"head":3,"n":1,"first":1,"created_at":TS,"role":"guest"}`},
		{"eve", "history", `{"room":"pub"}`,
			`{"messages":[{"room":"pub","seq":1,"n":1,"ts":TS,"type":"text","from":{"user":"bob","role":"member"},"data":{"text":"hello"}}],"head":3,"first":1,"more":false}`},
		{"eve", "sync", `{"pub":3}`, `{"rooms":[{"room":"pub","from":4,"to":3,"gap":false,"first":1,"live":true,"messages":[]}],"more":false}`},
		{"eve", "sync", `{"rooms":{"pub":9}}`, `{"rooms":[{"room":"pub","from":4,"to":3,"gap":true,"first":1,"live":true,"messages":[]}],"more":false}`},
		{"eve", "sync", `{"rooms":{"pub":0},"limit":1}`,
			`{"rooms":[{"room":"pub","from":1,"to":1,"gap":false,"first":1,"live":false,"messages":[{"room":"pub","seq":1,"n":1,"ts":TS,"type":"text","from":{"user":"bob","role":"member"},"data":{"text":"hello"}}]}],"more":true}`},
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
		{"bob", "room.set", `{"room":"priv","name":"x"}`, problem.Forbidden, "owners"},
		{"bob", "room.delete", `{"room":"priv"}`, problem.Forbidden, "owners"},
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
		{"edit", "bob", PostInput{Room: "pub", ContentType: "application/json", Body: []byte(`{"type":"edit","target":1,"data":{"text":"x"}}`)}, Posted{}, problem.Unsupported},
		{"reaction", "bob", PostInput{Room: "pub", ContentType: "application/json", Body: []byte(`{"type":"reaction","target":1,"data":{"emoji":"👍","on":true}}`)}, Posted{}, problem.Unsupported},
		{"delete", "bob", PostInput{Room: "pub", ContentType: "application/json", Body: []byte(`{"type":"delete","target":1,"data":{}}`)}, Posted{}, problem.Unsupported},
		{"system", "bob", PostInput{Room: "pub", Type: "system", Body: []byte(`x`)}, Posted{}, problem.Forbidden},
		{"no room", "bob", PostInput{Room: "none", Body: []byte(`x`)}, Posted{}, problem.NotFound},
		{"no name", "bob", PostInput{Room: "a/b", Body: []byte(`x`)}, Posted{}, problem.NotFound},
		{"direct", "bob", PostInput{Room: "dm~alice~bob", Body: []byte(`x`)}, Posted{}, problem.NotFound},
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
	if _, err := r.Send(context.Background(), as("alice"), "dm~alice~bob", &m); ProblemFrom(err).Code != problem.NotFound {
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

func TestLogErrors(t *testing.T) {
	r := newRig(t, nil).rooms()
	for err, code := range map[error]problem.Code{
		ErrNoQuorum:                      problem.NoQuorum,
		fmt.Errorf("x: %w", ErrNoQuorum): problem.NoQuorum,
		ErrStorageFull:                   problem.StorageFull,
		ErrTooLarge:                      problem.TooLarge,
		ErrOverloaded:                    problem.RateLimited,
		errors.New("lost"):               problem.OutcomeUnknown,
	} {
		r.log.Err = err
		for _, m := range []string{"room.join", "room.leave", "room.delete"} {
			if _, p := r.call("carol", m, `{"room":"pub"}`); p == nil || p.Code != code {
				t.Errorf("%s %v: %v", m, err, p)
			}
		}
		_, got := r.Post(context.Background(), as("bob"), PostInput{Room: "pub", Body: []byte("x")})
		if p := ProblemFrom(got); p.Code != code || p.Status == 503 && p.RetryAfter == 0 {
			t.Errorf("%v: %v", err, p)
		}
	}
}

func TestOutcomeUnknown(t *testing.T) {
	r := newRig(t, nil).rooms()
	r.log.Silent = true
	// The store's own goroutines stay outside the bubble; only timers of the call are in it.
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := r.Post(context.Background(), as("bob"), PostInput{Room: "pub", Body: []byte("x")})
		if p := ProblemFrom(err); p.Code != problem.OutcomeUnknown || p.Status != 503 || time.Since(start) != 30*time.Second {
			t.Errorf("%v after %v", p, time.Since(start))
		}
		start = time.Now()
		if _, p := r.call("bob", "room.join", `{"room":"pub"}`); p.Code != problem.OutcomeUnknown || time.Since(start) != 10*time.Second {
			t.Errorf("%v after %v", p, time.Since(start))
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		before := r.log.Proposed()
		_, err = r.Post(ctx, as("bob"), PostInput{Room: "pub", Body: []byte("x")})
		if p := ProblemFrom(err); p.Status != 503 || r.log.Proposed() != before {
			t.Errorf("a call that had ended: %v", p)
		}
	})
	for _, done := range r.log.Lost { // answers that come too late hurt nobody
		done(storage.Result{}, nil)
	}
}

// Joining is seen in the room list when the call returns, also when the follow-up takes its time.
func TestJoinWaitsForItsFollowUp(t *testing.T) {
	r := newRig(t, nil).rooms()
	r.log.Hold = true
	answered := make(chan Membership, 8)
	for i := range 8 {
		go func() {
			m, err := r.RoomJoin(context.Background(), as(fmt.Sprintf("user%d", i)), RoomInput{"pub"})
			if err != nil {
				t.Error(err)
			}
			answered <- m
		}()
	}
	deadline := time.Now().Add(10 * time.Second)
	for r.log.Proposed() < 8 && time.Now().Before(deadline) {
		select {
		case m := <-answered:
			t.Fatalf("answered before the follow-up: %+v", m)
		case <-time.After(time.Millisecond):
		}
	}
	if list := r.must("user0", "rooms.list", ``); list != `{"rooms":[],"more":false}` {
		t.Fatal(list)
	}
	r.log.FollowUp()
	for range 8 {
		if m := <-answered; m.Role != storage.RoleMember {
			t.Errorf("%+v", m)
		}
	}
	if list := r.must("user7", "rooms.list", ``); !strings.Contains(list, `"pub"`) {
		t.Error(list)
	}
	if r.settled.round != nil || r.settled.waiting != 0 {
		t.Error("a watcher is left over")
	}
}

func TestJoinDoesNotWaitForEver(t *testing.T) {
	r := newRig(t, func(c *Config) { c.SettleWait = time.Millisecond }).rooms()
	r.log.Hold = true
	if m := r.must("carol", "room.join", `{"room":"pub"}`); m != `{"room":"pub","role":"member","seq":1}` {
		t.Error(m)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cfg.SettleWait = time.Hour
	go cancel()
	if _, err := r.RoomJoin(ctx, as("dave"), RoomInput{"pub"}); err != nil && ProblemFrom(err).Status != 503 {
		t.Error(err)
	}
}

func TestAuditedReads(t *testing.T) {
	var seen []string
	r := newRig(t, func(c *Config) {
		c.Audit = func(a AuditedRead) { seen = append(seen, a.Reader.User+" "+a.Room.Room) }
	}).rooms()
	for _, token := range []string{"admin", "auditor", "alice"} {
		r.must(token, "history", `{"room":"priv"}`)
		r.must(token, "history", `{"room":"pub"}`)
	}
	if diff := cmp.Diff([]string{"admin priv", "auditor priv"}, seen); diff != "" {
		t.Error(diff)
	}
}

func TestProblemOf(t *testing.T) {
	for o := storage.Done; o < 60; o++ {
		p := ProblemOf(storage.Result{Outcome: o, Detail: `room "x" is so`})
		if o == storage.Done {
			if p != nil {
				t.Error(p)
			}
			continue
		}
		if p == nil || !p.Code.Known() || p.Status < 400 || p.Status >= 500 {
			t.Errorf("%s: %v", o, p)
		}
		if o != storage.Fenced && (p.Detail != `Room "x" is so.` || o.String() != "unknown" && p.Code != problem.Code(o.String())) {
			t.Errorf("%s: %v", o, p)
		}
	}
	if p := ProblemFrom(errors.New("secret path")); p.Status != 500 || strings.Contains(p.Sentence(), "secret") {
		t.Error(p)
	}
	if p := ProblemFrom(&auth.Refusal{Code: auth.CodeRateLimited, Title: "slow down", RetryAfter: time.Second}); p.Status != 429 ||
		p.RetryAfterSeconds() != 1 || p.Detail != "Slow down." {
		t.Error(p)
	}
}

func TestStoreFaults(t *testing.T) {
	r := newRig(t, nil).rooms()
	if err := r.log.Store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ method, params string }{
		{"rooms.list", ``}, {"room.get", `{"room":"unread"}`}, {"history", `{"room":"unread"}`},
		{"room.join", `{"room":"unread"}`}, {"room.delete", `{"room":"unread"}`},
	} {
		if _, p := r.call("zoe", c.method, c.params); p == nil || p.Code != problem.NoQuorum || p.RetryAfter == 0 {
			t.Errorf("%s: %v", c.method, p)
		}
	}
	if p := ProblemFrom(r.broken(storage.ErrEntry)); p.Status != 500 || p.Code != Internal {
		t.Error(p)
	}
}
