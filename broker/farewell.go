package broker

import (
	"context"
	"sync"
	"time"
)

// farewell lets a client hear the answer to a call of its own that ends its connection: devices.kick of its device,
// logout of it, user.delete of its user. The connection then ends after the answer, or after a moment. What others do to a client waits for
// nothing, unless it makes such a call right then.
type farewell struct {
	mu     sync.Mutex
	calls  int         // that may end the connection, not answered yet
	reason byte        // why it ends after the first of them, 0 = it does not
	late   *time.Timer // ends it without the answer
}

// farewellWait is how long the answer may take once the end is certain.
const farewellWait = 3 * time.Second

// endsItself reports whether a call may end the connection it is made by.
func endsItself(method string) bool {
	switch method {
	case "devices.kick", "logout", "user.delete", "user.set":
		return true
	}
	return false
}

// sendAway is disconnect, after the answer to a call of the client's own that may be why. Any goroutine, does not wait.
func (c *client) sendAway(reason byte) {
	f := &c.farewell
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.reason != 0: // it is on its way
	case f.calls == 0:
		c.disconnect(reason)
	default:
		f.reason = reason
		f.late = time.AfterFunc(farewellWait, func() { c.disconnect(reason) })
	}
}

// mayEnd says that a call may end the connection. Call what it returns when its answer is on its way.
func (c *client) mayEnd() (answered func()) {
	f := &c.farewell
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.calls--; f.reason != 0 {
			f.late.Stop()
			c.disconnect(f.reason)
		}
	}
}

// callerKey is where the context of a call has the client that makes it.
type callerKey struct{}

// callerOf returns the client that makes the call; nil = it came by HTTP, or from another node.
func callerOf(ctx context.Context) *client {
	c, _ := ctx.Value(callerKey{}).(*client)
	return c
}
