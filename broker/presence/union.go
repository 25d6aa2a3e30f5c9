package presence

import (
	"cmp"
	"slices"

	"github.com/madang-chat/madang/storage"
)

// Bounds of what is told by name.
const (
	NamesMost  = 100 // users online in a room; of more only how many is told
	NamesAgain = 80  // below this they are told by name again
	hashesMost = 16  // devices of a user in a room that are told one by one
)

// other is what another node has told.
type other struct {
	boot   uint64
	number uint64 // of the newest page
	begun  bool   // a digest has begun, so that what it has told can be relied on
	digest uint64 // counts them
	rooms  map[storage.RoomKey]roomEntry
	users  map[User]userEntry
}

// nodeBoot is what the log says of a node.
type nodeBoot struct {
	boot uint64
	up   bool
}

// roomEntry is what one node tells of a room: everything there is, in place of what it told before.
type roomEntry struct {
	digest      uint64
	connections uint64
	users       uint64 // guests included
	online      uint64 // without them
	named       bool
	names       []named // where named: of all who are online, in byte order
}

type named struct {
	user    string
	devices devices
}

// devices are those of one user: some by their hashes, and how many more there are.
type devices struct {
	hashes []uint64
	more   uint64
}

func (d *devices) count() int { return len(d.hashes) + int(d.more) }

// userEntry is what one node tells of a user.
type userEntry struct {
	digest  uint64
	devices devices
	active  int64 // ms since the epoch
}

// devicesOf are the devices of a person that in accepts, nil = all.
func (p *person) devicesOf(r *room) (out devices) {
	for d := range p.devices {
		switch {
		case r != nil && r.devices[d] == 0:
		case len(out.hashes) == hashesMost:
			out.more++
		default:
			out.hashes = append(out.hashes, d.hash)
		}
	}
	slices.Sort(out.hashes)
	return out
}

// own is what this node tells of a room.
func (t *Table) own(k storage.RoomKey) (e roomEntry, ok bool) {
	r := t.rooms[k]
	if r == nil {
		return e, false
	}
	e = roomEntry{connections: uint64(len(r.devices)), users: uint64(len(r.persons)), online: uint64(r.online), named: r.named}
	if r.named {
		for p := range r.persons {
			if !p.guest {
				e.names = append(e.names, named{p.key.User, p.devicesOf(r)})
			}
		}
		slices.SortFunc(e.names, func(a, b named) int { return cmp.Compare(a.user, b.user) })
	}
	return e, true
}

// counts reports whether what a node has told is part of the whole: the log alone says which of its boots lives.
func (t *Table) counts(node string, o *other) bool {
	l := t.log[node]
	return l.up && l.boot == o.boot
}

// eachRoom calls f with what every node tells of a room, this one first.
func (t *Table) eachRoom(k storage.RoomKey, f func(e *roomEntry)) {
	if e, ok := t.own(k); ok {
		f(&e)
	}
	for node, o := range t.others {
		if e, ok := o.rooms[k]; ok && t.counts(node, o) {
			f(&e)
		}
	}
}

// sum adds what nodes tell of one room.
type sum struct {
	connections, users, online uint64
	unnamed                    bool
	names                      map[string]devices // of those nodes that tell them
	twice                      uint64             // devices that two nodes tell of
}

func (s *sum) add(e *roomEntry) {
	s.connections += e.connections
	s.users += e.users
	s.online += e.online
	if !e.named {
		s.unnamed = true
		return
	}
	if s.names == nil {
		s.names = make(map[string]devices, len(e.names))
	}
	for _, n := range e.names {
		before, again := s.names[n.user]
		if !again {
			s.names[n.user] = n.devices
			continue
		}
		both, twice := before.union(n.devices)
		s.names[n.user] = both
		s.twice += twice
		s.users--
		s.online--
	}
}

// union returns the devices of both, and how many are in each.
func (d *devices) union(o devices) (out devices, twice uint64) {
	out = devices{hashes: slices.Concat(d.hashes, o.hashes), more: d.more + o.more}
	slices.Sort(out.hashes)
	n := len(out.hashes)
	out.hashes = slices.Compact(out.hashes)
	return out, uint64(n - len(out.hashes))
}

func (t *Table) sum(k storage.RoomKey) (s sum) {
	t.eachRoom(k, s.add)
	return s
}

// mayName decides for a room that is new on this node whether it tells names.
func (t *Table) mayName(k storage.RoomKey) bool {
	s := t.sum(k) // with this node's own, as yet without names
	unnamed := false
	for node, o := range t.others {
		if e, ok := o.rooms[k]; ok && t.counts(node, o) && !e.named {
			unnamed = true
		}
	}
	return s.online < NamesAgain || s.online <= NamesMost && !unnamed
}

// rename looks again whether this node tells the names of a room: from 101 on it does not, and below 80 it does again.
// Every node decides by the same numbers; a room has a roster while all its nodes tell names.
func (t *Table) rename(k storage.RoomKey, s *sum) (changed bool) {
	r := t.rooms[k]
	if r == nil {
		return false
	}
	names := r.named && s.online <= NamesMost || !r.named && s.online < NamesAgain
	if names == r.named {
		return false
	}
	r.named = names
	t.roomChanged(k)
	return true
}

// userNow is how many devices of a user are online, and when the user was active last as far as is known here.
func (t *Table) userNow(k User) (n int, active int64) {
	active = t.left[k].active
	var all devices
	if p := t.users[k]; p != nil {
		all = p.devicesOf(nil)
		active = max(active, p.lastActive())
	}
	for node, o := range t.others {
		e, ok := o.users[k]
		if !ok || !t.counts(node, o) {
			continue
		}
		all, _ = all.union(e.devices)
		active = max(active, e.active)
	}
	return all.count(), active
}
