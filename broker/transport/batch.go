package transport

import (
	"errors"
	"syscall"
)

const (
	batchSends = 32                     // with one system call, in which no goroutine has the thread's processor
	batchBytes = batchSends * (2 << 10) // that are held for it, of all pieces together
	batchFew   = 3                      // so many are sent one by one: the call for many costs as much
)

// Batch sends to many connections with one system call, where the kernel lets it (io_uring, Linux 5.17). One goroutine uses
// it.
type Batch struct {
	ring  *ring
	sends []batched
	bytes []byte // pieces that are held
	era   uint64 // rises when they are held no more
	each  func(user uint64, n int, errno syscall.Errno)
}

// batched is one send: of a piece, or of what the connection has queued.
type batched struct {
	c *Conn
	h Held // none: what is queued
	// out is what the socket takes as it is; wmu is held then, from when that was found to the end of the send. nil: the
	// usual way, or it has been sent.
	out []byte
	own bool // the usual way
}

// Held is a piece of memory that a Batch keeps, framed for those connections that have frames.
type Held struct {
	framed []byte
	header int
	era    uint64
}

// Bytes is the piece, which may be changed until it is first added.
func (h Held) Bytes() []byte { return h.framed[h.header:] }

// NewBatch fails where the kernel does not offer it, or does not do it: then everything is sent by Conn.Send.
func NewBatch() (*Batch, error) {
	r, err := newRing(batchSends)
	if err != nil {
		return nil, err
	}
	if err := r.probe(); err != nil {
		return nil, errors.Join(err, r.close())
	}
	b := &Batch{ring: r, sends: make([]batched, 0, batchSends), bytes: make([]byte, 0, batchBytes), era: 1}
	b.each = func(user uint64, n int, errno syscall.Errno) { b.sends[user].came(n, errno) }
	return b, nil
}

// Full reports whether no more can be added before Send.
func (b *Batch) Full() bool { return len(b.sends) == cap(b.sends) }

// Hold copies a piece until the next Send. ok is false when there is no room for it beside those that are held.
func (b *Batch) Hold(p []byte) (h Held, ok bool) {
	at := len(b.bytes)
	if at+headroom+len(p) > cap(b.bytes) {
		return Held{}, false
	}
	framed := appendFrameHeader(b.bytes[at:at], opBinary, len(p))
	h = Held{header: len(framed), era: b.era}
	h.framed = append(framed, p...)
	b.bytes = b.bytes[:at+len(h.framed)]
	return h, true
}

// Holds reports whether h has not been given up by a Send.
func (b *Batch) Holds(h Held) bool { return h.era == b.era }

// Add puts a send of h to c into a batch that is not full: what Conn.Send does, but that a connection whose queue is full is
// closed. It is worth it where Takes says so.
func (b *Batch) Add(c *Conn, h Held) { b.sends = append(b.sends, batched{c: c, h: h}) }

// Takes reports whether sends to c go with others: TLS makes bytes of its own for each connection.
func (b *Batch) Takes(c *Conn) bool { return c.tls == nil }

// AddFlush is Add for what Conn.Flush does.
func (b *Batch) AddFlush(c *Conn) { b.sends = append(b.sends, batched{c: c}) }

// Send does what was added, with one system call for all whose sockets take something as it is, and gives up what is held.
// Errors end the connections. It returns how many went with one call.
func (b *Batch) Send() (together int) {
	direct := 0
	for i := range b.sends {
		if b.sends[i].begin() {
			direct++
		}
	}
	if direct > batchFew {
		together = direct - b.together()
	}
	for i := range b.sends {
		if s := &b.sends[i]; s.out != nil {
			s.alone()
		}
	}
	for i := range b.sends { // these may take their time: nothing is locked any more
		if s := &b.sends[i]; s.own {
			s.usual()
		}
	}
	clear(b.sends)
	b.sends, b.bytes = b.sends[:0], b.bytes[:0]
	b.era++
	return together
}

// together sends what is direct with one call. It returns how many it left.
func (b *Batch) together() (left int) {
	for i := range b.sends {
		if s := &b.sends[i]; s.out != nil {
			b.ring.add(s.c.fd, s.out, uint64(i))
		}
	}
	left, _ = b.ring.submit(b.each)
	return left
}

// begin finds what can be given to the socket as it is, and then keeps wmu. It waits for no lock: who has it may take long,
// and others are locked already.
func (s *batched) begin() bool {
	c := s.c
	if c.tls == nil && c.wmu.TryLock() {
		switch {
		case s.h.framed == nil:
			s.out = c.single()
		case !c.direct():
		case c.ws != nil:
			s.out = s.h.framed
		default:
			s.out = s.h.Bytes()
		}
		if s.out == nil {
			c.wmu.Unlock()
		}
	}
	s.own = s.out == nil
	return !s.own
}

// came deals with what became of a send of many. Why the kernel took none may be a matter of the call for many: the socket
// is asked itself.
func (s *batched) came(n int, errno syscall.Errno) {
	if errno != 0 && errno != syscall.EAGAIN {
		s.alone()
		return
	}
	s.end(n, errno)
}

// alone sends out with a call of its own.
func (s *batched) alone() {
	n, errno := send(s.c.fd, s.out)
	s.end(n, errno)
}

// end deals with what the socket took of out, or why it took nothing.
func (s *batched) end(n int, errno syscall.Errno) {
	defer s.c.wmu.Unlock()
	s.out = nil
	switch {
	case s.h.framed == nil:
		_, _ = s.c.took(n, errno)
	case s.c.ws != nil:
		_, _ = s.c.sentDirect(s.h.framed[:s.h.header], s.h.Bytes(), n, errno)
	default:
		_, _ = s.c.sentDirect(nil, s.h.Bytes(), n, errno)
	}
}

// usual is Conn.Flush or Conn.Send.
func (s *batched) usual() {
	if s.h.framed == nil {
		_, _ = s.c.Flush()
		return
	}
	if _, err := s.c.Send(s.h.Bytes()); err != nil && s.c.open.Load() {
		_ = s.c.Close() // it would miss the piece
	}
}

// Close gives the ring back. Nothing waits.
func (b *Batch) Close() error { return b.ring.close() }
