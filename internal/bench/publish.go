package bench

import (
	"bytes"
	"context"
	"math"
	"time"
)

// Publish measures acknowledgements: publishers with a number of messages in flight each.
type Publish struct {
	Target
	Publishers int
	InFlight   int           // of each publisher, with QoS 1 and 2
	Interval   time.Duration // between the messages of a publisher; 0 = as fast as they are acknowledged
	QoS        byte
	Retain     bool
	Size       int
	Message    string // instead of one of Size bytes
	Topic      string // %i is the number of the client, %c its id
	ConnRate   float64
	Warmup     time.Duration
	Duration   time.Duration
	Limit      uint64 // messages over all publishers, 0 = no limit
	Progress   func(string)
}

func (o *Publish) validate() error {
	switch {
	case o.Topic == "":
		return optionf("no topic to publish to (-t)")
	case o.QoS > 0 && (o.InFlight < 1 || o.InFlight > maxInFlight):
		return optionf("%d in flight (-F): it is 1 to %d", o.InFlight, maxInFlight)
	case o.Interval < 0:
		return optionf("-I %d: no message is sent before the one before it", o.Interval.Milliseconds())
	}
	return checkAll(
		checkCount("publishers", "-c", o.Publishers, 1, math.MaxInt32), checkCount("bytes", "-s", o.Size, 0, maxSize),
		checkQoS(o.QoS), checkRate("-R", o.ConnRate), period{o.Warmup, o.Duration}.check(),
	)
}

// publish is a run of Publish.
type publish struct {
	*crowd
	o       *Publish
	pubs    []sender
	payload []byte
	packet  []byte

	posting  bool
	sent     uint64
	acks     uint64
	refusals uint64
	moved    int64 // when something was sent or acknowledged last
	latency  histogram
}

type sender struct {
	conn  *conn
	topic string
	due   int64  // of the next, with an interval
	times flight // when a message was due
}

// Run measures. It returns the report also when not everything was acknowledged.
func (o *Publish) Run(ctx context.Context) (*Report, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	c, err := newCrowd(ctx, &o.Target, o.Progress)
	if err != nil {
		return nil, err
	}
	defer c.close()
	r := &publish{crowd: c, o: o, payload: []byte(o.Message)}
	if o.Message == "" {
		r.payload = bytes.Repeat([]byte{'.'}, o.Size)
	}
	conns := make([]*conn, o.Publishers)
	for i := range conns {
		conns[i] = &conn{ev: r, login: o.login(i, true), number: i}
		r.pubs = append(r.pubs, sender{conn: conns[i], topic: o.expand(o.Topic, i)})
	}
	if err := r.connect(ctx, conns, o.ConnRate); err != nil {
		return nil, err
	}
	r.locked(r.begin)
	t, err := r.run(ctx, period{o.Warmup, o.Duration}, r)
	if err != nil {
		return nil, err
	}
	rep := &Report{Scenario: "pub", QoS: o.QoS}
	t.fill(rep)
	r.locked(func() {
		r.posting = false
		rep.AckLatency = r.latency.latency()
	})
	if err := r.until(ctx, r.done); err != nil {
		return nil, err
	}
	if o.QoS > 0 {
		r.locked(func() { rep.Lost = new(int64(r.sent - r.acks)) })
	}
	r.fill(rep)
	return rep, nil
}

func (r *publish) begin() {
	r.posting = true
	start := r.tick()
	for i := range r.pubs {
		r.pubs[i].due = start + int64(r.o.Interval)*int64(i)/int64(len(r.pubs))
	}
}

func (r *publish) step(int64) error {
	var wait time.Duration
	r.locked(func() { wait = r.fillUp() })
	return r.poll(wait)
}

func (r *publish) totals() totals { return totals{sent: r.sent, acked: r.acks, refused: r.refusals} }

func (r *publish) forget() { r.latency = histogram{} }

func (r *publish) over() bool { return !r.posting && r.done() || r.ended == len(r.pubs) }

// done says whether nothing comes any more: what has not come for a while is taken as lost.
func (r *publish) done() bool {
	return r.settled() || r.now-r.moved > int64(r.o.giveUp) || r.ended == len(r.pubs)
}

// settled says whether nothing is under way.
func (r *publish) settled() bool {
	if r.o.QoS > 0 {
		return r.acks == r.sent
	}
	for i := range r.pubs {
		if r.pubs[i].conn.backlog() > 0 {
			return false
		}
	}
	return true
}

// fillUp publishes what may go now and returns how long to wait for more.
func (r *publish) fillUp() time.Duration {
	wait := longWait
	for i := range r.pubs {
		wait = min(wait, r.postDue(&r.pubs[i]))
	}
	return wait
}

// postDue publishes what the publisher may send now, up to a batch, and returns the time until it may send more.
func (r *publish) postDue(p *sender) time.Duration {
	for range batch {
		switch {
		case !r.posting || p.conn.state != running:
			return longWait
		case r.o.QoS > 0 && p.times.len() >= r.o.InFlight:
			return longWait // an acknowledgement ends the wait
		case r.o.QoS == 0 && p.conn.backlog() > 0:
			return longWait // the socket tells when it takes more
		}
		due := r.now
		if r.o.Interval > 0 {
			if now := r.tick(); p.due > now {
				return time.Duration(p.due - now)
			}
			due = p.due
			p.due += int64(r.o.Interval)
		}
		r.post(p, due)
	}
	return 0
}

func (r *publish) post(p *sender, due int64) {
	var id uint16
	if r.o.QoS > 0 {
		id = p.times.add(max(due, 1))
	}
	r.sent++
	r.moved = r.now
	if r.o.Limit > 0 && r.sent >= r.o.Limit {
		r.posting = false
	}
	r.packet = appendPublish(r.packet[:0], p.conn.login.version, p.topic, r.payload, r.o.QoS, id, r.o.Retain)
	p.conn.send(r.packet)
}

func (r *publish) acked(c *conn, id uint16, code byte) {
	due, ok := r.pubs[c.number].times.settle(id)
	if !ok {
		return // of nothing that is under way
	}
	r.acks++
	r.moved = r.now
	if code >= 0x80 {
		r.refusals++
		r.refused(code)
	}
	r.latency.add(r.now - due)
}

var _ events = (*publish)(nil)
