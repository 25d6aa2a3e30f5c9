package clock

import (
	"sync/atomic"
	"time"
	"unsafe"
)

var stepped atomic.Int64 // seconds by which the wall clock was set; 0 outside tests

// Step sets the wall clock of all later readings off by d, in whole seconds, and returns a function that sets it right. It
// is what happens to a machine whose clock is set: the time of day jumps, and the monotonic reading, by which what has passed
// is told, goes on as before. SetOffset is another thing: there time has passed. For tests.
func Step(d time.Duration) (restore func()) {
	t := time.Now()
	if far := setWall(t, -3600); far.Sub(t) != 0 || far.Unix() != t.Unix()-3600 {
		panic("time.Time is laid out in another way than Step knows")
	}
	old := stepped.Swap(int64(d / time.Second))
	return func() { stepped.Store(old) }
}

// setWall moves the wall clock of a time that has a monotonic reading, and leaves that alone, for which package time has no
// way: the first word holds a bit that says so, 33 bits of seconds and 30 of nanoseconds.
func setWall(t time.Time, seconds int64) time.Time {
	*(*uint64)(unsafe.Pointer(&t)) += uint64(seconds) << 30
	return t
}
