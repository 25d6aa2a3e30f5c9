package storage

import "testing"

// withWill returns a log whose node a holds session phone with a will of so many seconds' delay.
func withWill(t *testing.T, delay uint32) *testLog {
	t.Helper()
	l := newTestLog(t)
	l.boot("a")
	l.done(say("r", "bob", "first"))
	c := taking(phone, 60)
	c.Will, c.WillDelay = say("r", "mallory", "gone"), delay
	c.Will.Room.NS, c.Will.Device, c.Will.Epoch = "other", "fake", 77
	l.done(c)
	return l
}

// wills returns how many wills were published, and checks from whom.
func (l *testLog) wills() int {
	l.t.Helper()
	es, err := l.s.Entries(room("r"), 2, 99, 99, 1<<20)
	if err != nil {
		l.t.Fatalf("entries: %v", err)
	}
	for _, e := range es {
		if e.User != "ann" || e.Device != "phone" {
			l.t.Fatalf("will from %q on %q", e.User, e.Device)
		}
	}
	return len(es)
}

func TestWills(t *testing.T) {
	release := func(keep bool) func(l *testLog) {
		return func(l *testLog) { l.done(&Release{Session: phone, Epoch: 1, KeepWill: keep}) }
	}
	lost := func(l *testLog) { l.as("b", &NodeLost{Node: "a", Boot: 1}) }
	take := func(clean bool) func(l *testLog) {
		return func(l *testLog) {
			c := taking(phone, 60)
			c.Clean = clean
			l.done(c)
		}
	}
	fire := func(epoch uint64, want Outcome) func(l *testLog) {
		return func(l *testLog) {
			if r := l.as("b", &FireWill{Session: phone, Epoch: epoch})[0]; r.Outcome != want {
				l.t.Fatalf("fire: %+v, want %v", r, want)
			}
		}
	}
	wait := func(ms int64) func(l *testLog) { return func(l *testLog) { l.now += ms } }
	for name, tc := range map[string]struct {
		delay uint32
		steps []func(*testLog)
		want  int
	}{
		"normal end":                        {0, []func(*testLog){release(false), fire(1, Fenced)}, 0},
		"end without DISCONNECT":            {0, []func(*testLog){release(true), fire(1, Fenced), take(false)}, 1},
		"connected":                         {0, []func(*testLog){fire(1, Conflict)}, 0},
		"before its delay":                  {5, []func(*testLog){release(true), wait(4_999), fire(1, Conflict)}, 0},
		"after its delay":                   {5, []func(*testLog){release(true), wait(5_000), fire(1, Done), fire(1, Fenced), take(false)}, 1},
		"taken before its delay":            {5, []func(*testLog){release(true), wait(4_999), take(false), wait(9_000), fire(1, Fenced), fire(2, Fenced)}, 0},
		"taken after its delay":             {5, []func(*testLog){release(true), wait(5_000), take(false), fire(2, Fenced)}, 1},
		"taken over, no delay":              {0, []func(*testLog){take(false)}, 1},
		"taken over, delay":                 {5, []func(*testLog){take(false), wait(9_000), fire(2, Fenced)}, 0},
		"taken over by a clean start":       {5, []func(*testLog){take(true)}, 1},
		"clean start before its delay":      {5, []func(*testLog){release(true), take(true)}, 1},
		"clean start after a normal end":    {5, []func(*testLog){release(false), take(true)}, 0},
		"taken after the session expired":   {90, []func(*testLog){release(true), wait(60_000), take(false)}, 1},
		"node lost":                         {0, []func(*testLog){lost, fire(1, Done), fire(1, Fenced)}, 1},
		"node lost, delay":                  {5, []func(*testLog){lost, wait(4_999), fire(1, Conflict), wait(1), fire(1, Done)}, 1},
		"node lost, fired, taken":           {0, []func(*testLog){lost, fire(1, Done), take(false)}, 1},
		"node lost, back before its delay":  {5, []func(*testLog){lost, func(l *testLog) { l.done(&NodeUp{Node: "a", Boot: 1}) }, wait(9_000), fire(1, Conflict)}, 0},
		"node started anew":                 {0, []func(*testLog){func(l *testLog) { l.boot("a") }, fire(1, Done)}, 1},
		"node lost, taken before its delay": {5, []func(*testLog){lost, take(false)}, 0},
		"session ends at once": {5, []func(*testLog){func(l *testLog) {
			l.done(&Release{Session: phone, Epoch: 1, KeepWill: true, Expiry: new(uint32(0))})
		}}, 1},
		"session ends at once, normally": {5, []func(*testLog){func(l *testLog) {
			l.done(&Release{Session: phone, Epoch: 1, Expiry: new(uint32(0))})
		}}, 0},
		"session expires before its delay": {90, []func(*testLog){release(true), wait(60_000), func(l *testLog) {
			l.as("b", &Expire{Session: phone, Epoch: 1})
		}}, 1},
		"due when the session ends":       {90, []func(*testLog){release(true), wait(60_000), fire(1, Done)}, 1},
		"dropped":                         {5, []func(*testLog){func(l *testLog) { l.done(&Drop{Session: phone}) }}, 1},
		"dropped, normal end before that": {5, []func(*testLog){release(false), func(l *testLog) { l.done(&Drop{Session: phone}) }}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			l := withWill(t, tc.delay)
			for _, step := range tc.steps {
				step(l)
			}
			if got := l.wills(); got != tc.want {
				t.Fatalf("%d wills, want %d", got, tc.want)
			}
		})
	}
}

func TestAWillObeysTheRoom(t *testing.T) {
	l := withWill(t, 0)
	l.done(&RoomSet{Room: room("r"), By: from("bob"), Kind: new(Private)})
	l.done(&Release{Session: phone, Epoch: 1, KeepWill: true})
	if got := l.wills(); got != 0 {
		t.Fatalf("%d wills in a room that is closed to their author", got)
	}
	if sess := l.stored(phone); sess.HasWill {
		t.Fatalf("%+v", sess)
	}
}

func TestWhenAWillIsDue(t *testing.T) {
	l := withWill(t, 5)
	if sess := l.stored(phone); !sess.HasWill || sess.WillDue != 0 {
		t.Fatalf("%+v", sess)
	}
	l.done(&Release{Session: phone, Epoch: 1, KeepWill: true})
	if sess := l.stored(phone); !sess.HasWill || sess.WillDue != l.now+5_000 {
		t.Fatalf("%+v at %d", sess, l.now)
	}
}
