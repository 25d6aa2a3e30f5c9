package storage

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/cockroachdb/pebble/v2"
)

// Entries returns the entries from..to of a room in order, at most limit of them and, beyond the first, at most maxBytes
// of JSON, up to the next hole. It reads memory where it can. What was trimmed is left out: the first entry may be later
// than from; the others follow it without a gap.
func (s *Store) Entries(k RoomKey, from, to uint64, limit, maxBytes int) ([]*Entry, error) {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	if s.db == nil {
		return nil, ErrClosed
	}
	if limit <= 0 || from > to {
		return nil, nil
	}
	if c := s.rooms.peek(k); c != nil {
		if out, ok := c.recent(nil, from, to, limit, maxBytes); ok {
			return out, nil
		}
	}
	var out []*Entry
	size := 0
	prefix := key(prefixEntry, k.NS, k.Room)
	err := scan(s.db, prefix, entryKey(k, from), func(key, v []byte) (bool, error) {
		seq := binary.BigEndian.Uint64(key[len(key)-seqBytes:])
		if seq > to {
			return false, nil
		}
		e, err := decodeEntry(seq, v)
		if err != nil {
			return false, fmt.Errorf("room %q: %w", k.Room, err)
		}
		if size += len(e.JSON); len(out) > 0 && (size > maxBytes || seq != out[len(out)-1].Seq+1) {
			return false, nil
		}
		out = append(out, e)
		return len(out) < limit, nil
	})
	return out, err
}

// EntriesBefore returns the newest entries below before, in ascending order, at most limit of them and, beyond the newest,
// at most maxBytes of JSON. Its cost does not depend on how deep before lies.
func (s *Store) EntriesBefore(k RoomKey, before uint64, limit, maxBytes int) ([]*Entry, error) {
	r, err := s.Room(k)
	if err != nil || r == nil || limit <= 0 {
		return nil, err
	}
	h := r.Head
	to := min(before, h.Seq+1)
	if to <= h.First {
		return nil, nil
	}
	before = h.Index(to)
	from := h.At(before - min(before, uint64(limit)))
	to--
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	if s.db == nil {
		return nil, ErrClosed
	}
	var out []*Entry
	ok := false
	if c := s.rooms.peek(k); c != nil {
		out, ok = c.before(nil, from, to, maxBytes)
	}
	if !ok {
		out, err = s.entriesDown(k, from, to, maxBytes)
	}
	slices.Reverse(out)
	return out, err
}

// entriesDown reads the entries to..from, newest first. Callers hold dbMu.
func (s *Store) entriesDown(k RoomKey, from, to uint64, maxBytes int) (out []*Entry, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: entryKey(k, from), UpperBound: entryKey(k, to+1)})
	if err != nil {
		return nil, fmt.Errorf("read the store: %w", err)
	}
	defer func() {
		if closing := it.Close(); err == nil && closing != nil {
			err = fmt.Errorf("read the store: %w", closing)
		}
	}()
	size := 0
	for ok := it.Last(); ok; ok = it.Prev() {
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, fmt.Errorf("read the store: %w", err)
		}
		e, err := decodeEntry(binary.BigEndian.Uint64(it.Key()[len(it.Key())-seqBytes:]), v)
		if err != nil {
			return nil, fmt.Errorf("room %q: %w", k.Room, err)
		}
		if size += len(e.JSON); len(out) > 0 && size > maxBytes {
			break
		}
		out = append(out, e)
	}
	return out, nil
}

// Recent is Entries for what memory holds: ok is false when from is not in it. It never reads the disk.
func (s *Store) Recent(dst []*Entry, k RoomKey, from, to uint64, limit, maxBytes int) (out []*Entry, ok bool) {
	c := s.rooms.peek(k)
	if c == nil {
		return dst, false
	}
	return c.recent(dst, from, to, limit, maxBytes)
}

// entry reads one committed entry. Callers hold dbMu or applyMu.
func (s *Store) entry(k RoomKey, seq uint64) (*Entry, error) {
	b, err := s.get(entryKey(k, seq))
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, fmt.Errorf("%w: room %q has no entry %d", ErrEntry, k.Room, seq)
	}
	e, err := decodeEntry(seq, b)
	if err != nil {
		return nil, fmt.Errorf("room %q: %w", k.Room, err)
	}
	return e, nil
}

// SeqAfter returns the first seq of the room whose entry came after pos: where a session at that place goes on. It is
// head+1 when there is nothing after it, also in a room that was deleted or never existed: what it will hold goes on from
// there. Its cost is a search in memory, or a few reads that grow with the logarithm of the room.
func (s *Store) SeqAfter(k RoomKey, pos uint64) (uint64, error) {
	h, err := s.head(k)
	for err == nil {
		seq, missing, err := s.seqAfter(k, pos, h)
		if err != nil || missing == 0 {
			return seq, err
		}
		// Trimmed since the head was read? Then a newer head to start from is stored; in memory it may not be yet.
		if h, err = s.storedHead(k); err == nil && h.First <= missing {
			err = fmt.Errorf("%w: room %q has no entry %d", ErrEntry, k.Room, missing)
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, err
}

func (s *Store) storedHead(k RoomKey) (h Head, err error) {
	err = s.snapshot(func(r pebble.Reader) (err error) {
		_, h, err = readSettings(r, k)
		return err
	})
	return h, err
}

// seqAfter is SeqAfter for one state of the head; missing names an entry that should have been there, 0 = none.
func (s *Store) seqAfter(k RoomKey, pos uint64, h Head) (seq, missing uint64, err error) {
	if h.Pos <= pos {
		return h.Seq + 1, 0, nil
	}
	if c := s.rooms.peek(k); c != nil {
		if seq, ok := c.seqAfter(pos); ok {
			return seq, 0, nil
		}
	}
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	if s.db == nil {
		return 0, 0, ErrClosed
	}
	i := sort.Search(int(h.Kept()), func(i int) bool {
		if err != nil || missing != 0 {
			return true
		}
		at := h.At(uint64(i))
		found, after := false, false
		err = view(s.db, entryKey(k, at), func(v []byte) error {
			p, err := entryPos(at, v)
			found, after = true, p > pos
			return err
		})
		if !found {
			missing = at
		}
		return after
	})
	if err != nil {
		err = fmt.Errorf("room %q: %w", k.Room, err)
	}
	return h.At(uint64(i)), missing, err
}

// RoomIDs returns the rooms of people in a namespace that exist, in byte order, from the one after the given id, at most limit.
func (s *Store) RoomIDs(ns, after string, limit int) ([]string, error) {
	var out []string
	all := func(string, string) bool { return true }
	for len(out) < limit {
		found, err := s.roomsLike(ns, after, roomsLook, func(st *settings) bool { return !st.Deleted && st.Kind.known() }, all, limit-len(out))
		if err != nil {
			return nil, err
		}
		out = append(out, found.Rooms...)
		if found.Next == "" {
			break
		}
		after = found.Next
	}
	return out, nil
}

// roomsLook is how many rooms are looked at in one read.
const roomsLook = 1000

// RoomKeys calls f for every room of people that exists, in byte order, until f says stop. f may use the store.
func (s *Store) RoomKeys(f func(RoomKey) (more bool)) error {
	return s.LogKeys(func(k RoomKey) bool { return !k.IsRoom() || f(k) })
}

// LogKeys is RoomKeys with the broker's own logs among them.
func (s *Store) LogKeys(f func(RoomKey) (more bool)) error {
	return s.pages([]byte{prefixRoom}, func(r pebble.Reader, k, v []byte) (func() bool, error) {
		n := split(k, 2)
		var st settings
		if err := decodeRecord(v, &st); err != nil || n == nil {
			return nil, fmt.Errorf("%w: settings of room %q", ErrEntry, k)
		}
		if st.Deleted {
			return nil, nil
		}
		return func() bool { return f(RoomKey{NS: n[0], Room: n[1]}) }, nil
	})
}

// pageSize is how many records a walk reads at a time.
const pageSize = 256

// pages reads all records below prefix and calls what read makes of them, if anything, until that says stop. The calls
// are made with no lock held: they may take their time and use the store.
func (s *Store) pages(prefix []byte, read func(r pebble.Reader, k, v []byte) (func() bool, error)) error {
	var start []byte
	for {
		var calls []func() bool
		n := 0
		err := s.snapshot(func(r pebble.Reader) error {
			return scan(r, prefix, start, func(k, v []byte) (bool, error) {
				call, err := read(r, k, v)
				if err != nil {
					return false, err
				}
				if call != nil {
					calls = append(calls, call)
				}
				if n++; n == pageSize {
					start = append(bytes.Clone(k), 0)
				}
				return n < pageSize, nil
			})
		})
		if err != nil {
			return err
		}
		for _, call := range calls {
			if !call() {
				return nil
			}
		}
		if n < pageSize {
			return nil
		}
	}
}

// snapshot calls f with one moment's state of the store, for readings that belong together.
func (s *Store) snapshot(f func(r pebble.Reader) error) error {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	if s.db == nil {
		return ErrClosed
	}
	snap := s.db.NewSnapshot()
	return errors.Join(f(snap), snap.Close())
}

// Digest is a sum over the stored entries of a room, equal on every node that holds the same ones.
type Digest struct {
	Room   string `json:"room"`
	First  uint64 `json:"first"`
	Head   uint64 `json:"head"`
	SHA256 string `json:"sha256"`
}

// Digest reads all entries of the room, as they are at one moment.
func (s *Store) Digest(k RoomKey) (Digest, error) {
	d := Digest{Room: k.Room}
	err := s.snapshot(func(r pebble.Reader) error {
		room, err := readRoom(r, k)
		if err != nil {
			return err
		}
		if room == nil {
			return ErrNoRoom
		}
		d.First, d.Head = room.Head.First, room.Head.Seq
		h := sha256.New()
		err = scan(r, key(prefixEntry, k.NS, k.Room), nil, func(key, v []byte) (bool, error) {
			h.Write(key)
			h.Write(v)
			return true, nil
		})
		d.SHA256 = hex.EncodeToString(h.Sum(nil))
		return err
	})
	return d, err
}
