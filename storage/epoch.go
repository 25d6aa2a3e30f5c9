package storage

// Epoch returns the newest epoch given to a session: every Take applied so far has at most this one.
func (s *Store) Epoch() uint64 { return s.current().Epoch }
