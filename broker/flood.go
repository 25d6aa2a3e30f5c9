package broker

import (
	"time"

	"github.com/madang-chat/madang/hooks/problem"
)

// A client that goes on sending above its quota is answered each time, read more and more slowly, and in the end sent
// away: its library may send the same message for ever, and nobody else shall notice.
const (
	floodPause    = 5 * time.Millisecond // more with each refusal in a row
	floodPauseMax = time.Second
	floodRefusals = 500 // in a row; the pauses before add up to some five minutes
)

// throttle returns the refusal of a publish above the quota, nil when it is within.
func (c *client) throttle(size int) *problem.Problem {
	bad := c.quota.Refuse(size)
	if bad == nil { // first: who floods alone takes nothing from the others at the address
		bad = c.address.Refuse(size)
	}
	if bad == nil {
		c.flooding = 0
		return nil
	}
	c.flooding++
	c.hasty, c.flooded = true, bad.Limit
	return bad
}

// calm waits, once for each refusal, before the next packet of a client that floods, and says when it is enough. The
// reader calls it.
func (c *client) calm() error {
	switch {
	case !c.hasty:
		return nil
	case c.flooding >= floodRefusals:
		return excess{reasonRate, sayOver(c.flooded, "%d messages in a row were refused; slow down", c.flooding)}
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
