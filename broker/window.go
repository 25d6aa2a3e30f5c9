package broker

// window holds the deliveries of a client that wait for their PUBACK. Packet ids are handed out in sequence, so a slot is
// found by arithmetic; clients may acknowledge in any order. Owned by the client's worker.
type window struct {
	limit uint64 // deliveries in flight at most
	slots []slot // ring of limit slots; made with the first delivery
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

func newWindow(limit int) window { return window{limit: uint64(min(max(limit, 1), packetIDs))} }

func (w *window) full() bool { return w.top-w.base >= w.limit }

func (w *window) empty() bool { return w.top == w.base }

// take gives the next packet id to a delivery. The window must not be full.
func (w *window) take(c *cursor, seq uint64) uint16 {
	if w.slots == nil {
		w.slots = make([]slot, w.limit)
	}
	w.slots[w.top%w.limit] = slot{cursor: c, seq: seq}
	id := uint16(w.top%packetIDs) + 1
	w.top++
	return id
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
	w.slots[(w.base+offset)%w.limit].acked = true
	for !w.empty() && w.slots[w.base%w.limit].acked {
		w.slots[w.base%w.limit] = slot{}
		w.base++
	}
}

// lowest returns the lowest seq of c that is not acknowledged, 0 when all are.
func (w *window) lowest(c *cursor) uint64 {
	var low uint64
	for i := w.base; i < w.top; i++ {
		s := &w.slots[i%w.limit]
		if s.cursor == c && !s.acked && (low == 0 || s.seq < low) {
			low = s.seq
		}
	}
	return low
}

// forget drops the link to a cursor that is going away; its deliveries may still be acknowledged.
func (w *window) forget(c *cursor) {
	for i := w.base; i < w.top; i++ {
		if s := &w.slots[i%w.limit]; s.cursor == c {
			s.cursor = nil
		}
	}
}
