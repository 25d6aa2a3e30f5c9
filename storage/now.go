package storage

// Clock has f tell what Now returns: log time now, in ms. f is called by any goroutine, with no lock of the store held. It
// is set before the first read that asks for the time.
func (s *Store) Clock(f func() int64) { s.clock.Store(&f) }

// Now returns log time now, in ms: what readers are told of ttl, bans and mutes is decided by it. It goes on while nothing is
// written, and is not before the newest entry. Without a Clock it is the time of the newest entry.
//
// It is for readers alone: what Apply decides by is the time of the entry that it applies, the same on every node.
func (s *Store) Now() int64 {
	f := s.clock.Load()
	_, last := s.Applied()
	if f == nil {
		return last
	}
	return max((*f)(), last)
}
