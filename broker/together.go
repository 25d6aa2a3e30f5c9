package broker

import "github.com/madang-chat/madang/broker/transport"

// togetherMost bounds pieces that go with others: what a call costs by itself is little beside what it takes to send more.
const togetherMost = 2 << 10

// together are sends that go to the kernel together, with one system call for up to 32 sockets: the pieces of a sweep, of one
// room or of many, and what was queued in a round. A client is in a sweep with a piece once, and nothing else is done for it
// until that is sent, so that nothing overtakes it.
type together struct {
	batch   *transport.Batch // nil where there is no such call
	clients []*client        // of the sends in it
}

// openTogether lets the workers send together, where the kernel lets them.
func (b *Broker) openTogether() {
	if b.cfg.Alone {
		return
	}
	for _, w := range b.workers {
		if err := w.openTogether(); err != nil {
			b.log.Info("each send is a system call of its own", "why", err)
			for _, w := range b.workers {
				w.closeTogether()
			}
			return
		}
	}
}

// openTogether fails where there is no such call. It is called before the worker runs, closeTogether by it.
func (w *worker) openTogether() error {
	batch, err := transport.NewBatch()
	if err != nil {
		return err
	}
	w.together.batch = batch
	return nil
}

func (w *worker) closeTogether() {
	if batch := w.together.batch; batch != nil {
		w.together = together{}
		_ = batch.Close()
	}
}

// pieceTogether takes a send of p, in a copy of the client's own or in one for all. It returns false, having done nothing, when it
// is to be sent alone.
func (w *worker) pieceTogether(c *client, p *piece, own bool) bool {
	g := &w.together
	if g.batch == nil || len(p.bytes) > togetherMost || !g.batch.Takes(c.conn) {
		return false
	}
	held := p.held
	if own || !g.batch.Holds(held) {
		var ok bool
		if held, ok = g.batch.Hold(p.bytes); !ok {
			return false
		}
		if !own {
			p.held = held
		}
	}
	g.batch.Add(c.conn, held)
	w.addedFor(c)
	return true
}

// flushTogether is flush with others, at the end of a round.
func (w *worker) flushTogether(c *client) {
	if g := &w.together; g.batch == nil || !g.batch.Takes(c.conn) {
		w.flush(c)
		return
	}
	w.together.batch.AddFlush(c.conn)
	w.addedFor(c)
}

func (w *worker) addedFor(c *client) {
	g := &w.together
	if g.clients = append(g.clients, c); g.batch.Full() {
		w.sendTogether()
	}
}

// sendTogether sends what was added.
func (w *worker) sendTogether() {
	g := &w.together
	if g.batch == nil {
		return
	}
	w.b.stats.together.Add(uint64(g.batch.Send()))
	for _, c := range g.clients {
		w.account(c)
	}
	clear(g.clients)
	g.clients = g.clients[:0]
}
