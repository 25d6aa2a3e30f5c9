package presence

import (
	"slices"

	"github.com/madang-chat/madang/storage"
)

// Each other node is told everything once when the two meet, and from then on what has changed; a page at a time, and the
// next when it has answered. What a page says of a room or a user is all of it, as it is when the page is made: of changes
// that wait the newest is told, and a page that was lost is told again.

// item names what is told: a user, or a room.
type item struct {
	room     bool
	ns, name string
}

// peer is what another node is to be told.
type peer struct {
	meeting uint64 // counts them: what belongs to an older one is over
	number  uint64 // of the newest page
	digest  bool   // everything is to be told, from the start
	left    int    // of the items that wait, those of the digest
	queue   []item
	queued  map[item]struct{}
	sent    []item // with the page that is on its way
	flags   byte   // of that page
	was     int    // left before it
	wake    chan struct{}
}

// Answers to a page.
const (
	Taken = 1
	Again = 2 // it is not known what it goes on from: begin with everything
)

// Meeting is one time in which another node can be told things. It is used by one goroutine.
type Meeting struct {
	t *Table
	p *peer
	n uint64
}

// Meet says that a node can be told things, for the first time or again. An older meeting with it has nothing to say from
// then on.
func (t *Table) Meet(node string) *Meeting {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.peers[node]
	if p == nil {
		p = &peer{wake: make(chan struct{}, 1)}
		t.peers[node] = p
	}
	p.begin()
	p.meeting++
	return &Meeting{t, p, p.meeting}
}

// Wake is ready when there may be a Page.
func (m *Meeting) Wake() <-chan struct{} { return m.p.wake }

// begin forgets what waits: everything is to be told.
func (p *peer) begin() {
	p.digest, p.left, p.queue, p.queued, p.sent = true, 0, nil, map[item]struct{}{}, nil
}

func (p *peer) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// tell notes that something is to be told to every other node.
func (t *Table) tell(it item) {
	for _, p := range t.peers {
		if p.digest {
			continue // it will be told everything
		}
		p.put(it)
		if len(p.queue) > 2*(len(t.rooms)+len(t.users))+4096 { // most of it is gone by now
			p.begin()
		}
	}
}

func (p *peer) put(it item) {
	if _, waits := p.queued[it]; !waits {
		p.queued[it] = struct{}{}
		p.queue = append(p.queue, it)
	}
}

func (t *Table) wakePeers() {
	for _, p := range t.peers {
		if len(p.queue) > 0 {
			p.signal()
		}
	}
}

// Page returns what the node is to be told next, nil when there is nothing. Call Answered before the next one.
func (m *Meeting) Page() []byte {
	t, p := m.t, m.p
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.n != p.meeting || len(p.queue) == 0 && !p.digest {
		return nil
	}
	p.number++
	p.flags, p.was = 0, p.left
	if p.digest {
		p.digest = false
		p.flags = flagBegin
		for k := range t.rooms {
			p.put(item{room: true, ns: k.NS, name: k.Room})
		}
		for k, u := range t.users {
			if !u.guest && len(u.devices) > 0 {
				p.put(item{ns: k.NS, name: k.User})
			}
		}
		p.left = len(p.queue)
		p.was = p.left
	}
	var body []byte
	n := 0
	for ; n < len(p.queue) && len(body) < t.page; n++ {
		body = t.appendItem(body, p.queue[n])
		delete(p.queued, p.queue[n])
	}
	p.sent = slices.Clone(p.queue[:n])
	if p.queue = p.queue[n:]; len(p.queue) == 0 {
		p.queue = nil
	}
	if p.flags == flagBegin || p.left > 0 {
		if p.left -= min(n, p.left); p.left == 0 {
			p.flags |= flagEnd
		}
	}
	h := header{node: t.node, boot: t.boot, number: p.number, flags: p.flags}
	return append(h.appendTo(make([]byte, 0, len(body)+128)), body...)
}

func (t *Table) appendItem(b []byte, it item) []byte {
	if it.room {
		k := storage.RoomKey{NS: it.ns, Room: it.name}
		e, _ := t.own(k)
		return appendRoom(b, k, &e)
	}
	k := User{it.ns, it.name}
	e := userEntry{active: t.left[k].active}
	if u := t.users[k]; u != nil && !u.guest {
		e.devices, e.active = u.devicesOf(nil), max(e.active, u.lastActive())
	}
	return appendUser(b, k, e)
}

// Answered takes what the node said to the page: Taken, Again, or nothing (0). What was not taken is in the next page.
func (m *Meeting) Answered(answer byte) {
	t, p := m.t, m.p
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.n != p.meeting {
		return
	}
	switch {
	case p.digest:
	case answer == Taken:
	case answer == Again || p.flags&flagBegin != 0:
		p.begin()
	default:
		var queue []item
		for _, it := range p.sent {
			if _, waits := p.queued[it]; !waits {
				p.queued[it] = struct{}{}
				queue = append(queue, it)
			}
		}
		p.queue = append(queue, p.queue...)
		if p.was > 0 { // a part of the digest is told again, and what comes behind it is a part of it too
			p.left = len(p.queue)
		}
	}
	p.sent = nil
}

// Heard takes a page of another node and returns the answer.
func (t *Table) Heard(page []byte) byte {
	r := &reader{b: page}
	h, err := r.header()
	if err != nil || h.node == t.node {
		return Taken // of a version that says more than this one knows: it need not say it again
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.others[h.node]
	if l := t.log[h.node]; h.boot < l.boot || o != nil && h.boot < o.boot {
		return Taken // a boot that is over
	}
	if o == nil || h.boot > o.boot {
		t.forget(h.node)
		o = &other{boot: h.boot, rooms: map[storage.RoomKey]roomEntry{}, users: map[User]userEntry{}}
		t.others[h.node] = o
	}
	if h.number <= o.number {
		return Taken // late: what it says is over
	}
	if h.flags&flagBegin != 0 {
		o.begun, o.digest = true, o.digest+1
	} else if !o.begun {
		return Again
	}
	o.number = h.number
	for {
		it, ok, err := r.next()
		if err != nil {
			o.begun = false
			return Taken
		}
		if !ok {
			break
		}
		t.hear(o, &it)
	}
	if h.flags&flagEnd != 0 {
		t.endDigest(o)
	}
	return Taken
}

// hear takes one item of a page.
func (t *Table) hear(o *other, it *pageItem) {
	if it.room.Room != "" {
		t.dirtyRooms[it.room] = struct{}{}
		if it.there.connections == 0 {
			delete(o.rooms, it.room)
			return
		}
		it.there.digest = o.digest
		o.rooms[it.room] = it.there
		return
	}
	t.dirtyUsers[it.user] = struct{}{}
	if it.of.devices.count() == 0 {
		if _, was := o.users[it.user]; was {
			delete(o.users, it.user)
			t.remember(it.user, it.of.active)
		}
		return
	}
	it.of.digest = o.digest
	o.users[it.user] = it.of
}

// endDigest forgets what a digest did not mention.
func (t *Table) endDigest(o *other) {
	for k, e := range o.rooms {
		if e.digest != o.digest {
			delete(o.rooms, k)
			t.dirtyRooms[k] = struct{}{}
		}
	}
	for k, e := range o.users {
		if e.digest != o.digest {
			t.remember(k, e.active)
			delete(o.users, k)
			t.dirtyUsers[k] = struct{}{}
		}
	}
}

// forget drops what another node has told.
func (t *Table) forget(node string) {
	o := t.others[node]
	if o == nil {
		return
	}
	t.lookAgain(o)
	delete(t.others, node)
}

// lookAgain notes that everything a node has told may count now, or not any more.
func (t *Table) lookAgain(o *other) {
	for k := range o.rooms {
		t.dirtyRooms[k] = struct{}{}
	}
	for k, e := range o.users {
		t.dirtyUsers[k] = struct{}{}
		t.remember(k, e.active)
	}
}

// NodeState is what the log says of a node.
type NodeState struct {
	Node string
	Boot uint64
	Up   bool
}

// NodeChanged takes what the log says of a node. What a boot has told counts while the log says that it lives, whatever is
// heard of it; a newer boot begins with nothing.
func (t *Table) NodeChanged(n NodeState) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n.Node == t.node {
		return // this one's own clients are here, whoever cannot see them
	}
	t.log[n.Node] = nodeBoot{n.Boot, n.Up}
	o := t.others[n.Node]
	switch {
	case o == nil:
	case o.boot < n.Boot:
		t.forget(n.Node)
	default:
		t.lookAgain(o)
	}
}
