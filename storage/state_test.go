package storage

import (
	"fmt"
	"testing"
)

func set(user, key, data string) *SetState {
	c := &SetState{Room: room("r"), From: from(user), Key: key}
	if data != "" {
		c.Data = []byte(data)
	}
	return c
}

func (l *testLog) state(key string) string {
	l.t.Helper()
	v, err := l.s.State(room("r"), key)
	if err != nil {
		l.t.Fatalf("state: %v", err)
	}
	if v == nil || v.Deleted {
		return ""
	}
	return string(v.JSON)
}

func TestState(t *testing.T) {
	l := moderated(t, Public)
	want := func(key string, ver int, rest string) {
		t.Helper()
		w := fmt.Sprintf(`{"room":"r","key":"%s","ver":%d,"seq":%d,"ts":%d,"from":{"user":"mia","role":"member"},%s}`, key, ver, l.head("r").Seq, l.now, rest)
		if got := l.state(key); got != w {
			t.Errorf("%s is %s, want %s", key, got, w)
		}
	}
	head := l.head("r").Seq
	if r := l.done(set("mia", "topic", `{"a":1}`)); r.Epoch != 1 || r.Seq != head {
		t.Errorf("%+v", r)
	}
	want("topic", 1, `"data":{"a":1}`)
	l.now += 1000
	l.done(set("mia", "topic", `"x"`))
	want("topic", 2, `"data":"x"`)
	for ver, outcome := range map[uint64]Outcome{0: Conflict, 1: Conflict, 3: Conflict, 2: Done} {
		c := set("mia", "topic", `3`)
		c.IfVer = new(ver)
		if outcome == Done {
			continue
		}
		if r := l.do(c); r.Outcome != outcome || r.Epoch != 2 {
			t.Errorf("if_ver %d: %+v", ver, r)
		}
	}
	c := set("mia", "topic", `3`)
	c.IfVer = new(uint64(2))
	l.done(c)
	want("topic", 3, `"data":3`)
	if r := l.done(set("mia", "topic", "")); r.Epoch != 4 || l.state("topic") != "" {
		t.Errorf("deleted: %+v, %s", r, l.state("topic"))
	}
	if r := l.done(set("mia", "topic", "")); !r.Present {
		t.Errorf("deleted twice: %+v", r)
	}
	c = set("mia", "topic", `5`)
	c.IfVer = new(uint64(0)) // only if it is not set
	if r := l.done(c); r.Epoch != 5 {
		t.Errorf("set again: %+v", r)
	}
	want("topic", 5, `"data":5`)
	if l.head("r").Seq != head {
		t.Error("a state key was an entry")
	}
}

// Whoever may not send may not set either, nor who is no member; the room may leave it to those who run it.
func TestWhoSetsState(t *testing.T) {
	l := moderated(t, Public)
	try := func(user string, want Outcome) {
		t.Helper()
		c := set(user, "k", `1`)
		c.From.Admin, c.From.Guest = user == "root", user == "guest~1"
		if r := l.do(c); r.Outcome != want {
			t.Errorf("%s: %v %s", user, r.Outcome, r.Detail)
		}
	}
	for user, want := range map[string]Outcome{"olga": Done, "opa": Done, "mia": Done, "root": Done, "eve": NotMember, "guest~1": GuestReadOnly} {
		try(user, want)
	}
	l.done(act("opa", ActMute, "mia"))
	try("mia", Muted)
	l.done(act("opa", ActFreeze, ""))
	try("max", Frozen)
	try("opa", Done)
	l.done(act("opa", ActUnfreeze, ""))
	l.done(&RoomSet{Room: room("r"), By: from("olga"), StateBy: new(StateByOperators)})
	try("max", Forbidden)
	try("opa", Done)
	if r := l.do(&SetState{Room: room("none"), From: from("olga"), Key: "k", Data: []byte("1")}); r.Outcome != NotFound {
		t.Errorf("%+v", r)
	}
}

func TestStateKeysAreLimited(t *testing.T) {
	l := moderated(t, Public)
	for i := range 5 {
		c := set("mia", fmt.Sprint("k", i), `1`)
		c.MaxKeys = 3
		want := Done
		if i >= 3 {
			want = Limit
		}
		if r := l.do(c); r.Outcome != want {
			t.Errorf("key %d: %+v", i, r)
		}
	}
	for i := range maxTombs + 5 { // deleted keys are forgotten in the end
		name := fmt.Sprint("t", i)
		l.as("a", set("mia", name, `1`), set("mia", name, ""))
	}
	r, err := l.s.Room(room("r"))
	if err != nil || r.States != 3 {
		t.Errorf("%d keys, %v", r.States, err)
	}
	n := 0
	if err := l.s.States(room("r"), "", false, func(StateValue) bool { n++; return true }); err != nil || n != 3 {
		t.Errorf("%d keys are listed, %v", n, err)
	}
	n = 0
	if err := l.s.States(room("r"), "k0", false, func(v StateValue) bool { n++; return v.Key == "k1" }); err != nil || n != 2 {
		t.Errorf("%d keys are listed after the first, %v", n, err)
	}
}
