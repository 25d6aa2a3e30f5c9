package broker

import (
	"slices"

	"github.com/madang-chat/madang/hooks"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/storage"
)

// State keys are told to the readers of their room with every change, or, where the room has an interval, each at most once
// in that time; what comes meanwhile is told when it has passed, the newest alone. So a browser that follows five hundred
// riders gets as much as it can show. Live values keep to an interval of their own in the same way. A reader whose socket
// is full gets the newest value of each key when it has room.

// pace remembers when each of many keys was told, and what waits for its time. V is what is told.
type pace[V any] struct {
	at  map[string]int64 // ms of clockMillis
	due map[string]V
}

// take reports whether the key may be told now. Otherwise v waits, in place of what waited.
func (p *pace[V]) take(key string, v V, now, interval int64) bool {
	if interval <= 0 { // what waits from before is told with the next tick
		delete(p.due, key)
		return true
	}
	if last, told := p.at[key]; told && now-last < interval {
		if p.due == nil {
			p.due = map[string]V{}
		}
		p.due[key] = v
		return false
	}
	if p.at == nil {
		p.at = map[string]int64{}
	}
	p.at[key] = now
	delete(p.due, key) // older than this one
	return true
}

// ripe calls f with what has waited long enough, and forgets keys that were told long ago. more: something is left.
func (p *pace[V]) ripe(now, interval int64, f func(key string, v V)) (more bool) {
	for key, v := range p.due {
		if now-p.at[key] >= interval {
			delete(p.due, key)
			p.at[key] = now
			f(key, v)
		}
	}
	for key, at := range p.at {
		if _, waits := p.due[key]; !waits && now-at >= interval {
			delete(p.at, key)
		}
	}
	return len(p.at) > 0
}

// heldLive is a live value that waits.
type heldLive struct {
	value *hooks.Live
	from  *client
	kept  bool
}

// millis is a clock for intervals, in ms.
func (b *Broker) millis() int64 { return clock.Since(b.began).Milliseconds() }

// hasty notes that something in the room waits for its time.
func (w *worker) hasty(r *room) {
	if !r.values.hasty {
		r.values.hasty = true
		w.paced = append(w.paced, r)
		w.pacing.Store(true)
	}
}

// tellPaced tells what has waited long enough. With every coarse tick.
func (w *worker) tellPaced() {
	rooms := w.paced
	w.paced = nil
	w.pacing.Store(false)
	now := w.b.millis()
	for _, r := range rooms {
		r.values.hasty = false
		st, err := w.b.cfg.Store.Room(r.key)
		if w.rooms[r.key] != r || err != nil || st == nil {
			continue
		}
		states := r.values.states.ripe(now, st.StateMS, func(key string, _ struct{}) { w.tellState(r, key) })
		lives := r.values.lives.ripe(now, st.LiveMS, func(_ string, h heldLive) { w.tellLive(r, h.value, h.from, h.kept) })
		if states || lives {
			w.hasty(r)
		}
	}
}

// stateChanged tells a state key that has another value.
func (w *worker) stateChanged(n storage.StateName) {
	r := w.rooms[n.Room]
	if r == nil || r.values.stateReaders == 0 {
		return
	}
	st, err := w.b.cfg.Store.Room(n.Room)
	if err != nil || st == nil {
		return
	}
	if st.StateMS > 0 {
		w.hasty(r)
	}
	if r.values.states.take(n.Key, struct{}{}, w.b.millis(), st.StateMS) {
		w.tellState(r, n.Key)
	}
}

func (w *worker) tellState(r *room, key string) {
	v := w.stateOf(r, key)
	if v == nil {
		return
	}
	var frames [2]frame // v3.1.1 and v5, without subscription ids
	for _, cur := range r.cursors {
		c := cur.client
		if cur.asleep || cur.values&valueState == 0 || !cur.takesState(key) {
			continue
		}
		if scan := cur.scan; scan != nil && scan.reading {
			if scan.newer == nil {
				scan.newer = map[string]struct{}{}
			}
			scan.newer[key] = struct{}{}
		}
		if c.conn.Queued() >= w.b.queueRoom() {
			w.oweState(cur, key)
			continue
		}
		delete(cur.states, key) // it has the newest now
		if cur.identified {
			w.sendState(cur, v, false)
			continue
		}
		f := &frames[kindOf(c.version, 0)/2]
		if f.bytes == nil {
			p := publish{topic: topic.StateTopic(r.key.NS, r.key.Room, key), payload: v.JSON, text: true}
			*f = p.encode(nil, c.version)
		}
		w.send(c, f, nil, 0)
	}
}

func (w *worker) stateOf(r *room, key string) *storage.StateValue {
	v, err := w.b.cfg.Store.State(r.key, key)
	if err != nil {
		w.b.log.Error("read state", "room", r.key.Room, "key", key, "err", err)
		return nil
	}
	return v
}

func (cur *cursor) takesState(key string) bool {
	for _, s := range cur.filters {
		if s.filter.MatchState(cur.room.key.NS, cur.room.key.Room, key) {
			return true
		}
	}
	return false
}

func (w *worker) sendState(cur *cursor, v *storage.StateValue, kept bool) {
	k := cur.room.key
	w.sendTo(cur, topic.StateTopic(k.NS, k.Room, v.Key), v.JSON, kept, func(s *sub) bool {
		return s.filter.MatchState(k.NS, k.Room, v.Key)
	})
}

// oweState notes that the client is to get a key when its socket has room: some keys by name, more than that by looking at
// all of them again.
func (w *worker) oweState(cur *cursor, key string) {
	if cur.states == nil {
		cur.states = map[string]struct{}{}
	}
	if cur.states[key] = struct{}{}; len(cur.states) > statesByName {
		cur.states = nil
		w.giveStates(cur, nil)
	}
	w.pay(cur)
}

// Bounds of what is given of the state of a room at a time.
const (
	statesByName = 64
	statesPage   = 64
	statesBytes  = 256 << 10
)

// stateScan is how far a cursor has been given the state of its room.
type stateScan struct {
	after   string
	of      *sub // nil: all filters of the cursor
	kept    bool // as retained; what was deleted is left out
	reading bool
	newer   map[string]struct{} // keys told while the page that may hold their old value is being read
	again   bool                // once more from the start when it is done, as no retained values
}

// giveStates begins to give a new subscription the state of its room, or, without one, a cursor all of it that it takes.
func (w *worker) giveStates(cur *cursor, s *sub) {
	st, err := w.b.cfg.Store.Room(cur.room.key)
	if cur.asleep || cur.values&valueState == 0 || err != nil || st == nil || s != nil && st.States == 0 {
		return
	}
	if cur.scan != nil { // the one under way goes on, so that it comes to an end
		cur.scan.again = true
		return
	}
	cur.scan = &stateScan{of: s, kept: s != nil}
	w.pay(cur)
}

// giveOwedStates gives a cursor what it is owed of its room's state, as far as its socket takes it, and reports whether it
// has its turn behind it.
func (w *worker) giveOwedStates(cur *cursor) bool {
	for key := range cur.states {
		if !w.hasRoom(cur.client) {
			return false
		}
		delete(cur.states, key)
		if v := w.stateOf(cur.room, key); v != nil {
			w.sendState(cur, v, false)
		}
	}
	cur.states = nil
	if scan := cur.scan; scan != nil && !scan.reading {
		if !w.hasRoom(cur.client) {
			return false
		}
		w.readStates(cur, scan)
	}
	return true
}

// readStates reads the next page of a room's state, outside the worker, and sends it.
func (w *worker) readStates(cur *cursor, scan *stateScan) {
	scan.reading, scan.newer = true, nil
	k, c, after := cur.room.key, cur.client, scan.after
	w.b.read(func() {
		var page []storage.StateValue
		bytes, done := 0, true
		err := w.b.cfg.Store.States(k, after, !scan.kept, func(v storage.StateValue) bool {
			page = append(page, v)
			bytes += len(v.JSON)
			done = len(page) < statesPage && bytes < statesBytes
			return done
		})
		if err != nil {
			w.b.log.Error("read state", "room", k.Room, "err", err)
		}
		w.post(func() {
			scan.reading = false
			if c.gone || c.cursors[k] != cur || cur.scan != scan {
				return
			}
			for i := range page {
				v := &page[i]
				scan.after = v.Key
				takes := cur.takesState(v.Key)
				if scan.of != nil {
					takes = slices.Contains(cur.filters, scan.of) && scan.of.filter.MatchState(k.NS, k.Room, v.Key)
				}
				if _, old := scan.newer[v.Key]; takes && !old && !cur.asleep {
					w.sendState(cur, v, scan.kept)
				}
			}
			if done {
				cur.scan = nil
				if scan.again {
					w.giveStates(cur, nil)
				}
				return
			}
			w.pay(cur)
		})
	})
}
