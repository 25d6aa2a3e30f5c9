package storage

import (
	"fmt"
)

// Mark is how far a member has read a room, and how far it was delivered to one of their devices. It never goes back. One
// who joins begins with a mark at the entry that says so.
type Mark struct {
	Read      uint64 `cbor:"1,keyasint"` // seq
	N         uint64 `cbor:"2,keyasint"` // messages up to Read: what is unread is the head's N less this
	Delivered uint64 `cbor:"3,keyasint,omitempty"`
}

// MarkOf is a member's mark in a room. Zero leaves one as it is.
type MarkOf struct {
	Room      RoomKey `cbor:"1,keyasint"`
	User      string  `cbor:"2,keyasint"`
	Read      uint64  `cbor:"3,keyasint,omitempty"`
	Delivered uint64  `cbor:"4,keyasint,omitempty"`
}

// Marks moves marks forward, those of many members in one command. What is beyond the head means the head; what is of
// nobody's membership changes nothing. The outcome is that of the last one.
type Marks struct {
	Marks []MarkOf `cbor:"1,keyasint"`
}

func (*Marks) kind() commandKind { return kindMarks }

func markKey(ns, user, room string) []byte { return last(key(prefixMark, ns, user), room) }

func (t *tx) mark(k RoomKey, user string) (m Mark) {
	if b := t.get(markKey(k.NS, user, k.Room)); b != nil {
		if err := decodeRecord(b, &m); err != nil {
			t.fail(fmt.Errorf("%w: mark of %q in room %q: %w", ErrEntry, user, k.Room, err))
		}
	}
	return m
}

func (t *tx) setMark(k RoomKey, user string, m Mark) {
	t.set(markKey(k.NS, user, k.Room), encodeRecord(m))
}

// beginMark is called when a membership begins or ends.
func (t *tx) beginMark(d *draft, user string, member bool, since uint64) {
	if member {
		t.setMark(d.key, user, Mark{Read: since, N: d.head.N, Delivered: since})
	} else {
		t.del(markKey(d.key.NS, user, d.key.Room))
	}
}

func (t *tx) marks(c *Marks) (r Result) {
	for i := range c.Marks {
		r = t.moveMark(&c.Marks[i])
	}
	return r
}

func (t *tx) moveMark(c *MarkOf) Result {
	d := t.room(c.Room)
	if !d.exists() {
		return noRoom(c.Room)
	}
	if t.member(d, c.User).Role == "" {
		return Result{Outcome: NotMember}
	}
	was := t.mark(d.key, c.User)
	now := was
	if read := min(c.Read, d.head.Seq); read > now.Read {
		now.Read, now.N = read, t.countUpTo(d, read)
	}
	now.Delivered = max(now.Delivered, min(c.Delivered, d.head.Seq), now.Read)
	if now != was {
		t.setMark(d.key, c.User, now)
		t.changed.Marks = append(t.changed.Marks, MarkChange{Room: d.key, User: c.User, Mark: now})
	}
	return Result{Seq: now.Read, Present: now == was}
}

// countUpTo returns the messages of the room up to an entry: of one that is gone, as many as are gone.
func (t *tx) countUpTo(d *draft, seq uint64) uint64 {
	switch h := &d.head; {
	case seq >= h.Seq:
		return h.N
	case h.Kept() == 0:
		return h.N
	case seq < h.First:
		e := t.entry(d, h.First)
		if e == nil {
			return 0
		}
		return e.N - one(e.Message())
	case h.Index(seq) == h.Index(seq+1): // in a hole: what comes before it
		seq = h.At(h.Index(seq)) // first entry after the hole
		e := t.entry(d, seq)
		if e == nil {
			return 0
		}
		return e.N - one(e.Message())
	}
	if e := t.entry(d, seq); e != nil {
		return e.N
	}
	return 0
}

// Mark returns the mark of a member, the zero Mark of anybody else.
func (s *Store) Mark(k RoomKey, user string) (m Mark, err error) {
	b, err := s.read(markKey(k.NS, user, k.Room))
	if b == nil || err != nil {
		return m, err
	}
	if err := decodeRecord(b, &m); err != nil {
		return m, fmt.Errorf("%w: mark of %q in room %q: %w", ErrEntry, user, k.Room, err)
	}
	return m, nil
}

// UserMarks calls f for every mark of the user, in byte order of the rooms, from the one after the given name, until f
// says stop. f must not use the store.
func (s *Store) UserMarks(ns, user, after string, f func(room string, m Mark) (more bool)) error {
	prefix := key(prefixMark, ns, user)
	var start []byte
	if after != "" {
		start = append(append(append([]byte(nil), prefix...), after...), separator)
	}
	return s.scan(prefix, start, func(k, v []byte) (bool, error) {
		var m Mark
		if err := decodeRecord(v, &m); err != nil {
			return false, fmt.Errorf("%w: mark %q: %w", ErrEntry, k, err)
		}
		return f(string(k[len(prefix):]), m), nil
	})
}
