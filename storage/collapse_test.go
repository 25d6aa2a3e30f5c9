package storage

import (
	"fmt"
	"strings"
	"testing"
)

func collapsing(text, name string) *Append {
	c := say("r", "ann", text)
	c.Collapse = name
	return c
}

func (l *testLog) newest(name string) uint64 {
	l.t.Helper()
	seq, err := l.s.Newest(room("r"), "ann", name)
	if err != nil {
		l.t.Fatalf("newest: %v", err)
	}
	return seq
}

func TestCollapse(t *testing.T) {
	l := newTestLog(t)
	l.as("a", collapsing("1", "k"), collapsing("2", "k"), say("r", "ann", "3"), collapsing("4", "other"))
	l.done(collapsing("5", "k"))
	if l.newest("k") != 5 || l.newest("other") != 4 || l.newest("none") != 0 {
		t.Errorf("newest %d and %d", l.newest("k"), l.newest("other"))
	}
	es, err := l.s.Entries(room("r"), 1, 9, 9, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		gone, err := l.s.Collapsed(room("r"), e)
		if err != nil || gone != (e.Seq < 3) {
			t.Errorf("entry %d: %v, %v", e.Seq, gone, err)
		}
	}
	l.done(&Append{Room: room("r"), From: from("ann"), Type: TypeDelete, Target: 5}) // entry 6
	if l.newest("k") != 5 {
		t.Errorf("what a deleted message had replaced is back: %d", l.newest("k"))
	}
	l.done(collapsing("7", "k"))
	theirs := collapsing("8", "k")
	theirs.From.User = "eve"
	l.done(theirs)
	l.done(&Trim{Room: room("r"), Upto: 6, MaxCount: 2})
	if l.newest("k") != 7 || l.newest("other") != 0 {
		t.Errorf("after retention: newest %d and %d", l.newest("k"), l.newest("other"))
	}
	for key := range dump(t, l.s) {
		if key[0] == prefixCollapseBySeq && key[len(key)-1] < 7 {
			t.Errorf("left: %q", key)
		}
	}
}

// What a message has replaced does not come back: not when it is deleted, by its writer or by others, nor when its writer is,
// whichever the mode; after retention nothing of the keys is left, and while they are there they do not name who is gone.
func TestReplacedStaysReplaced(t *testing.T) {
	for _, mode := range []DeleteMode{"", Anonymise, Erase} {
		t.Run(string(mode), func(t *testing.T) {
			l := newTestLog(t)
			l.done(say("r", "olga", "hello")) // 1, by the owner
			for i, name := range []string{"k", "k", "other", "k", "other", "alone"} {
				l.done(collapsing(fmt.Sprint(i), name)) // 2 to 7
			}
			l.done(&Append{Room: room("r"), From: from("olga"), Type: TypeDelete, Target: 5}) // 8
			if mode != "" {
				l.done(&DeleteUser{Key: someone("ann"), By: from("ann"), Mode: mode})
				for seq := range uint64(9) {
					l.done(&DeletePage{Key: someone("ann"), Run: 1, Room: "r", Entries: []uint64{seq}, To: DeletedTo{Room: "r", Seq: seq}})
				}
				l.done(&DeletePage{Key: someone("ann"), Run: 1, Done: true})
				for key, v := range dump(t, l.s) {
					if (key[0] == prefixCollapse || key[0] == prefixCollapseBySeq) && (strings.Contains(key, "ann") || strings.Contains(string(v), "ann")) {
						t.Errorf("%q: %q", key, v)
					}
				}
			}
			es, err := l.s.Entries(room("r"), 1, 9, 9, 1<<20)
			if err != nil || len(es) != 8 {
				t.Fatal(len(es), err)
			}
			for _, e := range es {
				gone, err := l.s.Collapsed(room("r"), e)
				if want := e.Seq == 2 || e.Seq == 3 || e.Seq == 4; err != nil || gone != want {
					t.Errorf("entry %d: %v, %v", e.Seq, gone, err)
				}
			}
			l.done(&Trim{Room: room("r"), Upto: 7, MaxCount: 1})
			for key := range dump(t, l.s) {
				if key[0] == prefixCollapse || key[0] == prefixCollapseBySeq {
					t.Errorf("left: %q", key)
				}
			}
		})
	}
}
