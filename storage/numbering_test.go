package storage

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/madang-chat/madang/internal/logentry"
)

// apply applies one group as one entry and returns its raw answers.
func (l *testLog) apply(g logentry.Group) [][]byte {
	l.t.Helper()
	out, err := l.s.Apply([]logentry.Entry{l.entry(g)})
	if err != nil {
		l.t.Fatalf("apply: %v", err)
	}
	return out[0][0]
}

func texts(n int) []Command {
	cmds := make([]Command, n)
	for i := range cmds {
		cmds[i] = say("r", "ann", fmt.Sprint(i))
	}
	return cmds
}

func TestARepeatedGroupGetsItsFirstAnswers(t *testing.T) {
	fs := vfs.NewMem()
	l := newLog(t, openOn(t, fs))
	defer func() { _ = l.s.Close() }()
	first := l.group("a", texts(3)...)
	want := l.apply(first)
	l.apply(l.group("a", texts(2)...))
	check := func(when string) {
		t.Helper()
		l.now += 1_000
		if got := l.apply(first); !sameAnswers([][][]byte{want}, [][][]byte{got}) {
			t.Fatalf("%s: %q, want %q", when, got, want)
		}
		if got := l.head("r").Seq; got != 5 {
			t.Fatalf("%s: head %d, want 5", when, got)
		}
	}
	check("again")
	if err := l.s.Close(); err != nil {
		t.Fatal(err)
	}
	l.s = openOn(t, fs)
	check("after reopening")
}

// After a lost answer a node may cut what is unresolved into other groups than at first.
func TestARepeatMayOverlapInAnyWay(t *testing.T) {
	l := newTestLog(t)
	cmds := texts(6)
	whole := l.group("a", cmds...)
	part := whole
	part.Commands = whole.Commands[:4]
	want := l.apply(part)
	got := l.apply(whole)
	for i := range 4 {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("command %d: %q, first %q", i, got[i], want[i])
		}
	}
	tail := whole
	tail.First, tail.Commands = 4, whole.Commands[3:]
	for i, b := range l.apply(tail) {
		if !bytes.Equal(b, got[3+i]) {
			t.Fatalf("command %d: %q, first %q", 3+i, b, got[3+i])
		}
	}
	if got := l.head("r").Seq; got != 6 {
		t.Fatalf("head %d, want 6", got)
	}
}

func TestARepeatInTheSameBatch(t *testing.T) {
	l := newTestLog(t)
	g := l.group("a", texts(2)...)
	twice := l.entry(g, g)
	out, err := l.s.Apply([]logentry.Entry{twice, l.entry(g)})
	if err != nil {
		t.Fatal(err)
	}
	if !sameAnswers(out[0][:1], out[0][1:]) || !sameAnswers(out[0][:1], out[1]) {
		t.Fatalf("answers differ: %q", out)
	}
	if got := l.head("r").Seq; got != 2 {
		t.Fatalf("head %d, want 2", got)
	}
}

func TestWhatIsNotNextIsIgnored(t *testing.T) {
	for name, g := range map[string]logentry.Group{
		"a gap":                {Node: "a", Boot: 2, First: 4},
		"an older boot":        {Node: "a", Boot: 1, First: 3},
		"number 0":             {Node: "a", Boot: 2, First: 0},
		"a number that wraps":  {Node: "a", Boot: 2, First: 1<<64 - 1},
		"a node with a bad id": {Node: "a\x00", Boot: 2, First: 1},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t)
			l.boots["a"] = 2
			l.apply(l.group("a", texts(2)...))
			g.Commands = [][]byte{Encode(say("r", "ann", "no"))}
			if got := l.apply(g); len(got) != 1 || got[0] != nil {
				t.Fatalf("answered %q", got)
			}
			if got := l.head("r").Seq; got != 2 {
				t.Fatalf("head %d, want 2", got)
			}
		})
	}
}

func TestANewBootCountsFromOne(t *testing.T) {
	l := newTestLog(t)
	old := l.group("a", texts(3)...)
	l.apply(old)
	l.boot("a")
	if r := l.do(say("r", "ann", "new")); r.Seq != 4 {
		t.Fatalf("%+v", r)
	}
	if got := l.apply(old); got[0] != nil {
		t.Fatalf("an older boot is answered %q", got)
	}
}

// The ring covers everything a node may have in flight, and has a constant size.
func TestTheRingHoldsTheNewestGroups(t *testing.T) {
	l := newTestLog(t)
	var groups []logentry.Group
	var answers [][][]byte
	for range resultSlots + 5 {
		g := l.group("a", texts(2)...)
		groups, answers = append(groups, g), append(answers, l.apply(g))
	}
	for i, g := range groups {
		got := l.apply(g)
		if i < 5 {
			if got[0] != nil || got[1] != nil {
				t.Fatalf("group %d is older than the ring and answers %q", i, got)
			}
		} else if !sameAnswers(answers[i:i+1], [][][]byte{got}) {
			t.Fatalf("group %d answers %q, first %q", i, got, answers[i])
		}
	}
	slots := 0
	for k := range dump(t, l.s) {
		if k[0] == prefixGroup {
			slots++
		}
	}
	if slots != resultSlots {
		t.Fatalf("%d slots, want %d", slots, resultSlots)
	}
}

func TestAppliedEntriesAreSkipped(t *testing.T) {
	l := newTestLog(t)
	e := l.entry(l.group("a", texts(1)...))
	if _, err := l.s.Apply([]logentry.Entry{e}); err != nil {
		t.Fatal(err)
	}
	before := l.s.Stats()
	out, err := l.s.Apply([]logentry.Entry{e})
	if err != nil || out[0] != nil {
		t.Fatalf("%q, %v", out, err)
	}
	if after := l.s.Stats(); after != before {
		t.Fatalf("stats %+v, before %+v", after, before)
	}
	next := l.entry(l.group("a", texts(1)...))
	if out, err = l.s.Apply([]logentry.Entry{e, next}); err != nil || out[0] != nil || out[1] == nil {
		t.Fatalf("%q, %v", out, err)
	}
	if index, _ := l.s.Applied(); index != next.Index || l.head("r").Seq != 2 {
		t.Fatalf("applied %d, head %+v", index, l.head("r"))
	}
}

func TestLogTimeNeverGoesBack(t *testing.T) {
	l := newTestLog(t)
	l.done(say("r", "ann", "1"))
	l.now -= 500
	if r := l.done(say("other", "ann", "2")); r.TS != 1_000_000 {
		t.Fatalf("ts %d", r.TS)
	}
	if _, now := l.s.Applied(); now != 1_000_000 {
		t.Fatalf("log time %d", now)
	}
}

func TestACommandOfANewerBuildStopsTheNode(t *testing.T) {
	for name, data := range map[string][]byte{
		"empty": {}, "newer version": {commandVersion + 1, byte(kindJoin)}, "unknown kind": {commandVersion, 200, 0xa0},
		"damaged": {commandVersion, byte(kindJoin), 0xff}, "damaged append": {commandVersion, byte(kindAppend), 0xff},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t)
			l.done(say("r", "ann", "1"))
			before := dump(t, l.s)
			e := l.entry(logentry.Group{
				Node: "a", Boot: 1, First: 2, Commands: [][]byte{Encode(say("r", "ann", "2")), data},
			})
			if out, err := l.s.Apply([]logentry.Entry{e}); err == nil {
				t.Fatalf("answered %q", out)
			}
			diffDumps(t, before, dump(t, l.s))
		})
	}
}
