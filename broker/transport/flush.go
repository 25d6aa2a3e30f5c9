package transport

import (
	"net"
	"os"
	"syscall"
	"time"

	"github.com/madang-chat/madang/internal/clock"
)

// sealBatch is how many bytes are framed or encrypted ahead of the socket.
const sealBatch = 64 << 10

// Queue appends b, whole MQTT packets, to the outgoing queue without sending and without blocking. With shared, b is
// immutable from now on and may be referred to instead of copied: for one payload to many subscribers. It returns false,
// and queues nothing, when the connection is closed, closing, or b does not fit under its hard byte limit; the caller
// then closes it.
func (c *Conn) Queue(b []byte, shared bool) bool {
	n := int64(len(b))
	c.mu.Lock()
	if c.state != stateOpen || c.queued.Load()+n > c.host.limit.Load() {
		c.mu.Unlock()
		return false
	}
	c.queued.Add(n)
	c.pending.add(b, shared)
	c.mu.Unlock()
	return true
}

// Queued is the number of bytes that the socket has not taken yet, with the framing and TLS overhead of those that are
// under way.
func (c *Conn) Queued() int { return int(c.queued.Load()) }

// StalledFor is how long the socket has taken nothing while bytes wait for it; 0 when it is not stalled.
func (c *Conn) StalledFor() time.Duration {
	since := c.stalled.Load()
	if since == 0 {
		return 0
	}
	return max(clock.Since(base)-time.Duration(since), 1)
}

// Flush gives what is queued to the socket, with one system call where it fits, and never blocks. done=false without an
// error means that the socket is full: the function of SetOnWritable is called once when everything has gone out, and
// until then Flush returns false at once. After an error the connection is closed.
func (c *Conn) Flush() (done bool, err error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	return c.flush(true)
}

// Send is Queue, with a copy of b, and Flush. While nothing waits for the socket, and there is no TLS, it gives b to the
// socket as it is and copies only what that does not take: for one piece of memory to many subscribers. On a connection
// that is closed or closing, or whose queue is full, it sends nothing and returns net.ErrClosed.
func (c *Conn) Send(b []byte) (done bool, err error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.direct() {
		return c.sendDirect(b)
	}
	if !c.Queue(b, false) {
		return false, net.ErrClosed
	}
	return c.flush(true)
}

// direct reports whether bytes may be given to the socket as they are: nothing waits for it, and there is no TLS. The caller
// holds wmu.
func (c *Conn) direct() bool {
	return c.tls == nil && !c.parked && c.queued.Load() == 0 && c.open.Load()
}

// sendDirect sends b, framed where the transport has frames. The caller holds wmu, and nothing else waits.
func (c *Conn) sendDirect(b []byte) (bool, error) {
	var header []byte
	if c.ws != nil {
		header = appendFrameHeader(c.header[:0], opBinary, len(b))
	}
	n, errno := sendTwo(c.fd, header, b)
	return c.sentDirect(header, b, n, errno)
}

// sentDirect deals with what the socket took of header and b, or why it took nothing. The caller holds wmu.
func (c *Conn) sentDirect(header, b []byte, n int, errno syscall.Errno) (bool, error) {
	if errno != 0 && errno != syscall.EAGAIN {
		c.abandon()
		return false, c.sendError(errno)
	}
	if n == len(header)+len(b) {
		return true, nil
	}
	if n < len(header) {
		c.wire.add(header[n:], false)
		n = len(header)
	}
	c.wire.add(b[n-len(header):], false)
	c.queued.Add(int64(c.wire.n))
	c.note(true)
	c.startPark(true)
	return false, nil
}

// flush is Flush under wmu. want says that the caller waits for onWritable.
func (c *Conn) flush(want bool) (bool, error) {
	for {
		if c.parked {
			if c.closed() { // park is about to find out
				return false, net.ErrClosed
			}
			c.want = c.want || want
			return false, nil
		}
		if c.wire.head == nil {
			more, err := c.fill()
			if err != nil {
				c.abandon() // TLS can fail too, after an alert of its own
				return false, err
			}
			if !more {
				return true, nil
			}
		}
		if err := c.sendNow(); err != nil {
			c.abandon()
			return false, err
		}
		if c.wire.head != nil {
			c.startPark(want)
			return false, nil
		}
	}
}

// single moves what is queued to wire, as flush does, and returns it where it is one piece of memory, else nil: then flush
// is the way. The caller holds wmu.
func (c *Conn) single() []byte {
	if c.parked || c.gone {
		return nil
	}
	if c.wire.head == nil {
		if more, err := c.fill(); err != nil || !more {
			return nil // flush finds it too
		}
	}
	if c.wire.head.next != nil {
		return nil
	}
	return c.wire.head.b
}

// took is what flush goes on with when the socket took n bytes of single, or why it took none.
func (c *Conn) took(n int, errno syscall.Errno) (bool, error) {
	if errno != 0 && errno != syscall.EAGAIN {
		c.abandon()
		return false, c.sendError(errno)
	}
	whole := n == len(c.wire.head.b)
	c.wire.advance(n)
	c.queued.Add(-int64(n))
	c.note(n > 0)
	if whole {
		return c.flush(true)
	}
	c.startPark(true)
	return false, nil
}

// startPark leaves wire to a goroutine. The caller holds wmu, and nothing is parked.
func (c *Conn) startPark(want bool) {
	c.want = want
	c.parked = true
	before := c.parkDone
	c.parkDone = make(chan struct{})
	go c.park(before, c.parkDone)
}

// closed says whether Close has been called.
func (c *Conn) closed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == stateClosed
}

// park sends wire as the socket takes it and ends when nothing is left or the connection is closed. before is the
// channel of the park before this one, which may still be inside onWritable.
func (c *Conn) park(before, done chan struct{}) {
	defer func() {
		if v := recover(); v != nil {
			c.host.panicked(c, v)
			_ = c.Close()
		}
		if before != nil {
			<-before
		}
		close(done)
	}()
	for {
		err := c.sendWait()
		c.wmu.Lock()
		more := c.wire.head != nil
		if err == nil && !more {
			more, err = c.fill()
		}
		if err == nil && more {
			c.wmu.Unlock()
			continue
		}
		c.parked = false
		want := c.want && err == nil && !c.finDone
		c.want = false
		if err != nil {
			c.abandon()
		}
		c.wmu.Unlock()
		if fn := c.onWritable.Load(); want && fn != nil {
			(*fn)()
		}
		return
	}
}

// fill moves queued bytes to the empty wire, framed and encrypted. It returns false when there is nothing to send. The
// caller holds wmu.
func (c *Conn) fill() (bool, error) {
	for {
		c.mu.Lock()
		if c.state == stateClosed {
			c.mu.Unlock()
			return false, net.ErrClosed
		}
		if c.sealed.head != nil {
			c.wire.take(&c.sealed)
			c.mu.Unlock()
			return true, nil
		}
		if c.tls == nil && c.ws == nil {
			c.wire.take(&c.pending)
		}
		closing := c.state == stateClosing
		batch := c.pending.cut(sealBatch)
		c.mu.Unlock()

		switch {
		case c.wire.head != nil:
			return true, nil
		case batch.head != nil:
			if err := c.wrap(&batch); err != nil {
				return false, err
			}
		case !closing || c.finDone:
			return false, nil
		case !c.tailDone:
			c.tailDone = true
			if err := c.wrapTail(); err != nil {
				return false, err
			}
		default:
			c.finDone = true
			_ = c.tcp.CloseWrite()
			return false, nil
		}
		if c.wire.head != nil {
			return true, nil
		}
	}
}

// wrap turns MQTT bytes into a WebSocket frame, into TLS records, or into one inside the other. Without TLS the chunks
// go to wire as they are, with TLS its records arrive in sealed.
func (c *Conn) wrap(batch *queue) error {
	if c.ws != nil {
		var header [headroom]byte
		h := appendFrameHeader(header[:0], opBinary, batch.n)
		batch.prepend(h)
		c.queued.Add(int64(len(h)))
	}
	if c.tls == nil {
		c.wire.take(batch)
		return nil
	}
	var err error
	for chunk := batch.head; chunk != nil && err == nil; chunk = chunk.next {
		_, err = c.tls.Write(chunk.b)
	}
	c.queued.Add(-int64(batch.drop()))
	return err
}

// wrapTail makes the last bytes of a closing connection: close frame and close_notify.
func (c *Conn) wrapTail() error {
	if c.ws != nil {
		if err := c.wrapControl(c.ws.closeFrame); err != nil {
			return err
		}
	}
	if c.tls != nil {
		return c.tls.CloseWrite()
	}
	return nil
}

func (c *Conn) wrapControl(frame []byte) error {
	if c.tls != nil {
		_, err := c.tls.Write(frame)
		return err
	}
	c.queued.Add(int64(len(frame)))
	c.wire.add(frame, false)
	return nil
}

// control sends a ping or pong. While the socket is full it is left out: the client has other things to read first.
func (c *Conn) control(frame []byte) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.parked {
		return
	}
	c.mu.Lock()
	open := c.state == stateOpen
	c.mu.Unlock()
	if !open || c.wrapControl(frame) != nil {
		return
	}
	_, _ = c.flush(false)
}

// seal takes the records that tls.Conn writes. It is called by tls.Conn only, under its lock.
func (c *Conn) seal(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == stateClosed {
		return 0, net.ErrClosed
	}
	c.queued.Add(int64(len(p)))
	c.sealed.add(p, false)
	return len(p), nil
}

// sendNow gives wire to the socket, as much as it takes now. The caller holds wmu, which keeps the descriptor open: the
// runtime's own hold on it and its readiness are not needed to send without waiting.
func (c *Conn) sendNow() error {
	if c.gone {
		return net.ErrClosed
	}
	c.waiting, c.sendErr = false, 0
	c.sendOnce(c.fd)
	if c.sendErr != 0 {
		return c.sendError(c.sendErr)
	}
	return nil
}

// sendWait gives wire to the socket as soon as that takes at least one byte. The caller owns wire.
func (c *Conn) sendWait() error {
	c.waiting, c.sendErr = true, 0
	if err := c.tcp.writeWhen(c.sendFn); err != nil {
		return err
	}
	if c.sendErr != 0 {
		return c.sendError(c.sendErr)
	}
	return nil
}

func (c *Conn) sendError(errno syscall.Errno) error {
	return &net.OpError{
		Op: "write", Net: "tcp", Addr: net.TCPAddrFromAddrPort(c.remote), Err: os.NewSyscallError("send", errno),
	}
}

// sendOnce sends what the socket takes. With waiting it runs inside the runtime's hold on the descriptor, and returning
// false waits until the socket has room: the first try must come after that hold has begun, else a readiness event in
// between would be lost.
func (c *Conn) sendOnce(fd uintptr) bool {
	progress := false
	for c.wire.head != nil {
		n, asked, errno := sendQueue(fd, &c.wire)
		if errno == syscall.EAGAIN {
			break
		}
		if errno != 0 {
			c.sendErr = errno
			return true
		}
		progress = true
		c.wire.advance(n)
		c.queued.Add(-int64(n))
		if n < asked {
			break // full; asking again would only be told so
		}
	}
	c.note(progress)
	return progress || !c.waiting || c.wire.head == nil
}

// note keeps since when the socket takes nothing, after it took something of wire or nothing.
func (c *Conn) note(progress bool) {
	switch {
	case c.wire.head == nil:
		c.stalled.Store(0)
	case progress || c.stalled.Load() == 0:
		c.stalled.Store(max(int64(clock.Since(base)), 1))
	}
}

// abandon drops wire after an error and closes the connection. The caller holds wmu and nobody is parked.
func (c *Conn) abandon() {
	c.queued.Add(-int64(c.wire.drop()))
	if c.markClosed() {
		c.gone = true
		_ = c.closeSocket()
	}
	c.stalled.Store(0) // the last send may have come after the one in markClosed
}
