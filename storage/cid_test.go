package storage

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func sayAs(r, user, text, cid string) *Append {
	c := say(r, user, text)
	c.CID = cid
	return c
}

func TestSameCIDAndContentIsAnsweredOnce(t *testing.T) {
	l := newTestLog(t)
	first := l.done(sayAs("r", "ann", "hi", "c1"))
	l.now += 5_000
	l.done(say("r", "ann", "in between"))
	again := l.done(sayAs("r", "ann", "hi", "c1"))
	if !again.Duplicate || again.Seq != first.Seq || again.TS != first.TS {
		t.Fatalf("first %+v, again %+v", first, again)
	}
	if got := l.head("r").Seq; got != 2 {
		t.Fatalf("head %d, want 2", got)
	}
}

func TestSameCIDWithinOneEntry(t *testing.T) {
	l := newTestLog(t)
	got := l.as("a", sayAs("r", "ann", "hi", "c1"), sayAs("r", "ann", "hi", "c1"), sayAs("r", "ann", "ho", "c1"))
	if got[0].Duplicate || !got[1].Duplicate || got[1].Seq != 1 || got[2].Outcome != CIDConflict {
		t.Fatalf("%+v", got)
	}
}

func TestSameCIDWithOtherContentConflicts(t *testing.T) {
	l := newTestLog(t)
	l.done(sayAs("r", "ann", "hi", "c1"))
	if r := l.do(sayAs("r", "ann", "ho", "c1")); r.Outcome != CIDConflict || r.Seq != 1 {
		t.Fatalf("%+v", r)
	}
	if got := l.head("r").Seq; got != 1 {
		t.Fatalf("head %d, want 1", got)
	}
	if r := l.done(sayAs("r", "ann", "hi", "c1")); !r.Duplicate {
		t.Fatalf("after a conflict: %+v", r)
	}
}

func TestCIDBelongsToOneUserAndRoom(t *testing.T) {
	l := newTestLog(t)
	l.done(sayAs("r", "ann", "hi", "c1"))
	for _, c := range []*Append{
		sayAs("r", "bob", "ho", "c1"), sayAs("r2", "ann", "ho", "c1"), sayAs("r", "ann", "ho", "c"), sayAs("r", "an", "ho", "nc1"),
	} {
		if r := l.done(c); r.Duplicate {
			t.Fatalf("%s in %s with %q is no duplicate", c.From.User, c.Room.Room, c.CID)
		}
	}
	other := sayAs("r", "ann", "ho", "c1")
	other.Room.NS = "other"
	if r := l.done(other); r.Duplicate {
		t.Fatalf("another namespace: %+v", r)
	}
}

func TestRefusedCIDIsNotRemembered(t *testing.T) {
	l := newTestLog(t)
	l.done(&RoomCreate{Room: room("r"), By: from("olga"), Kind: Private})
	if r := l.do(sayAs("r", "ann", "hi", "c1")); r.Outcome != NotMember {
		t.Fatalf("%+v", r)
	}
	public := Public
	l.done(&RoomSet{Room: room("r"), By: from("olga"), Kind: &public})
	if r := l.done(sayAs("r", "ann", "other", "c1")); r.Duplicate || r.Seq != 1 {
		t.Fatalf("%+v", r)
	}
}

func TestCIDIsAnsweredWhenItsSenderMayNoLongerWrite(t *testing.T) {
	l := newTestLog(t)
	l.done(&RoomCreate{Room: room("r"), By: from("olga"), Kind: Public})
	l.done(sayAs("r", "ann", "hi", "c1"))
	freeze(l, "r")
	if r := l.done(sayAs("r", "ann", "hi", "c1")); !r.Duplicate || r.Seq != 1 {
		t.Fatalf("%+v", r)
	}
}

func TestForgottenCIDMayBeUsedAgain(t *testing.T) {
	l := newTestLog(t)
	l.done(sayAs("r", "ann", "hi", "c1"))
	l.done(sayAs("r", "ann", "hi", "c2"))
	l.now += 101
	l.done(sayAs("r", "ann", "hi", "c3"))

	if seq, ts, ok, err := l.s.OldestCID(room("r")); seq != 1 || ts != 1_000_000 || !ok || err != nil {
		t.Fatalf("oldest: %d, %d, %v, %v", seq, ts, ok, err)
	}
	if r := l.done(&Forget{Room: room("r"), Upto: 1, Window: 100}); r.Seq != 1 {
		t.Fatalf("forget: %+v", r)
	}
	if r := l.done(sayAs("r", "ann", "other", "c1")); r.Duplicate || r.Seq != 4 {
		t.Fatalf("c1 is forgotten: %+v", r)
	}
	if r := l.done(sayAs("r", "ann", "other", "c1")); !r.Duplicate || r.Seq != 4 {
		t.Fatalf("c1 is known anew: %+v", r)
	}
	if r := l.done(sayAs("r", "ann", "hi", "c2")); !r.Duplicate || r.Seq != 2 {
		t.Fatalf("c2 is known: %+v", r)
	}
	if seq, _, ok, err := l.s.OldestCID(room("r")); seq != 2 || !ok || err != nil {
		t.Fatalf("oldest: %d, %v, %v", seq, ok, err)
	}
}

func TestForgetKeepsWhatTheWindowAndTheNewestCover(t *testing.T) {
	for name, tc := range map[string]struct {
		c    Forget
		want Outcome
		kept uint64 // oldest cid afterwards, 0 = none
	}{
		"too young":                 {Forget{Upto: 3, Window: 100}, Done, 1},
		"one is old":                {Forget{Upto: 3, Window: 99}, Done, 2},
		"all are old":               {Forget{Upto: 3, Window: -1}, Done, 0},
		"up to the second":          {Forget{Upto: 2, Window: -1}, Done, 3},
		"the newest two stay":       {Forget{Upto: 1, Window: -1, Keep: 2}, Done, 2},
		"among the newest":          {Forget{Upto: 2, Window: -1, Keep: 2}, Conflict, 1},
		"fewer than are to be kept": {Forget{Upto: 1, Window: -1, Keep: 4}, Conflict, 1},
		"beyond the head":           {Forget{Upto: 4, Window: -1}, Conflict, 1},
	} {
		t.Run(name, func(t *testing.T) {
			for _, together := range []bool{false, true} {
				l := newTestLog(t)
				cmds := []Command{
					sayAs("r", "ann", "1", "c1"), sayAs("r", "ann", "2", "c2"), sayAs("r", "ann", "3", "c3"),
				}
				l.as("a", cmds[0])
				l.now += 100
				tc.c.Room = room("r")
				var r Result
				if together {
					r = l.as("a", append(cmds[1:], &tc.c)...)[2]
				} else {
					l.as("a", cmds[1:]...)
					r = l.do(&tc.c)
				}
				seq, _, _, err := l.s.OldestCID(room("r"))
				if r.Outcome != tc.want || seq != tc.kept || err != nil {
					t.Fatalf("in one entry %v: %+v, oldest %d, %v; want %v, %d", together, r, seq, err, tc.want, tc.kept)
				}
			}
		})
	}
}

func TestCIDSurvivesReopeningAndTrim(t *testing.T) {
	fs := vfs.NewMem()
	s := openOn(t, fs)
	l := newLog(t, s)
	l.done(sayAs("r", "ann", "hi", "c1"))
	l.done(say("r", "ann", "more"))
	l.done(&Trim{Room: room("r"), Upto: 1, MaxCount: 1})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	l.s = openOn(t, fs)
	defer func() { _ = l.s.Close() }()
	if r := l.done(sayAs("r", "ann", "hi", "c1")); !r.Duplicate || r.Seq != 1 {
		t.Fatalf("%+v", r)
	}
}

func TestCIDsEndWithTheirRoom(t *testing.T) {
	l := newTestLog(t)
	l.done(sayAs("r", "ann", "hi", "c1"))
	got := l.as("a", &RoomDelete{Room: room("r"), By: from("ann")}, sayAs("r", "ann", "hi", "c1"), sayAs("r", "ann", "hi", "c1"))
	if got[1].Duplicate || got[1].Seq != 2 || !got[2].Duplicate || got[2].Seq != 2 {
		t.Fatalf("%+v", got)
	}
}
