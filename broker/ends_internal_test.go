package broker

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// So many ends are worked on at a time, in the order in which they came; one that somebody waits for does not wait, and when
// the broker stops nobody does.
func TestEndsWaitInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e ends
		const all = 4 * endsAtOnce
		var clients [all]ending
		var mu sync.Mutex
		var came []int
		dones := make([]func(), all)
		var running sync.WaitGroup
		for i := range all {
			running.Go(func() {
				done := e.enter(&clients[i])
				mu.Lock()
				defer mu.Unlock()
				came = append(came, i)
				dones[i] = done
			})
			synctest.Wait()
		}
		check := func(what string, n int) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if len(came) != n {
				t.Fatalf("%s: %v have their turn, want %d", what, came, n)
			}
		}
		check("at first", endsAtOnce)
		dones[0]()
		dones[0]() // twice is once
		check("one is done", endsAtOnce+1)
		e.hurry(&clients[all-1])
		check("the last is waited for", endsAtOnce+2)
		if came[endsAtOnce] != endsAtOnce || came[endsAtOnce+1] != all-1 {
			t.Errorf("they came in as %v", came)
		}
		time.Sleep(endPatience)
		check("the log takes its time", 2*endsAtOnce+2)
		e.stop()
		check("the broker stops", all)
		running.Wait()
		time.Sleep(endPatience)
		synctest.Wait()
		if e.n != 0 || len(e.line) != 0 {
			t.Errorf("left behind: %d, %d in line", e.n, len(e.line))
		}
	})
}

// Whoever is waited for before the end is in line does not come into it.
func TestEndsHurryBefore(t *testing.T) {
	var e ends
	e.n = endsAtOnce
	var c ending
	e.hurry(&c)
	if e.take(&c) != nil || e.n != endsAtOnce+1 {
		t.Errorf("it waits; %d are worked on", e.n)
	}
}
