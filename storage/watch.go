package storage

import (
	"strings"
	"sync"
)

// Changes is what batches did since a watcher last looked, gathered per room.
type Changes struct {
	Rooms      map[RoomKey]RoomChange
	Members    []MemberChange // in log order
	Taken      []Taken        // in log order
	Marks      []MarkChange   // in log order
	States     map[StateName]struct{}
	Reacted    map[Reacted]struct{}
	Indexed    map[RoomKey]struct{} // of which messages say something else now, or are gone
	Users      map[UserKey]UserChange
	Relations  map[Related]struct{}
	Outbox     bool // items wait
	Deletions  bool // a user is to be deleted
	FollowedUp bool // items were carried to their users
	Wills      bool // a will waits for its time
	Secrets    bool
	Nodes      []NodeChange // in log order
	Reset      bool         // Swap: everything may have changed, what was read before says nothing about now
}

// MarkChange says how far a member has read now.
type MarkChange struct {
	Room RoomKey
	User string
	Mark Mark
}

// UserChange says that a user is another one now. What they are, is read from the store.
type UserChange struct {
	Ended bool // connections of theirs may have to end
}

// StateName names a state key that has another value now. What it is, is read from the store.
type StateName struct {
	Room RoomKey
	Key  string
}

// Reacted names a message of a large room whose reactions are others now.
type Reacted struct {
	Room RoomKey
	Seq  uint64
}

// RoomChange says what kind of thing changed in a room. What it is now is read from the store.
type RoomChange struct {
	Entries   bool // its head moved
	Access    bool // settings or members that decide who may read
	Rewritten bool // entries of before are others now
	Kind      bool // public or private
	Settings  bool // anything the room says about itself: name, kind, guests, number of members, made, deleted
}

// NodeChange says that a boot of a node came up (or came back), or was lost.
type NodeChange struct {
	Node string
	Boot uint64
	Up   bool
}

// MemberChange is a change of one membership; Role "" = no longer a member. A join is told twice: when the room has the
// member, and when the user's list has the room. Both may be old news by the time they are read; the room decides.
type MemberChange struct {
	Room  RoomKey
	User  string
	Role  Role
	Since uint64
}

// Taken says who holds a session now. A connection with a lower epoch must close. Epoch 0: the session is gone.
type Taken struct {
	Session SessionID
	Epoch   uint64
	Node    string
	Boot    uint64
}

func (c *Changes) room(d *draft) {
	rc := RoomChange{Entries: len(d.entries) > 0, Access: d.access, Settings: d.settingsChanged, Rewritten: d.rewritten, Kind: d.kindChanged}
	if rc != (RoomChange{}) {
		c.mark(d.key, rc)
	}
}

func (c *Changes) mark(k RoomKey, rc RoomChange) {
	if c.Rooms == nil {
		c.Rooms = map[RoomKey]RoomChange{}
	}
	old := c.Rooms[k]
	c.Rooms[k] = RoomChange{
		Entries: old.Entries || rc.Entries, Access: old.Access || rc.Access, Settings: old.Settings || rc.Settings, Rewritten: old.Rewritten || rc.Rewritten,
		Kind: old.Kind || rc.Kind,
	}
}

// Related names two users who stand otherwise to each other now: contacts, or not, or one has blocked the other.
type Related struct{ NS, One, Two string }

func (c *Changes) related(ns, one, two string) {
	if c.Relations == nil {
		c.Relations = map[Related]struct{}{}
	}
	c.Relations[Related{strings.Clone(ns), strings.Clone(one), strings.Clone(two)}] = struct{}{}
}

func (c *Changes) state(k StateName) {
	if c.States == nil {
		c.States = map[StateName]struct{}{}
	}
	c.States[k] = struct{}{}
}

func (c *Changes) user(k UserKey, ended bool) {
	if c.Users == nil {
		c.Users = map[UserKey]UserChange{}
	}
	c.Users[k] = UserChange{Ended: c.Users[k].Ended || ended}
}

func (c *Changes) reacted(k Reacted) {
	if c.Reacted == nil {
		c.Reacted = map[Reacted]struct{}{}
	}
	c.Reacted[k] = struct{}{}
}

func (c *Changes) indexed(k RoomKey) {
	if c.Indexed == nil {
		c.Indexed = map[RoomKey]struct{}{}
	}
	c.Indexed[k] = struct{}{}
}

func (c *Changes) add(n *Changes) {
	for k, rc := range n.Rooms {
		c.mark(k, rc)
	}
	c.Members = append(c.Members, n.Members...)
	c.Taken = append(c.Taken, n.Taken...)
	c.Marks = append(c.Marks, n.Marks...)
	for k := range n.States {
		c.state(k)
	}
	for k := range n.Reacted {
		c.reacted(k)
	}
	for k := range n.Relations {
		c.related(k.NS, k.One, k.Two)
	}
	for k, u := range n.Users {
		c.user(k, u.Ended)
	}
	c.Deletions = c.Deletions || n.Deletions
	for k := range n.Indexed {
		c.indexed(k)
	}
	c.Outbox = c.Outbox || n.Outbox
	c.FollowedUp = c.FollowedUp || n.FollowedUp
	c.Wills = c.Wills || n.Wills
	c.Secrets = c.Secrets || n.Secrets
	c.Nodes = append(c.Nodes, n.Nodes...)
	c.Reset = c.Reset || n.Reset
}

// Watcher gathers changes for one reader. Nothing is lost: what the reader has not taken yet waits, rooms merged.
type Watcher struct {
	mu      sync.Mutex
	pending Changes
	wake    chan struct{}
	close   func()
}

type watchers struct {
	mu  sync.Mutex
	all []*Watcher
}

// Watch returns a watcher of everything applied from now on. Close it when done.
func (s *Store) Watch() *Watcher {
	w := &Watcher{wake: make(chan struct{}, 1)}
	s.watchers.mu.Lock()
	defer s.watchers.mu.Unlock()
	s.watchers.all = append(s.watchers.all, w)
	w.close = func() {
		s.watchers.mu.Lock()
		defer s.watchers.mu.Unlock()
		for i, o := range s.watchers.all {
			if o == w {
				s.watchers.all = append(s.watchers.all[:i:i], s.watchers.all[i+1:]...)
				return
			}
		}
	}
	return w
}

// Wake is ready when there may be something to Take.
func (w *Watcher) Wake() <-chan struct{} { return w.wake }

// Take returns what changed since the last Take. The result is the caller's.
func (w *Watcher) Take() Changes {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.pending
	w.pending = Changes{}
	return c
}

// Close ends the watch.
func (w *Watcher) Close() { w.close() }

// gather gives every watcher its copy of c, without waking it.
func (ws *watchers) gather(c *Changes) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.all {
		w.mu.Lock()
		w.pending.add(c)
		w.mu.Unlock()
	}
}

// wake wakes every watcher.
func (ws *watchers) wake() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.all {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}
