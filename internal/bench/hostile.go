package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// Hostile measures what hostile clients cost others: readers of a room get messages at a rate, alone and beside a storm or
// a flood, in turn, so that both halves are of one run. The hostile clients have a loop and a goroutine of their own: others
// wait for the broker and the machine, not for the generator.
type Hostile struct {
	Target
	Readers    int
	Publishers int
	Rate       float64 // messages a second over all publishers
	Size       int
	SendTopic  string
	ReadTopic  string

	// Sessions make a storm: they are stored, subscribe to SessionTopic, lose their connections at one moment and come back
	// at once, again and again without back-off, until all are connected.
	Sessions     int
	SessionTopic string // %i is the number of the client

	// Floods are clients who send the same message, acknowledged or not, as fast as their sockets take it; when they are sent
	// away they come back at once.
	Floods       int
	FloodTopic   string
	FloodMessage string

	// At is where the hostile clients connect to; an empty Host is the broker that is measured. With another broker on the same
	// machine others have what the machine makes of the load, and not the broker.
	At struct {
		Host string
		Port uint16
	}

	Turns    int
	Each     time.Duration // of a turn alone, and of one beside a flood; a storm takes as long as it takes
	Progress func(string)
}

const stormPatience = 2 * time.Minute // for all to be back

func (o *Hostile) validate() error {
	if o.Sessions == 0 && o.Floods == 0 {
		return optionf("nobody is hostile: sessions of a storm, or floods (--floods)")
	}
	return checkAll(
		checkCount("readers", "-c", o.Readers, 1, math.MaxInt32), checkCount("publishers", "--publishers", o.Publishers, 1, maxPublishers),
		checkCount("sessions", "--sessions", o.Sessions, 0, math.MaxInt32), checkCount("floods", "--floods", o.Floods, 0, math.MaxInt32),
		checkCount("turns", "--turns", o.Turns, 1, 1000), checkRate("--rate", o.Rate), period{0, o.Each}.check(),
		checkCount("bytes, of which the generator needs some,", "-s", o.Size, stampLen, maxSize),
	)
}

// half is what others got alone, or beside hostile clients.
type half struct {
	live        histogram
	delivered   int64
	nanoseconds int64
	cpu         float64
}

func (h *half) perSecond() float64    { return per(float64(h.delivered), h.nanoseconds) }
func (h *half) cpuPerSecond() float64 { return per(h.cpu, h.nanoseconds) }

// hostile is a run of Hostile: those who are measured. Readers have the numbers from 0, publishers those from noPublisher-1
// downwards.
type hostile struct {
	*crowd
	o          *Hostile
	mob        *mob
	stamps     *stamper
	publishers []publisher
	orders     []order
	alone      half
	beside     half
	measured   *half // of the two

	begin   int64
	moved   int64 // when something arrived last
	sent    int64
	arrived int64
	late    uint64
	repeats uint64
	acks    uint64
	payload []byte
	packet  []byte
}

// Run measures.
func (o *Hostile) Run(ctx context.Context) (*Report, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	c, err := newCrowd(ctx, &o.Target, o.Progress)
	if err != nil {
		return nil, err
	}
	defer c.close()
	r := &hostile{crowd: c, o: o, stamps: newStamper()}
	r.measured = &r.alone
	if err := r.build(ctx); err != nil {
		return nil, err
	}
	if r.mob, err = newMob(ctx, o); err != nil {
		return nil, err
	}
	defer r.mob.close()
	ctx, stop := r.mob.start(ctx)
	defer stop()
	rep := &Report{Scenario: "hostile", QoS: 1}
	r.begin = r.clock()
	var stormed time.Duration
	for range o.Turns {
		end := r.clock() + int64(o.Each)
		if err := r.half(ctx, &r.alone, func() bool { return r.now >= end }); err != nil {
			return nil, err
		}
		r.mob.rage()
		end = r.clock() + int64(o.Each)
		err := r.half(ctx, &r.beside, func() bool { return r.mob.allBack() && (o.Floods == 0 || r.now >= end) })
		if err != nil {
			return nil, err
		}
		stormed += r.mob.rest()
	}
	after, err := measure(o.PIDs)
	if err != nil {
		return nil, err
	}
	if err := r.until(ctx, func() bool { return r.arrived >= r.sent*int64(o.Readers) || r.now-r.moved > int64(r.o.giveUp) }); err != nil {
		return nil, err
	}
	r.locked(func() {
		rep.Published, rep.Acked = uint64(r.sent), r.acks
		rep.LiveBefore, rep.LiveDuring = r.alone.live.latency(), r.beside.live.latency()
		rep.AlonePerSecond, rep.BesidePerSecond = r.alone.perSecond(), r.beside.perSecond()
		rep.AloneCPU, rep.BesideCPU = r.alone.cpuPerSecond(), r.beside.cpuPerSecond()
		rep.Delivered, rep.Lost = uint64(r.arrived), new(r.sent*int64(o.Readers)-r.arrived)
		rep.OutOfOrder, rep.Repeated = new(r.late), new(r.repeats)
		rep.Seconds, rep.CPUSeconds, rep.RSS = float64(r.alone.nanoseconds+r.beside.nanoseconds)/1e9, r.alone.cpu+r.beside.cpu, after.rss
		if o.Sessions > 0 {
			rep.DrainSeconds = stormed.Seconds() / float64(o.Turns)
		}
	})
	r.fill(rep)
	r.mob.report(rep)
	rep.Connections = o.Readers + o.Publishers + o.Sessions + o.Floods
	return rep, nil
}

func (r *hostile) build(ctx context.Context) error {
	o := r.o
	var conns []*conn
	for i := range o.Readers {
		conns = append(conns, &conn{ev: r, login: o.login(i, true), number: i, sub: subscription{o.ReadTopic, 1}})
		r.orders = append(r.orders, newOrder(o.Publishers))
	}
	for i := range o.Publishers {
		p := publisher{conn: &conn{ev: r, login: o.login(o.Readers+i, true), number: noPublisher - 1 - i}, n: make([]uint32, 1)}
		r.publishers = append(r.publishers, p)
		conns = append(conns, p.conn)
	}
	return r.connect(ctx, conns, 0)
}

// half publishes until over, called under mu, is true, and adds what others got meanwhile.
func (r *hostile) half(ctx context.Context, h *half, over func() bool) error {
	from := r.clock()
	before, err := measure(r.o.PIDs)
	if err != nil {
		return err
	}
	r.locked(func() { r.measured = h })
	for done := false; !done; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		wait, why := longWait, error(nil)
		r.locked(func() {
			r.tick()
			if done = over(); done {
				return
			}
			wait, why = r.postDue(), r.endedWhy
		})
		switch {
		case why != nil:
			return why
		case r.clock()-from > int64(stormPatience):
			return fmt.Errorf("after %v %s", stormPatience, r.mob)
		case done:
			continue
		}
		if err := r.poll(wait); err != nil {
			return err
		}
	}
	after, err := measure(r.o.PIDs)
	h.nanoseconds += r.clock() - from
	h.cpu += after.cpu - before.cpu
	return err
}

func (r *hostile) postDue() time.Duration {
	for range batch {
		due := r.begin + int64(float64(r.sent)/r.o.Rate*1e9)
		p := &r.publishers[r.sent%int64(len(r.publishers))]
		switch now := r.tick(); {
		case due > now:
			return min(time.Duration(due-now), longWait)
		case p.conn.backlog() > maxBacklog || p.acks.full():
			return time.Millisecond
		}
		i := int(r.sent % int64(len(r.publishers)))
		r.sent++
		p.n[0]++
		r.payload = r.stamps.append(r.payload[:0], stamp{due, i, 0, p.n[0], uint64(r.sent)}, r.o.Size)
		r.packet = appendPublish(r.packet[:0], p.conn.login.version, r.o.SendTopic, r.payload, 1, p.acks.add(r.sent), false)
		p.conn.send(r.packet)
	}
	return 0
}

func (r *hostile) message(c *conn, p *publication) {
	st, ok := r.stamps.find(p.rest)
	if !ok || c.number < 0 || st.publisher >= len(r.publishers) {
		return
	}
	switch r.orders[c.number].take(st.publisher, st.n) {
	case repeated:
		r.repeats++
		return
	case tooLate:
		r.late++
	}
	r.arrived++
	r.moved = r.now
	r.measured.delivered++
	r.measured.live.add(r.now - st.due)
}

func (r *hostile) acked(c *conn, id uint16, code byte) {
	if c.number >= noPublisher {
		return
	}
	if _, ok := r.publishers[noPublisher-1-c.number].acks.settle(id); !ok {
		return
	}
	r.acks++
	if code >= 0x80 {
		c.fail(errors.New("a message of others was refused: " + reason(code)))
	}
}

var _ events = (*hostile)(nil)
