package transport

import (
	"sync"
	"sync/atomic"
	"time"
)

// pingSlots is into how many parts the ping interval is divided; a part of the connections is pinged in each.
const pingSlots = 32

var pingFrame = []byte{0x80 | opPing, 0}

// pinger pings WebSocket clients and closes those that gave no sign of life after two pings. One goroutine serves all
// connections; it runs while there are any.
type pinger struct {
	tick     time.Duration
	timeouts atomic.Int64

	mu    sync.Mutex
	slots [pingSlots]map[*Conn]struct{}
	now   int           // slot of the last tick
	n     int           // connections in all slots
	stop  chan struct{} // ends the running loop; nil when none runs
	loops sync.WaitGroup
}

func (p *pinger) init(interval time.Duration) { p.tick = max(interval/pingSlots, time.Millisecond) }

// add puts c in the slot that has just passed, so that its first ping comes after a whole interval.
func (p *pinger) add(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.slots[p.now] == nil {
		p.slots[p.now] = make(map[*Conn]struct{})
	}
	p.slots[p.now][c] = struct{}{}
	c.ws.slot = p.now
	p.n++
	if p.stop == nil {
		stop := make(chan struct{})
		p.stop = stop
		p.loops.Go(func() { p.loop(stop) })
	}
}

func (p *pinger) remove(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.slots[c.ws.slot], c)
	p.n--
}

// wait ends the goroutine. No connection is left.
func (p *pinger) wait() {
	p.mu.Lock()
	if p.stop != nil && p.n == 0 {
		close(p.stop)
		p.stop = nil
	}
	p.mu.Unlock()
	p.loops.Wait()
}

func (p *pinger) loop(stop chan struct{}) {
	t := time.NewTicker(p.tick)
	defer t.Stop()
	var due []*Conn
	for {
		select {
		case <-t.C:
		case <-stop:
			return
		}
		p.mu.Lock()
		if p.n == 0 {
			if p.stop == stop {
				p.stop = nil
			}
			p.mu.Unlock()
			return
		}
		p.now = (p.now + 1) % pingSlots
		for c := range p.slots[p.now] {
			due = append(due, c)
		}
		p.mu.Unlock()
		for _, c := range due {
			if !c.ping() {
				p.timeouts.Add(1)
				_ = c.Close()
			}
		}
		clear(due)
		due = due[:0]
	}
}

// ping sends a ping and returns false when the client has missed too many. Silence counts only while somebody reads:
// when the broker itself holds the reader back, nobody could have seen the pong. It counts no more while the socket is
// full, because then no ping is sent; StalledFor covers that.
func (c *Conn) ping() bool {
	ws := c.ws
	c.wmu.Lock()
	full := c.parked
	c.wmu.Unlock()
	if full {
		return true
	}
	if ws.heard.Swap(false) || !ws.reading.Load() {
		ws.unanswered = 0
	}
	if ws.unanswered == maxMissedPings {
		return false
	}
	ws.unanswered++
	c.control(pingFrame)
	return true
}
