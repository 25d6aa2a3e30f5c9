package storage

import (
	"fmt"
	"testing"
)

// What a message writes does not grow with who is away, who is a member, or how long the room is.
func TestWritesPerMessage(t *testing.T) {
	const many = 1000
	absent := func(l *testLog) {
		var cmds []Command
		for i := range many {
			id := SessionID{NS: "chat", User: fmt.Sprint("u", i), Client: "phone"}
			cmds = append(cmds, taking(id, 3600),
				&Subscribe{Session: id, Epoch: uint64(i + 1), Add: []Subscription{{Filter: "chat/rooms/r/msg/#", QoS: 1}}},
				&Release{Session: id, Epoch: uint64(i + 1)})
		}
		for i, r := range l.as("a", cmds...) {
			if r.Outcome != Done {
				l.t.Fatalf("%T: %+v", cmds[i], r)
			}
		}
	}
	live := func(l *testLog) {
		var cmds []Command
		for i := range many {
			cmds = append(cmds, taking(SessionID{NS: "chat", User: fmt.Sprint("u", i), Client: "web"}, 3600))
		}
		l.as("a", cmds...)
	}
	members := func(l *testLog) {
		var cmds []Command
		for i := range many {
			cmds = append(cmds, &Join{Room: room("r"), By: from(fmt.Sprint("u", i))})
		}
		for _, r := range l.as("a", cmds...) {
			if r.Outcome != Done {
				l.t.Fatalf("join: %+v", r)
			}
		}
	}
	history := func(l *testLog) { l.as("a", texts(many)...) }

	type cost struct{ alone, together, cid uint64 }
	measure := func(setups ...func(*testLog)) cost {
		l := newTestLog(t)
		l.boot("a")
		l.done(say("r", "olga", "first"))
		for _, f := range setups {
			f(l)
		}
		keys := func(cmds ...Command) uint64 {
			before := l.s.Stats().BatchKeys
			l.as("a", cmds...)
			return l.s.Stats().BatchKeys - before
		}
		return cost{
			alone:    keys(say("r", "olga", "x")),
			together: keys(texts(64)...),
			cid:      keys(sayAs("r", "olga", "x", "c1")),
		}
	}
	want := measure()
	// The entry, the room's head, the node's numbering and answers, meta, the chain; a cid adds itself and its place.
	if want != (cost{alone: 6, together: 5 + 64, cid: 8}) {
		t.Errorf("with nobody there: %+v", want)
	}
	for name, setups := range map[string][]func(*testLog){
		"1000 absent sessions": {absent}, "1000 live sessions": {live}, "1000 members": {members},
		"1000 messages before": {history}, "all of it": {absent, live, members, history},
	} {
		if got := measure(setups...); got != want {
			t.Errorf("%s: %+v keys, with nobody there %+v", name, got, want)
		}
	}
}
