package calls

import (
	"context"
	"sync"
	"time"

	"github.com/madang-chat/madang/storage"
)

// settled wakes those who wait until this node's store shows what was committed. One watcher serves them all; it exists
// only while somebody waits, so that Apply has nobody to tell otherwise.
type settled struct {
	watch func() *storage.Watcher

	mu      sync.Mutex
	waiting int
	round   *round // nil when nobody waits
}

// round is the life of one watcher. Its goroutine is started by the first who waits and ended, and waited for, by the last.
type round struct {
	watcher *storage.Watcher
	stop    chan struct{}
	done    chan struct{}

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when the store changed
}

// wait returns when there holds, or after limit, or when ctx ends. Callers go on in each case: what they wait for is
// committed, only the sight of it may be late. there is called again after every change of the store.
func (s *settled) wait(ctx context.Context, limit time.Duration, there func() (bool, error)) error {
	if ok, err := there(); ok || err != nil {
		return err
	}
	r := s.enter()
	defer s.leave(r)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		changed := r.next()
		if ok, err := there(); ok || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *settled) enter() *round {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting++
	if s.round == nil {
		r := &round{
			watcher: s.watch(), stop: make(chan struct{}), done: make(chan struct{}), changed: make(chan struct{}),
		}
		s.round = r
		go r.run()
	}
	return s.round
}

func (s *settled) leave(r *round) {
	s.mu.Lock()
	s.waiting--
	last := s.waiting == 0
	if last {
		s.round = nil
	}
	s.mu.Unlock()
	if last {
		close(r.stop)
		<-r.done
	}
}

func (r *round) next() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

func (r *round) run() {
	defer close(r.done)
	defer r.watcher.Close()
	for {
		select {
		case <-r.stop:
			return
		case <-r.watcher.Wake():
			r.watcher.Take()
			r.mu.Lock()
			close(r.changed)
			r.changed = make(chan struct{})
			r.mu.Unlock()
		}
	}
}
