package bench

import (
	"context"
	"math"
	"time"
)

// Idle measures connections that do nothing: how fast they are made and what one costs.
type Idle struct {
	Target
	Connections int
	Filter      string // subscribed to by each, "" = nothing; %i is the number of the client
	QoS         byte
	Clean       bool          // false: each is a session that outlives its connection
	ConnRate    float64       // connections a second, 0 = as fast as they are answered
	Hold        time.Duration // before the memory is measured; the end of ctx ends it, too
	Progress    func(string)
}

func (o *Idle) validate() error {
	return checkAll(checkCount("connections", "-c", o.Connections, 1, math.MaxInt32), checkQoS(o.QoS), checkRate("-R", o.ConnRate))
}

// Run measures.
func (o *Idle) Run(ctx context.Context) (*Report, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	c, err := newCrowd(ctx, &o.Target, o.Progress)
	if err != nil {
		return nil, err
	}
	defer c.close()
	conns := make([]*conn, o.Connections)
	for i := range conns {
		conns[i] = &conn{ev: c, login: o.login(i, o.Clean), sub: subscription{o.expand(o.Filter, i), o.QoS}}
	}
	start := c.clock()
	if err := c.connect(ctx, conns, o.ConnRate); err != nil {
		return nil, err
	}
	took := c.clock() - start
	connected, err := measure(o.PIDs)
	if err != nil {
		return nil, err
	}
	for end := c.clock() + int64(o.Hold); c.clock() < end && ctx.Err() == nil; {
		if err := c.poll(min(longWait, time.Duration(end-c.clock()))); err != nil {
			return nil, err
		}
	}
	after, err := measure(o.PIDs)
	if err != nil {
		return nil, err
	}
	r := &Report{
		Scenario: "conn", QoS: o.QoS, Seconds: float64(took) / 1e9, ConnectsPerSecond: c.rate,
		CPUSeconds: connected.cpu - c.before.cpu, RSS: after.rss, KBPerConnection: c.each(after.rss),
	}
	c.fill(r)
	return r, nil
}
