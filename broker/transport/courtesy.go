package transport

import (
	"runtime"
	"time"

	"github.com/madang-chat/madang/internal/clock"
)

// When thousands come or go at one moment, the work for them is more than the processors have, and a message of those who are
// there waits behind it at each of its ways from goroutine to goroutine and thread to thread. So there are pauses in that work
// while somebody talks. Four of them take a processor 0.1 to 0.2 ms.
const (
	courtesyStep   = 4                      // of those who come or go, for each processor, between two pauses
	courtesyPause  = 500 * time.Microsecond // with the runtime's timers up to 1.1 ms: some 7,000 a second on two processors
	courtesyMemory = 100 * time.Millisecond // for so long somebody who was heard talks
	courtesyPauses = 1024                   // in one line, however long it is: nobody waits for more than a second of them
)

// courtesy says when to pause. One goroutine at a time has it.
type courtesy struct {
	traffic func() uint64 // see ListenerConfig.Traffic; nil = nobody talks
	n       int           // since the last look
	seen    uint64
	looked  time.Time // when it was that
	heard   time.Time // when it rose
}

// pause is called before each of those who come or go, with how many more there are as far as is known. It returns how long
// to wait.
func (c *courtesy) pause(more int) time.Duration {
	if c.n++; c.traffic == nil || c.n <= max(courtesyStep*runtime.GOMAXPROCS(0), more/courtesyPauses) {
		return 0
	}
	c.n = 1
	now, traffic := clock.Now(), c.traffic()
	if traffic != c.seen && now.Sub(c.looked) <= courtesyMemory { // else it may have risen long ago
		c.heard = now
	}
	c.seen, c.looked = traffic, now
	if now.Sub(c.heard) > courtesyMemory {
		return 0
	}
	return courtesyPause
}
