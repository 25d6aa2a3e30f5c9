package storage

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func edited(user string, target uint64, data string) *Append {
	return &Append{
		Room: room("r"), From: from(user), Type: TypeEdit, Target: target,
		Tail: fmt.Appendf(nil, `,"target":%d,"meta":{"data":1},"data":%s`, target, data),
	}
}

func reacted(user string, target uint64, emoji string, on bool) *Append {
	return &Append{
		Room: room("r"), From: from(user), Type: TypeReaction, Target: target, Emoji: emoji, Off: !on,
		Tail: fmt.Appendf(nil, `,"target":%d,"data":{"emoji":%q,"on":%v}`, target, emoji, on),
	}
}

func (l *testLog) folds() []Fold {
	l.t.Helper()
	f, err := l.s.Folds(room("r"), 1, 1<<60)
	if err != nil {
		l.t.Fatalf("folds: %v", err)
	}
	return f
}

func TestFolds(t *testing.T) {
	l := newTestLog(t)
	l.done(say("r", "ann", "one"))
	l.done(say("r", "bob", "two"))
	reply := say("r", "bob", "to one")
	reply.ReplyTo, reply.Tail = 1, []byte(`,"reply_to":1,"data":{"text":"to one"}`)
	l.done(reply)
	l.done(edited("ann", 1, `{"text":"uno"}`))
	last := l.done(edited("ann", 1, `{"text":"eins"}`))
	for _, c := range []*Append{
		reacted("ann", 2, "👍", true), reacted("bob", 2, "👍", true), reacted("eve", 2, "🎉", true), reacted("ann", 2, "👍", false),
	} {
		l.done(c)
	}
	head := l.head("r").Seq
	for _, c := range []*Append{reacted("bob", 2, "👍", true), reacted("ann", 2, "👍", false), reacted("ann", 2, "?", false)} {
		if r := l.done(c); !r.Present || l.head("r").Seq != head {
			t.Errorf("a reaction that is so already was appended: %+v", r)
		}
	}
	want := []Fold{
		{Seq: 1, Edits: []uint64{last.Seq - 1, last.Seq}, Replies: 1},
		{Seq: 2, Reactions: []Reaction{{"👍", 1}, {"🎉", 1}}},
	}
	if d := cmp.Diff(want, l.folds()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if n := l.head("r").N; n != 3 {
		t.Errorf("%d messages", n)
	}
	for what, c := range map[string]struct {
		c    *Append
		want Outcome
	}{
		"edit another's":     {edited("bob", 1, `{}`), Forbidden},
		"edit nothing":       {edited("bob", 99, `{}`), NotFound},
		"edit an edit":       {edited("ann", 4, `{}`), Conflict},
		"react to nothing":   {reacted("bob", 99, "x", true), NotFound},
		"react to an edit":   {reacted("bob", 4, "x", true), Conflict},
		"react with nothing": {reacted("bob", 1, "", true), Conflict},
	} {
		if r := l.do(c.c); r.Outcome != c.want || l.head("r").Seq != head {
			t.Errorf("%s: %+v", what, r)
		}
	}
	for _, seq := range []uint64{1, 2} {
		if f := l.folds(); f[0].Seq != 1 || f[0].Replies != 1 {
			t.Errorf("a deleted message keeps the count of its replies: %+v", f)
		}
		l.done(deleteOf(map[uint64]string{1: "ann", 2: "bob"}[seq], seq))
		if r := l.do(edited("ann", seq, `{}`)); r.Outcome != Conflict {
			t.Errorf("edit what is deleted: %+v", r)
		}
		if r := l.do(reacted("bob", seq, "x", true)); r.Outcome != Conflict {
			t.Errorf("react to what is deleted: %+v", r)
		}
	}
	es, err := l.s.Entries(room("r"), 1, 1<<60, 100, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		if s := string(e.JSON); strings.Contains(s, "eins") || strings.Contains(s, "uno") || strings.Contains(s, `"one"`) {
			t.Errorf("what was deleted is still said: %s", s)
		}
	}
	l.done(deleteOf("bob", 3))
	if f := l.folds(); len(f) != 0 {
		t.Errorf("left: %+v", f)
	}
}

// A message takes so many different reactions, and any number of the same.
func TestReactionsAreLimited(t *testing.T) {
	l := newTestLog(t)
	l.done(say("r", "ann", "one"))
	for i := range maxEmojis {
		l.done(reacted("ann", 1, fmt.Sprint("e", i), true))
	}
	if r := l.do(reacted("ann", 1, "one more", true)); r.Outcome != Limit {
		t.Errorf("%+v", r)
	}
	for i := range 100 {
		l.done(reacted(fmt.Sprint("u", i), 1, "e0", true))
	}
	if f := l.folds(); f[0].Reactions[0].N != 101 {
		t.Errorf("%+v", f[0].Reactions[0])
	}
}
