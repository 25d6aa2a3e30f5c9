package broker

import (
	"slices"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/storage"
)

// Admins and auditors read every room of their namespace with $all/ (design.md, Subscribing). Such a client has a cursor
// as any reader has, made for the rooms there are when it subscribes, and for others when something happens in them. It
// reads whatever MayRead says. A subscription is written to the audit log of the node.

// maxOverseen is how many rooms a client reads with a $all/ filter that names none; what happens in more is not shown.
const maxOverseen = 100_000

// overseers are a worker's clients with a $all/ filter that names no room, by namespace.
type overseers map[string]map[*client]struct{}

func (o overseers) add(c *client) {
	if o[c.sid.NS] == nil {
		o[c.sid.NS] = map[*client]struct{}{}
	}
	o[c.sid.NS][c] = struct{}{}
}

func (o overseers) remove(c *client) {
	delete(o[c.sid.NS], c)
	if len(o[c.sid.NS]) == 0 {
		delete(o, c.sid.NS)
	}
}

// mayOversee reports whether id may use $all/ now.
func mayOversee(id auth.Identity) bool { return id.Admin || id.Auditor }

// oversees reports whether one of the filters shows the room to its holder whether they may read it or not.
func oversees(filters []*sub) bool {
	return slices.ContainsFunc(filters, func(s *sub) bool { return s.filter.All })
}

func overseesAll(subs []*sub) bool {
	return slices.ContainsFunc(subs, func(s *sub) bool { return s.filter.AllRooms() })
}

// setOverseer notes whether c has a filter that covers every room.
func (w *worker) setOverseer(c *client) {
	if overseesAll(c.subs) {
		w.overseers.add(c)
	} else {
		w.overseers.remove(c)
	}
	w.overseeing.Store(len(w.overseers) > 0)
}

// overseeRooms gives c a cursor on the rooms of its namespace, from now on, then calls done, unless it is nil, in the
// worker's goroutine.
func (w *worker) overseeRooms(c *client, done func()) {
	pos := w.b.cfg.Store.Pos()
	c.overseenFrom = pos
	w.oversee(c, func() ([]start, error) { return w.b.roomsFrom(c.sid.NS, pos) }, func([]start) {
		if done != nil {
			done()
		}
	})
}

// oversee gives c the cursors that find returns, which may read the disk, then calls done in the worker's goroutine.
func (w *worker) oversee(c *client, find func() ([]start, error), done func([]start)) {
	w.b.read(func() {
		starts, err := find()
		w.post(func() {
			if c.gone {
				return
			}
			if err != nil {
				w.b.log.Error("read rooms for $all", "user", c.sid.User, "err", err)
				c.disconnect(reasonImplementation)
				return
			}
			for _, s := range starts {
				w.joinAt(c, s)
			}
			done(starts)
			w.serve(c)
		})
	})
}

// roomsFrom finds what comes after pos in every room of the namespace.
func (b *Broker) roomsFrom(ns string, pos uint64) (out []start, err error) {
	after := ""
	for len(out) < maxOverseen {
		page, err := b.cfg.Store.RoomIDs(ns, after, roomsPage)
		if err != nil || len(page) == 0 {
			return out, err
		}
		some, err := b.startsAfter(ns, page, pos)
		if err != nil {
			return nil, err
		}
		out = append(out, some...)
		after = page[len(page)-1]
	}
	return out, nil
}

// startsAfter finds what comes after pos in rooms.
func (b *Broker) startsAfter(ns string, rooms []string, pos uint64) ([]start, error) {
	out := make([]start, 0, len(rooms))
	for _, room := range rooms {
		next, err := b.cfg.Store.SeqAfter(storage.RoomKey{NS: ns, Room: room}, pos)
		if err != nil {
			return nil, err
		}
		out = append(out, start{room: room, next: next})
	}
	return out, nil
}

// overseen is told of rooms in which something has happened: who reads every room may have no cursor on them yet.
func (w *worker) overseen(changed []storage.RoomKey) {
	for ns, clients := range w.overseers {
		for c := range clients {
			var unknown []string
			for _, k := range changed {
				if k.NS == ns && k.IsRoom() && c.cursors[k] == nil && len(c.cursors)+len(unknown) < maxOverseen {
					unknown = append(unknown, k.Room)
				}
			}
			if len(unknown) > 0 && mayOversee(c.identity()) {
				w.overseeMore(c, unknown)
			}
		}
	}
}

// overseeMore gives c a cursor on rooms that it knew nothing of, and the values they have.
func (w *worker) overseeMore(c *client, rooms []string) {
	pos := c.overseenFrom
	w.oversee(c, func() ([]start, error) { return w.b.startsAfter(c.sid.NS, rooms, pos) }, func(starts []start) {
		for _, s := range starts {
			if cur := c.cursors[storage.RoomKey{NS: c.sid.NS, Room: s.room}]; cur != nil {
				w.owe(cur, cur.values, false)
				w.giveStates(cur, nil)
			}
		}
	})
}
