package bench

// maxInFlight is the number of packet ids.
const maxInFlight = 1<<16 - 1

// flight is what a publisher has under way with QoS 1 and 2, by packet id. It grows to what was under way at once: a
// table of all ids would make ten thousand publishers need gigabytes.
type flight struct {
	of   []int64  // by id, 0 = free; ids begin at 1
	free []uint16 // ids to be used again
}

// len is the number of messages under way.
func (f *flight) len() int { return max(len(f.of)-1, 0) - len(f.free) }

// full says that no packet id is left.
func (f *flight) full() bool { return f.len() == maxInFlight }

// add gives a message an id and remembers v, which is not 0, for it. It must not be full.
func (f *flight) add(v int64) uint16 {
	if n := len(f.free); n > 0 {
		id := f.free[n-1]
		f.free = f.free[:n-1]
		f.of[id] = v
		return id
	}
	if len(f.of) == 0 {
		f.of = append(f.of, 0)
	}
	f.of = append(f.of, v)
	return uint16(len(f.of) - 1)
}

// settle ends what is under way with an id and returns what was remembered; false when nothing is.
func (f *flight) settle(id uint16) (v int64, ok bool) {
	if int(id) >= len(f.of) || f.of[id] == 0 {
		return 0, false
	}
	v, f.of[id] = f.of[id], 0
	f.free = append(f.free, id)
	return v, true
}
