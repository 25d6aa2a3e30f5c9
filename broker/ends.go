package broker

import (
	"sync"
	"time"
)

// When a network goes, thousands of connections end at one moment. An end is work for a worker and a command for the log, and
// a message of those who are still there would stand behind all of them. So a few ends are worked on at a time, each until the
// log has it, and the others wait in line: their sockets are closed by then, and they count for no limit.
const (
	endsAtOnce   = 4
	endPatience  = 10 * time.Millisecond // with the log, before the next goes on: it may be without a leader for long
	takePatience = time.Second           // before an end that a CONNECT waits for does not wait any more
)

// ends is the line. It is safe for concurrent use.
type ends struct {
	mu   sync.Mutex
	n    int       // worked on
	line []*ending // oldest first
	open bool      // nobody waits: the broker stops
}

// ending is a client's place. ends.mu guards it.
type ending struct {
	turn    chan struct{} // closed when it has come; nil = it does not wait, not yet or not any more
	hurried bool
}

// enter waits for a client's turn, which is over when done has been called, and endPatience from now at the latest. done may
// be called again.
func (e *ends) enter(c *ending) (done func()) {
	if turn := e.take(c); turn != nil {
		<-turn
	}
	done = sync.OnceFunc(e.leave)
	time.AfterFunc(endPatience, done)
	return done
}

// take returns what to wait for, nil = it is the client's turn.
func (e *ends) take(c *ending) chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.n < endsAtOnce || e.open || c.hurried {
		e.n++
		return nil
	}
	c.turn = make(chan struct{})
	e.line = append(e.line, c)
	return c.turn
}

func (e *ends) leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.n--
	for e.n < endsAtOnce && len(e.line) > 0 {
		c := e.line[0]
		e.line[0] = nil
		e.line = e.line[1:]
		e.admit(c)
	}
}

// hurry lets a client's end not wait: somebody waits for it.
func (e *ends) hurry(c *ending) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c.hurried = true
	e.admit(c)
}

// stop lets nobody wait any more.
func (e *ends) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.open = true
	for _, c := range e.line {
		e.admit(c)
	}
	e.line = nil
}

// admit lets a client go on that waits. The caller holds mu.
func (e *ends) admit(c *ending) {
	if c.turn != nil {
		close(c.turn)
		c.turn = nil
		e.n++
	}
}
