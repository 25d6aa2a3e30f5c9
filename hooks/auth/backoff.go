package auth

import (
	"net/netip"
	"time"

	"github.com/madang-chat/madang/internal/clock"
)

const (
	freeFailures  = 5                // in a row before the first pause
	firstPause    = time.Second      // doubled with every further failure
	longestPause  = time.Minute      //
	forgetAfter   = 15 * time.Minute // without a failure
	backOffMemory = 100_000          // pairs of user and address
)

// backOff makes guessing one user's password from one address slow: after freeFailures failures in a row that pair
// must pause, each time twice as long, up to longestPause. A success, or forgetAfter without a failure, starts afresh.
// Tries during a pause are refused unheard and do not lengthen it. It remembers the last backOffMemory pairs; to push
// one out an attacker has to fail with that many others, at the price of a hash each.
//
// The pair and not the user alone: else anybody could lock out anybody. An IPv6 address counts as its /64, which is
// what one line gets.
type backOff struct {
	failures *lru[backOffKey, failureRun]
}

type backOffKey struct {
	login string
	addr  netip.Addr
}

type failureRun struct {
	count int
	last  time.Time
	until time.Time // end of the pause
}

func newBackOff() *backOff {
	return &backOff{failures: newLRU[backOffKey, failureRun](backOffMemory)}
}

func newBackOffKey(login string, addr netip.Addr) backOffKey {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		p, _ := addr.Prefix(64) // 64 is always in range
		addr = p.Addr()
	}
	return backOffKey{login, addr}
}

// pause returns how long key has to wait still; 0 = it may try. A nil backOff never pauses.
func (b *backOff) pause(key backOffKey) time.Duration {
	if b == nil {
		return 0
	}
	run, ok := b.failures.get(key)
	if !ok {
		return 0
	}
	return max(0, clock.Until(run.until))
}

// failed notes a failure and returns the pause it brings, and whether it is the first of this run.
func (b *backOff) failed(key backOffKey) (pause time.Duration, first bool) {
	if b == nil {
		return 0, false
	}
	now := clock.Now()
	b.failures.update(key, func(run failureRun, _ bool) failureRun {
		if now.Sub(run.last) >= forgetAfter {
			run = failureRun{}
		}
		run.count++
		run.last = now
		if over := run.count - freeFailures; over >= 0 {
			pause = longestPause
			if over < 6 {
				pause = firstPause << over
			}
			run.until = now.Add(pause)
			first = over == 0
		}
		return run
	})
	return pause, first
}

// succeeded forgets key's failures.
func (b *backOff) succeeded(key backOffKey) {
	if b != nil {
		b.failures.delete(key)
	}
}
