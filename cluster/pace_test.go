package cluster

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// arrivals plays commands that come at the given times through a pace, and returns how long each waited before its entry
// was made, and the number of entries. respond, when set, gives the time at which the next commands come after an entry.
type played struct {
	waits   []time.Duration
	entries int
}

// play is open: the times are given beforehand.
func play(times []time.Duration) (out played) {
	var p pace
	var now, newest time.Duration
	var waiting []time.Duration
	for i := 0; i < len(times) || len(waiting) > 0; {
		if len(waiting) == 0 {
			now = max(now, times[i])
		}
		for i < len(times) && times[i] <= now {
			newest = times[i]
			waiting = append(waiting, times[i])
			i++
		}
		if left := p.hold(now, len(waiting)); left > 0 {
			next := now + left
			// What comes meanwhile is looked at when the goal is reached, as run does.
			for i < len(times) && times[i] <= next && len(waiting) < paceGoal {
				now, newest = max(now, times[i]), times[i]
				waiting = append(waiting, times[i])
				i++
			}
			if len(waiting) < paceGoal {
				now = next
			}
			if p.hold(now, len(waiting)) > 0 {
				continue
			}
		}
		p.take(now, newest, len(waiting))
		out.entries++
		for _, at := range waiting {
			out.waits = append(out.waits, now-at)
		}
		waiting = waiting[:0]
		now += 500 * time.Microsecond // the disk
	}
	return out
}

func every(gap time.Duration, n int) (times []time.Duration) {
	for i := range n {
		times = append(times, time.Second+time.Duration(i)*gap)
	}
	return times
}

func TestPaceLeavesSlowStreamsAlone(t *testing.T) {
	for _, gap := range []time.Duration{time.Second, 100 * time.Millisecond, 5 * time.Millisecond, 1100 * time.Microsecond} {
		for i, w := range play(every(gap, 500)).waits {
			if w > 0 {
				t.Fatalf("one every %v: the %dth waited %v", gap, i, w)
			}
		}
	}
}

func TestPaceGathers(t *testing.T) {
	const n = 4000
	out := play(every(500*time.Microsecond, n)) // 2,000 a second
	if out.entries > n/6 {
		t.Errorf("%d commands, 2,000 a second, became %d entries, more than one for 6", n, out.entries)
	}
	for i, w := range out.waits {
		if w > paceLongest {
			t.Fatalf("the %dth waited %v, longer than %v", i, w, paceLongest)
		}
	}
}

// A caller that sends the next command when the last is answered is slowed down only now and then.
func TestPaceDoesNotSlowTurnsDown(t *testing.T) {
	for _, window := range []int{1, 2, 5} {
		var p pace
		now := time.Second
		var waited time.Duration
		const turns = 5000
		for range turns {
			if left := p.hold(now, window); left > 0 {
				waited += left
				begun := now
				now += left
				if p.hold(now, window) > 0 {
					t.Fatal("still waiting when the time is over")
				}
				p.take(now, begun, window)
			} else {
				p.take(now, now, window)
			}
			now += 450 * time.Microsecond // committed, answered, sent again
		}
		if busy := now - time.Second - waited; waited > busy/4 {
			t.Errorf("%d in flight: %v of waiting for nothing in %v", window, waited, busy)
		}
	}
}

// However long waiting was of no use, a stream that begins then is gathered soon.
func TestPaceTriesAgain(t *testing.T) {
	var p pace
	now := time.Second
	for range 20_000 { // one at a time
		begun := now
		now += p.hold(now, 1)
		p.take(now, begun, 1)
		now += 450 * time.Microsecond
	}
	waits := 0
	for range 200 { // two have come whenever an entry may be made, and more do while it waits
		if left := p.hold(now, 2); left > 0 {
			waits++
			now += left
			p.take(now, now, 2+int(left/(500*time.Microsecond)))
		} else {
			p.take(now, now, 2)
		}
		now += time.Millisecond
	}
	if waits < 100 {
		t.Errorf("of 200 entries that had company to come, %d waited for it", waits)
	}
}

func TestPaceWaitsAreBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gaps := rapid.SliceOfN(rapid.IntRange(0, 5000), 1, 300).Draw(t, "gaps (us)")
		at := time.Second
		var times []time.Duration
		for _, g := range gaps {
			at += time.Duration(g) * time.Microsecond
			times = append(times, at)
		}
		out := play(times)
		if len(out.waits) != len(times) {
			t.Fatalf("%d of %d commands became part of an entry", len(out.waits), len(times))
		}
		for i, w := range out.waits {
			// 0.5 ms are the disk's, not the pace's.
			if w > paceLongest+500*time.Microsecond {
				t.Fatalf("the %dth waited %v", i, w)
			}
		}
	})
}
