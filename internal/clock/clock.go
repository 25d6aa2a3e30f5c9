// Package clock is the only place of the program that reads the wall clock.
//
// Everything that needs the time of day calls Now; everything that measures a duration may use it too, since the
// returned value keeps Go's monotonic reading. internal/arch fails the build when another package calls time.Now,
// time.Since or time.Until. Tests let time pass with SetOffset, and set the wall clock with Step.
package clock

import (
	"sync/atomic"
	"time"
)

var offset atomic.Int64 // nanoseconds added to the wall clock; 0 outside tests

// Now returns the current time, shifted by the offset of SetOffset and as Step has set it. Any number of callers may run at
// once.
func Now() time.Time {
	t := time.Now()
	if s := stepped.Load(); s != 0 {
		t = setWall(t, s)
	}
	if d := offset.Load(); d != 0 {
		return t.Add(time.Duration(d))
	}
	return t
}

// Since returns the time passed since t, by the monotonic clock where t has a monotonic reading.
func Since(t time.Time) time.Duration { return Now().Sub(t) }

// Until returns the time left until t.
func Until(t time.Time) time.Duration { return t.Sub(Now()) }

// Deadline returns the time in d from now as connections and timers of the runtime understand it: SetOffset does not
// move it.
func Deadline(d time.Duration) time.Time { return time.Now().Add(d) }

// UnixMilli returns the wall clock in milliseconds since the epoch, the unit of every stored time.
func UnixMilli() int64 { return Now().UnixMilli() }

// SetOffset shifts every later reading by d and returns a function that restores the previous offset. For tests.
func SetOffset(d time.Duration) (restore func()) {
	old := offset.Swap(int64(d))
	return func() { offset.Store(old) }
}
