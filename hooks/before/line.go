package before

import (
	"sync"
	"sync/atomic"

	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

// Line keeps what one sender sends in order, while answers come in any. One goroutine at a time calls Do.
type Line struct {
	waiting atomic.Int32 // steps that have not been done

	mu    sync.Mutex
	steps []*step
}

type step struct {
	ready bool
	bad   *problem.Problem
	do    func(bad *problem.Problem)
}

// Empty reports whether everything before has been done: then what needs no question needs no line. nil is empty.
func (l *Line) Empty() bool { return l == nil || l.waiting.Load() == 0 }

// Do asks about cmd if it has to be, and calls do, once and after do of everything before: with nil when cmd is to be
// proposed, as it is by then, else with why it is refused. do does not block. cmd belongs to the line until then.
func (l *Line) Do(a *Asker, cmd storage.Command, do func(bad *problem.Problem)) {
	m, asks := cmd.(*storage.Append)
	asks = asks && a.Asks(m)
	if !asks && l.Empty() {
		do(nil)
		return
	}
	s := &step{ready: !asks, do: do}
	l.waiting.Add(1)
	l.mu.Lock()
	l.steps = append(l.steps, s)
	l.mu.Unlock()
	if !asks {
		l.settle(func() {})
		return
	}
	a.Ask(m, func(bad *problem.Problem) {
		l.settle(func() { s.ready, s.bad = true, bad })
	})
}

// settle does what can be done after f.
func (l *Line) settle(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	n := 0
	for _, s := range l.steps {
		if !s.ready {
			break
		}
		s.do(s.bad)
		n++
		l.waiting.Add(-1)
	}
	if l.steps = l.steps[n:]; len(l.steps) == 0 {
		l.steps = nil
	}
}
