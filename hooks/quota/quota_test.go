package quota_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/madang-chat/madang/hooks/quota"
)

func TestNoLimits(t *testing.T) {
	q := quota.New(quota.Limits{}).Of("chat/alice")
	for range 10_000 {
		if wait := q.Take(1 << 20); wait != 0 {
			t.Fatalf("wait %v without a limit", wait)
		}
	}
	q.Done()
}

func TestMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := quota.New(quota.Limits{Messages: 10})
		phone, laptop := q.Of("chat/alice"), q.Of("chat/alice")
		for i := range 40 { // four seconds' worth at once, over both devices
			device := phone
			if i%2 == 0 {
				device = laptop
			}
			if wait := device.Take(1); wait != 0 {
				t.Fatalf("message %d: wait %v", i, wait)
			}
		}
		wait := phone.Take(1)
		if wait <= 0 || wait > 100*time.Millisecond {
			t.Fatalf("after the burst: wait %v, want up to 100ms", wait)
		}
		if other := q.Of("chat/bob"); other.Take(1) != 0 {
			t.Error("another user waits")
		}
		time.Sleep(wait)
		if again := phone.Take(1); again != 0 {
			t.Errorf("after the time it named: wait %v", again)
		}
		if again := laptop.Take(1); again == 0 {
			t.Error("a refused message was not counted, and the next one after it was given twice")
		}
	})
}

func TestBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := quota.New(quota.Limits{Messages: 1000, Bytes: 100, Largest: 1000}).Of("a")
		if wait := q.Take(1000); wait != 0 {
			t.Fatalf("the largest message waits %v", wait)
		}
		if wait := q.Take(100); wait != time.Second {
			t.Fatalf("wait %v, want 1s", wait)
		}
		// What bytes refused did not use up messages.
		time.Sleep(time.Second)
		for i := range 1000 {
			if wait := q.Take(0); wait != 0 {
				t.Fatalf("message %d: wait %v", i, wait)
			}
		}
	})
}

// A holder that is gone costs no memory for long, and coming back does not refill a quota.
func TestForgetting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := quota.New(quota.Limits{Messages: 1})
		busy := q.Of("busy")
		for busy.Take(1) == 0 {
		}
		busy.Done()
		for i := range 30_000 {
			q.Of(fmt.Sprint(i)).Done()
		}
		if n := q.Holders(); n > 20_000 {
			t.Errorf("%d holders are remembered", n)
		}
		if back := q.Of("busy"); back.Take(1) == 0 {
			t.Error("the quota was full again after a moment away")
		}
	})
}
