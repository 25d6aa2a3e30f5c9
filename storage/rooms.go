package storage

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// rooms holds a cell for every room asked for lately, rooms that do not exist included. Cells are evicted by Apply alone,
// so that the cell Apply works on is the one readers see. When the limit is reached readers get a cell of their own, which
// is not kept: asking for names, existing or not, costs no memory beyond the limit.
type rooms struct {
	mu    sync.RWMutex
	cells map[RoomKey]*cell
	limit int
}

// cell is the memory of one room: an immutable picture, the members met lately, and the newest entries.
type cell struct {
	key  RoomKey
	room atomic.Pointer[Room] // nil when the room does not exist
	pins atomic.Int32         // local subscribers; a pinned cell is not evicted
	used atomic.Bool          // since evict last passed

	mu       sync.Mutex
	loaded   bool
	settings *settings // nil: never existed. Kept for a deleted room. Immutable once set
	head     Head
	members  map[string]Member // Role "" = not a member
	changes  uint64            // rises when Apply changes members; a reader stores what it read only if it did not
	entries  deque[*Entry]     // the tail: dense, ascending, newest last
}

// membersPerCell bounds the members remembered per room; beyond it the map starts anew.
const membersPerCell = 4096

// newCell copies the names: those of a command share the memory of all its strings.
func newCell(k RoomKey) *cell {
	return &cell{key: RoomKey{NS: strings.Clone(k.NS), Room: strings.Clone(k.Room)}}
}

// reset forgets everything but the pins. Callers hold dbMu: nobody reads.
func (r *rooms) reset(limit int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.cells
	r.cells, r.limit = map[RoomKey]*cell{}, limit
	for k, c := range old {
		c.forget()
		if c.pins.Load() > 0 {
			r.cells[k] = c
		}
	}
}

// forget empties the cell; the next use loads it again.
func (c *cell) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loaded, c.settings, c.head, c.members, c.entries = false, nil, Head{}, nil, deque[*Entry]{}
	c.changes++
	c.room.Store(nil)
}

// peek returns the cell of k if there is one.
func (r *rooms) peek(k RoomKey) *cell {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.cells[k]
}

// lookup returns a cell for a reader.
func (r *rooms) lookup(k RoomKey) *cell { return r.find(k, false) }

// own returns the cell that readers see, for Apply.
func (r *rooms) own(k RoomKey) *cell { return r.find(k, true) }

func (r *rooms) find(k RoomKey, keep bool) *cell {
	c := r.peek(k)
	if c == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if c = r.cells[k]; c == nil {
			c = newCell(k)
			if keep || len(r.cells) < r.limit {
				r.cells[c.key] = c
			}
			return c
		}
	}
	if !c.used.Load() {
		c.used.Store(true)
	}
	return c
}

// evictLook bounds the cells one Apply looks at, so that its cost does not grow with the rooms in memory.
const evictLook = 256

// evict drops cells when the limit is reached, never those of the batch in hand or of local subscribers; those used since
// it last passed get a second chance, unless memory is well over the limit.
func (r *rooms) evict(inHand map[RoomKey]*draft) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.cells) < r.limit {
		return
	}
	pressed := len(r.cells) > r.limit+r.limit/4
	looks := evictLook + 2*len(inHand)
	for k, c := range r.cells {
		if looks--; looks < 0 || len(r.cells) < r.limit*9/10 {
			return
		}
		if _, busy := inHand[k]; busy || c.pins.Load() > 0 || c.used.Swap(false) && !pressed {
			continue
		}
		delete(r.cells, k)
	}
}

func (r *rooms) count() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.cells)
}

// load reads the room from the store once. Callers hold dbMu or applyMu.
func (c *cell) load(s *Store, k RoomKey) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loaded {
		return nil
	}
	st, head, err := readSettings(s.db, k)
	if err != nil {
		return err
	}
	c.settings, c.head = st, head
	c.room.Store(picture(c.key, st, head))
	c.loaded = true
	return nil
}

// readSettings reads what is stored of a room; nil when it never existed.
func readSettings(r pebble.Reader, k RoomKey) (*settings, Head, error) {
	b, err := get(r, key(prefixRoom, k.NS, k.Room))
	if b == nil || err != nil {
		return nil, Head{}, err
	}
	st := &settings{}
	if err := decodeRecord(b, st); err != nil {
		return nil, Head{}, fmt.Errorf("%w: settings of room %q: %w", ErrEntry, k.Room, err)
	}
	if b, err = get(r, key(prefixHead, k.NS, k.Room)); err != nil {
		return nil, Head{}, err
	}
	head, err := decodeHead(b)
	if err != nil {
		return nil, Head{}, fmt.Errorf("room %q: %w", k.Room, err)
	}
	return st, head, nil
}

func readRoom(r pebble.Reader, k RoomKey) (*Room, error) {
	st, head, err := readSettings(r, k)
	return picture(k, st, head), err
}

func picture(k RoomKey, st *settings, h Head) *Room {
	if st == nil || st.Deleted {
		return nil
	}
	return &Room{
		Key: k, Kind: st.Kind, Name: st.Name, Guest: st.Guest, Frozen: st.Frozen, Owner: st.Owner,
		Made: st.Made, Members: st.Members, Slow: st.Slow, Pinned: st.Pinned, Restricted: st.Restricted > 0,
		States: st.States, StateBy: st.StateBy, StateMS: st.StateMS, LiveMS: st.LiveMS, MadePos: st.MadePos, BeforeSend: st.BeforeSend, Head: h,
	}
}

// draft is a room as the batch in hand leaves it.
type draft struct {
	key      RoomKey
	cell     *cell
	settings *settings // copy-on-write; nil when the room never existed
	head     Head
	entries  []*Entry          // of this batch, dense; those below head.First are gone again
	members  map[string]Member // changed ones; Role "" = left
	cids     []bySeq           // of this batch, ascending
	erased   map[uint64]*Entry // stubs of earlier entries, by seq

	settingsChanged, headChanged, access bool
	rewritten                            bool // entries of before are others now
	kindChanged                          bool
}

// room returns the draft of k. After an error of the store it is empty and t.err is set.
func (t *tx) room(k RoomKey) *draft {
	if d := t.drafts[k]; d != nil {
		return d
	}
	c := t.s.rooms.own(k)
	if err := c.load(t.s, k); err != nil {
		t.fail(err)
	}
	d := &draft{key: c.key, cell: c, settings: c.settings, head: c.head}
	t.drafts[c.key] = d
	t.order = append(t.order, d)
	return d
}

func (d *draft) exists() bool { return d.settings != nil && !d.settings.Deleted }

// change returns the settings to write to.
func (d *draft) change() *settings {
	if !d.settingsChanged {
		st := settings{}
		if d.settings != nil {
			st = *d.settings
		}
		d.settings, d.settingsChanged = &st, true
	}
	return d.settings
}

// member returns what the log says of user in the room; Role "" = not a member.
func (t *tx) member(d *draft, user string) Member {
	if m, ok := d.members[user]; ok {
		return m
	}
	m, err := d.cell.member(t.s, d.key, user)
	if err != nil {
		t.fail(err)
	}
	return m
}

// member reads a membership. Callers hold dbMu or applyMu.
func (c *cell) member(s *Store, k RoomKey, user string) (Member, error) {
	c.mu.Lock()
	m, ok := c.members[user]
	before := c.changes
	c.mu.Unlock()
	if ok {
		return m, nil
	}
	b, err := s.get(memberKey(k, user))
	if err != nil {
		return Member{}, err
	}
	if b != nil {
		if err := decodeRecord(b, &m); err != nil {
			return Member{}, fmt.Errorf("%w: member %q of room %q: %w", ErrEntry, user, k.Room, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes == before {
		c.remember(user, m)
	}
	return m, nil
}

// remember caches a member; callers hold c.mu.
func (c *cell) remember(user string, m Member) {
	if c.members == nil || len(c.members) >= membersPerCell {
		c.members = map[string]Member{}
	}
	c.members[strings.Clone(user)] = m
}

// setMember writes a membership; Role "" ends it, and what operators decided stays.
func (t *tx) setMember(d *draft, user string, m Member) {
	was := t.member(d, user)
	if joins := m.Role != ""; joins != (was.Role != "") {
		t.beginMark(d, user, joins, m.Since)
	}
	switch {
	case m.restricted() && !was.restricted():
		d.change().Restricted++
	case !m.restricted() && was.restricted():
		d.change().Restricted--
	}
	if d.members == nil {
		d.members = map[string]Member{}
	}
	d.members[user] = m
	d.access = true
	k := memberKey(d.key, user)
	if m.known() {
		t.write(k, encodeRecord(m))
	} else {
		t.remove(k)
		d.members[user] = Member{} // as who reads the store finds it
	}
	if (m.Role != "") != (was.Role != "") {
		t.changed.Members = append(t.changed.Members, MemberChange{Room: d.key, User: user, Role: m.Role, Since: m.Since})
	}
}

func (t *tx) writeDraft(d *draft) {
	if d.settingsChanged {
		t.write(key(prefixRoom, d.key.NS, d.key.Room), encodeRecord(d.settings))
	}
	if d.headChanged {
		t.buf = d.head.appendTo(t.buf[:0])
		t.write(key(prefixHead, d.key.NS, d.key.Room), t.buf)
	}
}

// publish shows the draft to readers.
func (d *draft) publish(tail *tailBudget) {
	if !d.settingsChanged && !d.headChanged && d.members == nil && d.erased == nil {
		return
	}
	c := d.cell
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settings, c.head = d.settings, d.head
	if len(d.members) > 0 {
		c.changes++
		for u, m := range d.members {
			c.remember(u, m)
		}
	}
	c.extend(d.entries, d.head, tail)
	for _, e := range d.erased {
		c.replace(e)
	}
	c.room.Store(picture(d.key, d.settings, d.head))
}

// Room returns the room as it is now, nil when it does not exist. The result is shared and must not be changed.
func (s *Store) Room(k RoomKey) (*Room, error) {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	c, err := s.loaded(k)
	if err != nil {
		return nil, err
	}
	return c.room.Load(), nil
}

// head returns the head of the room, a deleted one's too; the zero Head when it never existed.
func (s *Store) head(k RoomKey) (Head, error) {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	c, err := s.loaded(k)
	if err != nil {
		return Head{}, err
	}
	if r := c.room.Load(); r != nil {
		return r.Head, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.head, nil
}

// loaded returns the cell of a room, read from the store if it must be. Callers hold dbMu until they are done with it.
func (s *Store) loaded(k RoomKey) (*cell, error) {
	if s.db == nil {
		return nil, ErrClosed
	}
	c := s.rooms.lookup(k)
	if c.room.Load() != nil {
		return c, nil
	}
	return c, c.load(s, k)
}

// Member returns user's membership of the room; Role is "" for others.
func (s *Store) Member(k RoomKey, user string) (Member, error) {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	if s.db == nil {
		return Member{}, ErrClosed
	}
	return s.rooms.lookup(k).member(s, k, user)
}

// Pin keeps the room's head and settings in memory until the returned function is called.
func (s *Store) Pin(k RoomKey) (unpin func()) {
	s.rooms.mu.Lock()
	c := s.rooms.cells[k]
	if c == nil {
		c = newCell(k)
		s.rooms.cells[c.key] = c
	}
	c.pins.Add(1)
	s.rooms.mu.Unlock()
	return sync.OnceFunc(func() { c.pins.Add(-1) })
}

// ErrNoRoom is returned where a room is needed that does not exist.
var ErrNoRoom = errors.New("no such room")
