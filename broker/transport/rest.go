package transport

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
func (c *Conn) awake() { go c.run(c.next) }
