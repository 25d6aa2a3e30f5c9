package storage

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
