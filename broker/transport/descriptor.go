package transport

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/madang-chat/madang/internal/clock"
)

// descriptor is an accepted TCP socket that a poller watches. One goroutine at a time reads from it, or none: then it
// rests, and its owner is called when there is something to read.
//
// The runtime's own poller would wake a goroutine per connection for every PUBACK, which costs more than reading it, and
// each waiting goroutine holds a stack.
type descriptor struct {
	fd   int
	poll *poller
	rest rester // who is called when bytes come; set once, before the first rest

	// mu is held across calls on the number, none of which wait: so the number cannot become another connection's.
	mu       sync.Mutex
	closed   bool
	ready    bool          // bytes, or the end, may be there
	hup      bool          // the end or an error has been announced: reading finds it whatever came before
	expired  bool          // the read deadline has passed
	resting  bool          // nobody reads
	readable chan struct{} // closed when a waiting reader shall look again; nil = nobody waits
	writable chan struct{} // likewise
	timer    *time.Timer   // of the read deadline
}

// rester is the owner of a descriptor that rests.
type rester interface {
	// readable reads what is there, on the poller's goroutine. It must not block.
	readable(buf []byte)
	// awake is called when a deadline, Close or an end is to be dealt with by a goroutine that may block.
	awake()
}

// newDescriptor begins to watch an accepted socket. It owns fd from here on, also when it fails.
func newDescriptor(fd int, p *poller) (*descriptor, error) {
	d := &descriptor{fd: fd, poll: p, ready: true}
	if err := p.add(d); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return d, nil
}

// event takes note of what the kernel says. The poller calls it.
func (d *descriptor) event(flags uint32) {
	d.mu.Lock()
	if flags&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		d.hup = true
	}
	if flags&unix.EPOLLOUT != 0 || d.hup {
		wake(&d.writable)
	}
	if flags&unix.EPOLLIN == 0 && !d.hup || d.closed {
		d.mu.Unlock()
		return
	}
	d.ready = true
	wake(&d.readable)
	resting := d.resting
	d.resting = false // it is ours until it rests again
	d.mu.Unlock()
	if resting {
		d.rest.readable(d.poll.buf)
	}
}

// wake lets whoever waits for ch go on.
func wake(ch *chan struct{}) {
	if *ch != nil {
		close(*ch)
		*ch = nil
	}
}

// recv reads into p without waiting: EAGAIN when there is nothing, EBADF after Close.
func (d *descriptor) recv(p []byte) (int, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return 0, unix.EBADF
	}
	n, errno := recv(uintptr(d.fd), p, 0)
	if errno == unix.EAGAIN || errno == 0 && n > 0 && n < len(p) && !d.hup {
		d.ready = false // what comes from now on is a new edge, and so is an end that is there already and not announced yet
	}
	return n, errno
}

// peek is recv that leaves what it finds to be read.
func (d *descriptor) peek(p []byte) (int, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return 0, unix.EBADF
	}
	n, errno := recv(uintptr(d.fd), p, unix.MSG_PEEK)
	if errno == unix.EAGAIN {
		d.ready = false
	}
	return n, errno
}

// wait returns when there may be something to read, the read deadline has passed or Close was called.
func (d *descriptor) wait() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		switch {
		case d.closed:
			return net.ErrClosed
		case d.expired:
			return os.ErrDeadlineExceeded
		case d.ready:
			return nil
		}
		await(&d.mu, &d.readable)
	}
}

// await waits for ch without holding mu.
func await(mu *sync.Mutex, ch *chan struct{}) {
	if *ch == nil {
		*ch = make(chan struct{})
	}
	c := *ch
	mu.Unlock()
	<-c
	mu.Lock()
}

// Read reads at least a byte, waiting for it.
func (d *descriptor) Read(p []byte) (int, error) {
	for {
		if err := d.wait(); err != nil {
			return 0, err
		}
		n, errno := d.recv(p)
		switch {
		case errno == unix.EAGAIN:
		case errno != 0:
			return 0, d.readError(errno)
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (d *descriptor) readError(errno syscall.Errno) error {
	if errno == unix.EBADF {
		return net.ErrClosed
	}
	return recvError(errno)
}

// due reports whether there may be something to read, and whether there is something else to deal with: Close or a
// deadline.
func (d *descriptor) due() (bytes, other bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ready, d.closed || d.expired
}

// ends reports whether the kernel has announced the end or an error.
func (d *descriptor) ends() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hup
}

// lie lets the descriptor rest: the caller reads no more, and its owner is called when there is something to read or to
// deal with. It returns false, and nothing has changed, when that is so already.
func (d *descriptor) lie() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.resting = !d.ready && !d.closed && !d.expired
	return d.resting
}

// rouse lets a waiting reader look again, or calls the owner of a resting descriptor. The caller holds mu.
func (d *descriptor) rouse() {
	wake(&d.readable)
	if d.resting {
		d.resting = false
		d.rest.awake()
	}
}

// SetReadDeadline sets the time after which reading fails with os.ErrDeadlineExceeded; the zero time means never.
func (d *descriptor) SetReadDeadline(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return net.ErrClosed
	}
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.expired = false
	if t.IsZero() {
		return nil
	}
	left := clock.Until(t)
	if left <= 0 {
		d.expired = true
		d.rouse()
		return nil
	}
	var timer *time.Timer
	timer = time.AfterFunc(left, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.timer == timer {
			d.expired = true
			d.rouse()
		}
	})
	d.timer = timer
	return nil
}

func (d *descriptor) number() uintptr { return uintptr(d.fd) }

// writeWhen implements stream.
func (d *descriptor) writeWhen(f func(fd uintptr) bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		if d.closed {
			return net.ErrClosed
		}
		if f(uintptr(d.fd)) {
			return nil
		}
		await(&d.mu, &d.writable)
	}
}

// CloseWrite ends our half of the connection.
func (d *descriptor) CloseWrite() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return net.ErrClosed
	}
	return unix.Shutdown(d.fd, unix.SHUT_WR)
}

// SetLinger sets SO_LINGER: with 0 Close throws away what has not been sent and resets the connection.
func (d *descriptor) SetLinger(seconds int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return net.ErrClosed
	}
	return unix.SetsockoptLinger(d.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: int32(seconds)})
}

// Close closes the socket. Whoever reads or writes gets net.ErrClosed.
func (d *descriptor) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return net.ErrClosed
	}
	d.closed = true
	if d.timer != nil {
		d.timer.Stop()
	}
	wake(&d.writable)
	d.rouse()
	d.poll.remove(d)
	return os.NewSyscallError("close", unix.Close(d.fd))
}

var _ stream = (*descriptor)(nil)
