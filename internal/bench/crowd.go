package bench

import (
	"context"
	"fmt"
	"time"
)

// handshakes is how many connections are being made at once: enough to keep a broker busy, below any listen backlog.
const handshakes = 64

// connectPatience is how long connecting may stand still.
const connectPatience = 30 * time.Second

// crowd opens connections and counts what becomes of them. Scenarios embed it and add what they are about.
type crowd struct {
	*loop
	target *Target
	say    func(string) // progress
	before usage        // of the broker, without these connections
	conns  []*conn      // since leave

	ready      int     // logged in and subscribed, of the whole run
	rate       float64 // of the last connect, a second
	ended      int     // not by us
	endedWhy   error   // of the first
	refusedWhy string  // of the first PUBLISH that was refused
	nextPing   int64
}

func newCrowd(ctx context.Context, t *Target, progress func(string)) (*crowd, error) {
	if t.Version < 3 || t.Version > version5 {
		return nil, optionf("-V %d: it is 3, 4 (3.1.1) or 5", t.Version)
	}
	if progress == nil {
		progress = func(string) {}
	}
	if err := t.resolve(ctx); err != nil {
		return nil, err
	}
	before, err := measure(t.PIDs)
	if err != nil {
		return nil, err
	}
	l, err := newLoop()
	if err != nil {
		return nil, err
	}
	return &crowd{loop: l, target: t, say: progress, before: before}, nil
}

// close ends everything, in the orderly way where there is time for it.
func (c *crowd) close() {
	c.leave()
	c.loop.close()
}

// leave ends all connections in the orderly way.
func (c *crowd) leave() {
	c.locked(func() {
		for _, n := range c.conns {
			n.disconnect()
		}
		c.conns = nil
	})
}

// poll waits as the loop does, and pings when it is time.
func (c *crowd) poll(wait time.Duration) error {
	err := c.loop.poll(wait)
	c.locked(c.keepAlive)
	return err
}

func (c *crowd) keepAlive() {
	if c.target.KeepAlive == 0 || c.now < c.nextPing {
		return
	}
	first := c.nextPing == 0
	c.nextPing = c.now + int64(c.target.KeepAlive)*int64(time.Second)/2
	if first {
		return // nobody is connected for long yet
	}
	for _, n := range c.conns {
		n.ping()
	}
}

// until polls until done, called under mu, is true. It returns the cause when ctx ends first.
func (c *crowd) until(ctx context.Context, done func() bool) error {
	for {
		var over bool
		c.locked(func() {
			c.tick()
			over = done()
		})
		if over {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := c.poll(longWait); err != nil {
			return err
		}
	}
}

// connect opens the connections, at most perSecond of them a second (0 = as fast as they are answered), and waits until
// each is ready.
func (c *crowd) connect(ctx context.Context, conns []*conn, perSecond float64) error {
	o := c.opening(conns, perSecond)
	said := o.begin
	for {
		wait, err := o.step(ctx)
		if err != nil {
			return err
		}
		now := c.clock()
		if o.done == len(conns) {
			c.rate = per(float64(len(conns)), now-o.begin)
			return nil
		}
		if now-said > int64(time.Second) {
			said = now
			c.say(fmt.Sprintf("connected %d of %d", o.done, len(conns)))
		}
		if err := c.poll(wait); err != nil {
			return err
		}
	}
}

// opening is connections that are being made.
type opening struct {
	*crowd
	toOpen  []*conn
	rate    float64
	begin   int64
	before  int   // ready at the beginning
	started int   // of toOpen
	done    int   // ready, of toOpen
	moved   int64 // when the last was started or ready
}

func (c *crowd) opening(conns []*conn, perSecond float64) *opening {
	o := &opening{crowd: c, toOpen: conns, rate: perSecond, begin: c.clock()}
	o.moved = o.begin
	c.locked(func() { o.before = c.ready })
	return o
}

// step opens what may be opened now and returns how long to wait for more. It fails when a connection of the crowd has
// and not all are ready.
func (o *opening) step(ctx context.Context) (time.Duration, error) {
	var ready int
	var why error
	o.locked(func() { ready, why = o.ready-o.before, o.endedWhy })
	now := o.clock()
	switch {
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case why != nil && ready < len(o.toOpen): // else it is for the scenario to count
		return 0, fmt.Errorf("with %d of %d connected: %w", ready, len(o.toOpen), why)
	case ready != o.done:
		o.done, o.moved = ready, now
	case o.started > o.done && now-o.moved > int64(connectPatience):
		return 0, fmt.Errorf("the broker has answered %d of %d connections, and then none for %v", o.done, len(o.toOpen), connectPatience)
	}
	for ; o.started < len(o.toOpen) && o.started-o.done < handshakes; o.started++ {
		if o.rate > 0 {
			if due := o.begin + int64(float64(o.started)/o.rate*1e9); due > now {
				return min(time.Duration(due-now), longWait), nil
			}
		}
		if err := o.open(ctx, o.toOpen[o.started]); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return 0, fmt.Errorf("connection %d of %d: %w", o.started+1, len(o.toOpen), err)
		}
		o.moved = now
		if o.target.Dial != nil { // it has waited: what else there is to do comes before the next
			o.started++
			return 0, nil
		}
	}
	return longWait, nil
}

func (c *crowd) open(ctx context.Context, n *conn) error {
	if c.target.Dial == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.conns = append(c.conns, n)
		return c.start(n, c.target)
	}
	nc, err := c.target.Dial(ctx)
	if err != nil {
		return advise(err)
	}
	c.locked(func() {
		c.conns = append(c.conns, n)
		c.attach(n, nc)
	})
	return nil
}

func (c *crowd) up(*conn) { c.ready++ }

func (c *crowd) message(*conn, *publication) {}

func (c *crowd) acked(*conn, uint16, byte) {}

func (c *crowd) down(_ *conn, err error) {
	c.ended++
	if c.endedWhy == nil {
		c.endedWhy = err
	}
}

// refused notes why a PUBLISH was.
func (c *crowd) refused(code byte) {
	if c.refusedWhy == "" {
		c.refusedWhy = reason(code)
	}
}

// fill puts what is known of the connections into the report.
func (c *crowd) fill(r *Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.Target, r.RSSBefore = c.target.Name, c.before.rss
	r.Connections, r.Disconnected = len(c.conns), c.ended
	if c.endedWhy != nil {
		r.DisconnectedWhy = c.endedWhy.Error()
	}
	r.RefusedWhy = c.refusedWhy
}

// each returns how much memory the broker has taken since for a connection, in KB.
func (c *crowd) each(rss int) float64 {
	if len(c.target.PIDs) == 0 {
		return 0
	}
	return float64(rss-c.before.rss) / 1024 / float64(len(c.conns))
}

var _ events = (*crowd)(nil)
