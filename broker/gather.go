package broker

import "github.com/madang-chat/madang/broker/transport"

// gatheredMost bounds pieces that are gathered: what a call costs by itself is little beside what it takes to send more.
const gatheredMost = 2 << 10

// gathered are sends that go to the kernel together, with one system call for up to 32 sockets: the pieces of a sweep, of one
// room or of many, and what was queued in a round. A client is in a sweep with a piece once, and nothing else is done for it
// until that is sent, so that nothing overtakes it.
type gathered struct {
	batch   *transport.Batch // nil where there is no such call
	clients []*client        // of the sends in it
}

// openGathered lets the workers send together, where the kernel lets them.
func (b *Broker) openGathered() {
	if b.cfg.Alone {
		return
	}
	for _, w := range b.workers {
		if err := w.openGathered(); err != nil {
			b.log.Info("each send is a system call of its own", "why", err)
			for _, w := range b.workers {
				w.closeGathered()
			}
			return
		}
	}
}

// openGathered fails where there is no such call. It is called before the worker runs, closeGathered by it.
func (w *worker) openGathered() error {
	batch, err := transport.NewBatch()
	if err != nil {
		return err
	}
	w.gathered.batch = batch
	return nil
}

func (w *worker) closeGathered() {
	if batch := w.gathered.batch; batch != nil {
		w.gathered = gathered{}
		_ = batch.Close()
	}
}

// gather takes a send of p, in a copy of the client's own or in one for all. It returns false, having done nothing, when it
// is to be sent alone.
func (w *worker) gather(c *client, p *piece, own bool) bool {
	g := &w.gathered
	if g.batch == nil || len(p.bytes) > gatheredMost || !g.batch.Takes(c.conn) {
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
	w.gatheredFor(c)
	return true
}

// gatherFlush is flush with others, at the end of a round.
func (w *worker) gatherFlush(c *client) {
	if g := &w.gathered; g.batch == nil || !g.batch.Takes(c.conn) {
		w.flush(c)
		return
	}
	w.gathered.batch.AddFlush(c.conn)
	w.gatheredFor(c)
}

func (w *worker) gatheredFor(c *client) {
	g := &w.gathered
	if g.clients = append(g.clients, c); g.batch.Full() {
		w.sendGathered()
	}
}

// sendGathered sends what was gathered.
func (w *worker) sendGathered() {
	g := &w.gathered
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
