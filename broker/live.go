package broker

import (
	"bytes"
	"cmp"
	"slices"
	"sync"

	"github.com/madang-chat/madang/hooks"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// liveKey names a live value within its room.
type liveKey struct{ room, name, user string }

type liveValue struct {
	payload []byte
	until   int64 // coarse ms
	own     bool  // of a client of this node
}

// liveValues keeps the newest live value per room, name and user, for new subscribers. Values are never in the log; they
// go with their time to live, with their writer, or with the process. Those of other nodes are here as far as this node has
// readers of their room (peers.go).
type liveValues struct {
	mu     sync.Mutex
	values map[storage.RoomKey]map[liveKey]liveValue
	bytes  int             // of the payloads
	held   map[userKey]int // values by writer

	leaving []leaving // in order of at
	left    int       // values in leaving
}

// Bounds of what is kept for new subscribers; what is beyond them is passed on all the same.
const (
	livePerUser = 256
	liveBytes   = 64 << 20
	liveLeaving = 100_000 // values whose user was cut off; those of more are emptied at once
)

func (v *liveValues) init() {
	v.values, v.held = map[storage.RoomKey]map[liveKey]liveValue{}, map[userKey]int{}
}

func (v *liveValues) put(k storage.RoomKey, lk liveKey, val liveValue) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.remove(k, lk)
	writer := userKey{k.NS, lk.user}
	if len(val.payload) == 0 || v.held[writer] >= livePerUser || v.bytes+len(val.payload) > liveBytes {
		return
	}
	if v.values[k] == nil {
		v.values[k] = map[liveKey]liveValue{}
	}
	v.values[k][lk] = val
	v.held[writer]++
	v.bytes += len(val.payload)
}

// remove reports whether the value was held. It is called with the lock held.
func (v *liveValues) remove(k storage.RoomKey, lk liveKey) bool {
	val, held := v.values[k][lk]
	if !held {
		return false
	}
	delete(v.values[k], lk)
	if len(v.values[k]) == 0 {
		delete(v.values, k)
	}
	writer := userKey{k.NS, lk.user}
	if v.held[writer]--; v.held[writer] == 0 {
		delete(v.held, writer)
	}
	v.bytes -= len(val.payload)
	return true
}

// has reports whether a value is held with that payload.
func (v *liveValues) has(k storage.RoomKey, lk liveKey, payload []byte) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	val, held := v.values[k][lk]
	return held && bytes.Equal(val.payload, payload)
}

func (v *liveValues) expire(now int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for k, room := range v.values {
		for lk, val := range room {
			if val.until <= now {
				v.remove(k, lk)
			}
		}
	}
}

// in returns the values of a room in a fixed order.
func (v *liveValues) in(k storage.RoomKey, now int64) []hooks.Live {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []hooks.Live
	for lk, val := range v.values[k] {
		if val.until > now {
			out = append(out, hooks.Live{Room: k, Name: lk.name, User: lk.user, Payload: val.payload})
		}
	}
	slices.SortFunc(out, func(a, b hooks.Live) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.User, b.User))
	})
	return out
}

// publishLive passes a live value of a client on to the readers of its room, on this node and others, at most once.
func (b *Broker) publishLive(c *client, l *hooks.Live, keep bool) {
	lk := liveKey{l.Room.Room, l.Name, l.User}
	ttl := b.limits().LiveTTL
	if l.Name == "typing" {
		ttl = b.limits().TypingTTL
	}
	if !keep {
		ttl = 0
	}
	val := liveValue{payload: l.Payload, until: b.now() + ttl.Milliseconds(), own: true}
	c.w.post(func() {
		if c.gone || !keep {
			return
		}
		if len(l.Payload) == 0 {
			delete(c.live, lk)
			return
		}
		if c.live == nil {
			c.live = map[liveKey]struct{}{}
		}
		if len(c.live) < livePerUser {
			c.live[lk] = struct{}{}
		}
	})
	if keep {
		b.live.put(l.Room, lk, val)
	}
	b.stats.live.Add(1)
	b.tellLive(l, ttl)
	b.passLive(l, c, false)
}

// passLive gives a live value to the readers on this node, as a retained one where it was kept for them.
func (b *Broker) passLive(l *hooks.Live, from *client, kept bool) {
	for _, w := range b.workers {
		w.post(func() { w.passLive(l, from, kept) })
	}
}

func (w *worker) passLive(l *hooks.Live, from *client, kept bool) {
	r := w.rooms[l.Room]
	if r == nil {
		return
	}
	st, err := w.b.cfg.Store.Room(l.Room)
	if err != nil || st == nil {
		return
	}
	if st.LiveMS > 0 {
		w.hasty(r)
	}
	if r.values.lives.take(liveSlot(l.Name, l.User), heldLive{l, from, kept}, w.b.millis(), st.LiveMS) {
		w.tellLive(r, l, from, kept)
	}
}

// tellLive sends a live value to the readers of its room.
func (w *worker) tellLive(r *room, l *hooks.Live, from *client, kept bool) {
	for _, cur := range r.cursors {
		c := cur.client
		if cur.asleep || c.conn.Queued() >= w.b.queueRoom() || w.apart(cur) {
			continue // at most once: a full socket misses it; and that a value went says that its writer did
		}
		w.sendLive(c, cur.filters, l, from, kept)
	}
}

// sendLive sends a value if one of the filters takes it; from is who wrote it, nil for one that was kept.
func (w *worker) sendLive(c *client, filters []*sub, l *hooks.Live, from *client, retained bool) {
	p := publish{topic: topic.LiveTopic(l.Room.NS, l.Room.Room, l.Name, l.User), payload: l.Payload, retain: retained}
	w.sendMatched(c, filters, &p, func(s *sub) bool {
		return s.filter.MatchLive(l.Room.NS, l.Room.Room, l.Name, l.User) && !(s.noLocal && from == c)
	})
}

// sendMatched sends what is no entry if one of the filters takes it, with the subscription ids of those that do.
func (w *worker) sendMatched(c *client, filters []*sub, p *publish, match func(*sub) bool) {
	taken := false
	for _, s := range filters {
		if !match(s) {
			continue
		}
		taken = true
		if s.id != 0 && c.version == version5 {
			p.ids = append(p.ids, s.id)
		}
	}
	if taken {
		f := p.encode(nil, c.version)
		w.send(c, &f, nil, 0)
	}
}

// giveLive sends a new subscription the live values there are, retained.
func (w *worker) giveLive(c *client, s *sub) {
	for _, cur := range c.cursors {
		if !cur.asleep && slices.Contains(cur.filters, s) {
			w.giveLiveOf(cur, []*sub{s})
		}
	}
}

// giveLiveOf gives the live values of a room that the filters take.
func (w *worker) giveLiveOf(cur *cursor, filters []*sub) {
	if w.apart(cur) {
		return
	}
	for _, l := range w.b.live.in(cur.room.key, w.b.now()) {
		w.sendLive(cur.client, filters, &l, nil, true)
	}
}
