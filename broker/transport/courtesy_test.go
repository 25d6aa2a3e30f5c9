package transport

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// There is a pause after every few while somebody talks, and for a moment after; with nobody there is none.
func TestCourtesy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var talk atomic.Uint64
		c := courtesy{traffic: talk.Load}
		pauses := func() (n int) {
			for range 10 * courtesyStep {
				switch d := c.pause(); d {
				case 0:
				case courtesyPause:
					n++
				default:
					t.Fatalf("a pause of %v", d)
				}
			}
			return n
		}
		check := func(what string, want int) {
			t.Helper()
			if n := pauses(); n != want {
				t.Errorf("%s: %d pauses, want %d", what, n, want)
			}
		}
		check("nobody talks", 0)
		talk.Add(1)
		check("somebody does", 10)
		time.Sleep(courtesyMemory)
		check("did a moment ago", 10)
		time.Sleep(1)
		check("and not since", 0)
		talk.Add(1)
		check("and again", 10)
		c = courtesy{}
		check("without traffic", 0)
	})
}

// A herd that makes pauses starts all that it is given.
func TestHerdPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var talk atomic.Uint64
		h := herd{courtesy: courtesy{traffic: func() uint64 { return talk.Add(1) }}}
		var ran sync.WaitGroup
		const all = 10 * courtesyStep
		ran.Add(all)
		began := time.Now()
		for range all {
			h.add(ran.Done)
		}
		ran.Wait()
		if took := time.Since(began); took < 9*courtesyPause || took > 10*courtesyPause {
			t.Errorf("it took %v", took)
		}
		synctest.Wait()
		time.Sleep(courtesyPause)
		synctest.Wait()
	})
}
