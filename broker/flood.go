package broker

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/storage"
)

// A client that goes on sending above its quota is answered each time, read more and more slowly, and in the end sent
// away: its library may send the same message for ever, and nobody else shall notice. What the quota lets through in
// between forgives nothing, since the slow reading itself fills the quota again; only time without a refusal does. The
// count is the device's, not the connection's: a library that sends for ever also comes back at once for ever.
const (
	floodPause    = 5 * time.Millisecond // more with each refusal
	floodPauseMax = time.Second
	floodForgiven = 30 * time.Second // without a refusal; so long a device that was sent away is not let in again
	floodsKept    = 10_000           // devices that are remembered; above it those that are forgiven go
	floodsMost    = 100_000          // and no more than that: further ones are counted by connection
	otherRate     = 50               // packets a second that are no messages: SUBSCRIBE, AUTH, and QoS 2 over again
	otherBurst    = 1000             // of them at once, or as many as a session may have filters
)

// flood is what is known of a device that was above its quota. It is safe for concurrent use.
type flood struct {
	mu       sync.Mutex
	refusals int
	last     int64 // coarse ms
}

// refused counts a refusal and returns how many there were.
func (f *flood) refused(now int64) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.forgiven(now) {
		f.refusals = 0
	}
	f.refusals++
	f.last = now
	return f.refusals
}

// left returns how long a device with so many refusals is not let in.
func (f *flood) left(now int64, limit int) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refusals < limit || f.forgiven(now) {
		return 0
	}
	return floodForgiven - time.Duration(now-f.last)*time.Millisecond
}

// forgiven is called under mu.
func (f *flood) forgiven(now int64) bool { return now-f.last >= floodForgiven.Milliseconds() }

// floods are those of a node, by device. The zero value has none.
type floods struct {
	n atomic.Int64 // of them: nearly always none, and then a CONNECT takes no lock

	mu    sync.Mutex
	of    map[storage.SessionID]*flood
	sweep int // number at which those that are forgiven go
}

// begin returns the count of a device, which goes on where it was.
func (s *floods) begin(device storage.SessionID, now int64) *flood {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.of[device]; f != nil {
		return f
	}
	f := &flood{last: now}
	if len(s.of) >= max(s.sweep, floodsKept) {
		for d, old := range s.of {
			old.mu.Lock()
			if old.forgiven(now) {
				delete(s.of, d)
			}
			old.mu.Unlock()
		}
		s.sweep = 2 * len(s.of)
	}
	if len(s.of) < floodsMost {
		if s.of == nil {
			s.of = map[storage.SessionID]*flood{}
		}
		s.of[device] = f
	}
	s.n.Store(int64(len(s.of)))
	return f
}

// shut returns how long a device is not let in, since it was sent away for flooding.
func (s *floods) shut(device storage.SessionID, now int64, limit int) time.Duration {
	if limit <= 0 || s.n.Load() == 0 {
		return 0
	}
	s.mu.Lock()
	f := s.of[device]
	s.mu.Unlock()
	if f == nil {
		return 0
	}
	return f.left(now, limit)
}

// stillFlooding refuses the CONNECT of a device that was sent away a moment ago. Guests are another device each time.
func (b *Broker) stillFlooding(id auth.Identity, clientID string) *problem.Problem {
	if id.Guest {
		return nil
	}
	device := storage.SessionID{NS: id.Namespace, User: id.User, Client: clientID}
	wait := b.floods.shut(device, b.now(), b.limits().FloodRefusals)
	if wait <= 0 {
		return nil
	}
	return problem.Over(problem.RateLimited, limit.FloodRefusals,
		"This device went on sending above its limits and was sent away; try again later.").After(wait)
}

// throttle returns the refusal of a publish above the quota, nil when it is within. Of a device that was above it lately, the
// same message again is slowed down as a refused one is: what is sent over and over must not cost what the quota allows.
func (c *client) throttle(topic string, payload []byte, size int) *problem.Problem {
	again := false
	if c.flooding > 0 {
		if c.b.now()-c.hastyAt >= floodForgiven.Milliseconds() {
			c.flooding = 0
		}
		h := maphash.Bytes(c.b.ownedBy, payload) ^ maphash.String(c.b.ownedBy, topic)
		again = h == c.lastSent
		c.lastSent = h
	}
	bad := c.quota.Refuse(size)
	if bad == nil { // first: who floods alone takes nothing from the others at the address
		bad = c.address.Refuse(size)
	}
	if bad == nil {
		if again {
			c.flooded()
		}
		return nil
	}
	c.flooded()
	return bad
}

// slow counts a packet that is no message and costs about as much. Who sends too many of them is answered all the same,
// and read more slowly as if each were a message above the quota. Without a quota there is no limit here either.
func (c *client) slow() {
	if !c.quota.Limited() {
		return
	}
	if c.others == nil {
		c.others = rate.NewLimiter(otherRate, max(otherBurst, c.b.limits().SessionFilters))
	}
	if !c.others.AllowN(clock.Now(), 1) {
		c.flooded()
	}
}

// flooded notes that the client is above its quota.
func (c *client) flooded() {
	if c.flood == nil {
		device := c.sid
		if c.unnamed {
			device.Client = "" // the next connection has another name
		}
		c.flood = c.b.floods.begin(device, c.b.now())
	}
	c.hasty, c.hastyAt = true, c.b.now()
	c.flooding = c.flood.refused(c.hastyAt)
}

// calm waits, once for each refusal, before the next packet of a client that floods, and says when it is enough. The
// reader calls it.
func (c *client) calm() error {
	if !c.hasty {
		return nil
	}
	if most := c.b.limits().FloodRefusals; most > 0 && c.flooding >= most {
		c.b.stats.flooded.Add(1)
		ctx, cancel := context.WithTimeout(c.ctx, disconnectGrace) // what was read is answered
		defer cancel()
		c.acks.settled(ctx)
		return c.over(limit.FloodRefusals, reasonRate, "%d messages were refused; slow down", c.flooding)
	}
	c.hasty = false
	defer c.holding()()
	t := time.NewTimer(min(time.Duration(c.flooding)*floodPause, floodPauseMax))
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.ctx.Done():
	}
	return nil
}
