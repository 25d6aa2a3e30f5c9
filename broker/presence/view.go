package presence

import (
	"cmp"
	"maps"
	"slices"

	"github.com/madang-chat/madang/storage"
)

// Online is one user of a room's roster.
type Online struct {
	User    string `json:"user"`
	Devices int    `json:"devices"`
}

// Room is who is in a room, as all nodes see it. It is not changed once it was handed out.
type Room struct {
	V           uint64   // counts what this node has told of its roster
	Count       bool     // there are too many for a roster
	Online      []Online // in byte order; without Count
	Users       uint64   // guests included
	Connections uint64
}

// Event is a change of a roster.
type Event struct {
	V       uint64
	Event   string // join, leave, update
	User    string
	Devices int
}

// RoomNews is what is new of a room.
type RoomNews struct {
	Key       storage.RoomKey
	Room      *Room // as it is now
	Events    []Event
	Turned    bool // between a roster and a count; without events
	Occupancy bool // how many there are is to be told
}

// UserNews is what is new of a user.
type UserNews struct {
	User
	Devices int
	Active  int64 // wall clock, ms; as far as is known
}

// occupancyEvery is how often a room is told how many there are, in ms.
const occupancyEvery = 1000

// view is what the readers of a room on this node have been told.
type view struct {
	watched     int // by so many
	room        *Room
	at          int64 // when occupancy was told
	users       uint64
	connections uint64
}

// Watch says that there are readers of a room's presence or occupancy, and returns how it stands. News of it tell what
// comes after.
func (t *Table) Watch(k storage.RoomKey) *Room {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.views[k]
	if v == nil {
		v = &view{room: t.look(k)}
		v.users, v.connections, v.at = v.room.Users, v.room.Connections, t.now
		t.views[k] = v
	}
	v.watched++
	return v.room
}

// Unwatch takes a Watch back.
func (t *Table) Unwatch(k storage.RoomKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if v := t.views[k]; v != nil {
		if v.watched--; v.watched <= 0 {
			delete(t.views, k)
			delete(t.late, k)
		}
	}
}

// RoomNow returns who is in a room.
func (t *Table) RoomNow(k storage.RoomKey) *Room {
	t.mu.Lock()
	defer t.mu.Unlock()
	if v := t.views[k]; v != nil {
		if _, dirty := t.dirtyRooms[k]; !dirty {
			return v.room
		}
	}
	r := t.look(k)
	if v := t.views[k]; v != nil {
		r.V = v.room.V
	}
	return r
}

// UserNow returns how many devices of a user are online, and when the user was active last as far as it is known here. Whoever
// is told so hears of what comes next, also when it is what was told before.
func (t *Table) UserNow(k User) (devices int, active int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	devices, active = t.userNow(k)
	if devices != t.told[k] {
		t.ahead[k] = struct{}{}
	}
	return devices, active
}

// look makes a picture of a room.
func (t *Table) look(k storage.RoomKey) *Room {
	s := t.sum(k)
	r := &Room{Count: s.unnamed, Users: s.users, Connections: s.connections - min(s.twice, s.connections)}
	if !r.Count {
		r.Online = make([]Online, 0, len(s.names))
		for user, d := range s.names {
			r.Online = append(r.Online, Online{user, d.count()})
		}
		slices.SortFunc(r.Online, func(a, b Online) int { return cmp.Compare(a.User, b.User) })
	}
	return r
}

// Turn moves the time to now (ms, monotonic), gives up what is due, and returns what is new since the last Turn.
func (t *Table) Turn(now int64) (rooms []RoomNews, users []UserNews) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now = now
	for _, q := range []*queue[*Device]{&t.graces, &t.settles} {
		q.ripe(now, func(d *Device, at int64) {
			if d.until == at {
				t.giveUp(d)
			}
		})
	}
	for k := range t.dirtyRooms {
		s := t.sum(k)
		t.rename(k, &s)
		if v := t.views[k]; v != nil {
			if n, some := t.see(k, v); some {
				rooms = append(rooms, n)
			}
		}
	}
	clear(t.dirtyRooms)
	for k := range t.late {
		v := t.views[k]
		if now-v.at < occupancyEvery {
			continue
		}
		delete(t.late, k)
		if t.tellsOccupancy(v) {
			rooms = append(rooms, RoomNews{Key: k, Room: v.room, Occupancy: true})
		}
	}
	for k := range t.dirtyUsers {
		n, active := t.userNow(k)
		if _, ahead := t.ahead[k]; n == t.told[k] && !ahead {
			continue
		}
		if t.told[k] = n; n == 0 {
			delete(t.told, k)
		}
		users = append(users, UserNews{User: k, Devices: n, Active: active})
	}
	clear(t.dirtyUsers)
	clear(t.ahead)
	t.leaving.ripe(now, func(k User, at int64) {
		if t.left[k].until == at {
			delete(t.left, k)
		}
	})
	t.wakePeers()
	return rooms, users
}

// see looks at a room again and returns what is new of it.
func (t *Table) see(k storage.RoomKey, v *view) (n RoomNews, some bool) {
	was, is := v.room, t.look(k)
	is.V = was.V
	v.room = is
	n = RoomNews{Key: k, Room: is}
	switch {
	case was.Count != is.Count:
		is.V++
		n.Turned = true
	case !is.Count:
		n.Events = compare(was.Online, is.Online, is.V)
		is.V += uint64(len(n.Events))
	}
	if v.users != is.Users || v.connections != is.Connections {
		if n.Occupancy = t.now-v.at >= occupancyEvery; n.Occupancy {
			t.tellsOccupancy(v)
		} else {
			t.late[k] = struct{}{}
		}
	}
	return n, n.Turned || len(n.Events) > 0 || n.Occupancy
}

// tellsOccupancy notes that it is told now, and reports whether it is another one.
func (t *Table) tellsOccupancy(v *view) bool {
	if v.users == v.room.Users && v.connections == v.room.Connections {
		return false
	}
	v.users, v.connections, v.at = v.room.Users, v.room.Connections, t.now
	return true
}

// compare returns what turns one roster into another, numbered after v.
func compare(was, is []Online, v uint64) (out []Event) {
	before := make(map[string]int, len(was))
	for _, o := range was {
		before[o.User] = o.Devices
	}
	event := func(what, user string, devices int) {
		v++
		out = append(out, Event{v, what, user, devices})
	}
	for _, o := range is {
		n, there := before[o.User]
		delete(before, o.User)
		switch {
		case !there:
			event("join", o.User, o.Devices)
		case n != o.Devices:
			event("update", o.User, o.Devices)
		}
	}
	for _, user := range slices.Sorted(maps.Keys(before)) {
		event("leave", user, 0)
	}
	return out
}
