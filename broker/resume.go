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
}

// resume gives a stored session its cursors at the places it left. Reading the places may touch the disk, so it happens
// outside the worker; until it is done, the session stays where the store has it.
func (w *worker) resume(c *client, sess *storage.Session) {
	if len(c.subs) == 0 {
		return
	}
	c.resuming = sess
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
			}
			c.resuming = nil
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
		next, err := b.cfg.Store.SeqAfter(storage.RoomKey{NS: c.sid.NS, Room: room}, max(sess.Place, pos))
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
	if !wild {
		return out, nil
	}
	err := b.eachRoom(c, func(r storage.UserRoom) error { return add(r.Room, r.Since, wildPos) })
	return out, err
}

// roomsPage is how many rooms of a user's list are read at a time.
const roomsPage = 500

// eachRoom calls f for the rooms of c's user, at most as many as a user may have.
func (b *Broker) eachRoom(c *client, f func(storage.UserRoom) error) error {
	after, n := "", 0
	for {
		page, err := b.cfg.Store.UserRooms(c.sid.NS, c.sid.User, after, roomsPage)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, r := range page {
			if n++; b.cfg.Limits.RoomsPerUser > 0 && n > b.cfg.Limits.RoomsPerUser {
				return nil
			}
			if err := f(r); err != nil {
				return err
			}
		}
		after = page[len(page)-1].Room
	}
}

// maxReplayRooms is over how many rooms $last goes (design.md, Subscribing).
const maxReplayRooms = 100

// joinRooms gives a client whose new filter covers its joined rooms a cursor on each, at the head or set back by a replay.
func (w *worker) joinRooms(c *client, replay *topic.Replay) {
	w.b.read(func() {
		var rooms []storage.UserRoom
		err := w.b.eachRoom(c, func(r storage.UserRoom) error { rooms = append(rooms, r); return nil })
		starts := make([]uint64, len(rooms))
		for i := range rooms {
			if replay == nil || i >= maxReplayRooms || err != nil {
				break
			}
			if next, bad := w.b.replayStart(storage.RoomKey{NS: c.sid.NS, Room: rooms[i].Room}, *replay); bad == nil {
				starts[i] = next
			}
		}
		w.post(func() {
			if c.gone {
				return
			}
			if err != nil {
				w.b.log.Error("read room list", "user", c.sid.User, "err", err)
				c.disconnect(reasonImplementation)
				return
			}
			for i, r := range rooms {
				cur := w.attach(c, storage.RoomKey{NS: c.sid.NS, Room: r.Room}, starts[i])
				if cur != nil && starts[i] > 0 {
					w.replay(cur)
				}
			}
			w.serve(c)
		})
	})
}
