package broker

import (
	"time"

	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/internal/clock"
)

// expiringNotice is how long before its token ends a client is told (design.md, "Who may").
const expiringNotice = 60 * time.Second

// sliceInspected is how many clients are inspected before others have their turn: well below a millisecond of looks.
const sliceInspected = 256

// inspect begins to look at every client for what needs a clock: silence, unknown outcomes, sockets that take nothing,
// tokens that end. Once a second.
func (w *worker) inspect() {
	w.inspected = 0
	w.wakeUp()
	w.tellHeads()
	w.tellReceipts()
}

// inspectSome looks at the next of them. A client that has its place in the list changed meanwhile may be left out; its
// turn comes a second later.
func (w *worker) inspectSome() {
	end := min(w.inspected+sliceInspected, len(w.clients))
	for ; w.inspected < end; w.inspected++ {
		if c := w.clients[w.inspected]; !c.gone && c.reason.Load() == 0 {
			w.inspectOne(c)
		}
	}
}

func (w *worker) inspectOne(c *client) {
	now, l := w.b.now(), w.b.limits()
	// MQTT 5, 3.1.2.10: one and a half times the keep alive.
	if c.keepAlive > 0 && !c.held.Load() && now-c.lastRead.Load() > (c.keepAlive*3/2).Milliseconds() {
		c.disconnect(reasonKeepAlive)
		return
	}
	if since := c.acks.oldest(); since != 0 && l.AckWait > 0 && now-since > l.AckWait.Milliseconds() {
		w.b.stats.unknown.Add(1)
		c.disconnectFor(limit.AckWait, reasonBusy, "a publish had no outcome for %v; send it again", l.AckWait)
		return
	}
	if l.Stalled > 0 && c.conn.StalledFor() > l.Stalled {
		w.b.stats.stalled.Add(1)
		w.b.cfg.Refusals.Add(limit.Stalled)
		c.reason.CompareAndSwap(0, reasonQuota+1)
		_ = c.conn.Close()
		return
	}
	w.inspectToken(c)
}

func (w *worker) inspectToken(c *client) {
	id := c.identity()
	if id.Expires.IsZero() {
		return
	}
	switch left := clock.Until(id.Expires); {
	case left <= 0:
		c.disconnect(reasonTokenExpired)
	case left > expiringNotice:
		c.expiring = false
	case !c.expiring && c.wants(topic.MeError) != nil: // it may subscribe yet
		c.expiring = true
		w.tell(c, problem.Event{Op: problem.OpSession, Problem: problem.New(problem.TokenExpiring, "").After(left)})
		w.touch(c)
	}
}
