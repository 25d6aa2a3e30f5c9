package broker

import (
	"time"

	"github.com/madang-chat/madang/storage"
)

// own makes c the one live connection of its device on this node. An older one is told 0x8E and ends first, so that its
// last words are in the log before c's first.
func (b *Broker) own(c *client) error {
	limit, patience := time.NewTimer(takeWait), time.NewTimer(takePatience)
	defer limit.Stop()
	defer patience.Stop()
	for {
		b.mu.Lock()
		old := b.sessions[c.sid]
		if old == nil {
			b.sessions[c.sid] = c
			c.claimed = b.nextClaim()
			b.mu.Unlock()
			return nil
		}
		b.mu.Unlock()
		old.taken.Store(true)
		old.disconnect(reasonTakenOver)
		select {
		case <-old.finished:
		case <-patience.C:
			b.ends.hurry(&old.departure)
		case <-limit.C:
			return &refusal{v5: reasonBusy, v3: v3Unavailable, why: "the device's other connection has not ended; try again in a few seconds"}
		case <-b.ctx.Done():
			return &refusal{v5: reasonShuttingDown, v3: v3Unavailable, why: "the node is shutting down"}
		}
	}
}

// holds notes that c has a stored session, and under which epoch (0 = not known yet).
func (b *Broker) holds(c *client, epoch uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.stored, c.epoch = true, epoch
}

func (b *Broker) disown(c *client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sessions[c.sid] == c {
		delete(b.sessions, c.sid)
	}
	close(c.finished)
	if !c.releasing {
		close(c.released)
	}
}

// fence closes a connection whose session was taken over in the log by somebody else.
func (b *Broker) fence(t storage.Taken) {
	b.mu.Lock()
	c := b.sessions[t.Session]
	older := c != nil && c.stored && c.epoch != 0 && (t.Epoch == 0 || c.epoch < t.Epoch)
	b.mu.Unlock()
	if !older {
		return
	}
	c.taken.Store(true)
	c.fenced.Store(true)
	if t.Epoch == 0 {
		c.sendAway(reasonTakenOver)
	} else {
		c.disconnect(reasonTakenOver)
	}
}

// finish ends everything of a connection: cursors, calls, its hold on the session, its will. After it c.finished is closed.
func (b *Broker) finish(c *client) {
	c.cancel()
	c.acks.shut()
	if c.reason.Load() == 0 {
		_ = c.conn.Close()
	}
	c.running.Wait()
	done := b.ends.enter(&c.departure)
	how := c.ending()
	b.beginLeave(c)
	defer b.settle(c)
	left := c.w.detach(c, how)
	b.presence.End(c.online, how, c.lastRead.Load())
	unfinished := c.acks.drain(b.ctx)
	if c.stored && !c.fenced.Load() {
		cmd := &storage.Release{
			Session: c.sid, Epoch: c.epoch, Place: left.pos, Lag: left.lag, Unfinished: unfinished, KeepWill: !c.normal.Load(),
		}
		if e := c.expiry.Load(); e >= 0 {
			v := uint32(e)
			cmd.Expiry = &v
		}
		c.releasing = true
		b.cfg.Log.Propose(cmd, func(storage.Result, error) { close(c.released); done() })
	} else {
		done()
	}
	if c.will != nil && !c.normal.Load() {
		b.publishWill(c)
	}
	b.endLive(c, how)
	c.quota.Done()
	c.address.Done()
	b.stats.disconnected.Add(1)
	if c.identity().Guest {
		close(c.finished)
		close(c.released)
		return
	}
	b.disown(c)
}

// ignore takes an answer nobody waits for. What it answers is repeated or checked elsewhere.
func ignore(storage.Result, error) {}

// publishWill publishes the will of a connection that ended without a DISCONNECT. The will of a stored session is in the
// log and fired from there; one that is passed on live has nobody to wait for a delay.
func (b *Broker) publishWill(c *client) {
	if u, err := b.cfg.Store.User(c.sid.NS, c.sid.User); err == nil && u != nil && u.Gone() != "" {
		return // who was deleted says nothing more; of a message the log would say so too
	}
	switch a := c.will.action; {
	case a.Append != nil && !c.stored:
		b.cfg.Log.Propose(a.Append, ignore)
	case a.Live != nil:
		// The rules may be others than when it was given; those of a message are asked by the log.
		again := c.will.publish
		again.From = c.identity()
		if now, bad := b.cfg.Rules.Decide(&again); bad == nil && now.Live != nil {
			b.publishLive(c, now.Live, false)
		}
	}
}
