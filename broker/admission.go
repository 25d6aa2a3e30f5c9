package broker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/madang-chat/madang/internal/clock"
)

// When a node is lost its clients come to the others at once. A CONNECT costs more than anything else a client does: it is
// proved who that is, and the log is asked. So a fixed number of them is worked on at a time, which leaves the processors
// to those who are connected; the others wait in line, which costs memory alone; whoever finds the line full is told so.
const (
	dallyTime = time.Second // before who is refused is told: a library without back-off comes again at once
	dalliers  = 5_000       // who are held so; others are told at once
)

// admission is the line. It is safe for concurrent use.
type admission struct {
	wait time.Duration // longest in line: clients give up soon after it, and then the work would be for nobody

	waited         atomic.Int64 // ns: how long the last one waited
	refused, hasty atomic.Uint64
	dallying       atomic.Int64 // who wait to be told

	mu      sync.Mutex
	working int         // worked on at once; 0 = no limit, and no line
	most    int         // in line; 0 = no limit
	open    bool        // the node may serve
	n       int         // worked on
	line    []*turn     // oldest first
	gone    int         // of line: who gave up
	timer   *time.Timer // of the first in line; nil = nobody is
}

// turn is a place in line.
type turn struct {
	come  func(error) // called when it has come, or with why it does not; not under mu
	since time.Time
	gone  bool // nobody waits for it; under mu
}

// Why it does not come to somebody's turn.
var (
	errLineFull = errors.New("the line is full")
	errLineLong = errors.New("the turn has not come in time")
)

// setLimits changes how many are worked on at once, and how many may be in line. Who is in line stays there, also where it is
// longer than a new line may be; with more to be worked on at once the first of them have their turn now.
func (a *admission) setLimits(working, most int) {
	a.mu.Lock()
	a.working, a.most = working, most
	var next []*turn
	if a.open {
		next = a.advance()
	}
	a.mu.Unlock()
	tell(next, nil)
}

// ask calls come once: with nil when it is somebody's turn, which leave ends; with errLineFull at once, or errLineLong when
// it has not come to that in time. come must not block. It returns the place in line; nil = come has been called.
func (a *admission) ask(come func(error)) *turn {
	t, err := a.take(come)
	if t == nil {
		come(err)
	}
	return t
}

// enter is ask that waits. errLineLong is also returned when ctx has ended.
func (a *admission) enter(ctx context.Context) error {
	came := make(chan error, 1)
	t := a.ask(func(err error) { came <- err })
	select {
	case err := <-came:
		return err
	case <-ctx.Done():
	}
	if a.giveUp(t) {
		return errLineLong
	}
	return <-came
}

// take returns a place in line, or none: then err says whether it is somebody's turn at once.
func (a *admission) take(come func(error)) (t *turn, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	waiting := len(a.line) - a.gone
	switch {
	case a.open && waiting == 0 && (a.working <= 0 || a.n < a.working):
		a.n++
		a.waited.Store(0)
		return nil, nil
	case a.most > 0 && waiting >= a.most:
		a.refused.Add(1)
		return nil, errLineFull
	}
	t = &turn{come: come, since: clock.Now()}
	a.line = append(a.line, t)
	if a.timer == nil {
		a.timer = time.AfterFunc(a.wait, a.expire)
	}
	return t, nil
}

// giveUp leaves a place in line. It returns false when the turn has come, or is told that it does not.
func (a *admission) giveUp(t *turn) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t == nil || !slices.Contains(a.line, t) {
		return false
	}
	a.waited.Store(int64(clock.Since(t.since)))
	a.refused.Add(1)
	t.gone = true
	a.gone++
	if a.gone > len(a.line)/2 {
		a.line = slices.DeleteFunc(a.line, func(t *turn) bool { return t.gone })
		a.gone = 0
	}
	return true
}

// leave ends a turn; the next in line has it then.
func (a *admission) leave() {
	a.mu.Lock()
	a.n--
	next := a.advance()
	a.mu.Unlock()
	tell(next, nil)
}

// begin lets those in line in: the node may serve.
func (a *admission) begin() {
	a.mu.Lock()
	a.open = true
	next := a.advance()
	a.mu.Unlock()
	tell(next, nil)
}

// advance returns whose turn it is now. The caller holds mu, and tells them without it.
func (a *admission) advance() (next []*turn) {
	for len(a.line) > 0 && (a.working <= 0 || a.n < a.working) {
		if t := a.pop(); t != nil {
			a.n++
			next = append(next, t)
		}
	}
	return next
}

// pop takes the first out of the line, nil = nobody waits for that place. The caller holds mu.
func (a *admission) pop() *turn {
	t := a.line[0]
	a.line[0] = nil
	a.line = a.line[1:]
	if t.gone {
		a.gone--
		return nil
	}
	a.waited.Store(int64(clock.Since(t.since)))
	return t
}

// expire tells those who have waited too long. They are the first: all may wait equally long.
func (a *admission) expire() {
	var late []*turn
	a.mu.Lock()
	a.timer = nil
	for len(a.line) > 0 {
		if left := a.wait - clock.Since(a.line[0].since); left > 0 {
			a.timer = time.AfterFunc(left, a.expire)
			break
		}
		if t := a.pop(); t != nil {
			a.refused.Add(1)
			late = append(late, t)
		}
	}
	a.mu.Unlock()
	tell(late, errLineLong)
}

// stop tells all in line that their turn does not come: the broker ends.
func (a *admission) stop() {
	var all []*turn
	a.mu.Lock()
	for len(a.line) > 0 {
		if t := a.pop(); t != nil {
			all = append(all, t)
		}
	}
	a.mu.Unlock()
	tell(all, errLineLong)
}

func tell(turns []*turn, err error) {
	for _, t := range turns {
		t.come(err)
	}
}

func (a *admission) isOpen() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.open
}

// waiting returns how many are in line, and whether there is a place for another.
func (a *admission) waiting() (n int, full bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n = len(a.line) - a.gone
	return n, a.most > 0 && n >= a.most
}

// after returns when it makes sense to come again: the line is as long as the last one waited.
func (a *admission) after() time.Duration { return max(time.Duration(a.waited.Load()), time.Second) }

// Busy returns 0, or, while nobody more can wait to be connected, when to come again. A WebSocket is refused then, before
// there is one.
func (b *Broker) Busy() time.Duration {
	if _, full := b.admission.waiting(); full {
		return b.admission.after()
	}
	return 0
}

// errLeft is no refusal: the client has closed the connection while it waited.
var errLeft = errors.New("the client left while it waited for its turn")

// dally holds a client that is refused since too many come, so that one whose library tries again at once costs one
// attempt a second.
func (b *Broker) dally() {
	defer b.admission.dallying.Add(-1)
	if b.admission.dallying.Add(1) > dalliers {
		return
	}
	b.admission.hasty.Add(1)
	t := time.NewTimer(dallyTime)
	defer t.Stop()
	select {
	case <-t.C:
	case <-b.ctx.Done():
	}
}
