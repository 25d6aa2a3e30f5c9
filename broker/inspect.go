package broker

import (
	"time"

	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/storage"
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

// lags returns where stored sessions are behind pos, changes only, and how many stored sessions there are. A session that
// is still being resumed has no places yet; blocked says so, and then no common place may be claimed.
func (w *worker) lags(pos uint64) (out []storage.LagOf, stored int, blocked bool) {
	w.call(func() {
		for c := range w.clients {
			if !c.stored || c.gone {
				continue
			}
			stored++
			blocked = blocked || c.resuming != nil
			for _, cur := range c.cursors {
				if lag, changed := w.lagBehind(cur, pos); changed {
					out = append(out, storage.LagOf{Session: c.sid, Epoch: c.epoch, Room: cur.room.key.Room, Seq: lag})
				}
			}
		}
	})
	return out, stored, blocked
}

// lagBehind returns the lag to store for a cursor, 0 = none, and whether the store has to be told.
func (w *worker) lagBehind(cur *cursor, pos uint64) (seq uint64, changed bool) {
	seq = w.lag(cur)
	if seq > 0 {
		if e, ok := w.b.cfg.Store.Recent(nil, cur.room.key, seq, seq, 1, 1); ok && len(e) == 1 && e[0].Pos > pos {
			seq = 0 // newer than the place claimed
		}
	}
	if seq == 0 && !cur.lagStored || seq == cur.lagSeq && cur.lagStored {
		return seq, false
	}
	cur.lagStored, cur.lagSeq = seq > 0, seq
	return seq, true
}
