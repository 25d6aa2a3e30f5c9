package storage

import (
	"slices"
	"sort"
	"strconv"
)

// A store that was restored from a backup, or from what one node had left, may lack entries that others have seen. It opens
// a new era: every room goes on a million numbers later, so that no old cursor meets a new entry under a number that it
// knows, and its first entry says so. The numbers between are a hole: the one exception to "without holes".

// EraJump is how many numbers a new era leaves out in every room.
const EraJump = 1_000_000

// Hole is a range of numbers, both ends included, that a room's log does not have.
type Hole struct{ From, To uint64 }

// Kept returns how many entries the room has.
func (h *Head) Kept() uint64 { return h.Index(h.Seq + 1) }

// Index returns how many of the kept entries come before seq.
func (h *Head) Index(seq uint64) uint64 {
	seq = min(seq, h.Seq+1)
	if seq <= h.First {
		return 0
	}
	n := seq - h.First
	for _, hole := range h.Holes {
		if hole.From >= seq {
			break
		}
		n -= min(hole.To+1, seq) - hole.From
	}
	return n
}

// At returns the seq of the kept entry that i others come before; Seq+1 where there is none.
func (h *Head) At(i uint64) uint64 {
	seq := h.First + i
	for _, hole := range h.Holes {
		if seq >= hole.From {
			seq += hole.To - hole.From + 1
		}
	}
	return min(seq, h.Seq+1)
}

// Back returns the lowest of the newest n numbers that were given, whether their entries are kept or not. Of holes below
// First nothing is known any more.
func (h *Head) Back(n uint64) uint64 {
	above := h.Seq + 1
	for _, hole := range slices.Backward(h.Holes) {
		if run := above - 1 - hole.To; n > run {
			n -= run
			above = hole.From
			continue
		}
		break
	}
	return above - min(n, above-1)
}

// Run returns the ends of the last run of at most n kept entries without a hole up to and including to; from is above last
// when there is none.
func (h *Head) Run(to, n uint64) (from, last uint64) {
	from, last = h.First, min(to, h.Seq)
	for _, hole := range slices.Backward(h.Holes) {
		if hole.To < last {
			from = hole.To + 1
			break
		}
		last = min(last, hole.From-1)
	}
	if last >= from && last-from >= n {
		from = last - n + 1
	}
	return from, last
}

// HoleAfter reports whether numbers from seq on are missing before the head.
func (h *Head) HoleAfter(seq uint64) bool {
	i := sort.Search(len(h.Holes), func(i int) bool { return h.Holes[i].To >= seq })
	return i < len(h.Holes)
}

// trimTo makes seq the oldest entry kept, or what follows the hole it lies in.
func (h *Head) trimTo(seq uint64) {
	h.First = seq
	for len(h.Holes) > 0 && h.Holes[0].From <= h.First {
		h.First, h.Holes = max(h.First, h.Holes[0].To+1), h.Holes[1:]
	}
}

// eraRooms is how many rooms go into one batch.
const eraRooms = 256

// NewEra opens a new era in every room. The store must be used by nobody else; it is durable after Sync. Called again after
// an interruption, it begins anew: rooms that had their entry get another.
func (s *Store) NewEra() error {
	if err := s.feedEra(); err != nil {
		return err
	}
	var rooms []RoomKey
	err := s.headKeys(func(k RoomKey) { rooms = append(rooms, k) })
	for err == nil && len(rooms) > 0 {
		n := min(len(rooms), eraRooms)
		err = s.newEra(rooms[:n])
		rooms = rooms[n:]
	}
	return err
}

// headKeys calls f for every room that is or was.
func (s *Store) headKeys(f func(RoomKey)) error {
	return s.scan([]byte{prefixHead}, nil, func(k, _ []byte) (bool, error) {
		if n := split(k, 2); n != nil {
			f(RoomKey{NS: n[0], Room: n[1]})
		}
		return true, nil
	})
}

func (s *Store) newEra(rooms []RoomKey) error {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	t := s.begin()
	defer t.close()
	t.now = t.meta.Time
	for _, k := range rooms {
		d := t.room(k)
		hole := Hole{From: d.head.Seq + 1, To: d.head.Seq + EraJump}
		empty := d.head.First > d.head.Seq
		d.head.Seq, d.headChanged = hole.To, true
		if empty {
			d.head.First = hole.To + 1
		} else {
			d.head.Holes = append(slices.Clip(d.head.Holes), hole)
		}
		if !d.exists() {
			d.head.First = hole.To + 1
			continue
		}
		tail := strconv.AppendUint([]byte(`,"data":{"event":"restored","from":`), hole.From, 10)
		tail = append(strconv.AppendUint(append(tail, `,"to":`...), hole.To, 10), '}')
		t.push(d, TypeSystem, Actor{}, "", "", tail, 0)
	}
	if t.err != nil {
		return t.err
	}
	return t.commit()
}
