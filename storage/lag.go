package storage

import (
	"encoding/binary"
	"fmt"
)

const lagVersion = 1

// setLag writes where a session goes on in a room; 0 = where its place says.
func (t *tx) setLag(id SessionID, room string, seq uint64) {
	k := lagKey(id, room)
	if seq == 0 {
		t.remove(k)
		return
	}
	if t.lags == nil {
		t.lags = map[SessionID][][]byte{}
	}
	t.lags[id] = append(t.lags[id], k)
	t.write(k, withNumber([]byte{lagVersion}, seq))
}

// lowerLag is setLag for a place that is asked for: a lag that is lower stays, since nobody has said that what comes from
// there on has arrived.
func (t *tx) lowerLag(id SessionID, room string, seq uint64) {
	if b := t.get(lagKey(id, room)); b != nil {
		lag, err := decodeLag(b)
		if err != nil {
			t.fail(fmt.Errorf("%w of session %q of %q", err, id.Client, id.User))
			return
		}
		seq = min(seq, lag)
	}
	t.setLag(id, room, seq)
}

func decodeLag(b []byte) (seq uint64, err error) {
	r := readRecord(b, lagVersion)
	n := r.fixed(seqBytes)
	if !r.end() {
		return 0, fmt.Errorf("%w: lag", ErrEntry)
	}
	return binary.BigEndian.Uint64(n), nil
}

// delLags removes all lags of a session, of which there are few: one by one, since every read of the store goes through the
// ranges that were deleted lately, and thousands of sessions end at once.
func (t *tx) delLags(id SessionID) {
	p := lagPrefix(id)
	if err := scanRange(t.s.db, p, end(p), func(k, _ []byte) (bool, error) {
		t.remove(k)
		return true, nil
	}); err != nil {
		t.fail(err)
	}
	for _, k := range t.lags[id] {
		t.remove(k)
	}
	delete(t.lags, id)
}
