package transport

import "sync"

const (
	// chunkSize is the memory of one pooled chunk: a sweep of some twenty chat messages fits in one.
	chunkSize = 4096
	// headroom is kept free before the bytes of a pooled chunk, so that a WebSocket header can be put before them.
	headroom = 10
	// shareMin is the size from which referring to shared bytes costs less than copying them.
	shareMin = 2048
)

// chunk is one link of a queue. b are the bytes not yet taken. buf is the chunk's own memory; it is nil when b belongs
// to somebody else and must not be written.
type chunk struct {
	next *chunk
	b    []byte
	buf  []byte
}

var (
	ownChunks = sync.Pool{New: func() any { return &chunk{buf: make([]byte, chunkSize)} }}
	refChunks = sync.Pool{New: func() any { return new(chunk) }}
)

// newChunk returns an empty chunk with memory of its own.
func newChunk() *chunk {
	c := ownChunks.Get().(*chunk)
	c.b = c.buf[headroom:headroom]
	return c
}

// free gives the chunk back to its pool.
func (c *chunk) free() {
	c.next, c.b = nil, nil
	if c.buf == nil {
		refChunks.Put(c)
		return
	}
	ownChunks.Put(c)
}

// room is how many bytes can still be appended to the chunk.
func (c *chunk) room() int {
	if c.buf == nil {
		return 0
	}
	return cap(c.b) - len(c.b)
}

// queue is a list of chunks. It has no lock; the zero value is empty and holds no memory.
type queue struct {
	head, tail *chunk
	n          int
}

// add appends b: by reference when it is shared and large, else as a copy.
func (q *queue) add(b []byte, shared bool) {
	q.n += len(b)
	if shared && len(b) >= shareMin {
		c := refChunks.Get().(*chunk)
		c.b = b
		q.link(c)
		return
	}
	for len(b) > 0 {
		if q.tail == nil || q.tail.room() == 0 {
			q.link(newChunk())
		}
		t := q.tail
		k := min(t.room(), len(b))
		t.b = append(t.b, b[:k]...)
		b = b[k:]
	}
}

func (q *queue) link(c *chunk) {
	if q.tail == nil {
		q.head = c
	} else {
		q.tail.next = c
	}
	q.tail = c
}

// take moves everything of from to the end of q.
func (q *queue) take(from *queue) {
	if from.head == nil {
		return
	}
	if q.tail == nil {
		q.head = from.head
	} else {
		q.tail.next = from.head
	}
	q.tail = from.tail
	q.n += from.n
	*from = queue{}
}

// cut takes whole chunks off the front until they hold at least want bytes or none is left.
func (q *queue) cut(want int) queue {
	if q.n <= want {
		all := *q
		*q = queue{}
		return all
	}
	var out queue
	for q.head != nil && out.n < want {
		c := q.head
		q.head = c.next
		c.next = nil
		out.link(c)
		out.n += len(c.b)
		q.n -= len(c.b)
	}
	if q.head == nil {
		q.tail = nil
	}
	return out
}

// prepend puts a short header before the first byte, in the first chunk's headroom where that is free.
func (q *queue) prepend(header []byte) {
	q.n += len(header)
	if c := q.head; c != nil && c.buf != nil && len(c.b) > 0 && &c.b[0] == &c.buf[headroom] {
		at := headroom - len(header)
		copy(c.buf[at:], header)
		c.b = c.buf[at : headroom+len(c.b)]
		return
	}
	c := newChunk()
	c.b = append(c.b, header...)
	c.next = q.head
	q.head = c
	if q.tail == nil {
		q.tail = c
	}
}

// advance forgets the first n bytes and gives the chunks that are done back.
func (q *queue) advance(n int) {
	q.n -= n
	for q.head != nil {
		c := q.head
		if n < len(c.b) {
			c.b = c.b[n:]
			return
		}
		n -= len(c.b)
		q.head = c.next
		c.free()
	}
	q.tail = nil
}

// drop empties the queue and returns how many bytes were in it.
func (q *queue) drop() int {
	n := q.n
	q.advance(n)
	return n
}
