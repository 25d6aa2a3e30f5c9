package transport

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// stream is a TCP connection as a Conn uses it: a descriptor of this package's own for plain MQTT, net's under TLS and
// WebSocket, whose layers need a net.Conn.
type stream interface {
	io.ReadCloser
	CloseWrite() error
	SetLinger(seconds int) error
	SetReadDeadline(t time.Time) error

	// number is the file descriptor, usable until Close.
	number() uintptr
	// writeWhen calls f until it returns true: at once, and again each time the socket has room. It holds the descriptor
	// open meanwhile.
	writeWhen(f func(fd uintptr) bool) error
}

// netStream is a stream over net's connection and the runtime's poller.
type netStream struct {
	*net.TCPConn
	raw syscall.RawConn
	fd  uintptr
}

func newNetStream(tcp *net.TCPConn) (*netStream, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &netStream{TCPConn: tcp, raw: raw}
	return s, raw.Control(func(fd uintptr) { s.fd = fd })
}

func (s *netStream) number() uintptr                         { return s.fd }
func (s *netStream) writeWhen(f func(fd uintptr) bool) error { return s.raw.Write(f) }

// recvError is the error of a recv that failed.
func recvError(errno syscall.Errno) error {
	return &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("recv", errno)}
}

// readWhenThere waits until bytes are there and only then takes r's buffer and fills it. n is at least 1.
func (s *netStream) readWhenThere(r *PacketReader) (n int, err error) {
	var errno syscall.Errno
	err = s.raw.Read(func(fd uintptr) bool {
		n, errno = recv(fd, r.acquire(), 0)
		if n <= 0 {
			r.release()
		}
		return errno != syscall.EAGAIN
	})
	switch {
	case err != nil:
		return 0, err
	case errno != 0:
		return 0, recvError(errno)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

var _ stream = (*netStream)(nil)
