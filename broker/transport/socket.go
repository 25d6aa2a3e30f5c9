package transport

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// socket is an accepted TCP connection as tls.Conn and net/http see it. Until attach it is an ordinary blocking
// connection. From then on it belongs to a Conn: writes go to that Conn's queue and write deadlines mean nothing.
type socket struct {
	*net.TCPConn
	remote  netip.AddrPort
	conn    atomic.Pointer[Conn]
	release func() // gives the place under the listener's limits back; may be nil
	closed  atomic.Bool
}

// attach switches to queueing. Nothing may be writing at that moment.
func (s *socket) attach(c *Conn) { s.conn.Store(c) }

// Write blocks before attach and never afterwards.
func (s *socket) Write(p []byte) (int, error) {
	if c := s.conn.Load(); c != nil {
		return c.seal(p)
	}
	return s.TCPConn.Write(p)
}

// RemoteAddr is the client's address, as the PROXY header told it.
func (s *socket) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(s.remote) }

// SetDeadline sets the read deadline, and before attach the write deadline too.
func (s *socket) SetDeadline(t time.Time) error {
	if s.conn.Load() != nil {
		return s.TCPConn.SetReadDeadline(t)
	}
	return s.TCPConn.SetDeadline(t)
}

// SetWriteDeadline does nothing after attach: tls.Conn sets one when it says goodbye, and it would stop the queue.
func (s *socket) SetWriteDeadline(t time.Time) error {
	if s.conn.Load() != nil {
		return nil
	}
	return s.TCPConn.SetWriteDeadline(t)
}

// Close closes the connection and gives its place back, once.
func (s *socket) Close() error {
	if s.closed.Swap(true) {
		return net.ErrClosed
	}
	err := s.TCPConn.Close()
	if s.release != nil {
		s.release()
	}
	return err
}

var _ net.Conn = (*socket)(nil)
