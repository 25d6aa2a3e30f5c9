package storage

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// UserRoom is one room of a user's list.
type UserRoom struct {
	Room  string
	Role  Role
	Since uint64 // seq at which the user joined
}

// UserRooms returns at most limit rooms of the user's list, in byte order of their names, from the one after the given name.
func (s *Store) UserRooms(ns, user, after string, limit int) ([]UserRoom, error) {
	var out []UserRoom
	err := s.memberships(key(prefixUserRoom, ns, user), after, limit, func(room string, m Member) {
		out = append(out, UserRoom{Room: room, Role: m.Role, Since: m.Since})
	})
	return out, err
}

// RoomMember is one member of a room.
type RoomMember struct {
	User string
	Member
}

// Members returns at most limit members of the room, in byte order of their names, from the one after the given name.
func (s *Store) Members(k RoomKey, after string, limit int) ([]RoomMember, error) {
	var out []RoomMember
	err := s.memberships(key(prefixMember, k.NS, k.Room), after, limit, func(user string, m Member) {
		out = append(out, RoomMember{User: user, Member: m})
	})
	return out, err
}

func (s *Store) memberships(prefix []byte, after string, limit int, f func(name string, m Member)) error {
	if limit <= 0 {
		return nil
	}
	var start []byte
	if after != "" {
		start = append(append(append([]byte(nil), prefix...), after...), separator)
	}
	return s.scan(prefix, start, func(k, v []byte) (bool, error) {
		var m Member
		if err := decodeRecord(v, &m); err != nil {
			return false, fmt.Errorf("%w: membership %q: %w", ErrEntry, k, err)
		}
		if m.Role == "" {
			return true, nil // muted or banned, and no member
		}
		f(string(k[len(prefix):]), m)
		limit--
		return limit > 0, nil
	})
}

// OutboxItem is an item that waits for its FollowUp.
type OutboxItem struct {
	ID   uint64
	Room RoomKey
	User string
}

// Outbox returns the oldest items that wait, at most limit, in the order in which they must be carried.
func (s *Store) Outbox(limit int) ([]OutboxItem, error) {
	if limit <= 0 {
		return nil, nil
	}
	var out []OutboxItem
	// The first one is known; without it every look would walk over what was carried before.
	start := outboxKey(s.current().FollowedUp + 1)
	err := s.scan(key(prefixOutbox), start, func(k, v []byte) (bool, error) {
		id := binary.BigEndian.Uint64(k[len(k)-seqBytes:])
		var it outboxItem
		if err := decodeRecord(v, &it); err != nil {
			return false, fmt.Errorf("%w: outbox item %d: %w", ErrEntry, id, err)
		}
		out = append(out, OutboxItem{ID: id, Room: it.Room, User: it.User})
		return len(out) < limit, nil
	})
	return out, err
}

// LastOutbox returns the number of the newest item that was put in the outbox.
func (s *Store) LastOutbox() uint64 { return s.current().Outbox }

// Delivered reports whether the outbox item has been carried to its user. It never reads the disk.
func (s *Store) Delivered(item uint64) (bool, error) { return item <= s.current().FollowedUp, nil }

// Session returns a stored session, nil when there is none. All of it is from one moment.
func (s *Store) Session(id SessionID) (out *Session, err error) {
	err = s.snapshot(func(r pebble.Reader) error {
		b, err := get(r, sessionKey(id))
		if b == nil || err != nil {
			return err
		}
		if out, err = readSession(r, id, b); err != nil {
			return err
		}
		return readLags(r, out)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Sessions calls f for every stored session, without its lags, until f says stop. f may use the store.
func (s *Store) Sessions(f func(*Session) (more bool)) error {
	return s.pages([]byte{prefixSession}, func(r pebble.Reader, k, v []byte) (func() bool, error) {
		n := split(k, 2)
		if n == nil {
			return nil, fmt.Errorf("%w: session key %q", ErrEntry, k)
		}
		sess, err := readSession(r, SessionID{NS: n[0], User: n[1], Client: unescapeName(n[2])}, v)
		if err != nil {
			return nil, err
		}
		return func() bool { return f(sess) }, nil
	})
}

func readSession(r pebble.Reader, id SessionID, b []byte) (*Session, error) {
	var rec sessionRecord
	if err := decodeRecord(b, &rec); err != nil {
		return nil, fmt.Errorf("%w: session %q of %q: %w", ErrEntry, id.Client, id.User, err)
	}
	pos, ended := rec.Place, rec.EndedAt
	if ended == 0 {
		var p bootPlace
		var n nodeState
		err := view(r, bootPlaceKey(rec.Node, rec.Boot), func(v []byte) (err error) {
			p, err = decodeBootPlace(v)
			return err
		})
		if err == nil {
			err = view(r, key(prefixNode, rec.Node), func(v []byte) (err error) {
				n, err = decodeNode(v)
				return err
			})
		}
		if err != nil {
			return nil, fmt.Errorf("session %q of %q: node %q: %w", id.Client, id.User, rec.Node, err)
		}
		pos, ended = rec.where(p, n)
	}
	out := &Session{
		ID: id, Epoch: rec.Epoch, Connected: ended == 0, Node: rec.Node, Boot: rec.Boot, Expiry: rec.Expiry,
		EndedAt: ended, Place: pos, Filters: rec.Filters, Backlog: rec.Backlog, Previous: rec.Previous,
		HasWill: rec.Will != nil,
	}
	if out.HasWill && ended != 0 {
		out.WillDue = rec.willDue(ended)
	}
	return out, nil
}

func readLags(r pebble.Reader, out *Session) error {
	prefix := lagPrefix(out.ID)
	return scan(r, prefix, nil, func(k, v []byte) (bool, error) {
		rd := readRecord(v, lagVersion)
		b := rd.fixed(seqBytes)
		if !rd.end() {
			return false, fmt.Errorf("%w: lag of session %q of %q", ErrEntry, out.ID.Client, out.ID.User)
		}
		out.Lag = append(out.Lag, RoomSeq{Room: string(k[len(prefix):]), Seq: binary.BigEndian.Uint64(b)})
		return true, nil
	})
}
