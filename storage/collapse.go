package storage

import (
	"encoding/binary"
	"fmt"
	"strconv"
)

// Of messages of one writer with the same collapse_key only the newest is delivered late: to whoever was there they come as
// they are sent. The room remembers the newest of each, and, to forget it with the entry, the key by seq. A key is its
// writer's: nobody takes the place of what another one wrote. What has been replaced stays so when the newest is deleted: its
// stub keeps the key, and is what there is of them.

const collapseVersion = 1

func collapseKey(r RoomKey, user, name string) []byte {
	return last(key(prefixCollapse, r.NS, r.Room, user), escapeName(name))
}

func collapseBySeqKey(r RoomKey, seq uint64) []byte {
	return withNumber(key(prefixCollapseBySeq, r.NS, r.Room), seq)
}

func (t *tx) rememberCollapse(d *draft, e *Entry) {
	t.set(collapseKey(d.key, e.User, e.Collapse), withNumber([]byte{collapseVersion}, e.Seq))
	t.set(collapseBySeqKey(d.key, e.Seq), append(appendSized([]byte{collapseVersion}, e.User), e.Collapse...))
}

// disownCollapsed gives an entry of a user who is deleted, and with it those it has replaced or that have replaced it, another
// key, which says nothing of the user: the seq of the newest of them. Entries come in order, so that the newest is the last to
// be asked about. It returns the key, "" when none is kept.
func (t *tx) disownCollapsed(k RoomKey, seq uint64, user, name string) string {
	newest, err := decodeCollapse(t.get(collapseKey(k, user, name)))
	if err != nil {
		t.fail(fmt.Errorf("%w: entry %d of room %q", err, seq, k.Room))
	}
	if newest < seq {
		t.forgetCollapsed(k, seq, user, name)
		return ""
	}
	next := strconv.FormatUint(newest, 10)
	t.set(collapseKey(k, DeletedUser, next), withNumber([]byte{collapseVersion}, newest))
	t.set(collapseBySeqKey(k, seq), append(appendSized([]byte{collapseVersion}, DeletedUser), next...))
	if newest == seq {
		t.del(collapseKey(k, user, name))
	}
	return next
}

// forgetCollapsed forgets the key of one entry, unless a newer one has it.
func (t *tx) forgetCollapsed(k RoomKey, seq uint64, user, name string) {
	newest, err := decodeCollapse(t.get(collapseKey(k, user, name)))
	if err != nil {
		t.fail(fmt.Errorf("%w: entry %d of room %q", err, seq, k.Room))
	}
	if newest == seq {
		t.del(collapseKey(k, user, name))
	}
	t.del(collapseBySeqKey(k, seq))
}

func decodeCollapse(b []byte) (seq uint64, err error) {
	if b == nil {
		return 0, nil
	}
	r := readRecord(b, collapseVersion)
	v := r.fixed(seqBytes)
	if !r.end() {
		return 0, fmt.Errorf("%w: collapse key", ErrEntry)
	}
	return binary.BigEndian.Uint64(v), nil
}

// forgetCollapse forgets the keys of the entries from..to, but for those that have a newer one. Each is forgotten by itself,
// so their order says nothing.
func (t *tx) forgetCollapse(k RoomKey, from, to uint64) {
	t.each(collapseBySeqKey(k, from), collapseBySeqKey(k, to+1), func(key, b []byte) {
		seq := binary.BigEndian.Uint64(key[len(key)-seqBytes:])
		r := readRecord(b, collapseVersion)
		user := string(r.sized())
		if r.bad {
			t.fail(fmt.Errorf("%w: collapse key of entry %d of room %q", ErrEntry, seq, k.Room))
			return
		}
		t.forgetCollapsed(k, seq, user, string(r.b))
	})
}

// Newest returns the seq of the user's newest message in the room with that collapse_key, 0 when none is kept.
func (s *Store) Newest(k RoomKey, user, name string) (uint64, error) {
	b, err := s.read(collapseKey(k, user, name))
	if err != nil {
		return 0, err
	}
	return decodeCollapse(b)
}

// Collapsed reports whether a newer message with its collapse_key has taken the place of the entry in late deliveries.
func (s *Store) Collapsed(k RoomKey, e *Entry) (bool, error) {
	if e.Collapse == "" {
		return false, nil
	}
	newest, err := s.Newest(k, e.User, e.Collapse)
	return newest > e.Seq, err
}
