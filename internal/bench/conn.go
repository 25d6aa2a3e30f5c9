package bench

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// events are told what happens on a connection, under the loop's lock.
type events interface {
	up(c *conn)                          // logged in, and subscribed where there is something to subscribe to
	message(c *conn, p *publication)     // PUBLISH; its bytes are valid during the call
	acked(c *conn, id uint16, code byte) // PUBACK, PUBCOMP, or a PUBREC that refuses; of any id the broker likes
	down(c *conn, err error)             // the connection has ended, not by close
}

type connState uint8

const (
	dialing     connState = iota
	greeting              // CONNECT is sent
	subscribing           // SUBSCRIBE is sent
	running
	ended
)

// conn is one MQTT connection of the generator. It is the loop's.
type conn struct {
	loop    *loop
	ev      events
	login   login
	sub     subscription
	number  int // the scenario's
	state   connState
	mayLast bool    // CONNECT was sent and not refused: the broker may have a session
	present bool    // CONNACK said that it had one before
	fd      int     // -1 when stream is set
	stream  *stream // TLS and WebSocket
	polled  uint32  // what epoll waits for
	rest    []byte  // first part of a packet
	out     []byte  // what the socket has not taken
	deaf    bool    // reads nothing
	mute    bool    // acknowledges nothing
}

// subscription is what a connection subscribes to when it is logged in; nothing when topic is empty.
type subscription struct {
	topic string
	qos   byte
}

const subscribeID = 1 // packet id of the only SUBSCRIBE of a connection

// start begins to connect over plain TCP.
func (l *loop) start(c *conn, t *Target) error {
	c.loop, c.fd, l.to = l, -1, t.addr
	family := unix.AF_INET
	if t.addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		c.state = ended
		return advise(os.NewSyscallError("socket", err))
	}
	c.fd = fd
	l.conns[int32(fd)] = c
	if err := c.dial(t); err != nil {
		c.close()
		return err
	}
	return nil
}

func (c *conn) dial(t *Target) error {
	_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // slower without, not wrong
	if from, ok := t.from(); ok {
		_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		if err := unix.Bind(c.fd, sockaddr(from, 0)); err != nil {
			return fmt.Errorf("connect from %s: %w; --ifaddr takes addresses of this machine", from, err)
		}
	}
	// EPOLLOUT comes when the connection is there, also when it is at once.
	err := unix.Connect(c.fd, sockaddr(t.addr.Addr(), t.addr.Port()))
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return fmt.Errorf("connect to %s: %w", t.addr, advise(err))
	}
	c.polled = unix.EPOLLIN | unix.EPOLLOUT
	ev := unix.EpollEvent{Events: c.polled, Fd: int32(c.fd)}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(c.loop.epfd, unix.EPOLL_CTL_ADD, c.fd, &ev))
}

func (c *conn) greet() {
	c.state, c.mayLast = greeting, true
	c.send(c.login.append(nil))
}

// ready handles what epoll says of the socket.
func (c *conn) ready(what uint32) {
	const broken = unix.EPOLLHUP | unix.EPOLLERR
	if c.state == dialing && what&(unix.EPOLLOUT|broken) != 0 {
		if err := c.socketError(); err != nil {
			c.fail(fmt.Errorf("connect to %s: %w", c.loop.to, advise(err)))
			return
		}
		c.greet()
		c.wait()
	}
	if what&unix.EPOLLOUT != 0 && len(c.out) > 0 {
		waiting := c.out
		c.out = nil
		c.send(waiting)
		c.wait()
	}
	switch {
	case c.state == ended || what&(unix.EPOLLIN|broken) == 0:
	case !c.deaf:
		c.read()
	case what&broken != 0: // epoll tells of it whether it is asked to or not, and would again and again
		c.fail(closedBy(cmp.Or(c.socketError(), io.EOF)))
	}
}

// socketError is why the system gave the socket up, nil when it did not.
func (c *conn) socketError() error {
	no, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && no != 0 {
		err = unix.Errno(no)
	}
	return err
}

// wait tells epoll what the socket waits for.
func (c *conn) wait() {
	if c.fd < 0 || c.state == ended {
		return
	}
	var want uint32
	if !c.deaf {
		want = unix.EPOLLIN
	}
	if len(c.out) > 0 {
		want |= unix.EPOLLOUT
	}
	if want != c.polled {
		c.polled = want
		ev := unix.EpollEvent{Events: want, Fd: int32(c.fd)}
		_ = unix.EpollCtl(c.loop.epfd, unix.EPOLL_CTL_MOD, c.fd, &ev) // fails only for what was never added
	}
}

// stopReading makes a reader that never reads.
func (c *conn) stopReading() {
	c.deaf = true
	c.wait()
	if c.fd >= 0 {
		_ = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) // else the kernel reads much for it
	}
}

// readByte reads one byte of what a deaf connection over plain TCP is sent.
func (c *conn) readByte() {
	if c.state != ended && c.fd >= 0 {
		_, _ = unix.Read(c.fd, c.loop.buf[:1])
	}
}

func (c *conn) read() {
	n, err := unix.Read(c.fd, c.loop.buf)
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
	case err != nil:
		c.fail(closedBy(err))
	case n == 0:
		c.fail(closedBy(io.EOF))
	default:
		c.feed(c.loop.buf[:n])
	}
}

func closedBy(err error) error { return fmt.Errorf("the broker closed the connection: %w", err) }

// feed handles bytes in their order, then sends the acknowledgements they ask for in one piece.
func (c *conn) feed(b []byte) {
	joined := len(c.rest) > 0
	if joined {
		c.rest = append(c.rest, b...)
		b = c.rest
	}
	all := len(b)
	acks := c.loop.acks[:0]
	for c.state != ended {
		first, body, size, err := cut(b)
		if err == nil && size > 0 {
			acks, err = c.packet(acks, first, body)
		}
		if err != nil {
			c.fail(err)
			return
		}
		if size == 0 {
			break
		}
		b = b[size:]
	}
	c.loop.acks = acks
	switch {
	case c.state == ended:
		return
	case len(b) == 0:
		c.rest = nil
	case !joined || len(b) < all: // else rest holds them already: a long packet is not copied with each of its pieces
		c.rest = append([]byte(nil), b...)
	}
	if len(acks) > 0 {
		c.send(acks)
	}
}

// packet handles one packet. The broker may be any program: nothing it sends is believed to belong there.
func (c *conn) packet(acks []byte, first byte, body []byte) ([]byte, error) {
	kind := first >> 4
	if c.state == greeting && kind != typeConnack && kind != typeDisconnect {
		c.mayLast = false
		return acks, errors.New("the broker's first packet is no CONNACK: is it a port for MQTT, and for it without TLS or WebSocket?")
	}
	switch kind {
	case typePublish:
		p, err := parsePublish(first, body)
		if err != nil {
			return acks, err
		}
		switch {
		case c.mute:
		case p.qos == 1:
			acks = appendAck(acks, typePuback, p.id)
		case p.qos == 2:
			acks = appendAck(acks, typePubrec, p.id)
		}
		c.ev.message(c, &p)
	case typePuback, typePubrec, typePubrel, typePubcomp:
		id, code, err := ackOf(body)
		if err != nil {
			return acks, err
		}
		switch {
		case kind == typePubrec && code < 0x80:
			acks = appendAck(acks, typePubrel, id)
		case kind == typePubrel:
			acks = appendAck(acks, typePubcomp, id)
		default:
			c.ev.acked(c, id, code)
		}
	case typeConnack:
		return acks, c.connack(body)
	case typeSuback:
		return acks, c.suback(body)
	case typeDisconnect:
		var code byte
		if len(body) > 0 {
			code = body[0]
		}
		return acks, fmt.Errorf("the broker sent DISCONNECT: %s", reason(code))
	case typePingresp:
	default:
		return acks, errMalformed
	}
	return acks, nil
}

func (c *conn) connack(body []byte) error {
	code, present, err := connackCode(body)
	switch {
	case err != nil:
		return err
	case c.state != greeting:
		return errors.New("the broker sent a second CONNACK")
	case code != 0:
		c.mayLast = false
		return fmt.Errorf("login of %s refused: %s", c.login.who(), reason(code))
	}
	c.present = present
	if c.sub.topic == "" {
		c.state = running
		c.ev.up(c)
		return nil
	}
	c.state = subscribing
	c.send(appendSubscribe(nil, c.login.version, subscribeID, c.sub.topic, c.sub.qos))
	return nil
}

func (c *conn) suback(body []byte) error {
	code, err := subackCode(c.login.version, subscribeID, body)
	switch {
	case err != nil:
		return err
	case c.state != subscribing:
		return errors.New("the broker sent a SUBACK that nobody waits for")
	case code > 2: // no QoS
		return fmt.Errorf("subscription of %s to %s refused: %s", c.login.who(), c.sub.topic, reason(code))
	}
	c.state = running
	c.ev.up(c)
	return nil
}

// send gives bytes to the socket and keeps what it does not take.
func (c *conn) send(b []byte) {
	if c.state == ended {
		return
	}
	if c.stream != nil {
		c.stream.send(b)
		return
	}
	if len(c.out) > 0 {
		c.out = append(c.out, b...)
		return
	}
	n, err := unix.SendmsgN(c.fd, b, nil, nil, unix.MSG_NOSIGNAL)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		n, err = 0, nil
	}
	if err != nil {
		c.fail(closedBy(err))
		return
	}
	if n < len(b) {
		c.out = append(c.out, b[n:]...)
		c.wait()
	}
}

// backlog is the number of bytes that wait for the socket.
func (c *conn) backlog() int {
	if c.stream != nil {
		return c.stream.backlog()
	}
	return len(c.out)
}

// loggedIn says whether more may be sent than a CONNECT.
func (c *conn) loggedIn() bool { return c.state == subscribing || c.state == running }

func (c *conn) ping() {
	if c.loggedIn() {
		c.send([]byte{typePingreq << 4, 0})
	}
}

// fail ends the connection and tells of it.
func (c *conn) fail(err error) {
	if c.state == ended {
		return
	}
	c.close()
	c.ev.down(c, err)
}

// disconnect ends the connection in the orderly way.
func (c *conn) disconnect() {
	if c.loggedIn() {
		c.send([]byte{typeDisconnect << 4, 0})
	}
	c.close()
}

func (c *conn) close() {
	if c.state == ended {
		return
	}
	c.state = ended
	c.rest, c.out = nil, nil
	if c.stream != nil {
		c.stream.close()
	} else if c.fd >= 0 {
		delete(c.loop.conns, int32(c.fd))
		_ = unix.Close(c.fd)
	}
}
