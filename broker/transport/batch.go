package transport

import "syscall"

const (
	batchSends = 64                     // with one system call
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
	short func(i int)
	each  func(user uint64, n int, errno syscall.Errno)
}

// batched is one send.
type batched struct {
	c *Conn
	h Held
	// direct says that the socket takes it as it is; wmu is held then, from when that was found to the end of the send.
	direct bool
}

// Held is a piece of memory that a Batch keeps, framed for those connections that have frames.
type Held struct {
	framed []byte
	header int
	era    uint64
}

// Bytes is the piece, which may be changed until it is first added.
func (h Held) Bytes() []byte { return h.framed[h.header:] }

// NewBatch fails where the kernel does not offer it: then everything is sent by Conn.Send.
func NewBatch() (*Batch, error) {
	r, err := newRing(batchSends)
	if err != nil {
		return nil, err
	}
	b := &Batch{ring: r, sends: make([]batched, 0, batchSends), bytes: make([]byte, 0, batchBytes), era: 1}
	b.each = b.sent
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

// Add puts a send of h to c into a batch that is not full. c must not be in it already.
func (b *Batch) Add(c *Conn, h Held) { b.sends = append(b.sends, batched{c: c, h: h}) }

// Send does for each that was added what Conn.Send does, with one system call for all whose sockets take it as it is, and
// gives up what is held. It calls short with the place, in the order of Add, of those that have not gone out whole. A
// connection whose queue is full is closed. It returns how many went with one call.
func (b *Batch) Send(short func(i int)) (together int) {
	b.short = short
	direct := 0
	for i := range b.sends {
		s := &b.sends[i]
		s.c.wmu.Lock()
		if s.direct = s.c.direct(); s.direct {
			direct++
		} else {
			s.c.wmu.Unlock()
		}
	}
	left := b.together(direct)
	together = direct - left
	for i := range b.sends {
		s := &b.sends[i]
		switch {
		case !s.direct:
			b.usual(i)
		case direct <= left:
			n, errno := send(s.c.fd, s.bytes())
			b.sent(uint64(i), n, errno)
		}
		if s.direct {
			direct--
		}
	}
	clear(b.sends)
	b.sends, b.bytes, b.short = b.sends[:0], b.bytes[:0], nil
	b.era++
	return together
}

// together sends those that are direct, so many, with one call. It returns how many of them, the last ones, are left.
func (b *Batch) together(direct int) (left int) {
	if direct <= batchFew {
		return direct
	}
	for i := range b.sends {
		if s := &b.sends[i]; s.direct {
			b.ring.add(s.c.fd, s.bytes(), uint64(i))
		}
	}
	left, _ = b.ring.submit(b.each)
	return left
}

// usual is Conn.Send.
func (b *Batch) usual(i int) {
	s := &b.sends[i]
	done, err := s.c.Send(s.h.Bytes())
	if err != nil && s.c.open.Load() {
		_ = s.c.Close() // it would miss the piece
	}
	if !done {
		b.short(i)
	}
}

// sent deals with what the socket of one took.
func (b *Batch) sent(user uint64, n int, errno syscall.Errno) {
	s := &b.sends[user]
	done, _ := s.c.sentDirect(s.head(), s.h.Bytes(), n, errno) // which closes the connection at an error
	s.c.wmu.Unlock()
	if !done {
		b.short(int(user))
	}
}

// head is what goes in front of the piece.
func (s *batched) head() []byte {
	if s.c.ws == nil {
		return nil
	}
	return s.h.framed[:s.h.header]
}

// bytes is what goes to the socket.
func (s *batched) bytes() []byte {
	if s.c.ws == nil {
		return s.h.Bytes()
	}
	return s.h.framed
}

// Close gives the ring back. Nothing waits.
func (b *Batch) Close() error { return b.ring.close() }
