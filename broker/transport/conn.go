package transport

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/madang-chat/madang/internal/clock"
)

// DefaultQueueLimit is the hard limit of one connection's outgoing queue, in bytes, where the configuration sets none.
const DefaultQueueLimit = 1 << 20

// maxUnasked bounds the TLS answers (key updates, alerts) that wait for a client who asks for them and reads none.
const maxUnasked = 16 << 10

// lingerBytes is how much a closing connection reads and throws away at most, so that its last packets arrive.
const lingerBytes = 16 << 20

type connState uint8

const (
	stateOpen    connState = iota
	stateClosing           // CloseAfterFlush: nothing more is queued or read, what is queued still goes out
	stateClosed
)

// base is what stall times are counted from.
var base = clock.Now()

// host is what the connections of one listener or handler share.
type host struct {
	name   string
	log    *slog.Logger
	panics atomic.Int64
	limit  atomic.Int64 // bytes in one outgoing queue
}

func newHost(name string, queueLimit int, log *slog.Logger) *host {
	h := &host{name: name, log: log}
	h.setLimit(queueLimit)
	return h
}

func (h *host) setLimit(queue int) {
	if queue <= 0 {
		queue = DefaultQueueLimit
	}
	h.limit.Store(int64(queue))
}

// Conn is one client connection: TCP, TLS or WebSocket, all the same to the broker.
//
// Read belongs to one goroutine. Everything else may be called from any number of goroutines at
// once, and nothing but Read waits for the client.
type Conn struct {
	host   *host
	tcp    stream
	desc   *descriptor // tcp, for plain MQTT over TCP; else nil
	fd     uintptr     // of tcp; usable under wmu while gone is false
	sock   *socket     // what tls.Conn or net/http holds; nil for plain MQTT over TCP
	tls    *tls.Conn   // nil without TLS
	ws     *wsConn     // nil without WebSocket
	sendFn func(uintptr) bool
	reader *PacketReader        // what reads while the Conn rests; nil = it never does
	next   Handler              // and what goes on afterwards
	first  func([]byte, func()) // see AwaitFirst; nil = it is over, or there is none
	free   func()               // gives back a place under the limits, once the socket is closed; may be nil
	end    func()               // called when nothing of the Conn is left; may be nil
	remote netip.AddrPort
	client netip.Addr // see Client

	queued     atomic.Int64 // bytes of pending, sealed and wire
	stalled    atomic.Int64 // since when the socket takes nothing, in ns after base; 0 = not stalled
	onWritable atomic.Pointer[func()]
	open       atomic.Bool // state is stateOpen; written under mu

	// wmu is held while bytes move from pending to the socket. wire, sendErr and waiting belong to the holder, or to
	// the goroutine of park while parked is set.
	wmu      sync.Mutex
	gone     bool           // the descriptor is closed, or about to be
	header   [headroom]byte // of the frame that sendDirect sends
	wire     queue          // as the client will get it: framed and encrypted
	sendErr  syscall.Errno
	waiting  bool          // sendFn shall wait for room
	parked   bool          // the socket is full; park owns wire
	want     bool          // a Flush was told done=false since the Conn was parked
	tailDone bool          // close frame and close_notify were made
	finDone  bool          // our half of the connection is shut down
	parkDone chan struct{} // closed when the newest park has ended; nil before the first

	// mu guards what follows. It is never held across a system call or a call of somebody else's code.
	mu      sync.Mutex
	pending queue // MQTT bytes as queued
	sealed  queue // TLS records made of pending, or by tls.Conn itself while reading
	state   connState
	grace   *time.Timer // closes a closing Conn
}

// newConn makes a Conn of an accepted socket. For TLS and WebSocket the layers must have finished their handshakes;
// from here on writes of the layers go to the queue.
func newConn(h *host, tcp stream, remote netip.AddrPort) *Conn {
	c := &Conn{host: h, tcp: tcp, fd: tcp.number(), remote: remote}
	c.sendFn = c.sendOnce
	if d, ok := tcp.(*descriptor); ok {
		c.desc = d
		d.rest = c
	}
	c.open.Store(true)
	return c
}

// RemoteAddr is the client's real address: the one in the PROXY header or X-Forwarded-For when a trusted proxy sent
// one (the port is 0 when the proxy did not tell it), else the peer's.
func (c *Conn) RemoteAddr() netip.AddrPort { return c.remote }

// Client is what limits per address count the connection by (IPv6: the /64); invalid for one of a proxy that does not say
// whose it is.
func (c *Conn) Client() netip.Addr { return c.client }

// Transport is "tcp", "tls", "ws" or "wss".
func (c *Conn) Transport() string {
	switch {
	case c.ws == nil && c.tls == nil:
		return "tcp"
	case c.ws == nil:
		return "tls"
	case c.tls == nil:
		return "ws"
	}
	return "wss"
}

// Listener is the name of the listener or handler that accepted the connection.
func (c *Conn) Listener() string { return c.host.name }

// SetOnWritable sets the function that is called once after a Flush returned done=false, when everything queued has
// gone out. It runs on a goroutine of the Conn and may call any method of it. It is not called once the Conn is closed
// or closing. Set it before the first Flush.
func (c *Conn) SetOnWritable(fn func()) { c.onWritable.Store(&fn) }

// Read reads the MQTT byte stream. WebSocket frames are unwrapped, pings answered; a text frame is ErrTextFrame. After
// Close or CloseAfterFlush it returns net.ErrClosed.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.ws != nil {
		c.ws.reading.Store(true)
		defer c.ws.reading.Store(false)
	}
	for {
		if c.ws != nil && c.ws.err != nil {
			return 0, c.readError(c.ws.err)
		}
		n, err := c.readSocket(p)
		if n > 0 && c.ws != nil {
			n = c.unframe(p[:n])
			if n == 0 && err == nil {
				continue
			}
		}
		if n > 0 {
			return n, nil // an error, if there was one, comes again
		}
		return 0, c.readError(err)
	}
}

func (c *Conn) readSocket(p []byte) (int, error) {
	if c.tls == nil {
		return c.tcp.Read(p)
	}
	n, err := c.tls.Read(p)
	c.mu.Lock()
	own := c.sealed.head != nil // alerts and key updates that tls.Conn wrote while reading
	c.mu.Unlock()
	if own && !c.sendOwn() {
		return 0, ErrUnreadAnswers
	}
	return n, err
}

// sendOwn sends what tls.Conn wrote while reading, and returns false when too much of it waits for a full socket. Under
// wmu nothing else is ever left in sealed.
func (c *Conn) sendOwn() bool {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	_, _ = c.flush(false)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sealed.n <= maxUnasked
}

// readLazily waits until bytes are there and only then takes r's buffer and fills it, so that a waiting client holds
// none. For connections without TLS.
func (c *Conn) readLazily(r *PacketReader) (int, error) {
	if c.desc != nil {
		return c.readDescriptor(r)
	}
	c.ws.reading.Store(true)
	defer c.ws.reading.Store(false)
	for {
		if c.ws.err != nil {
			return 0, c.readError(c.ws.err)
		}
		n, err := c.tcp.(*netStream).readWhenThere(r)
		if err != nil {
			return 0, c.readError(err)
		}
		if n = c.unframe(r.store.b[:n]); n > 0 {
			return n, nil
		}
		r.release()
	}
}

// readDescriptor is readLazily of plain MQTT over TCP. PUBACKs that come alone are handed over, and the wait goes on.
func (c *Conn) readDescriptor(r *PacketReader) (int, error) {
	for {
		if err := c.desc.wait(); err != nil {
			return 0, c.readError(err)
		}
		n, err := c.tryRead(r)
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// tryRead fills r's buffer with what is there, without waiting. n is 0 when that is nothing, or PUBACKs alone.
func (c *Conn) tryRead(r *PacketReader) (n int, err error) {
	b := r.acquire()
	n, errno := c.desc.recv(b)
	switch {
	case errno == syscall.EAGAIN:
		r.release()
		return 0, nil
	case errno != 0:
		r.release()
		return 0, c.readError(c.desc.readError(errno))
	case n == 0:
		r.release()
		return 0, c.readError(io.EOF)
	}
	rest := r.pubacks(b[:n])
	if len(rest) == 0 {
		r.release()
		return 0, nil
	}
	return copy(b, rest), nil
}

// readError replaces an error that our own closing caused.
func (c *Conn) readError(err error) error {
	c.mu.Lock()
	state := c.state
	c.mu.Unlock()
	if state == stateOpen || (c.ws != nil && c.ws.err != nil) {
		return err
	}
	return net.ErrClosed
}

// SetReadDeadline sets the time after which Read fails with os.ErrDeadlineExceeded; the zero time means never. It does
// nothing on a closing Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != stateOpen {
		return nil
	}
	return c.tcp.SetReadDeadline(t)
}

// Close closes the connection at once. Bytes still queued are lost, and then the client sees a reset and not an end.
// It may be called any number of times.
func (c *Conn) Close() error {
	if !c.markClosed() {
		return nil
	}
	c.wmu.Lock() // whoever sends now uses the descriptor's number: it must not become another connection's
	c.gone = true
	c.wmu.Unlock()
	return c.closeSocket()
}

// markClosed makes the Conn a closed one, whose queue is empty. It returns false when it was one already.
func (c *Conn) markClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == stateClosed {
		return false
	}
	c.state = stateClosed
	c.open.Store(false)
	if c.queued.Load() > 0 {
		_ = c.tcp.SetLinger(0) // nobody reads what is left: the kernel shall not keep it either
	}
	c.queued.Add(-int64(c.pending.drop() + c.sealed.drop()))
	if c.grace != nil {
		c.grace.Stop()
	}
	c.stalled.Store(0)
	return true
}

func (c *Conn) closeSocket() error {
	if c.free != nil {
		defer c.free()
	}
	if c.sock != nil {
		return c.sock.Close()
	}
	return c.tcp.Close()
}

// CloseAfterFlush ends the connection in an orderly way: Read returns net.ErrClosed from now on, Queue refuses, what is
// queued (a DISCONNECT) still goes out, followed by a WebSocket close frame with code 1000 and TLS close_notify. After
// grace, or when the client has closed its side too, the connection is closed. It does not block.
func (c *Conn) CloseAfterFlush(grace time.Duration) {
	c.CloseWithStatus(grace, CloseNormal, "")
}

// CloseWithStatus is CloseAfterFlush with the code and reason of the WebSocket close frame. Other transports ignore
// both.
func (c *Conn) CloseWithStatus(grace time.Duration, code int, reason string) {
	c.mu.Lock()
	if c.state != stateOpen {
		c.mu.Unlock()
		return
	}
	c.state = stateClosing
	c.open.Store(false)
	c.grace = time.AfterFunc(grace, func() { _ = c.Close() })
	if c.ws != nil {
		c.ws.closeFrame = appendCloseFrame(nil, code, reason)
	}
	_ = c.tcp.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
	c.mu.Unlock()

	c.wmu.Lock()
	_, _ = c.flush(false)
	c.wmu.Unlock()
}

// Handler serves a connection. It returns nil when it is done with it, or what shall be called, on another goroutine,
// when the client says something more: see PacketReader.Idle.
type Handler func(*Conn) Handler

// run calls h, and what it returns, until the Conn rests or is done with. Then, or after a panic, it leaves nothing of
// the connection behind.
func (c *Conn) run(h Handler) {
	resting := false
	defer func() {
		if resting {
			return // another goroutine may have it by now
		}
		if v := recover(); v != nil {
			c.host.panicked(c, v)
		}
		_ = c.Close()
		c.wait()
		if c.end != nil {
			c.end()
		}
	}()
	for h != nil {
		h = h(c)
		switch {
		case h == nil:
		case c.first != nil:
			c.next, resting = h, true
			if !c.desc.lie() {
				c.greet(nil)
			}
			return
		case c.reader != nil:
			c.next = h
			if resting = c.desc.lie(); resting {
				return
			}
		}
	}
	c.linger()
}

func (h *host) panicked(c *Conn, v any) {
	h.panics.Add(1)
	h.log.Error("connection handler panicked; the connection is closed", "listener", h.name, "remote", c.remote,
		"panic", v, "stack", string(debug.Stack()))
}

// linger lets a closing Conn finish: it waits until the queue has gone out and then reads until the client closes too.
// Closing a socket with unread bytes would make the kernel send a reset, which can overtake the DISCONNECT. The timer
// of CloseAfterFlush ends it.
func (c *Conn) linger() {
	c.mu.Lock()
	closing := c.state == stateClosing
	if closing {
		_ = c.tcp.SetReadDeadline(time.Time{})
	}
	c.mu.Unlock()
	if !closing {
		return
	}
	c.wmu.Lock()
	_, _ = c.flush(false) // whoever closed the Conn may not have come to it yet
	c.wmu.Unlock()
	s := takeStore(storeSize)
	defer s.free()
	for left := lingerBytes; left > 0; {
		n, err := c.tcp.Read(s.b)
		if err != nil {
			break
		}
		left -= n
	}
	c.wait() // a client that shut down its half only may still be reading
}

// wait returns when no goroutine of the Conn is left. Without Close before it that is when the queue has gone out.
func (c *Conn) wait() {
	c.wmu.Lock()
	done := c.parkDone
	c.wmu.Unlock()
	if done != nil {
		<-done
	}
}

// Left reports whether the client has closed the connection, as far as that is known without reading what it sent.
func (c *Conn) Left() bool {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.gone {
		return true
	}
	var one [1]byte
	n, _, err := unix.Recvfrom(int(c.fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return err == nil && n == 0 || err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
}
