package broker

import (
	"context"
	"time"

	"github.com/madang-chat/madang/broker/presence"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// Who is online is made by every node for its own clients, from the tables of all nodes (package presence). A connection is
// in the table from its CONNACK to its end, and in a room while one of its filters takes what is said there and may.
// Nothing of it is in the log but when users were active last.

const (
	presenceTick  = 100 * time.Millisecond
	presenceAgain = 100 * time.Millisecond // before a page that was not answered is told again; then doubled up to
	presencePause = 2 * time.Second
)

// Questions of nodes that are no claims begin with a zero, which no claim does, and a byte that says what they are.
const (
	askPresence = "\x00p"
	askDevices  = "\x00d"
	askKick     = "\x00k"
)

// keepPresence tells clients who comes and goes.
func (b *Broker) keepPresence() {
	each(b.ctx, presenceTick, func(context.Context) {
		rooms, users := b.presence.Turn(b.millis())
		if len(rooms) > 0 {
			for _, w := range b.workers {
				w.post(func() {
					for i := range rooms {
						w.roomNews(&rooms[i])
					}
				})
			}
		}
		if b.cfg.UserNews != nil {
			for i := range users {
				b.cfg.UserNews(users[i].NS, users[i].User.User, users[i].Devices)
			}
		}
		b.userNews(users)
	})
}

// knowNodes takes what the log says of nodes now.
func (b *Broker) knowNodes() {
	nodes, err := b.cfg.Store.Nodes()
	if err != nil {
		b.log.Error("read nodes", "err", err)
	}
	for _, n := range nodes {
		b.presence.NodeChanged(presence.NodeState{Node: n.Name, Boot: n.Boot, Up: n.Up})
	}
}

// acts notes that the client does something, other than to keep its connection.
func (c *client) acts() {
	if c.online != nil {
		c.b.presence.Act(c.online, c.b.now())
	}
}

// ending says how the connection of c ends.
func (c *client) ending() presence.How {
	switch reason := c.reason.Load(); {
	case c.goodbyes.Load(), reason == reasonAdministrative+1, reason == reasonNotAuthorized+1:
		return presence.Gone
	case c.taken.Load():
		return presence.Moved
	}
	return presence.Cut
}

// tellPresence tells another node of this one's clients: everything, and from then on what changes.
func (b *Broker) tellPresence(ctx context.Context, node string) {
	m := b.presence.Meet(node)
	pause := presenceAgain
	for {
		var wait <-chan time.Time
		page := m.Page()
		if page != nil {
			answer := byte(0)
			for _, a := range b.cfg.Peers.Ask(ctx, node, append([]byte(askPresence), page...)) {
				if len(a) > 0 {
					answer = a[0]
				}
			}
			m.Answered(answer)
			if answer != 0 {
				pause = presenceAgain
				continue
			}
			wait = time.After(pause)
			pause = min(2*pause, presencePause)
		}
		wake := m.Wake()
		if wait != nil {
			wake = nil
		}
		select {
		case <-wake:
		case <-wait:
		case <-ctx.Done(): // also when the nodes meet anew
			return
		}
	}
}

// setHere notes whether the client of a cursor is in its room.
func (w *worker) setHere(cur *cursor) {
	here := false
	if !cur.asleep {
		for _, s := range cur.filters {
			here = here || s.filter.ReadsContent() && !s.filter.All // who oversees rooms is in none
		}
	}
	if here == cur.here || cur.client.online == nil {
		return
	}
	if cur.here = here; here {
		w.b.presence.Enter(cur.client.online, cur.room.key)
	} else {
		w.b.presence.Leave(cur.client.online, cur.room.key)
	}
}

// watchRoom follows how many cursors of the room take presence or occupancy.
func (w *worker) watchRoom(r *room, was, is values) {
	const both = valuePresence | valueOccupancy
	v := &r.values
	if was&both != 0 {
		v.watchers--
	}
	if is&both != 0 {
		v.watchers++
	}
	switch {
	case v.watchers > 0 && v.online == nil:
		v.online = w.b.presence.Watch(r.key)
	case v.watchers == 0 && v.online != nil:
		v.online = nil
		w.b.presence.Unwatch(r.key)
	}
}

// roster is the whole of a room's presence.
func roster(r *presence.Room) []byte {
	if r.Count {
		return []byte(`{"mode":"count"}`)
	}
	return toJSON(struct {
		Mode   string            `json:"mode"`
		V      uint64            `json:"v"`
		Online []presence.Online `json:"online"`
	}{"full", r.V, r.Online})
}

func occupancy(r *presence.Room) []byte {
	return toJSON(struct {
		Users       uint64 `json:"users"`
		Connections uint64 `json:"connections"`
	}{r.Users, r.Connections})
}

// rosterEvent is a change of a roster, as it is told. How many devices there are is told where that is all that changed.
type rosterEvent struct {
	V       uint64 `json:"v"`
	Event   string `json:"event"`
	User    string `json:"user"`
	Devices int    `json:"devices,omitempty"`
}

// roomNews tells the readers of a room who came and went, and how many there are.
func (w *worker) roomNews(n *presence.RoomNews) {
	r := w.rooms[n.Key]
	if r == nil || r.values.online == nil {
		return
	}
	before := r.values.online.V
	r.values.online = n.Room
	var events [][]byte
	for _, e := range n.Events {
		if e.V > before { // else those who are here know it from the roster
			out := rosterEvent{V: e.V, Event: e.Event, User: e.User}
			if e.Event == "update" {
				out.Devices = e.Devices
			}
			events = append(events, toJSON(out))
		}
	}
	turned := n.Turned && n.Room.V > before
	for _, cur := range r.cursors {
		if cur.asleep || w.apart(cur) {
			continue
		}
		if n.Occupancy {
			w.owe(cur, valueOccupancy, false)
		}
		switch c := cur.client; {
		case cur.values&valuePresence == 0 || len(events) == 0 && !turned:
		case cur.owed&valuePresence != 0: // it is to get all of it
		case turned || c.conn.Queued() >= w.b.queueRoom():
			w.owe(cur, valuePresence, false)
		default:
			for _, e := range events {
				w.sendValue(cur, topic.Presence, valuePresence, e)
			}
		}
	}
}

// giveOnline gives a cursor what it is owed of who is in its room.
func (w *worker) giveOnline(cur *cursor) {
	online := cur.room.values.online
	if online == nil {
		cur.owed &^= valuePresence | valueOccupancy
		return
	}
	if cur.owed&(valuePresence|valueOccupancy) != 0 && w.apart(cur) {
		online = &presence.Room{Online: []presence.Online{}}
	}
	if cur.owed&valuePresence != 0 {
		w.sendValue(cur, topic.Presence, valuePresence, roster(online))
	}
	if cur.owed&valueOccupancy != 0 {
		w.sendValue(cur, topic.Occupancy, valueOccupancy, occupancy(online))
	}
}

// apart reports whether the reader is one of a direct room's two with a block between them. Then nobody is there for the
// reader, and nobody has read anything.
func (w *worker) apart(cur *cursor) bool {
	if !topic.IsDirect(cur.room.key.Room) {
		return false
	}
	apart, err := w.b.cfg.Calls.Apart(cur.client.identity(), cur.room.key)
	if err != nil {
		w.b.log.Error("read blocks", "room", cur.room.key.Room, "err", err)
	}
	return apart || err != nil
}

// parted tells the readers of two users' direct room who is there now: nobody while one has blocked the other.
func (w *worker) parted(ns, one, two string) {
	r := w.rooms[storage.RoomKey{NS: ns, Room: topic.DirectRoom(one, two)}]
	if r == nil {
		return
	}
	for _, cur := range r.cursors {
		w.owe(cur, valuePresence|valueOccupancy, false)
	}
}
