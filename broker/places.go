package broker

import (
	"iter"
	"slices"
	"time"

	"github.com/madang-chat/madang/storage"
)

// Where the sessions of this node stand is told to the log for all of them: the rooms in which somebody lags, and then
// "everybody has everything else up to this pos" (rules.md 4).
//
// Three bounds make the claim true. The pos is one that the workers had been told of a tick before, so that every entry up
// to it has a cursor that counts it, delivered or lagging. The epoch is below that of every session whose cursors are not
// all there: one that is being taken, resumed, or given the rooms of a new filter, and one that leaves and whose Release
// is not proposed yet. And the log has every lag that is not newer: one without an outcome is told again first.

// place is what was claimed last.
type place struct{ pos, epoch uint64 }

// beginTake notes that c is about to take its session. Its epoch will be above what the store has given so far.
func (b *Broker) beginTake(c *client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unsettled[c] = b.cfg.Store.Epoch()
}

// beginLeave notes that c is about to leave its worker. It ends when the Release is proposed, or never will be: what is
// proposed from then on comes after it.
func (b *Broker) beginLeave(c *client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.stored {
		b.unsettled[c] = c.epoch - 1
	}
}

// settle is called when c has been handed to its worker, or has left it.
func (b *Broker) settle(c *client) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.unsettled, c)
}

// settledEpoch returns the newest epoch of which every session of this node is with its worker, or has ended.
func (b *Broker) settledEpoch() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	epoch := b.cfg.Store.Epoch()
	for _, above := range b.unsettled {
		epoch = min(epoch, above)
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
		previous = b.told.Load()
		t.Reset(placesTick) // it may have taken long, and what comes now is no lag yet
	}
}

// commitPlaces commits what lags behind the place pos, and then that place for all live stored sessions, unless the log did
// not take the lags: they are told again with the next tick, and the place waits for that. It returns what is claimed now.
func (b *Broker) commitPlaces(pos uint64, claimed place) place {
	now := place{max(pos, claimed.pos), b.settledEpoch()}
	stored, told := 0, true
	for _, w := range b.workers {
		for s := range w.standings(pos) {
			stored, now.epoch = stored+s.stored, min(now.epoch, s.complete)
			for some := range slices.Chunk(s.lags, gatheredPerCommand) {
				if b.ctx.Err() != nil {
					return claimed // each session has told it itself
				}
				if !b.commitLags(some) {
					w.untold(some)
					told = false
				}
			}
		}
	}
	// Once more, after they were asked: who came meanwhile was not settled before, who had gone by then is not now, or is released.
	now.epoch = min(now.epoch, b.settledEpoch())
	if !told || stored == 0 || now == claimed || now.epoch < claimed.epoch {
		return claimed
	}
	if _, err := proposeTo(b.ctx, b.cfg.Log, &storage.Places{Node: b.cfg.Node, Boot: b.cfg.Boot, Pos: now.pos, Epoch: now.epoch}); err != nil {
		return claimed
	}
	return now
}

// commitLags reports whether the log has taken the lags, as far as is known.
func (b *Broker) commitLags(lags []lagging) bool {
	cmd := &storage.Places{Node: b.cfg.Node, Boot: b.cfg.Boot, Lags: make([]storage.LagOf, len(lags))}
	for i := range lags {
		cmd.Lags[i] = lags[i].LagOf
	}
	_, err := proposeTo(b.ctx, b.cfg.Log, cmd)
	return err == nil
}

// lagging is a lag to be told, and whose it is.
type lagging struct {
	storage.LagOf
	cur *cursor
}

// standing is where some stored sessions stand.
type standing struct {
	lags     []lagging // what has changed
	stored   int       // sessions
	complete uint64    // the newest epoch below that of every session whose cursors are not all there
}

// sliceStanding is how many clients are asked where they stand before others have their turn.
const sliceStanding = 256

// standings asks the clients there are now where they are behind pos, a slice after the other.
func (w *worker) standings(pos uint64) iter.Seq[*standing] {
	return func(yield func(*standing) bool) {
		var clients []*client // their own places in w.clients may change meanwhile
		w.call(func() { clients = slices.Clone(w.clients) })
		for some := range slices.Chunk(clients, sliceStanding) {
			s := standing{complete: ^uint64(0)}
			w.call(func() {
				for _, c := range some {
					w.stands(c, pos, &s)
				}
			})
			if !yield(&s) {
				return
			}
		}
	}
}

// stands adds where a client stands. One that has gone tells it itself, and is not settled until then.
func (w *worker) stands(c *client, pos uint64, s *standing) {
	if !c.stored || c.gone {
		return
	}
	s.stored++
	c.takeAcks()
	if c.resuming != nil || c.joining > 0 {
		s.complete = min(s.complete, c.epoch-1)
	}
	for _, cur := range c.cursors {
		if lag, changed := w.lagBehind(cur, pos); changed {
			s.lags = append(s.lags, lagging{storage.LagOf{Session: c.sid, Epoch: c.epoch, Room: cur.room.key.Room, Seq: lag}, cur})
		}
	}
}

// lagBehind returns the lag to store for a cursor, 0 = none, and whether the store has to be told.
func (w *worker) lagBehind(cur *cursor, pos uint64) (seq uint64, changed bool) {
	seq = w.lag(cur)
	if seq > 0 {
		if e, ok := w.b.cfg.Store.Recent(nil, cur.room.key, seq, seq, 1, 1); ok && len(e) == 1 && e[0].Pos > pos {
			seq = 0 // newer than the place claimed
		}
	}
	if seq == 0 && !cur.lagStored || seq > 0 && seq == cur.lagSeq && cur.lagStored {
		return seq, false
	}
	cur.lagStored, cur.lagSeq = seq > 0, seq
	return seq, true
}

// untold notes that the log may not have taken the lags: they are changes again.
func (w *worker) untold(lags []lagging) {
	w.post(func() {
		for _, l := range lags {
			l.cur.lagStored, l.cur.lagSeq = true, 0
		}
	})
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
