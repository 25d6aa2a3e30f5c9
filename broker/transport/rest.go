package transport

import "syscall"

// A connection of plain MQTT over TCP that has nothing to say rests: no goroutine waits for it. The poller reads what
// comes; PUBACKs, which are most of what a reader of a room says, and what else can be dealt with at once it hands over
// itself, and for anything else it starts a goroutine, which may block.

// readsInARow is how often the poller reads from one connection before others have their turn, and the connection gets a
// goroutine.
const readsInARow = 4

// readable implements rester.
func (c *Conn) readable(buf []byte) {
	defer func() {
		if v := recover(); v != nil {
			c.host.panicked(c, v)
			_ = c.Close()
			c.awake()
		}
	}()
	if c.first != nil {
		c.greet(buf)
		return
	}
	r := c.reader
	for range readsInARow {
		n, _ := c.desc.recv(buf)
		if n <= 0 {
			break
		}
		if rest := r.offer(buf[:n]); len(rest) > 0 {
			r.wr = copy(r.acquire(), rest)
			c.awake()
			return
		}
		if c.desc.lie() {
			return
		}
	}
	// Nothing there, which is nothing to do, or the end or an error, which the goroutine finds too, or too much.
	if c.desc.lie() {
		return
	}
	if c.desc.ends() {
		c.desc.poll.ends.add(func() { c.run(c.next) })
		return
	}
	c.awake()
}

// awake implements rester.
func (c *Conn) awake() {
	c.first = nil
	go c.run(c.next)
}

// AwaitFirst lets the connection rest until its client has said something; the first Handler calls it before it returns. Then f
// is called with what is there, as far as it fits a buffer, and start, which calls the Handler that was returned; nothing of
// it is read yet. f must not block; start may be called later and from anywhere. When the connection ends before, or a
// deadline passes, the Handler is called without f. AwaitFirst returns false, and does nothing, where connections do not rest.
func (c *Conn) AwaitFirst(f func(head []byte, start func())) bool {
	if c.desc == nil {
		return false
	}
	c.first = f
	return true
}

// greet looks at what a client says first, on the goroutine that owns the connection, which it gives away. buf may be nil.
func (c *Conn) greet(buf []byte) {
	if buf == nil {
		s := takeStore(storeSize)
		defer s.free()
		buf = s.b
	}
	for {
		n, errno := c.desc.peek(buf)
		switch {
		case n > 0:
			f := c.first
			c.first = nil
			f(buf[:n], c.awake)
			return
		case errno != syscall.EAGAIN:
			c.awake() // the Handler finds what it is
			return
		case c.desc.lie():
			return
		}
		if _, other := c.desc.due(); other {
			c.awake()
			return
		}
	}
}
