package transport

import (
	"runtime"
	"sync"
	"time"
)

// herd starts goroutines for what thousands of connections do at one moment and nobody waits for: to end. It starts one, and
// lets all others that can run have their turn before the next; started all at once they would stand before those who chat.
// It is safe for concurrent use.
type herd struct {
	courtesy courtesy // of the goroutine

	mu      sync.Mutex
	line    []func()
	running bool // a goroutine looks after the line
}

// add starts f when its turn comes. It does not block.
func (h *herd) add(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.line = append(h.line, f)
	if !h.running {
		h.running = true
		go h.run()
	}
}

func (h *herd) run() {
	for {
		h.mu.Lock()
		line := h.line
		h.line, h.running = nil, len(line) > 0
		h.mu.Unlock()
		if len(line) == 0 {
			return
		}
		for i, f := range line {
			if d := h.courtesy.pause(len(line) - i); d > 0 {
				<-time.After(d)
			}
			go f()
			runtime.Gosched()
		}
	}
}
