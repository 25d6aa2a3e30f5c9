package broker

import (
	"slices"

	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// room is a room with readers on this worker.
type room struct {
	key     storage.RoomKey
	cursors []*cursor
	unpin   func()

	// A sweep hands the entries from first to swept to the cursors, in order; at is the next of them.
	sweeping bool
	first    uint64
	swept    uint64 // head at the last sweep
	at       int

	values roomValues
}

// cursor is one client's place in one room: what it gets next. All filters of the client that cover the room share it.
//
// Live, next is head+1. Behind (resumed, replayed, a full socket or window), it is on its client's list and reads pages
// as the socket drains, until it is live again: there is no other way an entry reaches a client.
type cursor struct {
	client *client
	room   *room
	index  int // in room.cursors

	next    uint64
	filters []*sub
	qos     byte // highest of the filters
	plain   bool // every filter takes every type, without No Local: one look decides

	asleep    bool   // the client may not read the room now
	slept     uint64 // next when it fell asleep: what came since is not for it, and a declared gap
	oversees  bool   // one of the filters shows the room in any case ($all/)
	behind    bool   // on the client's list
	fetching  bool   // a page is being read
	page      []*storage.Entry
	announce  bool   // me/sync is due when the head is reached
	from      uint64 // first seq of what me/sync will tell of
	replayTo  uint64 // entries up to here were asked for: no lag of the reader's
	since     int64  // coarse ms when it fell behind
	expired   uint64 // entries left out because their time had passed
	collapsed uint64 // and because a newer one has their collapse_key
	dupUntil  uint64 // entries below may have been sent on the connection before
	lagStored bool   // the store holds a lag for it
	lagSeq    uint64 // that lag, 0 = not known

	values, owed, kept values              // of the room: what the filters take, what is to be sent, and as retained
	owing              bool                // on its client's list for it
	states             map[string]struct{} // state keys that are to be sent
	scan               *stateScan          // all of them are being given
	identified         bool                // a filter has a subscription id
	here               bool                // the client is in the room, as its presence is told
}

func (w *worker) roomOf(k storage.RoomKey) *room {
	r := w.rooms[k]
	if r == nil {
		r = &room{key: k, unpin: w.b.cfg.Store.Pin(k)}
		if st, err := w.b.cfg.Store.Room(k); err == nil && st != nil {
			r.swept = st.Head.Seq
		}
		w.rooms[k] = r
		if k.IsRoom() {
			w.b.cfg.Peers.Want(peerKey(k))
		}
	}
	return r
}

func (w *worker) head(r *room) uint64 {
	st, err := w.b.cfg.Store.Room(r.key)
	if err != nil || st == nil {
		return 0
	}
	return st.Head.Seq
}

// headPos returns the place of the room's newest entry.
func (w *worker) headPos(r *room) uint64 {
	st, err := w.b.cfg.Store.Room(r.key)
	if err != nil || st == nil {
		return 0
	}
	return st.Head.Pos
}

// attach gives c a cursor on the room that starts at next, or moves the one it has back to it (0 = leave it, or start at
// the head). It returns nil when no filter of c covers the room.
func (w *worker) attach(c *client, k storage.RoomKey, next uint64) *cursor {
	cur := c.cursors[k]
	filters := w.covering(c, k)
	if len(filters) == 0 {
		if cur != nil {
			w.drop(cur)
		}
		return nil
	}
	if cur == nil {
		r := w.roomOf(k)
		cur = &cursor{client: c, room: r, index: len(r.cursors), next: w.head(r) + 1, oversees: oversees(filters)}
		r.cursors = append(r.cursors, cur)
		c.cursors[k] = cur
		w.setAccess(cur, cur.next)
		if next > 0 {
			cur.next = next
		}
	} else {
		w.rouse(cur)
		if next > 0 && next < cur.next {
			cur.next, cur.page = next, nil
		}
	}
	cur.filters = filters
	if seen := oversees(filters); seen != cur.oversees {
		cur.oversees = seen
		w.setAccess(cur, cur.room.swept+1)
	}
	cur.qos, cur.plain = 0, true
	cur.identified = false
	var takes values
	for _, s := range filters {
		cur.qos = max(cur.qos, s.qos)
		if s.noLocal || s.id != 0 || !s.takes(k, anyType) {
			cur.plain = false
		}
		takes |= valuesOf(s, k)
		cur.identified = cur.identified || s.id != 0
	}
	w.setValues(cur, takes)
	w.setHere(cur)
	return cur
}

// anyType is no type a message can have: a filter that matches it has a wildcard at the place of the type.
const anyType = "\x01"

// covering returns the subscriptions of c that are about the room.
func (w *worker) covering(c *client, k storage.RoomKey) []*sub {
	var out []*sub
	joined, known := false, false
	all := oversees(c.subs) && mayOversee(c.identity())
	for _, s := range c.subs {
		if !k.IsRoom() {
			if s.coversLog(k) {
				out = append(out, s)
			}
			continue
		}
		if s.filter.All && !all {
			continue
		}
		if name, named := s.filter.Room(); named {
			if name == k.Room {
				out = append(out, s)
			}
			continue
		}
		if s.filter.AllRooms() {
			out = append(out, s)
		}
		if !s.filter.JoinedRooms() {
			continue
		}
		if !known {
			var err error
			joined, err = w.b.cfg.Rules.Access.Joined(c.identity(), k)
			known = err == nil
		}
		if joined {
			out = append(out, s)
		}
	}
	return out
}

// drop takes the cursor away; what it sent may still be acknowledged.
func (w *worker) drop(cur *cursor) {
	r, c := cur.room, cur.client
	last := len(r.cursors) - 1
	moved := r.cursors[last]
	r.cursors[cur.index] = moved
	moved.index = cur.index
	r.cursors[last] = nil
	r.cursors = r.cursors[:last]
	if r.sweeping && moved != cur && cur.index < r.at && last >= r.at && moved.next <= r.swept {
		w.leaveBehind(moved) // the sweep will not come by its new place
	}
	delete(c.cursors, r.key)
	delete(w.asleep, cur)
	w.setValues(cur, 0)
	cur.filters = nil
	w.setHere(cur)
	if cur.behind {
		c.behind = slices.DeleteFunc(c.behind, func(o *cursor) bool { return o == cur })
	}
	cur.behind = false
	c.window.forget(cur)
	if last == 0 {
		delete(w.rooms, r.key)
		r.unpin()
		if r.key.IsRoom() {
			w.b.cfg.Peers.Unwant(peerKey(r.key))
		}
	}
}

// setAccess asks whether the client may read the room. A cursor that may again goes on at next at the latest: what follows
// the change is for it, and the change itself may be older than the news of it.
func (w *worker) setAccess(cur *cursor, next uint64) {
	may, err := w.b.cfg.Rules.Access.MayRead(cur.client.identity(), cur.room.key)
	if err != nil {
		may = false
	}
	may = may || cur.oversees
	switch {
	case cur.asleep && may:
		next = min(max(cur.next, w.head(cur.room)+1), next)
		if cur.next = cur.slept; cur.next < next {
			w.jump(cur, next)
		}
		cur.next, cur.asleep = next, false
		delete(w.asleep, cur)
		w.owe(cur, cur.values, true)
		w.giveStates(cur, nil)
		w.giveLiveOf(cur, cur.filters)
	case !may:
		if !cur.asleep {
			cur.slept = cur.next
		}
		cur.asleep, cur.page = true, nil
		w.dozes(cur, err != nil)
	}
	w.setHere(cur)
}

// accessChanged looks again at who may read the room.
func (w *worker) accessChanged(k storage.RoomKey) {
	if r := w.rooms[k]; r != nil {
		for _, cur := range r.cursors {
			w.setAccess(cur, r.swept+1)
		}
	}
}

// memberships follows joins and leaves into the filters on joined rooms.
func (w *worker) memberships(changes []storage.MemberChange) {
	w.sharing(changes)
	for _, m := range changes {
		for c := range w.joiners[userKey{m.Room.NS, m.User}] {
			if c.gone {
				continue
			}
			if m.Role == "" {
				w.attach(c, m.Room, 0)
				continue
			}
			if c.cursors[m.Room] == nil {
				if cur := w.attach(c, m.Room, max(m.Since, 1)); cur != nil {
					w.fallBehind(cur)
					w.owe(cur, cur.values, true)
					w.giveStates(cur, nil)
					w.b.markDirty(c)
				}
			} else {
				w.attach(c, m.Room, 0)
			}
		}
	}
}

func (b *Broker) markDirty(c *client) { c.dirty() }

// addSub takes a subscription in, in place of one with the same filter.
func (w *worker) addSub(c *client, s *sub) (existed bool) {
	for i, old := range c.subs {
		if old.filter.Raw == s.filter.Raw {
			c.subs = slices.Clone(c.subs)
			c.subs[i] = s
			return true
		}
	}
	c.subs = append(c.subs, s)
	if s.filter.JoinedRooms() {
		w.joiners.add(c)
	}
	if s.filter.MatchMe(topic.MeRead) {
		w.readers.add(c)
	}
	w.setOverseer(c)
	w.look(c, s)
	return false
}

// unjoin forgets what the client's filters are indexed by, as far as none of them is left.
func (w *worker) unjoin(c *client) {
	if !slices.ContainsFunc(c.subs, func(s *sub) bool { return s.filter.JoinedRooms() }) {
		w.joiners.remove(c)
	}
	if c.wants(topic.MeRead) == nil {
		w.readers.remove(c)
	}
	w.setOverseer(c)
	w.unlook(c)
}

// subscribe puts a granted SUBSCRIBE in force; its SUBACK has just been queued.
func (w *worker) subscribe(c *client, r *request) {
	if c.gone {
		return
	}
	for _, e := range r.refused {
		w.tell(c, e)
	}
	joined, all := false, false
	for i, s := range r.subs {
		existed := w.addSub(c, s)
		if room, named := s.filter.Room(); named {
			k := storage.RoomKey{NS: c.sid.NS, Room: room}
			start := r.starts[room]
			if cur := w.attach(c, k, start); cur != nil && start > 0 {
				w.replay(cur)
			}
		}
		if r.retain[i] == retainNew && existed {
			r.retain[i] = retainNever
		}
		w.attachLogs(c, s, r)
		if s.filter.JoinedRooms() {
			joined = true // live values follow when the rooms are known
		} else if s.filter.AllRooms() {
			all = true
		} else if r.retain[i] != retainNever {
			w.giveLive(c, s)
			w.giveRoomValues(c, s)
		}
		if r.retain[i] != retainNever {
			w.giveUsers(c, s)
		}
		if s.filter.MatchMe(topic.MeError) {
			for _, e := range c.notices {
				w.tell(c, e)
			}
			c.notices = nil
		}
	}
	if joined {
		w.joinRooms(c, r)
	}
	if all {
		w.overseeRooms(c, func() {
			for i, s := range r.subs {
				if s.filter.AllRooms() && r.retain[i] != retainNever {
					w.giveLive(c, s)
					w.giveRoomValues(c, s)
				}
			}
		})
	}
	w.serve(c)
}

// replay marks a cursor that was set back on request.
func (w *worker) replay(cur *cursor) {
	cur.replayTo = w.head(cur.room)
	cur.lagStored, cur.lagSeq = cur.client.stored, 0 // the log has the place that was asked for, the reader may be before it
	w.fallBehind(cur)
	cur.announce = true
	cur.from = cur.next
}

func (w *worker) unsubscribe(c *client, pid uint16, names []string) {
	if c.gone {
		return
	}
	codes := make([]byte, len(names))
	for i, name := range names {
		at := slices.IndexFunc(c.subs, func(s *sub) bool { return s.filter.Raw == name })
		if at < 0 {
			codes[i] = 0x11 // no subscription existed (MQTT 5, 3.11.3)
			continue
		}
		c.subs = slices.Delete(slices.Clone(c.subs), at, at+1)
	}
	w.unjoin(c)
	for k := range c.cursors {
		w.attach(c, k, 0)
	}
	c.conn.Queue(c.unsuback(pid, codes), false)
	w.touch(c)
}
