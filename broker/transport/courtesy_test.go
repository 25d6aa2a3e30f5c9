package transport

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// There is a pause after every few while somebody talks, and for a moment after; with nobody there is none, nor for what was
// said long before. A line of many is not held up for longer than one of fewer.
func TestCourtesy(t *testing.T) {
	step := courtesyStep * runtime.GOMAXPROCS(0)
	synctest.Test(t, func(t *testing.T) {
		var talk atomic.Uint64
		talk.Store(1)
		c := courtesy{traffic: talk.Load}
		check := func(what string, more, want int) {
			t.Helper()
			n := 0
			for range 10 * step {
				switch d := c.pause(more); d {
				case 0:
				case courtesyPause:
					n++
				default:
					t.Fatalf("a pause of %v", d)
				}
			}
			if n != want {
				t.Errorf("%s: %d pauses, want %d", what, n, want)
			}
		}
		check("somebody talked long ago", 0, 0)
		c.pause(0) // the next look is due after a step
		talk.Add(1)
		check("somebody does", 0, 10)
		check("in a line of many", 5*step*courtesyPauses, 2)
		time.Sleep(courtesyMemory)
		check("did a moment ago", 0, 10)
		time.Sleep(time.Nanosecond)
		check("and not since", 0, 0)
		time.Sleep(2 * courtesyMemory)
		talk.Add(1)
		check("said while nobody came", 0, 0)
		talk.Add(1)
		check("and now", 0, 10)
		c = courtesy{}
		check("without traffic", 0, 0)
	})
}

// A herd that makes pauses starts all that it is given, and makes none after the last.
func TestHerdPauses(t *testing.T) {
	step := courtesyStep * runtime.GOMAXPROCS(0)
	synctest.Test(t, func(t *testing.T) {
		var talk atomic.Uint64
		h := herd{courtesy: courtesy{traffic: func() uint64 { return talk.Add(1) }}}
		var ran sync.WaitGroup
		all := 10 * step
		ran.Add(all)
		began := time.Now()
		for range all {
			h.add(ran.Done)
		}
		ran.Wait()
		synctest.Wait()
		if took := time.Since(began); took != 8*courtesyPause { // the first look hears nothing yet
			t.Errorf("it took %v", took)
		}
	})
}
