package storage

import "testing"

// Without a clock readers go by the newest entry; with one they go by it, and never by a time before that entry. Apply goes
// by its entries alone.
func TestNow(t *testing.T) {
	l := newTestLog(t)
	l.done(&RoomCreate{Room: room("r"), By: Actor{User: "ann"}, Kind: Public})
	short := say("r", "ann", "goes")
	short.TTL = 5
	l.done(short)
	_, last := l.s.Applied()
	now := l.s.Now()
	if now != last {
		t.Fatalf("%d without a clock, the newest entry is of %d", now, last)
	}
	shown := func() bool {
		t.Helper()
		e, _, err := l.s.LastMessage(room("r"))
		if err != nil {
			t.Fatal(err)
		}
		return e != nil
	}
	now = 0
	l.s.Clock(func() int64 { return now })
	if got := l.s.Now(); got != last {
		t.Errorf("%d by a clock that is late, the newest entry is of %d", got, last)
	}
	for _, tc := range []struct {
		now  int64
		want bool
	}{{last + 4999, true}, {last + 5000, false}} {
		if now = tc.now; l.s.Now() != now || shown() != tc.want {
			t.Errorf("%d ms after it was written a message of 5 s is shown: %v", now-last, !tc.want)
		}
	}
	now = last + 3_600_000
	if r := l.done(say("r", "ann", "next")); r.TS >= now {
		t.Errorf("an entry was stamped %d, by the readers' clock", r.TS)
	}
}
