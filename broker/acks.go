package broker

import (
	"context"
	"sync"

	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

// ack is one answer a client waits for. Answers leave in the order of the packets they answer (MQTT 5, 4.6).
type ack struct {
	kind  byte // first byte of the packet to write; 0 = a QoS 0 publish, which has none
	pid   uint16
	ready bool
	since int64 // coarse ms when the packet came

	// of a publish
	size    int64 // bytes held against the client's limit
	topic   string
	cid     string
	room    string
	hash    [16]byte
	result  storage.Result
	refusal *problem.Problem
	fenced  bool // a newer connection owns the session: no answer
	waits   bool // certainly not in the log, and no refusal that the client would understand: no answer

	raw   []byte // a whole packet to write instead (SUBACK, UNSUBACK)
	after func() // run by the worker once the answer is queued to the socket
}

// counts reports whether the answer is one that the Receive Maximum counts.
func (a *ack) counts() bool { return a.kind == typePuback || a.kind == typePubrec }

// acks is the ordered queue of a client's answers, and the table of its QoS 2 publishes that wait for PUBREL.
//
// The reader pushes, the log's callback settles, the worker takes what is ready from the front.
type acks struct {
	mu     sync.Mutex
	room   sync.Cond // signalled when the queue shrinks or the connection ends
	queue  []*ack
	bytes  int64
	owed   int // PUBACKs and PUBRECs in the queue
	closed bool

	qos2 map[uint16]*received
}

// received is a QoS 2 publish between its PUBLISH and its PUBREL (MQTT 5, 4.3.3).
type received struct {
	answered bool // PUBREC was queued
	ack      *ack
}

func (q *acks) init() { q.room.L = &q.mu }

// push appends an answer to come. It waits while the client has more in flight than it may; false means that the
// connection ended meanwhile.
func (q *acks) push(a *ack, maxCount int, maxBytes int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && len(q.queue) > 0 && (len(q.queue) >= maxCount || maxBytes > 0 && q.bytes+a.size > maxBytes) {
		q.room.Wait()
	}
	if q.closed {
		return false
	}
	q.queue = append(q.queue, a)
	q.bytes += a.size
	if a.counts() {
		q.owed++
	}
	return true
}

// full reports whether push would wait.
func (q *acks) full(size int64, maxCount int, maxBytes int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.queue) > 0 && (len(q.queue) >= maxCount || maxBytes > 0 && q.bytes+size > maxBytes)
}

// settle makes an answer ready. f fills it in under the lock.
func (q *acks) settle(a *ack, f func(*ack)) {
	q.mu.Lock()
	f(a)
	a.ready = true
	if q.closed {
		q.room.Broadcast()
	}
	q.mu.Unlock()
}

// leave lets an answer wait until the connection ends.
func (q *acks) leave(a *ack) {
	q.mu.Lock()
	defer q.mu.Unlock()
	a.waits = true
	q.room.Broadcast()
}

// next takes the front answer if it is ready. A QoS 2 publish stays in the table until its PUBREL.
func (q *acks) next() *ack {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 || !q.queue[0].ready || q.closed {
		return nil
	}
	a := q.queue[0]
	q.queue[0] = nil
	q.queue = q.queue[1:]
	if len(q.queue) == 0 {
		q.queue = nil
	}
	q.bytes -= a.size
	if a.counts() {
		q.owed--
	}
	if a.kind == typePubrec {
		if r := q.qos2[a.pid]; r != nil && r.ack == a {
			r.answered = true
		}
	}
	q.room.Broadcast()
	return a
}

// oldest returns when the front answer's packet came, 0 when nothing waits.
func (q *acks) oldest() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == 0 || q.queue[0].ready {
		return 0
	}
	return q.queue[0].since
}

// inFlight returns how many publishes above QoS 0 wait for their answer: what the Receive Maximum counts.
func (q *acks) inFlight() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.owed
}

// wake lets whoever waits look at its context.
func (q *acks) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.room.Broadcast()
}

// settled waits until every answer has been handed to the socket, but for those that are left to wait and what is behind
// them, ctx ends or the connection does.
func (q *acks) settled(ctx context.Context) {
	stop := context.AfterFunc(ctx, q.wake)
	defer stop()
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && len(q.queue) > 0 && !q.queue[0].waits && ctx.Err() == nil {
		q.room.Wait()
	}
}

// shut ends the queue: nothing is pushed or written from here on.
func (q *acks) shut() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.room.Broadcast()
}

// drain waits, after shut, until every answer's outcome is known, and returns the publishes that the client may repeat:
// in the log, without an answer handed to the socket (QoS 1) or without PUBREL (QoS 2). When ctx ends first, those whose
// outcome is not known are left out.
func (q *acks) drain(ctx context.Context) []storage.Unfinished {
	stop := context.AfterFunc(ctx, q.wake)
	defer stop()
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []storage.Unfinished
	for _, a := range q.queue {
		for !a.ready && !a.waits && ctx.Err() == nil {
			q.room.Wait()
		}
		if a.kind == typePuback {
			out = appendUnfinished(out, a)
		}
	}
	for _, r := range q.qos2 {
		out = appendUnfinished(out, r.ack)
	}
	return out
}

func appendUnfinished(out []storage.Unfinished, a *ack) []storage.Unfinished {
	if a.hash == [16]byte{} || a.refusal != nil || a.fenced || a.result.Seq == 0 {
		return out
	}
	return append(out, storage.Unfinished{PacketID: a.pid, Hash: a.hash, Room: a.room, Seq: a.result.Seq, TS: a.result.TS})
}

// again deals with a QoS 2 publish whose id waits for its PUBREL: known says so, and repeat is the PUBREC to send again
// when the first was already sent.
func (q *acks) again(pid uint16) (known, repeat bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.qos2[pid]
	return r != nil, r != nil && r.answered
}

// expect enters a QoS 2 publish in the table.
func (q *acks) expect(pid uint16, a *ack) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.qos2 == nil {
		q.qos2 = map[uint16]*received{}
	}
	q.qos2[pid] = &received{ack: a}
}

// release takes a QoS 2 publish out of the table, at its PUBREL or when its PUBREC refused it.
func (q *acks) release(pid uint16) (known bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, known = q.qos2[pid]
	delete(q.qos2, pid)
	return known
}

// waiting returns how many QoS 2 publishes wait for their PUBREL.
func (q *acks) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.qos2)
}
