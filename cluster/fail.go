package cluster

import (
	"runtime"
	"sync"
)

// failure is the first thing that went wrong beyond repair. From then on the node writes nothing and applies nothing.
type failure struct {
	mu  sync.Mutex
	err error
	out chan error    // 1-buffered, gets err
	set chan struct{} // closed when err is set
}

func newFailure() *failure {
	return &failure{out: make(chan error, 1), set: make(chan struct{})}
}

// report notes err if it is the first and returns the first.
func (f *failure) report(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
		f.out <- err
		close(f.set)
	}
	return f.err
}

// get returns what was reported, nil if nothing was.
func (f *failure) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// leaveRaft ends the calling goroutine, which is one of raft's, with its deferred calls. Raft panics when it cannot
// save its term or read its log; a goroutine that ends instead leaves the process the time to say why and to exit.
// Raft's main loop stands still afterwards, which is right: a node that cannot write must not vote.
func leaveRaft() { runtime.Goexit() }
