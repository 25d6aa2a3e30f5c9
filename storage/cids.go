package storage

import (
	"encoding/binary"
	"fmt"
)

// OldestCID returns the oldest entry of the room whose cid is remembered, and its log time in ms; ok is false when none is.
func (s *Store) OldestCID(k RoomKey) (seq uint64, ts int64, ok bool, err error) {
	prefix := key(prefixCIDBySeq, k.NS, k.Room)
	err = s.scan(prefix, nil, func(key, v []byte) (bool, error) {
		if len(key) != len(prefix)+seqBytes {
			return false, fmt.Errorf("%w: cid index of room %q", ErrEntry, k.Room)
		}
		x, err := decodeBySeq(binary.BigEndian.Uint64(key[len(prefix):]), v)
		if err != nil {
			return false, fmt.Errorf("room %q: %w", k.Room, err)
		}
		seq, ts, ok = x.seq, x.ts, true
		return false, nil
	})
	return seq, ts, ok, err
}
