package clock

import (
	"testing"
	"time"
)

// A wall clock that is set moves the time of day, and nothing that has passed.
func TestStep(t *testing.T) {
	for _, d := range []time.Duration{time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour} {
		before := time.Now()
		restore := Step(d)
		now := Now()
		if passed := now.Sub(before); passed < 0 || passed > time.Minute {
			t.Errorf("%v: %v have passed", d, passed)
		}
		if off := now.Round(0).Sub(before.Round(0)); off < d || off > d+time.Minute {
			t.Errorf("%v: the time of day is off by %v", d, off)
		}
		if Since(before) > time.Minute || Until(before.Add(time.Hour)) < 59*time.Minute {
			t.Errorf("%v: Since and Until follow the time of day", d)
		}
		if off := UnixMilli() - before.UnixMilli(); off < d.Milliseconds() {
			t.Errorf("%v: UnixMilli is off by %d", d, off)
		}
		restore()
		if off := Now().Round(0).Sub(before.Round(0)); off < 0 || off > time.Minute {
			t.Errorf("%v: set right, it is off by %v", d, off)
		}
	}
}
