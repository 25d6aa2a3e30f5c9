package quota_test

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/quota"
)

func TestNoLimits(t *testing.T) {
	q := quota.New(quota.Limits{}).Of(quota.Name{NS: "chat", Name: "alice"})
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
		phone, laptop := q.Of(quota.Name{NS: "chat", Name: "alice"}), q.Of(quota.Name{NS: "chat", Name: "alice"})
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
		if other := q.Of(quota.Name{NS: "chat", Name: "bob"}); other.Take(1) != 0 {
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
		q := quota.New(quota.Limits{Messages: 1000, Bytes: 100, Largest: 1000}).Of(quota.Name{Name: "a"})
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
		busy := q.Of(quota.Name{Name: "busy"})
		for busy.Take(1) == 0 {
		}
		busy.Done()
		for i := range 30_000 {
			q.Of(quota.Name{Name: fmt.Sprint(i)}).Done()
		}
		if n := q.Holders(); n > 20_000 {
			t.Errorf("%d holders are remembered", n)
		}
		if back := q.Of(quota.Name{Name: "busy"}); back.Take(1) == 0 {
			t.Error("the quota was full again after a moment away")
		}
	})
}

// New limits are for those who hold a quota too, who begin with a full one; the same ones change nothing.
func TestSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quota.Limits{Messages: 1, MessagesKey: limit.MessagesPerSecond, Says: "A user sends at most"}
		all := quota.New(l)
		q := all.Of(quota.Name{Name: "a"})
		for q.Take(1) == 0 {
		}
		all.Set(l)
		bad := q.Refuse(1)
		if bad == nil || bad.Limit != limit.MessagesPerSecond ||
			bad.Sentence() != "A user sends at most 1 messages a second; slow down (limits.messages_per_second)." {
			t.Fatalf("%v", bad)
		}
		l.Messages = 1000
		all.Set(l)
		for i := range 4000 {
			if bad := q.Refuse(1); bad != nil {
				t.Fatalf("message %d: %v", i, bad)
			}
		}
		all.Set(quota.Limits{})
		if all.On() || q.Take(1) != 0 {
			t.Error("there is a limit")
		}
	})
}

// IPv6 counts by what one customer has.
func TestAddress(t *testing.T) {
	of := func(s string) quota.Name { return quota.Address(netip.MustParseAddr(s)) }
	if of("2001:db8::1") != of("2001:db8::ffff:0:0:1") || of("2001:db8::1") == of("2001:db8:0:1::1") || of("::ffff:192.0.2.1") != of("192.0.2.1") {
		t.Error("addresses are counted wrongly")
	}
}
