package transport

import (
	"time"

	"github.com/madang-chat/madang/internal/clock"
)

// When thousands come or go at one moment, the work for them is more than the processors have, and a message of those who are
// there waits behind it at each of its ways from goroutine to goroutine and thread to thread. So there are pauses in that work
// while somebody talks: 8 of them take 0.2 to 0.5 ms.
const (
	courtesyStep   = 8
	courtesyPause  = 500 * time.Microsecond
	courtesyMemory = 100 * time.Millisecond // somebody talks who did so long ago
)

// courtesy says when to pause. One goroutine has it.
type courtesy struct {
	traffic func() uint64 // see ListenerConfig.Traffic; nil = nobody talks
	seen    uint64
	moved   time.Time // when it had
	n       int
}

// pause is called before each of many. It returns how long to wait.
func (c *courtesy) pause() time.Duration {
	if c.n++; c.n%courtesyStep != 0 || c.traffic == nil {
		return 0
	}
	now := clock.Now()
	if t := c.traffic(); t != c.seen {
		c.seen, c.moved = t, now
	}
	if now.Sub(c.moved) > courtesyMemory {
		return 0
	}
	return courtesyPause
}
