package storage

import "fmt"

// Block makes a user hear nothing more of another one, or lifts that. What it forbids is decided where it would happen: by
// the record of the pair, which stands beside their direct room, whether that exists or not. The user's own list follows,
// as the list of rooms follows the rooms. Doing it twice changes nothing.
type Block struct {
	NS    string `cbor:"1,keyasint"`
	User  string `cbor:"2,keyasint"`
	Other string `cbor:"3,keyasint"`
	On    bool   `cbor:"4,keyasint"`
}

func (*Block) kind() commandKind { return kindBlock }

// pair says since when (log time, ms) the first of a direct room's two users, in byte order, has blocked the second, and
// the second the first; 0 = not.
type pair struct {
	First  int64 `cbor:"1,keyasint,omitempty"`
	Second int64 `cbor:"2,keyasint,omitempty"`
}

// by is what the pair's record says of the one with the lower name, or of the other.
func (p *pair) by(lower bool) *int64 {
	if lower {
		return &p.First
	}
	return &p.Second
}

func directRoom(a, b string) string {
	if b < a {
		a, b = b, a
	}
	return "dm~" + a + "~" + b
}

func pairKey(ns, a, b string) []byte { return last(key(prefixPair, ns), directRoom(a, b)) }

func (t *tx) pair(ns, a, b string) (p pair) {
	if v := t.get(pairKey(ns, a, b)); v != nil {
		if err := decodeRecord(v, &p); err != nil {
			t.fail(fmt.Errorf("%w: blocks of %q and %q: %w", ErrEntry, a, b, err))
		}
	}
	return p
}

func (t *tx) block(c *Block) Result {
	if c.User == c.Other {
		return Result{Outcome: Conflict, Detail: "that is your own name"}
	}
	p := t.pair(c.NS, c.User, c.Other)
	since := p.by(c.User < c.Other)
	if (*since != 0) == c.On {
		return Result{Present: true}
	}
	it := &outboxItem{Do: followUnblock, Room: RoomKey{NS: c.NS}, User: c.User, Other: c.Other}
	if *since = 0; c.On {
		*since = max(t.now, 1)
		it.Do, it.At = followBlock, *since
	}
	t.changed.related(c.NS, c.User, c.Other)
	k := pairKey(c.NS, c.User, c.Other)
	if p == (pair{}) {
		t.del(k)
	} else {
		t.set(k, encodeRecord(p))
	}
	return Result{TS: t.now, Outbox: t.postItem(it)}
}

// blocked reports whether one user has blocked another.
func (t *tx) blocked(ns, by, other string) bool {
	p := t.pair(ns, by, other)
	return *p.by(by < other) != 0
}

// apart refuses what one of a direct room's two writes in it while either has blocked the other, or when the other was deleted.
// A block is between people: it holds for admins as for anybody. What the refusal says to the one who is blocked could have
// many reasons.
func (t *tx) apart(k RoomKey, from Actor) Result {
	a, b, ok := directPair(k.Room)
	if !ok || from.Guest || from.User != a && from.User != b {
		return Result{}
	}
	p := t.pair(k.NS, a, b)
	other := a
	if from.User == a {
		other = b
	}
	switch {
	case t.deleted(k.NS, other):
		return Result{Outcome: NotFound, Detail: fmt.Sprintf("%q was deleted, and cannot be written to", other)}
	case *p.by(from.User == a) != 0:
		return Result{Outcome: Forbidden, Detail: fmt.Sprintf("you have blocked %s; lift the block to write to them", other)}
	case *p.by(from.User != a) != 0:
		return Result{Outcome: Forbidden, Detail: fmt.Sprintf("%q cannot be written to", other)}
	}
	return Result{}
}

// Blocked reports whether a user has blocked another one. It is true as soon as this node has applied the command.
func (s *Store) Blocked(ns, by, other string) (bool, error) {
	v, err := s.read(pairKey(ns, by, other))
	if v == nil || err != nil {
		return false, err
	}
	var p pair
	if err := decodeRecord(v, &p); err != nil {
		return false, fmt.Errorf("%w: blocks of %q and %q: %w", ErrEntry, by, other, err)
	}
	return *p.by(by < other) != 0, nil
}

// BlockOf is somebody a user has blocked.
type BlockOf struct {
	User  string
	Since int64 // log time, ms
}

// Blocks returns at most limit of those the user has blocked, in byte order, from the one after the given name.
func (s *Store) Blocks(ns, user, after string, limit int) (out []BlockOf, err error) {
	err = s.relations(ns, user, after, func(other string, r relation) bool {
		if r.Blocked != 0 && len(out) < limit {
			out = append(out, BlockOf{User: other, Since: r.Blocked})
		}
		return len(out) < limit
	})
	return out, err
}

// BlockCount returns how many a user has blocked, as the user's list has it.
func (s *Store) BlockCount(ns, user string) (int, error) {
	p, err := s.person(ns, user)
	return p.Blocks, err
}
