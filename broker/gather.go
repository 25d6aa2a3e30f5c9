package broker

import "github.com/madang-chat/madang/broker/transport"

// gatheredMost bounds pieces that are gathered: what a call costs by itself is little beside what it takes to send more.
const gatheredMost = 2 << 10

// gathered are the pieces of a sweep that go to the kernel together, with one system call for up to 64 sockets, of one room
// or of many. A client is in a sweep with a piece once, so that nothing overtakes what is gathered for it.
type gathered struct {
	batch   *transport.Batch // nil where there is no such call
	clients []*client        // of the sends in it
	short   func(i int)
}

// openGathered lets the workers send together, where the kernel lets them.
func (b *Broker) openGathered() {
	if b.cfg.Alone {
		return
	}
	for _, w := range b.workers {
		if err := w.openGathered(); err != nil {
			b.log.Info("each send is a system call of its own", "why", err)
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
	w.gathered = gathered{batch: batch, short: func(i int) { w.account(w.gathered.clients[i]) }}
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
	if g.batch == nil || len(p.bytes) > gatheredMost {
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
	if g.clients = append(g.clients, c); g.batch.Full() {
		w.sendGathered()
	}
	return true
}

// sendGathered sends what was gathered.
func (w *worker) sendGathered() {
	if g := &w.gathered; g.batch != nil {
		w.b.stats.together.Add(uint64(g.batch.Send(g.short)))
		clear(g.clients)
		g.clients = g.clients[:0]
	}
}
