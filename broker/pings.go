package broker

// pingsAhead is how many PINGREQs of a client may wait for the worker; who sends more is read no faster than it answers.
const pingsAhead = 64

// ping answers PINGREQ. Every so often the reader waits for the worker: two bytes a packet, sent without end, would fill
// its inbox. The queue takes no more answers than its limit.
func (c *client) ping() {
	c.w.post(func() {
		if !c.gone {
			c.conn.Queue([]byte{typePingresp, 0}, false)
			c.w.touch(c)
		}
	})
	if c.pings++; c.pings%pingsAhead != 0 {
		return
	}
	done := make(chan struct{})
	c.w.post(func() { close(done) })
	select {
	case <-done:
	case <-c.ctx.Done():
	}
}
