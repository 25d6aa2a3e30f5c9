package broker

// window holds the deliveries of a client that wait for their PUBACK. Packet ids are handed out in sequence, so a slot is
// found by arithmetic; clients may acknowledge in any order. Owned by the client's worker.
type window struct {
	limit uint64 // deliveries in flight at most
	slots []slot // ring; grows to limit as more are in flight at once
	base  uint64 // counter of the oldest slot in use
	top   uint64 // counter of the next
}

// slot is one delivery. An acknowledged one stays until those before it are too.
type slot struct {
	cursor *cursor // nil for what is no entry (an answer to a call)
	seq    uint64
	acked  bool
}

const packetIDs = 65535 // ids run from 1 to this

func newWindow(limit int) (w window) {
	w.setLimit(limit)
	return w
}

// setLimit changes how many may be in flight. Those that are stay so.
func (w *window) setLimit(limit int) { w.limit = uint64(min(max(limit, 1), packetIDs)) }

func (w *window) full() bool { return w.top-w.base >= w.limit }

// free is how many more may be in flight; below 0 after the limit was lowered.
func (w *window) free() int { return int(w.limit) - int(w.top-w.base) }

func (w *window) empty() bool { return w.top == w.base }

// take gives the next packet id to a delivery. The window must not be full.
func (w *window) take(c *cursor, seq uint64) uint16 {
	if w.top-w.base == uint64(len(w.slots)) {
		w.grow()
	}
	*w.at(w.top) = slot{cursor: c, seq: seq}
	id := uint16(w.top%packetIDs) + 1
	w.top++
	return id
}

// at returns the slot of a delivery in flight.
func (w *window) at(n uint64) *slot { return &w.slots[n%uint64(len(w.slots))] }

// firstSlots is how many slots a client has that keeps up: it acknowledges before many more come.
const firstSlots = 8

func (w *window) grow() {
	more := window{slots: make([]slot, min(max(2*len(w.slots), firstSlots), int(w.limit)))}
	for i := w.base; i < w.top; i++ {
		*more.at(i) = *w.at(i)
	}
	w.slots = more.slots
}

// ack settles a delivery; an id that is not in flight is ignored.
func (w *window) ack(id uint16) {
	if id == 0 || w.empty() {
		return
	}
	offset := (uint64(id-1) + packetIDs - w.base%packetIDs) % packetIDs
	if offset >= w.top-w.base {
		return
	}
	w.at(w.base + offset).acked = true
	for !w.empty() && w.at(w.base).acked {
		*w.at(w.base) = slot{}
		w.base++
	}
}

// lowest returns the lowest seq of c that is not acknowledged, 0 when all are.
func (w *window) lowest(c *cursor) uint64 {
	var low uint64
	for i := w.base; i < w.top; i++ {
		s := w.at(i)
		if s.cursor == c && !s.acked && (low == 0 || s.seq < low) {
			low = s.seq
		}
	}
	return low
}

// forget drops the link to a cursor that is going away; its deliveries may still be acknowledged.
func (w *window) forget(c *cursor) {
	for i := w.base; i < w.top; i++ {
		if s := w.at(i); s.cursor == c {
			s.cursor = nil
		}
	}
}
