package storage

import "testing"

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
	if l.newest("k") != 0 {
		t.Errorf("a deleted message is still the newest: %d", l.newest("k"))
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
