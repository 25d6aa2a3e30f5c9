package broker

import (
	"slices"
	"time"

	"github.com/madang-chat/madang/broker/presence"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// A room's own values, meta and head, are made from the replicated state by every node for its own clients. meta goes out
// with each change, head at most once a second. A new subscription gets both, retained. A client whose socket is full
// owes nothing but its place: it gets the newest there is when the socket has room, and so loses none for good.

// values is a set of them.
type values uint8

const (
	valueMeta values = 1 << iota
	valueHead
	valueReceipts // to members alone, as they come; never owed
	valueState    // keys of their own (states.go)
	valueTally    // counts as they come (cheers.go)
	valuePresence // who is there (online.go)
	valueOccupancy

	valuesOwed = valueMeta | valueHead | valuePresence | valueOccupancy // the newest is given when there is room
)

const (
	headEvery  = time.Second // design.md section 3
	valuesTurn = 64          // values of one client before others have their turn
)

// roomValues is what a worker knows of the values of a room.
type roomValues struct {
	meta     []byte // nil: not made yet
	head     []byte // nil: not made yet
	headOf   headOf
	rewrites uint64 // how often what head says was rewritten

	stateReaders int // cursors that take state
	states       pace[struct{}]
	lives        pace[heldLive]
	hasty        bool // something of these waits for its time

	tallies int                 // cursors that take tally
	reacted map[uint64]struct{} // messages whose reactions are to be told
	cheer   map[string]uint64   // what came, to be told
	tallied bool                // on the worker's list for it

	receipts int                    // cursors that take receipts
	told     map[string]toldReceipt // by member

	watchers int            // cursors that take presence or occupancy
	online   *presence.Room // as they know it; nil = nobody watches

	readers int   // cursors that take head
	at      int64 // coarse ms when head was told last
	due     bool  // it is to be told again
	loading bool  // the newest message is being read
	waiting []*cursor
}

// headOf is what a head was made of: the room may be trimmed, or be another one of that name.
type headOf struct {
	made       int64
	first, seq uint64
}

// valuesOf is the set of values a filter takes of a room.
func valuesOf(s *sub, k storage.RoomKey) (v values) {
	if !k.IsRoom() {
		return 0
	}
	if s.filter.MatchRoom(k.NS, k.Room, topic.Meta) {
		v |= valueMeta
	}
	if s.filter.MatchRoom(k.NS, k.Room, topic.Head) {
		v |= valueHead
	}
	if s.filter.MatchRoom(k.NS, k.Room, topic.Receipts) {
		v |= valueReceipts
	}
	if s.filter.ReadsState() {
		v |= valueState
	}
	if s.filter.MatchRoom(k.NS, k.Room, topic.Tally) {
		v |= valueTally
	}
	if s.filter.MatchRoom(k.NS, k.Room, topic.Presence) {
		v |= valuePresence
	}
	if s.filter.MatchRoom(k.NS, k.Room, topic.Occupancy) {
		v |= valueOccupancy
	}
	return v
}

// setValues notes which values the cursor takes.
func (w *worker) setValues(cur *cursor, v values) {
	r := cur.room
	for _, c := range [...]struct {
		of values
		n  *int
	}{
		{valueHead, &r.values.readers},
		{valueReceipts, &r.values.receipts},
		{valueState, &r.values.stateReaders},
		{valueTally, &r.values.tallies},
	} {
		if cur.values&c.of != 0 {
			*c.n--
		}
		if v&c.of != 0 {
			*c.n++
		}
	}
	w.watchRoom(r, cur.values, v)
	cur.values = v
	if v&valueMeta != 0 && r.values.meta == nil {
		r.values.meta = w.metaOf(r)
	}
}

func (w *worker) metaOf(r *room) []byte {
	st, err := w.b.cfg.Store.Room(r.key)
	if err != nil || st == nil {
		return nil
	}
	return w.b.cfg.Calls.Meta(st)
}

// owe notes that the client is to get values. kept are for a new subscription, and go out as retained.
func (w *worker) owe(cur *cursor, v values, kept bool) {
	v &= cur.values & valuesOwed
	if v == 0 || cur.asleep {
		return
	}
	cur.owed |= v
	if kept {
		cur.kept |= v
	}
	w.pay(cur)
}

// pay puts the cursor on its client's list.
func (w *worker) pay(cur *cursor) {
	if !cur.owing {
		cur.owing = true
		cur.client.owing = append(cur.client.owing, cur)
		cur.client.dirty()
	}
}

// giveValues gives a client what it is owed, as far as its socket takes it and others have their turn.
func (w *worker) giveValues(c *client) {
	for n := 0; len(c.owing) > 0 && w.hasRoom(c); n++ {
		if n == valuesTurn {
			c.dirty()
			return
		}
		cur := c.owing[0]
		if c.owing = c.owing[1:]; len(c.owing) == 0 {
			c.owing = nil
		}
		cur.owing = false
		if c.cursors[cur.room.key] == cur && !cur.asleep {
			w.giveOwed(cur)
			if !w.giveOwedStates(cur) {
				w.pay(cur)
				return
			}
		}
	}
}

func (w *worker) giveOwed(cur *cursor) {
	r := cur.room
	if cur.owed&valueMeta != 0 {
		if meta := w.metaOf(r); meta != nil {
			w.sendValue(cur, topic.Meta, valueMeta, meta)
		}
		cur.owed &^= valueMeta
	}
	w.giveOnline(cur)
	switch {
	case cur.owed&valueHead == 0:
	case w.loadHead(r):
		w.sendValue(cur, topic.Head, valueHead, r.values.head)
	case r.values.loading: // it is sent when it is there
		r.values.waiting = append(r.values.waiting, cur)
	default: // the room has no entries
		cur.owed, cur.kept = 0, 0
	}
}

// sendValue sends one of the room's own values, as a retained one where it is owed as such.
func (w *worker) sendValue(cur *cursor, name string, v values, payload []byte) {
	kept := cur.kept&v != 0
	cur.owed &^= v
	cur.kept &^= v
	k := cur.room.key
	w.sendTo(cur, topic.RoomTopic(k.NS, k.Room, name), payload, kept, func(s *sub) bool {
		return s.filter.MatchRoom(k.NS, k.Room, name)
	})
}

// sendTo sends what is no entry to the client of a cursor, with the ids of the subscriptions that match.
func (w *worker) sendTo(cur *cursor, name string, payload []byte, retain bool, match func(*sub) bool) {
	c := cur.client
	p := publish{topic: name, payload: payload, retain: retain, text: true}
	for _, s := range cur.filters {
		if s.id != 0 && c.version == version5 && match(s) {
			p.ids = append(p.ids, s.id)
		}
	}
	f := p.encode(nil, c.version)
	w.send(c, &f, nil, 0)
}

// loadHead has the room's head made, which reads the newest message, and reports whether it is there. A room without entries
// has none.
func (w *worker) loadHead(r *room) bool {
	v := &r.values
	st, err := w.b.cfg.Store.Room(r.key)
	if err != nil || st == nil || st.Head.Seq == 0 || v.loading {
		return false
	}
	of := headOf{st.Made, st.Head.First, st.Head.Seq}
	if v.head != nil && v.headOf == of {
		return true
	}
	v.loading = true
	rewrites := v.rewrites
	w.b.read(func() {
		last, edit, err := w.b.cfg.Store.LastMessage(r.key)
		if err != nil {
			w.b.log.Error("read the newest message", "room", r.key.Room, "err", err)
		}
		// Of a room that was made anew meanwhile nothing may be told under what it was before.
		now, gone := w.b.cfg.Store.Room(r.key)
		same := gone == nil && now != nil && now.Made == of.made
		if last != nil && (!same || last.Seq < now.Head.First) {
			last, edit = nil, nil
		}
		w.post(func() {
			v.loading = false
			v.head, v.headOf = w.b.cfg.Calls.Head(st.Head, last, edit), of
			if last != nil && last.Expiry != 0 || err != nil || rewrites != v.rewrites { // made again the next time
				v.headOf.seq = 0
			}
			moved := w.head(r) != of.seq || rewrites != v.rewrites // and who waits was told so while this one was made
			waiting := v.waiting
			v.waiting = nil
			for _, cur := range waiting {
				switch {
				case cur.client.gone || cur.owed&valueHead == 0 || cur.asleep || cur.client.cursors[r.key] != cur:
				case moved:
					w.pay(cur)
				default:
					w.sendValue(cur, topic.Head, valueHead, v.head)
				}
			}
		})
	})
	return false
}

// headMoved tells head to who takes it, now or when a second has passed.
func (w *worker) headMoved(r *room) {
	v := &r.values
	if v.readers == 0 || v.due {
		return
	}
	if w.b.now()-v.at < (headEvery + coarseTick).Milliseconds() {
		v.due = true
		w.headsDue = append(w.headsDue, r)
		return
	}
	w.tellHead(r)
}

func (w *worker) tellHead(r *room) {
	r.values.at = w.b.now()
	for _, cur := range r.cursors {
		w.owe(cur, valueHead, false)
	}
}

// rewritten tells head again: the newest message may be another one than when it was made.
func (w *worker) rewritten(k storage.RoomKey) {
	if r := w.rooms[k]; r != nil {
		r.values.rewrites++
		r.values.headOf.seq = 0
		w.headMoved(r)
	}
}

// tellHeads tells the heads whose second has passed. Once a second.
func (w *worker) tellHeads() {
	due := w.headsDue
	w.headsDue = nil
	for _, r := range due {
		if r.values.due = false; w.rooms[r.key] == r {
			w.headMoved(r)
		}
	}
}

// settingsChanged tells meta to who takes it, if it is another one now.
func (w *worker) settingsChanged(k storage.RoomKey) {
	r := w.rooms[k]
	if r == nil {
		return
	}
	meta := w.metaOf(r)
	if string(meta) == string(r.values.meta) {
		return
	}
	if r.values.meta = meta; meta == nil { // the room is gone
		return
	}
	for _, cur := range r.cursors {
		w.owe(cur, valueMeta, false)
	}
}

// giveRoomValues gives a new subscription, or one that goes on, the values of its rooms.
func (w *worker) giveRoomValues(c *client, s *sub) {
	for k, cur := range c.cursors {
		if !slices.Contains(cur.filters, s) {
			continue
		}
		v := valuesOf(s, k)
		w.owe(cur, v, true)
		if v&valueState != 0 {
			w.giveStates(cur, s)
		}
	}
}
