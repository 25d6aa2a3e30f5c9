package broker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/madang-chat/madang/broker/transport"
	"github.com/madang-chat/madang/hooks/limit"
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
	working int     // worked on at once; 0 = no limit, and no line
	most    int     // in line; 0 = no limit
	open    bool    // the node may serve
	n       int     // worked on
	line    []*turn // oldest first
	gone    int     // of line: who gave up
}

// setLimits changes how many are worked on at once, and how many may be in line. Who is in line stays there, also where it is
// longer than a new line may be; with more to be worked on at once the first of them have their turn now.
func (a *admission) setLimits(working, most int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.working, a.most = working, most
	if a.open {
		a.advance()
	}
}

// turn is a place in line.
type turn struct {
	come chan struct{} // closed when it has come
	gone bool          // nobody waits for it; under mu
}

// Why it does not come to the caller's turn.
var (
	errLineFull = errors.New("the line is full")
	errLineLong = errors.New("the turn has not come in time")
)

// enter returns nil when it is the caller's turn, which leave ends. errLineFull is returned at once; errLineLong when it is not
// the caller's turn in time, or ctx has ended.
func (a *admission) enter(ctx context.Context) error {
	t, now := a.take()
	switch {
	case now:
		return nil
	case t == nil:
		return errLineFull
	}
	began := clock.Now()
	timer := time.NewTimer(a.wait)
	defer timer.Stop()
	select {
	case <-t.come:
	case <-timer.C:
	case <-ctx.Done():
	}
	a.waited.Store(int64(clock.Since(began)))
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-t.come:
		return nil
	default:
	}
	t.gone = true
	a.gone++
	if a.gone > len(a.line)/2 {
		a.line = slices.DeleteFunc(a.line, func(t *turn) bool { return t.gone })
		a.gone = 0
	}
	a.refused.Add(1)
	return errLineLong
}

// take returns a place in line, or none: then now says whether it is the caller's turn at once.
func (a *admission) take() (t *turn, now bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	waiting := len(a.line) - a.gone
	switch {
	case a.open && waiting == 0 && (a.working <= 0 || a.n < a.working):
		a.n++
		a.waited.Store(0)
		return nil, true
	case a.most > 0 && waiting >= a.most:
		a.refused.Add(1)
		return nil, false
	}
	t = &turn{come: make(chan struct{})}
	a.line = append(a.line, t)
	return t, false
}

// leave ends a turn; the next in line has it then.
func (a *admission) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.n--
	a.advance()
}

// begin lets those in line in: the node may serve.
func (a *admission) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open = true
	a.advance()
}

// advance is called under mu.
func (a *admission) advance() {
	for len(a.line) > 0 && (a.working <= 0 || a.n < a.working) {
		t := a.line[0]
		a.line[0] = nil
		a.line = a.line[1:]
		if t.gone {
			a.gone--
			continue
		}
		a.n++
		close(t.come)
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

// takeTurn returns when a CONNECT may be worked on, or why it will not be.
func (b *Broker) takeTurn(conn *transport.Conn) error {
	if err := b.admission.enter(b.ctx); err != nil {
		switch {
		case b.ctx.Err() != nil:
			return &refusal{v5: reasonShuttingDown, v3: v3Unavailable, why: "the node is shutting down"}
		case errors.Is(err, errLineLong) && !b.admission.isOpen():
			return &refusal{v5: reasonBusy, v3: v3Unavailable, why: "the node is not ready; try again in a few seconds"}
		}
		return &refusal{
			v5: reasonServerBusy, v3: v3Unavailable, hasty: true, limit: limit.ConnectQueue,
			why: "too many connect at once; try again in " + b.admission.after().Round(time.Second).String(),
		}
	}
	if conn.Left() {
		b.admission.leave()
		return errLeft
	}
	return nil
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
