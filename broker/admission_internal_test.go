package broker

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/madang-chat/madang/storage"
)

// So many are worked on at a time, in the order in which they came, so many wait, and the others are refused at once.
func TestAdmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &admission{working: 2, most: 3, wait: takeWait}
		a.begin()
		var mu sync.Mutex
		var came []int
		leave := make(chan struct{})
		var running sync.WaitGroup
		for i := range 7 {
			running.Go(func() {
				ok := a.enter(t.Context()) == nil
				if ok != (i < 5) {
					t.Errorf("number %d: let in: %v", i, ok)
				}
				if !ok {
					return
				}
				mu.Lock()
				came = append(came, i)
				mu.Unlock()
				<-leave
				a.leave()
			})
			synctest.Wait()
		}
		if n, full := a.waiting(); n != 3 || !full || len(came) != 2 {
			t.Errorf("%d wait, %v came in", n, came)
		}
		for i := range 5 {
			leave <- struct{}{}
			synctest.Wait()
			if want := min(3+i, 5); len(came) != want || came[want-1] != want-1 {
				t.Errorf("after %d have left %v came in", i+1, came)
			}
		}
		running.Wait()
		if a.n != 0 || len(a.line) != 0 || a.gone != 0 {
			t.Errorf("left behind: %+v", a)
		}
	})
}

// Nobody waits for longer than clients do, whoever gives up leaves no place behind, and a line that is full of those who
// gave up is not full.
func TestAdmissionIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &admission{working: 1, most: 100, wait: takeWait}
		began := time.Now()
		if a.enter(t.Context()) == nil {
			t.Error("let in before the node may serve")
		}
		if took := time.Since(began); took != takeWait {
			t.Errorf("told after %v", took)
		}
		a.begin()
		if a.enter(t.Context()) != nil {
			t.Fatal("not let in")
		}
		for range 5 {
			var running sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			for range 100 {
				running.Go(func() {
					if a.enter(ctx) == nil {
						t.Error("let in")
					}
				})
			}
			synctest.Wait()
			if _, full := a.waiting(); !full {
				t.Error("there is place")
			}
			cancel()
			running.Wait()
		}
		if n, _ := a.waiting(); n != 0 || len(a.line) > 100 {
			t.Errorf("%d wait, %d places are kept", n, len(a.line))
		}
		if got := a.after(); got < time.Second {
			t.Errorf("to come again after %v", got)
		}
		a.leave()
		if a.enter(t.Context()) != nil {
			t.Error("the place is lost")
		}
	})
}

// A flood is forgiven by time alone, and a device that was sent away is not let in so long.
func TestFloodIsForgivenByTime(t *testing.T) {
	var s floods
	device := sessionIDOf("alice", "phone")
	now := int64(1_000_000)
	for i := range 10 {
		if n := s.begin(device, now).refused(now); n != i+1 {
			t.Fatalf("refusal %d counts as %d", i+1, n)
		}
		now += floodForgiven.Milliseconds() - 1
	}
	now -= floodForgiven.Milliseconds() - 1
	if wait := s.shut(device, now, 10); wait != floodForgiven {
		t.Errorf("not let in for %v", wait)
	}
	if s.shut(device, now, 11) != 0 || s.shut(sessionIDOf("alice", "laptop"), now, 1) != 0 || s.shut(device, now, 0) != 0 {
		t.Error("somebody else is not let in")
	}
	now += floodForgiven.Milliseconds()
	if s.shut(device, now, 10) != 0 || s.begin(device, now).refused(now) != 1 {
		t.Error("it is not forgiven")
	}
	for i := range 3 * floodsMost { // devices without end
		s.begin(sessionIDOf("mallory", string(rune('a'+i%26))+time.Duration(i).String()), now)
	}
	if len(s.of) > floodsMost {
		t.Errorf("%d devices are remembered", len(s.of))
	}
	s.begin(device, now+floodForgiven.Milliseconds())
}

func sessionIDOf(user, client string) storage.SessionID {
	return storage.SessionID{NS: "chat", User: user, Client: client}
}

// A reload changes how many are worked on, and how long the line may be: with more to be worked on those in line come in at
// once, with fewer nobody does until enough have left, and nobody loses a place in a line that is too long now.
func TestAdmissionIsReloaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &admission{working: 1, most: 4, wait: takeWait}
		a.begin()
		leave := make(chan struct{})
		var running sync.WaitGroup
		come := func(ok bool) {
			running.Go(func() {
				if got := a.enter(t.Context()) == nil; got != ok {
					t.Errorf("let in: %v", got)
				}
				if ok {
					<-leave
					a.leave()
				}
			})
			synctest.Wait()
		}
		state := func(working, waiting int) {
			t.Helper()
			synctest.Wait()
			if n, _ := a.waiting(); a.n != working || n != waiting {
				t.Errorf("%d are worked on, %d wait, want %d and %d", a.n, n, working, waiting)
			}
		}
		for range 5 {
			come(true)
		}
		come(false)
		state(1, 4)
		a.setLimits(3, 4)
		state(3, 2)
		a.setLimits(1, 1)
		state(3, 2)
		come(false)
		for range 2 {
			leave <- struct{}{}
		}
		state(1, 2)
		a.setLimits(0, 1)
		state(3, 0)
		for range 3 {
			leave <- struct{}{}
		}
		running.Wait()
		state(0, 0)
	})
}
