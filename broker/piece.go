package broker

import (
	"encoding/binary"

	"github.com/madang-chat/madang/broker/transport"
	"github.com/madang-chat/madang/storage"
)

// pieceBytes bounds a piece: below it a socket with an empty buffer takes one whole.
const pieceBytes = 64 << 10

// pieces are what a sweep sends, made once for each kind of frame and then given to one socket after the other as it
// is: the frames of all new entries, one behind the other. They stay in the processor's cache, and no client has a copy
// but those whose socket is full.
type pieces struct {
	kinds [frameKinds]piece
}

// piece is one of them. For QoS 1 each client gets its own packet ids, written into the piece right before it is sent, or
// into a copy of its own where many sends go with one system call.
type piece struct {
	made    bool
	held    transport.Held // the copy of all clients at QoS 0
	bytes   []byte         // empty = these entries do not go out as a piece
	pids    []int          // where the packet ids are
	longest int            // bytes of the longest frame
	count   int            // frames
}

func (p *pieces) reset() {
	for i := range p.kinds {
		k := &p.kinds[i]
		k.made, k.bytes, k.pids, k.longest, k.count = false, k.bytes[:0], k.pids[:0], 0, 0
		k.held = transport.Held{}
	}
}

// piece returns the entries of the sweep as a piece of the given kind.
func (w *worker) piece(k storage.RoomKey, version, qos byte) *piece {
	p := &w.pieces.kinds[kindOf(version, qos)]
	if p.made {
		return p
	}
	p.made = true
	for _, e := range w.entries {
		f := w.frame(k, e, version, qos)
		if e.Expiry > 0 && version == version5 || len(p.bytes)+len(f.bytes) > pieceBytes {
			p.bytes = p.bytes[:0] // what is left of an expiry is told anew each time; more is sent bit by bit
			return p
		}
		if f.pid > 0 {
			p.pids = append(p.pids, len(p.bytes)+f.pid)
		}
		p.bytes = append(p.bytes, f.bytes...)
		p.longest = max(p.longest, len(f.bytes))
		p.count++
	}
	return p
}

// sendPiece gives the entries of the sweep to the cursor's socket at once. It returns false, having done nothing, when
// they have to go the usual way: something waits for the socket, or the client is to get something else than everybody.
func (w *worker) sendPiece(cur *cursor) bool {
	c := cur.client
	if !cur.plain || cur.dupUntil > 0 || c.touched || len(w.sweeping) > 1 && len(c.cursors) > 1 || c.conn.Queued() > 0 {
		return false
	}
	p := w.piece(cur.room.key, c.version, cur.qos)
	if len(p.bytes) == 0 || c.maxPacket > 0 && p.longest > int(c.maxPacket) {
		return false
	}
	if cur.qos > 0 {
		if c.fitWindow(); c.window.free() < p.count {
			if c.takeAcks(); c.window.free() < p.count {
				return false
			}
		}
		for i, at := range p.pids {
			binary.BigEndian.PutUint16(p.bytes[at:], c.window.take(cur, w.entries[i].Seq))
		}
	}
	w.delivered += uint64(p.count)
	if !w.pieceTogether(c, p, cur.qos > 0) {
		if done, _ := c.conn.Send(p.bytes); !done { // a connection that has ended is the reader's to clear away
			w.account(c)
		}
	}
	return true
}
