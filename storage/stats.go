package storage

import "cmp"

// Stats are counts since Open and sizes now, for metrics.
type Stats struct {
	Entries    uint64 // of the log, applied
	Commands   uint64 // applied; those answered from memory or ignored are not counted
	Batches    uint64
	BatchKeys  uint64 // keys (and ranges) written
	BatchBytes uint64 // bytes of the batches, as they go to Pebble's log
	TailBytes  int64  // memory of recent entries
	Rooms      int    // rooms in memory
}

func (s *Stats) add(n *Stats) {
	s.Entries += n.Entries
	s.Commands += n.Commands
	s.Batches += n.Batches
	s.BatchKeys += n.BatchKeys
	s.BatchBytes += n.BatchBytes
}

// Stats returns the counts. It is cheap.
func (s *Store) Stats() Stats {
	s.metaMu.RLock()
	out := s.stats
	s.metaMu.RUnlock()
	out.TailBytes, out.Rooms = s.tail.size(), s.rooms.count()
	return out
}

// SetTailBytes changes Options.TailBytes; what is held beyond it goes with the next entries. 0 is the default there too.
func (s *Store) SetTailBytes(bytes int64) {
	bytes = cmp.Or(max(bytes, 0), defaultTailBytes)
	s.tailBytes.Store(bytes)
	s.tail.setLimit(bytes)
}

// TailBytes returns the memory that recent entries take.
func (s *Store) TailBytes() int64 { return s.tail.size() }
