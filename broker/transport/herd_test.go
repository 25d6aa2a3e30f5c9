package transport

import (
	"sync"
	"sync/atomic"
	"testing"
)

// All that a herd is given is started, once each, also by many at a time, and a herd with nothing to do holds no goroutine.
func TestHerdStartsAll(t *testing.T) {
	var h herd
	var started atomic.Int64
	var all, ran sync.WaitGroup
	const each, many = 500, 8
	ran.Add(each * many)
	for range many {
		all.Go(func() {
			for range each {
				h.add(func() { started.Add(1); ran.Done() })
			}
		})
	}
	all.Wait()
	ran.Wait()
	if n := started.Load(); n != each*many {
		t.Errorf("%d of %d were started", n, each*many)
	}
	for running := true; running; { // its goroutine ends after the last
		h.mu.Lock()
		running = h.running
		h.mu.Unlock()
	}
}

// What a herd starts may be slow, and may add to the herd: add never waits.
func TestHerdDoesNotWait(t *testing.T) {
	var h herd
	first, last := make(chan struct{}), make(chan struct{})
	h.add(func() {
		h.add(func() { close(last) })
		<-first
	})
	<-last // while the first still runs
	close(first)
}
