package broker

import (
	"math"

	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// start is where a cursor begins in a room.
type start struct {
	room string
	next uint64
	lag  bool // from a stored lag: entries from here on may have been sent before

	replay bool // asked for
}

// resume gives a stored session its cursors at the places it left. Reading the places may touch the disk, so it happens
// outside the worker; until it is done, the session stays where the store has it.
func (w *worker) resume(c *client, sess *storage.Session) {
	if len(c.subs) == 0 {
		return
	}
	c.resuming, c.sentPos = sess, sess.Place
	subs := c.subs
	w.b.read(func() {
		starts, err := w.b.places(c, sess, subs)
		w.post(func() {
			if c.gone {
				return
			}
			if err != nil {
				w.b.log.Error("resume session", "user", c.sid.User, "device", c.device, "err", err)
				c.disconnect(reasonImplementation)
				return
			}
			for _, s := range starts {
				w.resumeAt(c, s)
			}
			for _, s := range c.subs {
				w.giveLive(c, s)
				w.giveRoomValues(c, s)
				w.giveUsers(c, s)
			}
			c.resuming = nil
			if overseesAll(c.subs) {
				w.overseeRooms(c, nil)
			}
			w.serve(c)
		})
	})
}

func (w *worker) resumeAt(c *client, s start) {
	k := storage.RoomKey{NS: c.sid.NS, Room: s.room}
	cur := w.attach(c, k, s.next)
	if cur == nil || cur.asleep {
		return
	}
	if cur.qos == 0 { // QoS 0 places are not stored
		cur.next = w.head(cur.room) + 1
		return
	}
	cur.lagStored = s.lag
	if s.lag {
		cur.dupUntil = s.next + c.window.limit
	}
	w.fallBehind(cur)
	cur.announce = true
}

// places finds where the session goes on in every room its filters cover.
func (b *Broker) places(c *client, sess *storage.Session, subs []*sub) ([]start, error) {
	lags := map[string]uint64{}
	for _, l := range sess.Lag {
		lags[l.Room] = l.Seq
	}
	var out []start
	seen := map[string]bool{}
	add := func(room string, since, pos uint64) error {
		if seen[room] {
			return nil
		}
		seen[room] = true
		if seq, ok := lags[room]; ok {
			out = append(out, start{room: room, next: seq, lag: true})
			return nil
		}
		next, err := b.seqAfter(storage.RoomKey{NS: c.sid.NS, Room: room}, max(sess.Place, pos))
		out = append(out, start{room: room, next: max(next, since)})
		return err
	}
	wild, wildPos := false, uint64(math.MaxUint64)
	named := map[string]uint64{}
	for _, s := range subs {
		if room, ok := s.filter.Room(); ok {
			if pos, again := named[room]; !again || s.pos < pos {
				named[room] = s.pos
			}
		} else if s.filter.JoinedRooms() {
			wild, wildPos = true, min(wildPos, s.pos)
		}
	}
	for room, pos := range named {
		if wild {
			pos = min(pos, wildPos)
		}
		if err := add(room, 0, pos); err != nil {
			return nil, err
		}
	}
	for _, k := range c.ownLogs() {
		pos := uint64(math.MaxUint64)
		for _, s := range subs {
			if s.coversLog(k) {
				pos = min(pos, s.pos)
			}
		}
		if pos == math.MaxUint64 {
			continue
		}
		if err := add(k.Room, 0, pos); err != nil {
			return nil, err
		}
	}
	if !wild {
		return out, nil
	}
	err := b.eachRoom(c, func(r storage.UserRoom) error { return add(r.Room, r.Since, wildPos) })
	return out, err
}

// seqAfter returns where a session at that place goes on in a room. When retention has removed entries after it, which
// ones is no longer known; it is 1 then, and the cursor declares the gap up to what is left.
func (b *Broker) seqAfter(k storage.RoomKey, pos uint64) (uint64, error) {
	next, err := b.cfg.Store.SeqAfter(k, pos)
	if err != nil {
		return 0, err
	}
	if r, err := b.cfg.Store.Room(k); err != nil || r == nil || r.Head.GonePos <= pos {
		return next, err
	}
	return 1, nil
}

// roomsPage is how many rooms of a user's list are read at a time.
const roomsPage = 500

// eachRoom calls f for the rooms of c's user, at most as many as a user may have, and for as many direct rooms, which others
// make: neither takes the place of the other.
func (b *Broker) eachRoom(c *client, f func(storage.UserRoom) error) error {
	after, n, direct := "", 0, 0
	limit := b.limits().RoomsPerUser
	for {
		page, err := b.cfg.Store.UserRooms(c.sid.NS, c.sid.User, after, roomsPage)
		if err != nil || len(page) == 0 {
			return err
		}
		after = page[len(page)-1].Room
		for _, r := range page {
			count := &n
			if topic.IsDirect(r.Room) {
				count = &direct
			}
			if *count++; limit <= 0 || *count <= limit {
				if err := f(r); err != nil {
					return err
				}
			} else if count == &n {
				if r.Room > topic.AfterDirect {
					return nil
				}
			} else if after < topic.AfterDirect {
				after = topic.AfterDirect
				break
			}
		}
	}
}

// maxReplayRooms is over how many rooms $last goes (design.md, Subscribing).
const maxReplayRooms = 100

// joinRooms gives a client whose new filter covers its joined rooms a cursor on each: where the filter began, or set back
// by a replay. The SUBACK is out already, so what is appended from here on belongs to the client, however long the list
// of rooms takes to read.
func (w *worker) joinRooms(c *client, r *request) {
	pos := w.b.cfg.Store.Pos()
	if c.joining++; c.joining == 1 {
		c.joinPos = pos
	}
	w.b.read(func() {
		starts, err := w.b.joinedStarts(c, pos, r.wild)
		w.post(func() {
			c.joining--
			if c.gone {
				return
			}
			if err != nil {
				w.b.log.Error("read room list", "user", c.sid.User, "err", err)
				c.disconnect(reasonImplementation)
				return
			}
			for _, s := range starts {
				w.joinAt(c, s)
			}
			for i, s := range r.subs {
				if s.filter.JoinedRooms() && r.retain[i] != retainNever {
					w.giveLive(c, s)
					w.giveRoomValues(c, s)
				}
			}
			w.serve(c)
		})
	})
}

// joinedStarts finds where a filter that began at pos goes on in each room of the user: replay counts for the first
// maxReplayRooms of them.
func (b *Broker) joinedStarts(c *client, pos uint64, replay *topic.Replay) (out []start, err error) {
	err = b.eachRoom(c, func(r storage.UserRoom) error {
		k := storage.RoomKey{NS: c.sid.NS, Room: r.Room}
		if replay != nil && len(out) < maxReplayRooms {
			if next, bad := b.replayStart(k, *replay); bad == nil {
				out = append(out, start{room: r.Room, next: next, replay: true})
				return nil
			}
		}
		next, err := b.cfg.Store.SeqAfter(k, pos)
		out = append(out, start{room: r.Room, next: max(next, r.Since)})
		return err
	})
	return out, err
}

// joinAt starts a cursor of a filter on joined rooms. One that is there already stays where it is, but for a replay.
func (w *worker) joinAt(c *client, s start) {
	k := storage.RoomKey{NS: c.sid.NS, Room: s.room}
	next := s.next
	if c.cursors[k] != nil && !s.replay {
		next = 0
	}
	cur := w.attach(c, k, next)
	switch {
	case cur == nil:
	case s.replay:
		w.replay(cur)
	case cur.next <= w.head(cur.room):
		w.fallBehind(cur)
	}
}
