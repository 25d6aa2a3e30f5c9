package cluster

import (
	"time"

	"github.com/madang-chat/madang/internal/clock"
)

// Figures of pace. An entry costs a disk sync and some ten changes of goroutine whether it holds one command or a
// hundred, and each of its rooms then a round of the delivery.
const (
	paceGoal    = 8                     // commands after which nothing waits
	paceLongest = 4 * time.Millisecond  // between entries that wait for company
	paceFrom    = 1000                  // commands a second below which nothing waits
	paceMemory  = 20 * time.Millisecond // over which the rate is taken
	paceDoubt   = 6                     // waits of no use in a row, of which the last lets 2^6 entries go at once
)

// pace decides how long commands wait for company before they become an entry.
//
// Below paceFrom commands a second they never do: each goes at once. Above, an entry waits until it has paceGoal
// commands or paceLongest has passed since the one before, so that the work per entry is shared while the delay stays
// below what a person notices. A fast stream never waits: it has gathered enough while the disk was busy.
//
// Whoever sends the next command only when this one is answered would be slowed down for nothing. So a wait must pay:
// when nothing has come in its last three quarters, the next entries go at once: 2, then 4, up to 64 of them.
//
// Times are counted from any fixed point.
type pace struct {
	rate    float64       // commands a second
	taken   time.Duration // when the newest entry was
	begun   time.Duration // of the wait that is on
	waiting bool
	useless int // waits in a row
	skip    int // entries that go at once
}

// hold returns how long n commands should go on waiting, 0 = not any more.
func (p *pace) hold(now time.Duration, n int) time.Duration {
	if p.rate < paceFrom || n >= paceGoal {
		return 0
	}
	if p.skip > 0 && !p.waiting {
		return 0
	}
	left := p.taken + paceLongest - now
	if left <= 0 {
		return 0
	}
	if !p.waiting {
		p.waiting, p.begun = true, now
	}
	return left
}

// take notes that n commands became an entry; the last of them came at newest.
func (p *pace) take(now, newest time.Duration, n int) {
	since := max(now-p.taken, time.Microsecond)
	weight := min(float64(since)/float64(paceMemory), 1)
	p.rate += weight * (float64(n)/since.Seconds() - p.rate)
	p.taken = now
	p.skip = max(p.skip-1, 0)
	if !p.waiting {
		return
	}
	p.waiting = false
	if n < paceGoal && now-newest > (now-p.begun)*3/4 {
		p.useless = min(p.useless+1, paceDoubt)
		p.skip = 1 << p.useless
		return
	}
	p.useless = 0
}

// began is what the times of the pace are counted from.
var began = clock.Now()

// sinceBegan is the time of the pace, monotonic.
func sinceBegan() time.Duration { return clock.Since(began) }
