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
				ok := a.enter(t.Context())
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
		if a.enter(t.Context()) {
			t.Error("let in before the node may serve")
		}
		if took := time.Since(began); took != takeWait {
			t.Errorf("told after %v", took)
		}
		a.begin()
		if !a.enter(t.Context()) {
			t.Fatal("not let in")
		}
		for range 5 {
			var running sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			for range 100 {
				running.Go(func() {
					if a.enter(ctx) {
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
		if !a.enter(t.Context()) {
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
