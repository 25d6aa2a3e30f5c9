package broker

import (
	"time"

	"github.com/madang-chat/madang/storage"
)

// Where the sessions of this node stand is told to the log in one command for all of them: "everybody has everything up
// to this pos", and the rooms in which somebody lags (rules.md 4).
//
// Two bounds make the claim true. The pos is one that the workers had been told of a tick before, so that every entry up
// to it has a cursor that counts it, delivered or lagging. The epoch is below that of every session whose cursors are not
// all there yet: one that is being taken, resumed, or given the rooms of a new filter.

// place is what was claimed last.
type place struct{ pos, epoch uint64 }

// beginTake notes that c is about to take its session. Its epoch will be above what the store has given so far.
func (b *Broker) beginTake(c *client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taking[c] = b.cfg.Store.Epoch()
}

// endTake is called when c has been handed to its worker, or will never be.
func (b *Broker) endTake(c *client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.taking, c)
}

// settledEpoch returns the newest epoch of which every session of this node is with its worker, or has ended.
func (b *Broker) settledEpoch() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	epoch := b.cfg.Store.Epoch()
	for _, before := range b.taking {
		epoch = min(epoch, before)
	}
	return epoch
}

// keepPlaces commits, every placesTick, the place that all live sessions of the node have reached, and the rooms in which
// some lag. A node whose sessions and logs stand still commits nothing.
func (b *Broker) keepPlaces() {
	t := time.NewTicker(placesTick)
	defer t.Stop()
	// The place claimed is that of the tick before: what is in flight for a moment is no lag.
	previous, claimed := b.told.Load(), place{}
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-t.C:
		}
		claimed = b.commitPlaces(previous, claimed)
		b.commitActive(false)
		previous = b.told.Load()
	}
}

// lagsPerCommand bounds a Places command (rules.md 4).
const lagsPerCommand = 1000

// commitPlaces proposes the place pos for all live stored sessions and what lags behind it. It returns what is claimed now.
func (b *Broker) commitPlaces(pos uint64, claimed place) place {
	epoch := b.settledEpoch()
	var lags []storage.LagOf
	stored := 0
	for _, w := range b.workers {
		l, n, complete := w.lags(pos)
		lags, stored, epoch = append(lags, l...), stored+n, min(epoch, complete)
	}
	now := place{max(pos, claimed.pos), epoch}
	if stored == 0 || len(lags) == 0 && (now == claimed || epoch < claimed.epoch) {
		return claimed
	}
	for len(lags) > lagsPerCommand {
		b.cfg.Log.Propose(&storage.Places{Node: b.cfg.Node, Boot: b.cfg.Boot, Lags: lags[:lagsPerCommand]}, ignore)
		lags = lags[lagsPerCommand:]
	}
	b.cfg.Log.Propose(&storage.Places{Node: b.cfg.Node, Boot: b.cfg.Boot, Pos: now.pos, Epoch: epoch, Lags: lags}, ignore)
	if epoch < claimed.epoch {
		return claimed // the log keeps the claim before and takes the lags
	}
	return now
}

// lags returns where stored sessions are behind pos, changes only, how many stored sessions there are, and the newest
// epoch below that of every session whose cursors are not all there.
func (w *worker) lags(pos uint64) (out []storage.LagOf, stored int, complete uint64) {
	complete = ^uint64(0)
	w.call(func() {
		for _, c := range w.clients {
			if !c.stored || c.gone {
				continue
			}
			stored++
			c.takeAcks()
			if c.resuming != nil || c.joining > 0 {
				complete = min(complete, c.epoch-1)
			}
			for _, cur := range c.cursors {
				if lag, changed := w.lagBehind(cur, pos); changed {
					out = append(out, storage.LagOf{Session: c.sid, Epoch: c.epoch, Room: cur.room.key.Room, Seq: lag})
				}
			}
		}
	})
	return out, stored, complete
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

// lag returns the lowest entry the client has not acknowledged, 0 when it has all or its place is not kept.
func (w *worker) lag(cur *cursor) uint64 {
	if cur.qos == 0 || cur.asleep {
		return 0
	}
	low := cur.client.window.lowest(cur)
	if low == 0 {
		low = cur.next
	}
	if low > w.head(cur.room) {
		return 0
	}
	return low
}

// leftover is what a connection's end leaves of its places.
type leftover struct {
	pos uint64
	lag []storage.RoomSeq
}

// leave returns where the session of c stands. The place is told, up to which the worker has done everything it was told
// of: joins and rights of the client too. A room in which the client has more than that, or less, says so itself.
func (w *worker) leave(c *client, told uint64) (left leftover) {
	if s := c.resuming; s != nil { // not every room has its cursor: the session stays where it was
		return leftover{pos: s.Place, lag: s.Lag}
	}
	left.pos = told
	if c.joining > 0 {
		left.pos = min(left.pos, c.joinPos)
	}
	for _, cur := range c.cursors {
		if cur.qos == 0 || cur.asleep {
			continue
		}
		seq := w.lag(cur)
		if seq == 0 && w.headPos(cur.room) > left.pos {
			seq = cur.next
		}
		if seq > 0 {
			left.lag = append(left.lag, storage.RoomSeq{Room: cur.room.key.Room, Seq: seq})
		}
	}
	return left
}
