package presence

import (
	"hash/fnv"
	"sync"
	"sync/atomic"

	"github.com/madang-chat/madang/storage"
)

// User names a user.
type User struct{ NS, User string }

// Times of a Table, in ms.
const (
	settle      = 2_000  // for a device that is back to be in its rooms again
	activeEvery = 60_000 // between two times the log is told of a user's activity
)

// Table is what one node knows of who is online. It is safe for concurrent use.
type Table struct {
	node  string
	boot  uint64
	grace int64
	page  int // bytes of a page

	mu      sync.Mutex
	now     int64 // ms, of the last Turn: monotonic
	devices map[storage.SessionID]*Device
	users   map[User]*person
	rooms   map[storage.RoomKey]*room
	others  map[string]*other   // what other nodes have told
	log     map[string]nodeBoot // what the log says of nodes
	peers   map[string]*peer    // what other nodes are to be told

	graces, settles queue[*Device] // devices whose rooms are given up then

	dirtyRooms map[storage.RoomKey]struct{} // that may look different since the last Turn
	dirtyUsers map[User]struct{}
	told       map[User]int      // devices of those who are online, as they were told
	ahead      map[User]struct{} // who was looked at since, when it was something else
	left       map[User]leftAt
	leaving    queue[User] // of left
	views      map[storage.RoomKey]*view
	late       map[storage.RoomKey]struct{} // whose occupancy waits for its second

	active  map[User]*person // the log is to be told of them
	resting queue[*person]   // those whose last activity waits for its minute
}

// leftAt is when a user was active last who has gone: until the log is certain to know.
type leftAt struct{ active, until int64 }

// Device is one device of a user on this node: with a connection, or in its grace after one.
type Device struct {
	id     storage.SessionID
	hash   uint64
	person *person
	active atomic.Int64 // ms since the epoch, never back

	live  bool
	cut   bool              // its connection is ending: the rooms that are left now are kept
	kept  []storage.RoomKey // those it was in when its connection was cut
	until int64             // when they are given up; 0 = nothing waits for that
}

// person is a user with devices on this node, or one whose last activity is not in the log yet.
type person struct {
	key     User
	guest   bool
	devices map[*Device]struct{}
	active  int64        // of devices that are gone
	written atomic.Int64 // when the log was told last
	rests   bool         // in resting
}

// in says why a device is in a room.
type in uint8

const (
	reads in = 1 << iota // its connection reads the room
	keeps                // it did when it was cut
)

// room is a room with devices of this node.
type room struct {
	devices map[*Device]in
	persons map[*person]int // their devices here
	online  int             // of persons, those who are no guests
	named   bool            // the others are told who they are
}

// New returns the table of a node's boot. A device is kept for grace ms after an end without a goodbye.
func New(node string, boot uint64, grace int64) *Table {
	return &Table{
		node: node, boot: boot, grace: grace, page: pageMost,
		devices: map[storage.SessionID]*Device{}, users: map[User]*person{}, rooms: map[storage.RoomKey]*room{},
		others: map[string]*other{}, log: map[string]nodeBoot{}, peers: map[string]*peer{},
		dirtyRooms: map[storage.RoomKey]struct{}{}, dirtyUsers: map[User]struct{}{}, told: map[User]int{}, ahead: map[User]struct{}{}, left: map[User]leftAt{},
		views: map[storage.RoomKey]*view{}, late: map[storage.RoomKey]struct{}{}, active: map[User]*person{},
	}
}

// hashOf names a device among those of its user, on every node alike.
func hashOf(client string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(client)) // never fails (hash.Hash)
	return h.Sum64()
}

// Connect notes that a device has a connection since at (wall clock, ms).
func (t *Table) Connect(id storage.SessionID, guest bool, at int64) *Device {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.devices[id]
	if d == nil {
		d = &Device{id: id, hash: hashOf(id.Client), person: t.person(User{id.NS, id.User}, guest)}
		t.devices[id] = d
		d.person.devices[d] = struct{}{}
		t.userChanged(d.person)
	}
	d.live, d.cut = true, false
	d.active.Store(at)
	if len(d.kept) > 0 {
		t.giveUpAt(d, t.now+settle)
	} else {
		d.until = 0
	}
	t.acted(d, at)
	return d
}

func (t *Table) person(k User, guest bool) *person {
	p := t.users[k]
	if p == nil {
		p = &person{key: k, guest: guest, devices: map[*Device]struct{}{}}
		t.users[k] = p
	}
	return p
}

// Act notes that the client did something at (wall clock, ms).
func (t *Table) Act(d *Device, at int64) {
	d.active.Store(at)
	if at-d.person.written.Load() < activeEvery || d.person.guest {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.acted(d, at)
}

// acted has the log told of it, unless it was less than a minute ago.
func (t *Table) acted(d *Device, at int64) {
	p := d.person
	if !p.guest && at-p.written.Load() >= activeEvery {
		p.written.Store(at)
		t.active[p.key] = p
	}
}

// DevicesOf returns the devices of a user on this node, those in their grace too.
func (t *Table) DevicesOf(k User) (out []storage.SessionID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.users[k]; p != nil {
		for d := range p.devices {
			out = append(out, d.id)
		}
	}
	return out
}

// Cut says that the connection of a device is ending without a goodbye: it stays in the rooms that it leaves from now on.
func (t *Table) Cut(d *Device) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d.cut = true
}

// How a connection ended.
type How byte

// Ways to end.
const (
	Gone  How = iota // with a goodbye, or the node has sent it away for good: there is no grace
	Cut              // without: the device may be back
	Moved            // another connection of the device took over, here or on another node
)

// End notes that the connection of a device has ended; it was heard last at (wall clock, ms). All its rooms have been left.
func (t *Table) End(d *Device, how How, at int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d.live, d.cut = false, false
	d.active.Store(max(d.active.Load(), at))
	switch {
	case how == Gone || d.person.guest || t.grace <= 0 && how == Cut:
		t.giveUp(d)
	case how == Moved:
		t.giveUpAt(d, t.now+settle)
	default:
		t.giveUpAt(d, t.now+t.grace)
	}
}

// Back says that a device has a connection on another node.
func (t *Table) Back(id storage.SessionID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d := t.devices[id]; d != nil && !d.live {
		t.giveUpAt(d, t.now+settle)
	}
}

// giveUpAt sets when what is kept of a device is given up.
func (t *Table) giveUpAt(d *Device, at int64) {
	d.until = max(at, 1)
	if at <= t.now+settle {
		t.settles.add(d, d.until)
	} else {
		t.graces.add(d, d.until)
	}
}

// giveUp lets go what is kept of a device, and the device if it has no connection.
func (t *Table) giveUp(d *Device) {
	for _, k := range d.kept {
		t.leave(d, k, keeps)
	}
	d.kept, d.until = nil, 0
	if d.live {
		return
	}
	p := d.person
	delete(t.devices, d.id)
	delete(p.devices, d)
	p.active = max(p.active, d.active.Load())
	t.userChanged(p)
	if len(p.devices) > 0 {
		return
	}
	if p.guest {
		delete(t.users, p.key)
		return
	}
	t.remember(p.key, p.active)
	t.rest(p)
}

// remember keeps when a user was active last until the log is certain to know.
func (t *Table) remember(k User, active int64) {
	l := leftAt{max(active, t.left[k].active), t.now + 3*activeEvery}
	t.left[k] = l
	t.leaving.add(k, l.until)
}

// Enter notes that the connection of a device reads a room.
func (t *Table) Enter(d *Device, k storage.RoomKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.rooms[k]
	if r == nil {
		r = &room{devices: map[*Device]in{}, persons: map[*person]int{}}
		t.rooms[k] = r
	}
	was := r.devices[d]
	r.devices[d] = was | reads
	if was != 0 {
		return
	}
	if r.persons[d.person]++; r.persons[d.person] == 1 && !d.person.guest {
		r.online++
	}
	t.roomChanged(k)
	if len(r.devices) == 1 {
		r.named = t.mayName(k)
	}
}

// Leave notes that the connection of a device reads a room no more.
func (t *Table) Leave(d *Device, k storage.RoomKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.rooms[k]
	switch {
	case r == nil:
	case d.cut && !d.person.guest:
		if was := r.devices[d]; was&keeps == 0 {
			d.kept = append(d.kept, k)
		}
		r.devices[d] = keeps
	default:
		t.leave(d, k, reads|keeps)
	}
}

// leave takes reasons away for which a device is in a room.
func (t *Table) leave(d *Device, k storage.RoomKey, why in) {
	r := t.rooms[k]
	if r == nil || r.devices[d] == 0 {
		return
	}
	if r.devices[d] &^= why; r.devices[d] != 0 {
		return
	}
	delete(r.devices, d)
	if r.persons[d.person]--; r.persons[d.person] == 0 {
		delete(r.persons, d.person)
		if !d.person.guest {
			r.online--
		}
	}
	t.roomChanged(k)
	if len(r.devices) == 0 {
		delete(t.rooms, k)
	}
}

// roomChanged notes that this node has something else to tell of a room.
func (t *Table) roomChanged(k storage.RoomKey) {
	t.dirtyRooms[k] = struct{}{}
	t.tell(item{room: true, ns: k.NS, name: k.Room})
}

func (t *Table) userChanged(p *person) {
	if p.guest {
		return
	}
	t.dirtyUsers[p.key] = struct{}{}
	t.tell(item{ns: p.key.NS, name: p.key.User})
}
