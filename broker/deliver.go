package broker

import (
	"encoding/binary"
	"math"
	"strings"
	"time"

	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/storage"
)

const (
	pageEntries  = 256
	pageBytes    = 256 << 10
	turnEntries  = 32 // entries of one cursor before the next gets its turn
	servedTurns  = 4  // turns of one client before the next is served
	sharedBytes  = 4 << 10
	frameSlots   = 1024
	frameBytes   = 16 << 20 // of all frames a worker keeps
	frameKinds   = 4        // v3.1.1 and v5, QoS 0 and 1
	maxJSONBytes = math.MaxInt32
)

// frameCache holds encodings of entries met lately, one per variant. It is direct-mapped: an entry shared by many
// cursors is encoded once per worker, and a miss costs one encoding.
type frameCache struct {
	bytes int
	slots [frameSlots]struct {
		entry  *storage.Entry
		frames [frameKinds]frame
	}
}

// frame returns the encoding of e for a protocol version and QoS, without subscription ids.
func (w *worker) frame(k storage.RoomKey, e *storage.Entry, version, qos byte) *frame {
	c := &w.frames
	if c.bytes > frameBytes {
		*c = frameCache{}
	}
	s := &c.slots[e.Pos%frameSlots]
	if s.entry != e {
		for i := range s.frames {
			c.bytes -= len(s.frames[i].bytes)
		}
		s.entry = e
		s.frames = [frameKinds]frame{}
	}
	f := &s.frames[kindOf(version, qos)]
	if f.bytes == nil {
		*f = w.encode(nil, k, e, version, qos, false, nil)
		c.bytes += len(f.bytes)
	}
	return f
}

// kindOf numbers the variants of a frame.
func kindOf(version, qos byte) byte {
	if version == version5 {
		return 2 + qos
	}
	return qos
}

func (w *worker) encode(dst []byte, k storage.RoomKey, e *storage.Entry, version, qos byte, dup bool, ids []uint32) frame {
	p := publish{topic: entryTopic(k, e.Type), payload: e.JSON, qos: qos, dup: dup, ids: ids, text: true}
	if version == version5 {
		w.user = entryProperties(w.user[:0], e)
		p.user = w.user
		if e.Expiry > 0 {
			p.expiry = uint32(max((e.Expiry-w.b.cfg.Store.Now())/1000, 1))
		}
	}
	return p.encode(dst, version)
}

// sliceReaders is how many cursors of a room are swept before others have their turn: half a millisecond of sends.
const sliceReaders = 64

// sweptTogether is how many rooms' slices are swept before what was added to a batch goes.
const sweptTogether = 32

// begin starts to sweep a room if there is something new in it. What comes while it is swept goes out with the next sweep.
func (w *worker) begin(r *room) {
	if !r.sweeping && w.renew(r) {
		w.sweeping = append(w.sweeping, r)
	}
}

// renew sets a room's sweep to what is new in it, and reports whether there is anything.
func (w *worker) renew(r *room) bool {
	head := w.head(r)
	r.sweeping = head > r.swept
	if r.sweeping {
		r.first, r.swept, r.at = r.swept+1, head, 0
		w.headMoved(r)
	}
	return r.sweeping
}

// sweep gives every room that is being swept a slice, in turn: a room of thousands does not keep small ones waiting.
func (w *worker) sweep() {
	left := w.sweeping[:0]
	for i, r := range w.sweeping {
		if i%sweptTogether == sweptTogether-1 {
			w.sendTogether() // the first of them have waited for long enough
		}
		w.slice(r)
		if r.at < len(r.cursors) || len(r.cursors) > 0 && w.renew(r) {
			left = append(left, r)
		} else {
			r.sweeping = false
		}
	}
	w.sendTogether()
	clear(w.sweeping[len(left):])
	w.sweeping = left
}

// slice hands what is new in a room to the next of its cursors.
func (w *worker) slice(r *room) {
	first, head := r.first, r.swept
	w.entries, _ = w.b.cfg.Store.Recent(w.entries[:0], r.key, first, head, math.MaxInt, maxJSONBytes)
	whole := uint64(len(w.entries)) == head-first+1
	w.pieces.reset()
	for end := min(r.at+w.perSlice, len(r.cursors)); r.at < end; r.at++ {
		cur := r.cursors[r.at]
		if cur.asleep {
			// That it may read again is told after the head has moved.
			if w.setAccess(cur, first); cur.asleep {
				cur.next = max(cur.next, head+1)
				continue
			}
		}
		if cur.behind {
			continue // it is served with its client, in its turn
		}
		if whole && cur.next == first && w.sendPiece(cur) {
			cur.next = head + 1
			continue
		}
		if !w.advance(cur, w.entries, head, math.MaxInt) {
			w.leaveBehind(cur)
		}
	}
	clear(w.entries)
}

// leaveBehind puts on its client's list a cursor that a sweep could not serve.
func (w *worker) leaveBehind(cur *cursor) {
	w.fallBehind(cur)
	if w.canTake(cur) {
		cur.client.dirty() // it waits for a page, not for its socket
	}
}

// advance delivers entries to the cursor up to head, at most budget of them. It reports whether the cursor is live.
func (w *worker) advance(cur *cursor, entries []*storage.Entry, head uint64, budget int) bool {
	for n := 0; cur.next <= head; n++ {
		if n == budget || len(entries) == 0 {
			return false
		}
		i := cur.next - entries[0].Seq // wraps, and so is too large, when cur.next comes before them
		if i >= uint64(len(entries)) || !w.canTake(cur) {
			return false
		}
		w.deliver(cur, entries[i])
		cur.next++
	}
	return true
}

// canTake reports whether the client can take an entry of the cursor now.
func (w *worker) canTake(cur *cursor) bool {
	c := cur.client
	if cur.qos > 0 && c.inFlight() {
		return false
	}
	return w.hasRoom(c)
}

// parkedAfter is how long a socket may take nothing before what comes stays in the log, though there is room: that of 1,000
// readers who do not read would be a gigabyte, and copying it costs those who do.
const parkedAfter = time.Second

// hasRoom reports whether something may be queued for the client's socket. When it may not, the client is served again once
// the socket has taken what waits.
func (w *worker) hasRoom(c *client) bool {
	most, which := w.b.connectionBytes()
	if c.conn.Queued() > 0 && c.conn.StalledFor() > parkedAfter {
		if w.flush(c); c.conn.Queued() > 0 {
			return false
		}
	}
	if c.conn.Queued() < most {
		return true
	}
	w.flush(c)
	if c.conn.Queued() < most {
		return true
	}
	w.b.cfg.Refusals.Add(which)
	return false
}

// connectionBytes is what may wait for one socket, less when all of them together hold too much, and by which limit.
func (b *Broker) connectionBytes() (int, limit.Key) {
	l := b.limits()
	if l.OutboundBytes > 0 && b.queued.Load() > l.OutboundBytes {
		return 1, limit.OutboundBytes
	}
	return l.ConnectionBytes, limit.ConnectionBytes
}

// queueRoom is connectionBytes without the limit's name.
func (b *Broker) queueRoom() int {
	most, _ := b.connectionBytes()
	return most
}

// deliver sends the entry if a filter of the cursor takes it.
func (w *worker) deliver(cur *cursor, e *storage.Entry) {
	c := cur.client
	qos := cur.qos
	var ids []uint32
	if !cur.plain {
		var ok bool
		if qos, ids, ok = cur.match(e); !ok {
			return
		}
	}
	if e.Expiry > 0 && cur.behind && e.Expiry <= w.b.cfg.Store.Now() {
		cur.expired++
		return
	}
	if e.Collapse != "" && cur.behind {
		gone, err := w.b.cfg.Store.Collapsed(cur.room.key, e)
		if err != nil {
			w.b.log.Error("read a collapse key", "room", cur.room.key.Room, "seq", e.Seq, "err", err)
		}
		if gone {
			cur.collapsed++
			return
		}
	}
	dup := qos > 0 && e.Seq < cur.dupUntil && e.Pos <= c.sentPos
	if len(ids) == 0 && !dup && (e.Expiry == 0 || c.version != version5) {
		w.send(c, w.frame(cur.room.key, e, c.version, qos), cur, e.Seq)
		return
	}
	f := w.encode(nil, cur.room.key, e, c.version, qos, dup, ids)
	w.send(c, &f, cur, e.Seq)
}

// match returns what the client's filters make of an entry: the highest QoS, all subscription ids.
func (cur *cursor) match(e *storage.Entry) (qos byte, ids []uint32, ok bool) {
	k, c := cur.room.key, cur.client
	own := e.User == c.sid.User && e.Device == c.device && e.Device != ""
	for _, s := range cur.filters {
		if s.noLocal && own || !s.takes(k, e.Type) {
			continue
		}
		ok = true
		qos = max(qos, s.qos)
		if s.id != 0 {
			ids = append(ids, s.id)
		}
	}
	return qos, ids, ok
}

// send queues a frame; cur is nil for what is no entry. A frame the client said it cannot take is not sent (MQTT 5, 3.1.2.11.4).
func (w *worker) send(c *client, f *frame, cur *cursor, seq uint64) {
	if c.maxPacket > 0 && len(f.bytes) > int(c.maxPacket) {
		return
	}
	if f.pid == 0 {
		c.conn.Queue(f.bytes, len(f.bytes) > sharedBytes)
	} else {
		w.scratch = append(w.scratch[:0], f.bytes...)
		binary.BigEndian.PutUint16(w.scratch[f.pid:], c.window.take(cur, seq))
		c.conn.Queue(w.scratch, false)
	}
	w.delivered++
	w.touch(c)
}

// fallBehind puts the cursor on its client's list, inbox, direct rooms and rooms in focus in front.
func (w *worker) fallBehind(cur *cursor) {
	if cur.behind || cur.asleep {
		return
	}
	cur.behind, cur.since = true, w.b.now()
	if cur.from == 0 {
		cur.from = cur.next
	}
	c := cur.client
	if k := cur.room.key; !k.IsRoom() || strings.HasPrefix(k.Room, "dm~") || c.focus[k.Room] {
		c.behind = append([]*cursor{cur}, c.behind...)
		return
	}
	c.behind = append(c.behind, cur)
}

// serve gives a client its answers, then lets its cursors catch up by turns.
func (w *worker) serve(c *client) {
	w.answer(c)
	c.takeAcks()
	w.giveValues(c)
	w.giveOwedUsers(c)
	for turns, progress := 0, true; progress && len(c.behind) > 0; turns++ {
		if turns == servedTurns {
			c.dirty() // others first
			break
		}
		progress = false
		for i := 0; i < len(c.behind); {
			cur := c.behind[i]
			before := cur.next
			w.catchUp(cur)
			if cur.next != before {
				progress = true
			}
			if i < len(c.behind) && c.behind[i] == cur {
				i++
			}
		}
	}
	w.touch(c)
}

// catchUp gives a cursor that is behind its turn.
func (w *worker) catchUp(cur *cursor) {
	if cur.fetching || cur.asleep {
		return
	}
	head := w.head(cur.room)
	w.skip(cur, head)
	if cur.next > head {
		w.caughtUp(cur, head)
		return
	}
	if !w.canTake(cur) {
		return
	}
	if len(cur.page) == 0 || cur.next < cur.page[0].Seq || cur.next > cur.page[len(cur.page)-1].Seq {
		page, ok := w.b.cfg.Store.Recent(cur.page[:0], cur.room.key, cur.next, head, pageEntries, pageBytes)
		if !ok {
			w.fetch(cur, head)
			return
		}
		cur.page = page
	}
	if w.advance(cur, cur.page, head, turnEntries) {
		w.caughtUp(cur, head)
	}
}

// fetch has a page read from the disk; the cursor goes on when it is there.
func (w *worker) fetch(cur *cursor, head uint64) {
	cur.fetching = true
	k, from := cur.room.key, cur.next
	w.b.read(func() {
		page, err := w.b.cfg.Store.Entries(k, from, head, pageEntries, pageBytes)
		w.post(func() {
			cur.fetching = false
			c := cur.client
			if c.gone || c.cursors[k] != cur {
				return
			}
			if err != nil {
				w.b.log.Error("read history", "room", k.Room, "from", from, "err", err)
				c.disconnect(reasonImplementation)
				return
			}
			if cur.next == from {
				w.turn(cur, page, head)
			}
			w.serve(c)
		})
	})
}

// turn takes a page that was read. Entries that retention removed meanwhile are a declared gap.
func (w *worker) turn(cur *cursor, page []*storage.Entry, head uint64) {
	first := head + 1
	if len(page) > 0 {
		first = page[0].Seq
	}
	if first > cur.next {
		w.jump(cur, first)
	}
	cur.page = page
}

// caughtUp takes a cursor off the list: it is live.
func (w *worker) caughtUp(cur *cursor, head uint64) {
	c := cur.client
	for i, o := range c.behind {
		if o == cur {
			c.behind = append(c.behind[:i:i], c.behind[i+1:]...)
			break
		}
	}
	cur.behind, cur.page, cur.dupUntil = false, nil, 0
	if cur.announce || cur.from <= head {
		w.tellSync(cur, head, false, true)
	}
	cur.announce, cur.from, cur.expired, cur.collapsed = false, 0, 0, 0
}

// skip moves a cursor over what its client does not want: more than its backlog, or, at QoS 0, more lag than a reader
// without acknowledgements is allowed. Entries asked for by a replay are always given.
func (w *worker) skip(cur *cursor, head uint64) {
	c, l := cur.client, w.b.limits()
	if cur.next <= cur.replayTo {
		return
	}
	if c.backlog > 0 && head >= cur.next && head-cur.next >= c.backlog {
		if to := w.back(cur.room, c.backlog); to > cur.next {
			w.jump(cur, to)
		}
		return
	}
	if cur.qos > 0 {
		return
	}
	late := l.QoS0LagTime > 0 && w.b.now()-cur.since > l.QoS0LagTime.Milliseconds()
	far := l.QoS0Lag > 0 && head >= cur.next && head-cur.next >= l.QoS0Lag && w.back(cur.room, l.QoS0Lag) > cur.next
	if far || late && head > cur.next {
		if far {
			w.b.cfg.Refusals.Add(limit.QoS0Lag)
		} else {
			w.b.cfg.Refusals.Add(limit.QoS0LagTime)
		}
		w.jump(cur, head+1)
		cur.since = w.b.now()
	}
}

// back returns the lowest of the room's newest n numbers: what a hole leaves out is no lag.
func (w *worker) back(r *room, n uint64) uint64 {
	st, err := w.b.cfg.Store.Room(r.key)
	if err != nil || st == nil {
		return 0
	}
	return st.Head.Back(n)
}

// jump moves a cursor forward and says so.
func (w *worker) jump(cur *cursor, to uint64) {
	w.tellSync(cur, to-1, true, false)
	cur.next, cur.page, cur.from = to, nil, to
}
