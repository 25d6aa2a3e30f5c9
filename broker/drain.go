package broker

import (
	"context"
	"time"

	"github.com/madang-chat/madang/broker/transport"
	"github.com/madang-chat/madang/hooks/limit"
)

const (
	drainSteps = 50 // a node's clients leave in so many portions, one each drainPause, so that the others are not stormed
	drainPause = 200 * time.Millisecond
	drainGrace = 5 * time.Second // for what a client has sent to have its outcome
)

// turnAway refuses a CONNECT that the node has no place for, and says where there may be one.
func (b *Broker) turnAway(conn *transport.Conn) *refusal {
	b.mu.Lock()
	draining, n := b.draining != nil, len(b.clients)
	b.mu.Unlock()
	r := &refusal{v5: reasonServerBusy, v3: v3Unavailable, hasty: true}
	switch most := b.limits().Connections; {
	case draining:
		r.why = "the node is about to be taken down"
	case most > 0 && n >= most:
		r.why, r.limit = "the node has as many connections as it may have", limit.Connections
	default:
		return nil
	}
	if r.reference = b.cfg.Elsewhere(conn.Transport()); r.reference != "" {
		r.v5 = reasonUseAnother
		r.hasty = false
		r.why += "; use another one"
	} else {
		r.why += "; try again later"
	}
	return r
}

// Drain sends the clients of this node elsewhere, a few at a time, and lets no new ones in, until it is called with false.
// It does not wait.
func (b *Broker) Drain(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if on == (b.draining != nil) || b.stopped {
		return
	}
	if !on {
		b.draining()
		b.draining = nil
		return
	}
	ctx, cancel := context.WithCancel(b.ctx)
	b.draining = cancel
	b.running.Go(func() { b.drain(ctx) })
}

// Draining reports whether clients are sent elsewhere.
func (b *Broker) Draining() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.draining != nil
}

func (b *Broker) drain(ctx context.Context) {
	t := time.NewTicker(drainPause)
	defer t.Stop()
	portion := max((b.Connections()+drainSteps-1)/drainSteps, 1)
	for {
		var some []*client
		b.mu.Lock()
		for c := range b.clients {
			if len(some) < portion && c.leaving.Load() == nil {
				some = append(some, c)
			}
		}
		b.mu.Unlock()
		for _, c := range some {
			grace, cancel := context.WithTimeout(b.ctx, drainGrace)
			context.AfterFunc(c.ctx, cancel)
			c.leave(b.parting(grace, c))
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// parting is how a client is told that the node stops, or sends it elsewhere.
func (b *Broker) parting(ctx context.Context, c *client) *parting {
	if b.Draining() {
		if to := b.cfg.Elsewhere(c.conn.Transport()); to != "" {
			return &parting{ctx, reasonUseAnother, to}
		}
	}
	return &parting{ctx, reasonShuttingDown, ""}
}
