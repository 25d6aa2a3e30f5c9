package storage

import "testing"

func (l *testLog) marked(name, user string) Mark {
	l.t.Helper()
	m, err := l.s.Mark(room(name), user)
	if err != nil {
		l.t.Fatalf("mark: %v", err)
	}
	return m
}

func (l *testLog) read(name, user string, seq, delivered uint64) Result {
	l.t.Helper()
	return l.do(&Marks{Marks: []MarkOf{{Room: room(name), User: user, Read: seq, Delivered: delivered}}})
}

// A mark goes forward only, never beyond the head, and counts messages, not entries.
func TestMarks(t *testing.T) {
	l := newTestLog(t)
	l.done(&RoomCreate{Room: room("r"), By: from("olga"), Kind: Public})
	l.done(say("r", "olga", "1"))
	l.done(&Join{Room: room("r"), By: from("ann")}) // entry 2
	l.done(say("r", "olga", "3"))
	l.done(say("r", "olga", "4"))
	if m := l.marked("r", "ann"); m != (Mark{Read: 2, N: 1, Delivered: 2}) {
		t.Errorf("one who joined begins at %+v", m)
	}
	for _, step := range []struct {
		read, delivered uint64
		want            Mark
	}{
		{0, 3, Mark{Read: 2, N: 1, Delivered: 3}},
		{3, 0, Mark{Read: 3, N: 2, Delivered: 3}},
		{2, 2, Mark{Read: 3, N: 2, Delivered: 3}},
		{99, 0, Mark{Read: 4, N: 3, Delivered: 4}},
		{1, 99, Mark{Read: 4, N: 3, Delivered: 4}},
	} {
		was := l.marked("r", "ann")
		r := l.read("r", "ann", step.read, step.delivered)
		if got := l.marked("r", "ann"); got != step.want || r.Outcome != Done || r.Present != (was == got) {
			t.Errorf("read %d, delivered %d: %+v, want %+v (%+v)", step.read, step.delivered, got, step.want, r)
		}
	}
	if r := l.read("r", "eve", 4, 0); r.Outcome != NotMember || l.marked("r", "eve") != (Mark{}) {
		t.Errorf("no member: %+v", r)
	}
	if r := l.read("none", "ann", 4, 0); r.Outcome != NotFound {
		t.Errorf("no room: %+v", r)
	}
	l.done(&Leave{Room: room("r"), By: from("ann")})
	if m := l.marked("r", "ann"); m != (Mark{}) {
		t.Errorf("after leaving %+v", m)
	}
}

// A mark on what retention has removed counts as many messages as were removed.
func TestMarkOfWhatIsGone(t *testing.T) {
	l := newTestLog(t)
	l.done(&RoomCreate{Room: room("r"), By: from("olga"), Kind: Public})
	l.done(&Join{Room: room("r"), By: from("ann")})
	for range 9 {
		l.done(say("r", "olga", "x"))
	}
	l.done(&Trim{Room: room("r"), Upto: 6, MaxCount: 4})
	l.read("r", "ann", 3, 0)
	if m := l.marked("r", "ann"); m.Read != 3 || m.N != 5 {
		t.Errorf("%+v", m)
	}
}
