package storage

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// held returns the bytes that the cells hold, counted one by one.
func held(s *Store) (bytes int64) {
	s.rooms.mu.RLock()
	defer s.rooms.mu.RUnlock()
	for _, c := range s.rooms.cells {
		c.mu.Lock()
		for i := range c.entries.len() {
			bytes += int64(len(c.entries.at(i).JSON)) + entryOverhead
		}
		c.mu.Unlock()
	}
	return bytes
}

func TestTheTailIsBoundedOverAllRooms(t *testing.T) {
	const budget = 10_000
	s := openOn(t, vfs.NewMem(), func(o *Options) { o.TailBytes = budget })
	defer func() { _ = s.Close() }()
	l := newLog(t, s)
	for i := range 200 {
		l.as("a", say(fmt.Sprint("r", i%7), "ann", strings.Repeat("x", i)), say("busy", "ann", "x"))
		if got, sum := s.TailBytes(), held(s); got > budget || sum != got || s.Stats().TailBytes != got {
			t.Fatalf("after %d entries the tail says %d bytes and holds %d, the budget is %d", 2*i+2, got, sum, budget)
		}
	}
	if s.TailBytes() < budget/2 {
		t.Fatalf("the tail holds only %d of %d bytes", s.TailBytes(), budget)
	}
	if n := len(s.tail.queue.chunks); n > 2 {
		t.Fatalf("the queue grew to %d pieces", n)
	}
}

func TestTheOldestEntryLeavesMemoryFirst(t *testing.T) {
	s := openOn(t, vfs.NewMem(), func(o *Options) { o.TailBytes = 4 * (entryOverhead + 200) })
	defer func() { _ = s.Close() }()
	l := newLog(t, s)
	in := func(r string, seq uint64) bool {
		_, ok := s.Recent(nil, room(r), seq, seq, 1, 1)
		return ok
	}
	text := strings.Repeat("x", 80)
	l.done(say("quiet", "ann", text))
	for i := range 3 {
		l.done(say("busy", "ann", text))
		if !in("quiet", 1) || !in("busy", uint64(i+1)) {
			t.Fatalf("memory lost an entry with %d of %d bytes in use", s.TailBytes(), s.tail.limit)
		}
	}
	for i := 0; in("quiet", 1); i++ {
		if i == 3 {
			t.Fatal("the oldest entry stays")
		}
		l.done(say("busy", "ann", text))
	}
	if !in("busy", 2) {
		t.Fatal("a newer entry left before the oldest")
	}
}

func TestAnEntryLargerThanTheTail(t *testing.T) {
	s := openOn(t, vfs.NewMem(), func(o *Options) { o.TailBytes = 500 })
	defer func() { _ = s.Close() }()
	l := newLog(t, s)
	l.done(say("r", "ann", strings.Repeat("x", 1000)))
	if s.TailBytes() != 0 {
		t.Fatalf("%d bytes", s.TailBytes())
	}
	if es, err := s.Entries(room("r"), 1, 1, 1, 0); err != nil || len(es) != 1 || len(es[0].JSON) < 1000 {
		t.Fatalf("%d entries, %v", len(es), err)
	}
}

func TestRoomsInMemoryAreBounded(t *testing.T) {
	const limit = 40
	s := openOn(t, vfs.NewMem(), func(o *Options) { o.Rooms = limit })
	defer func() { _ = s.Close() }()
	l := newLog(t, s)
	unpin := s.Pin(room("pinned"))
	l.done(say("pinned", "ann", "hi"))
	for i := range 10 * limit {
		l.done(say(fmt.Sprint("r", i), "ann", "hi"))
		if _, err := s.Room(room(fmt.Sprint("none", i))); err != nil {
			t.Fatal(err)
		}
		if got := s.Stats().Rooms; got > limit+limit/4+1 {
			t.Fatalf("%d rooms in memory, the limit is %d", got, limit)
		}
	}
	if c := s.rooms.peek(room("pinned")); c == nil || c.room.Load() == nil {
		t.Fatal("a pinned room left memory")
	}
	for i := range 10 * limit {
		if h := l.head(fmt.Sprint("r", i)); h.Seq != 1 {
			t.Fatalf("room %d: head %+v", i, h)
		}
	}
	unpin()
	unpin()
	if got := s.rooms.peek(room("pinned")).pins.Load(); got != 0 {
		t.Fatalf("%d pins", got)
	}
	for i := range 10 * limit {
		l.done(say(fmt.Sprint("more", i), "ann", "hi"))
	}
	if s.rooms.peek(room("pinned")) != nil {
		t.Fatal("a room nobody pins any more stays for ever")
	}
}

func TestMembersInMemoryAreBounded(t *testing.T) {
	l := newTestLog(t)
	l.done(&RoomCreate{Room: room("r"), By: from("olga"), Kind: Public})
	for i := range membersPerCell + 10 {
		if _, err := l.s.Member(room("r"), fmt.Sprint("u", i)); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(l.s.rooms.peek(room("r")).members); got > membersPerCell {
		t.Fatalf("%d members remembered", got)
	}
	if m, err := l.s.Member(room("r"), "olga"); err != nil || m.Role != RoleOwner {
		t.Fatalf("%+v, %v", m, err)
	}
}
