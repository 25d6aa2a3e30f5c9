package bench

import (
	"net"
	"sync"
	"time"
)

// farewell is how long the last bytes of a stream may take.
const farewell = 2 * time.Second

// stream is the byte stream of a connection over TLS or WebSocket: one goroutine reads, one writes. A send never waits.
// Its lock is taken under the loop's, never the other way round.
type stream struct {
	conn net.Conn

	mu     sync.Mutex
	more   sync.Cond // out or closed has changed
	out    []byte
	closed bool
	cutter *time.Timer // of a stream that is closed
}

// attach gives an open stream to c and sends its CONNECT. c is the loop's from then on. The caller holds mu.
func (l *loop) attach(c *conn, nc net.Conn) {
	s := &stream{conn: nc}
	s.more.L = &s.mu
	c.loop, c.fd, c.stream = l, -1, s
	c.greet()
	l.streams.Go(func() { s.write(c) })
	l.streams.Go(func() { s.read(c) })
}

func (s *stream) read(c *conn) {
	l := c.loop
	b := make([]byte, 64<<10)
	for over := false; !over; {
		n, err := s.conn.Read(b)
		l.locked(func() {
			l.tick()
			if n > 0 && !c.deaf {
				c.feed(b[:n])
			}
			if err != nil {
				c.fail(closedBy(err))
			}
			over = c.state == ended || c.deaf
		})
		l.wake()
	}
}

func (s *stream) write(c *conn) {
	defer s.conn.Close()
	var b []byte
	for {
		s.mu.Lock()
		for len(s.out) == 0 && !s.closed {
			s.more.Wait()
		}
		b, s.out = s.out, b[:0]
		if len(b) == 0 {
			s.cutter.Stop()
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		if _, err := s.conn.Write(b); err != nil {
			_ = s.conn.Close() // the reader tells of it, and may know more
			c.loop.locked(func() {
				if c.deaf { // has no reader
					c.fail(closedBy(err))
				}
			})
			return
		}
	}
}

func (s *stream) send(b []byte) {
	s.mu.Lock()
	s.out = append(s.out, b...)
	s.mu.Unlock()
	s.more.Signal()
}

func (s *stream) backlog() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.out)
}

// close ends the stream when what was sent has gone out, or soon. It sets no deadline: a WebSocket's may only be set
// by who writes.
func (s *stream) close() {
	s.mu.Lock()
	s.closed = true
	s.cutter = time.AfterFunc(farewell, func() { _ = s.conn.Close() })
	s.mu.Unlock()
	s.more.Signal()
}
