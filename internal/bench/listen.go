package bench

import (
	"context"
	"math"
	"time"
)

// Listen counts what comes to subscribers of other publishers.
type Listen struct {
	Target
	Subscribers int
	Filter      string // %i is the number of the client, %c its id
	QoS         byte
	Clean       bool // false: each is a session that outlives its connection
	ConnRate    float64
	Duration    time.Duration // the end of ctx ends it, too
	Limit       uint64        // deliveries, 0 = no limit
	Progress    func(string)
}

func (o *Listen) validate() error {
	if o.Filter == "" {
		return optionf("no topic to subscribe to (-t)")
	}
	return checkAll(
		checkCount("subscribers", "-c", o.Subscribers, 1, math.MaxInt32), checkQoS(o.QoS), checkRate("-R", o.ConnRate),
		period{duration: o.Duration}.check(),
	)
}

// listen is a run of Listen.
type listen struct {
	*crowd
	o         *Listen
	delivered int64
	repeated  uint64
}

// Run measures.
func (o *Listen) Run(ctx context.Context) (*Report, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	c, err := newCrowd(ctx, &o.Target, o.Progress)
	if err != nil {
		return nil, err
	}
	defer c.close()
	r := &listen{crowd: c, o: o}
	conns := make([]*conn, o.Subscribers)
	for i := range conns {
		conns[i] = &conn{ev: r, login: o.login(i, o.Clean), sub: subscription{o.expand(o.Filter, i), o.QoS}}
	}
	if err := r.connect(ctx, conns, o.ConnRate); err != nil {
		return nil, err
	}
	t, err := r.run(ctx, period{duration: o.Duration}, r)
	if err != nil && ctx.Err() == nil {
		return nil, err
	}
	rep := &Report{Scenario: "sub", QoS: o.QoS, ConnectsPerSecond: r.rate}
	t.fill(rep)
	r.fill(rep)
	r.locked(func() { rep.Repeated = new(r.repeated) })
	return rep, nil
}

func (r *listen) step(int64) error { return r.poll(longWait) }

func (r *listen) totals() totals { return totals{delivered: r.delivered} }

func (r *listen) forget() {}

func (r *listen) over() bool {
	return r.o.Limit > 0 && r.delivered >= int64(r.o.Limit) || r.ended == len(r.conns)
}

func (r *listen) message(_ *conn, p *publication) {
	r.delivered++
	if p.dup {
		r.repeated++
	}
}

var _ events = (*listen)(nil)
