package storage

import (
	"encoding/binary"
	"fmt"
)

// OldestCID returns the oldest entry of the room whose cid is remembered, and its log time in ms; ok is false when none is.
func (s *Store) OldestCID(k RoomKey) (seq uint64, ts int64, ok bool, err error) {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	prefix := key(prefixCIDBySeq, k.NS, k.Room)
	err = s.scan(prefix, nil, func(key, v []byte) (bool, error) {
		at, n := binary.Uvarint(v[min(1, len(v)):])
		if n <= 0 || len(key) != len(prefix)+seqBytes {
			return false, fmt.Errorf("%w: cid index of room %q", ErrEntry, k.Room)
		}
		seq, ts, ok = binary.BigEndian.Uint64(key[len(prefix):]), int64(at), true
		return false, nil
	})
	return seq, ts, ok, err
}
