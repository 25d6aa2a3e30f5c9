package cluster

import (
	"context"
	"time"
)

// peerAsk is how long the other nodes have for an answer. One that takes longer is not waited for again until it answers
// something: a node that hangs costs one question its time, not each.
const peerAsk = time.Second

// asking is a question on its way.
type asking struct {
	waits   map[string]struct{} // nodes that have not answered and are waited for
	answers [][]byte
	done    chan struct{} // closed when waits is empty
}

// Ask puts a question to the nodes that can be reached, or to one of them, and returns what they answered when all have,
// after a second, or when ctx ends. It is for what need not be certain: a node that cannot be reached, or has too much
// waiting for it, is not asked. One that is named is waited for whatever it did before.
func (p *Peers) Ask(ctx context.Context, node string, question []byte) [][]byte {
	p.mu.Lock()
	p.asked++
	number := p.asked
	a := &asking{waits: map[string]struct{}{}, done: make(chan struct{})}
	frame := appendNumbered(nil, kindAsk, number, question)
	for id, n := range p.nodes {
		if node != "" && id != node || !n.say(frame) {
			continue
		}
		if node != "" || !n.late && n.from != nil {
			a.waits[id] = struct{}{}
		}
	}
	if len(a.waits) == 0 {
		p.mu.Unlock()
		return nil
	}
	p.asking[number] = a
	p.mu.Unlock()

	t := time.NewTimer(peerAsk)
	defer t.Stop()
	late := false
	select {
	case <-a.done:
	case <-t.C:
		late = true
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.asking, number)
	if late {
		for id := range a.waits {
			p.node(id).late = true
		}
	}
	return a.answers
}

// say queues a question or an answer for a node. False: it cannot be reached, or too much waits for it. p.mu is held.
func (n *peer) say(frame []byte) bool {
	if !n.up || len(n.said)+len(frame) > peerSaid {
		return false
	}
	n.said = append(n.said, frame...)
	signal(n.wake)
	return true
}

// answer sends what this node says to a question of another. Who asks may be heard before it can be reached: what is said to
// it then waits for this node's stream.
func (p *Peers) answer(id string, number uint64, answer []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.node(id)
	frame := appendNumbered(nil, kindAnswer, number, answer)
	if !n.say(frame) && !n.up && n.from != nil && len(n.held)+len(frame) <= peerSaid {
		n.held = append(n.held, frame...)
	}
}

// answered takes what a node says to a question of this one. p.mu is held.
func (p *Peers) answered(id string, number uint64, answer []byte) {
	p.node(id).late = false
	a := p.asking[number]
	if a == nil {
		return // nobody waits any more
	}
	if _, waited := a.waits[id]; waited {
		a.answers = append(a.answers, answer)
		a.settle(id)
	}
}

// forget stops waiting for a node that cannot be reached any more. p.mu is held.
func (p *Peers) forget(id string) {
	for _, a := range p.asking {
		a.settle(id)
	}
}

// settle waits for one node less.
func (a *asking) settle(id string) {
	if _, waited := a.waits[id]; !waited {
		return
	}
	delete(a.waits, id)
	if len(a.waits) == 0 {
		close(a.done)
	}
}
