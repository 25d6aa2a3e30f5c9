package broker

import (
	"time"

	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/internal/clock"
)

// expiringNotice is how long before its token ends a client is told (design.md, "Who may").
const expiringNotice = 60 * time.Second

// inspect looks at every client once a second for what needs a clock: silence, unknown outcomes, sockets that take
// nothing, tokens that end.
func (w *worker) inspect() {
	now, l := w.b.now(), &w.b.cfg.Limits
	for c := range w.clients {
		if c.gone || c.reason.Load() != 0 {
			continue
		}
		// MQTT 5, 3.1.2.10: one and a half times the keep alive.
		if c.keepAlive > 0 && !c.held.Load() && now-c.lastRead.Load() > (c.keepAlive*3/2).Milliseconds() {
			c.disconnect(reasonKeepAlive)
			continue
		}
		if since := c.acks.oldest(); since != 0 && l.AckWait > 0 && now-since > l.AckWait.Milliseconds() {
			w.b.stats.unknown.Add(1)
			c.disconnect(reasonBusy)
			continue
		}
		if l.Stalled > 0 && c.conn.StalledFor() > l.Stalled {
			w.b.stats.stalled.Add(1)
			c.reason.CompareAndSwap(0, reasonQuota+1)
			_ = c.conn.Close()
			continue
		}
		w.inspectToken(c)
	}
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
	case !c.expiring:
		c.expiring = true
		w.tell(c, problem.Event{Op: problem.OpSession, Problem: problem.New(problem.TokenExpiring, "").After(left)})
		w.touch(c)
	}
}
