package cluster

// answer is a call of done that is due.
type answer struct {
	done   func(result []byte, err error)
	result []byte
	err    error
}

// resolve takes the results of a group of this node's own commands, in log order. results[i] answers number first+i;
// nil means that the state machine ignored the command. Called by the fsm only.
func (p *proposer) resolve(first uint64, count int, results [][]byte) {
	p.mu.Lock()
	for i := range count {
		n := first + uint64(i)
		if n < p.head || n >= p.tail {
			continue
		}
		var result []byte
		if i < len(results) {
			result = results[i]
		}
		c := p.at(n)
		switch {
		case c.answered:
		case result != nil:
			c.result, c.answered = result, true
			p.accepted = max(p.accepted, n)
			p.stats.answered++
		case n < p.accepted:
			// A later one was accepted, so this one was too: it is older than what is remembered.
			c.err, c.answered = ErrForgotten, true
		default:
			// An earlier one is missing in the log. Both come again.
			if !p.broken {
				p.failures++
			}
			p.broken = true
		}
	}
	p.advance()
	p.mu.Unlock()
}

// advance hands what is answered, up to the first that is not, to the answering goroutine. p.mu is held.
func (p *proposer) advance() {
	from := p.head
	for p.head < p.tail {
		c := p.at(p.head)
		if !c.answered {
			break
		}
		p.out = append(p.out, answer{c.done, c.result, c.err})
		p.bytes -= commandSize(c.data)
		*c = command{}
		if len(p.refused) > 0 {
			p.out = append(p.out, p.refused[p.head]...)
			delete(p.refused, p.head)
		}
		p.head++
	}
	if p.head == from {
		return
	}
	p.sent = max(p.sent, p.head)
	if full := p.full.Load(); full != nil && p.bytes < p.limits.pendingBytes {
		p.full.Store(nil)
		close(*full)
	}
	if p.head == p.tail && len(p.ring) > 1<<16 {
		p.ring = make([]command, 256)
	}
	signal(p.answers)
	if p.closing {
		signal(p.idle)
	}
}

// answer calls done, in order, until stop and everything is answered.
func (p *proposer) answer() {
	var batch []answer
	for {
		<-p.answers
		for {
			p.mu.Lock()
			batch, p.out = p.out, batch[:0]
			ended := p.ended
			p.mu.Unlock()
			if len(batch) == 0 {
				if ended {
					return
				}
				break
			}
			for i := range batch {
				batch[i].done(batch[i].result, batch[i].err)
			}
			clear(batch)
			if cap(batch) > 1<<16 {
				batch = nil
			}
		}
	}
}
