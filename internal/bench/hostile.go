package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Hostile measures what hostile clients cost others: readers of a room get messages at a rate, alone and beside a storm or
// a flood, in turn, so that both halves are of one run.
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

	Turns    int
	Each     time.Duration // of a turn alone, and of one beside a flood; a storm takes as long as it takes
	Progress func(string)
}

const (
	stormPatience = 2 * time.Minute // for all to be back
	floodID       = 7               // packet id of all messages of a flood
	floodChunk    = 64 << 10        // bytes that wait for the socket of a flood
	stormStep     = 16              // connections ended or made before others are looked after, lest they wait for us
)

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

// hostile is a run of Hostile. Readers have the numbers from 0, sessions follow, then floods; publishers have those from
// noPublisher-1 downwards.
type hostile struct {
	*crowd
	o          *Hostile
	stamps     *stamper
	publishers []publisher
	orders     []order
	alone      half
	beside     half
	measured   *half // of the two

	begin     int64
	moved     int64 // when something arrived last
	sent      int64
	arrived   int64
	late      uint64
	repeats   uint64
	acks      uint64
	raging    bool // hostile clients are
	sessions  []*conn
	floods    []*conn
	cut       []*conn // sessions whose connection is to be ended, all before the first comes back
	again     []*conn // whose connection has ended and is to be made again
	back      int     // sessions that are there again
	present   int
	refusals  uint64
	why       string
	flood     []byte
	floodAcks uint64
	payload   []byte
	packet    []byte
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
	rep := &Report{Scenario: "hostile", QoS: 1}
	r.begin = r.clock()
	var stormed int64
	for range o.Turns {
		end := r.clock() + int64(o.Each)
		if err := r.half(ctx, &r.alone, func() bool { return r.now >= end }); err != nil {
			return nil, err
		}
		r.locked(r.rage)
		from := r.clock()
		end = from + int64(o.Each)
		err := r.half(ctx, &r.beside, func() bool {
			if o.Floods > 0 && r.now < end {
				return false
			}
			return r.back == len(r.sessions)
		})
		if err != nil {
			return nil, err
		}
		stormed += r.clock() - from
		r.locked(r.rest)
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
		rep.Attempts, rep.AttemptsWhy, rep.FloodAcked, rep.SessionsPresent = r.refusals, r.why, r.floodAcks, r.present
		rep.Seconds, rep.CPUSeconds, rep.RSS = float64(r.alone.nanoseconds+r.beside.nanoseconds)/1e9, r.alone.cpu+r.beside.cpu, after.rss
		if o.Sessions > 0 {
			rep.DrainSeconds = float64(stormed) / float64(o.Turns) / 1e9
		}
	})
	r.fill(rep)
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
	if err := r.connect(ctx, conns, 0); err != nil {
		return err
	}
	for i := range o.Sessions {
		n := o.Readers + o.Publishers + i
		r.sessions = append(r.sessions, &conn{
			ev: r, login: o.login(n, false), number: o.Readers + i, sub: subscription{o.expand(o.SessionTopic, n), 1},
		})
	}
	if err := r.connect(ctx, r.sessions, 0); err != nil {
		return err
	}
	for i := range o.Floods {
		n := o.Readers + o.Publishers + o.Sessions + i
		r.floods = append(r.floods, &conn{ev: r, login: o.login(n, true), number: o.Readers + o.Sessions + i, state: ended})
	}
	one := appendPublish(nil, o.Version, o.FloodTopic, []byte(o.FloodMessage), 1, floodID, false)
	for len(r.flood) < floodChunk {
		r.flood = append(r.flood, one...)
	}
	return nil
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
			wait = r.postDue()
			if why = r.endedWhy; why == nil {
				why = r.storm()
			}
			if len(r.cut)+len(r.again) > 0 {
				wait = 0
			}
		})
		switch {
		case why != nil:
			return why
		case r.clock()-from > int64(stormPatience):
			return fmt.Errorf("after %v %d of %d are back; %s", stormPatience, r.back, len(r.sessions), r.why)
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

// rage has all sessions cut, and lets the floods come.
func (r *hostile) rage() {
	r.raging, r.back, r.present = true, 0, 0
	r.cut = slices.Clone(r.sessions)
	for i, c := range r.floods {
		r.floods[i] = r.anew(c)
	}
}

// rest ends the floods.
func (r *hostile) rest() {
	r.raging, r.cut, r.again = false, nil, nil
	for _, c := range r.floods {
		c.close()
	}
}

// anew makes another connection of a client.
func (r *hostile) anew(c *conn) *conn {
	n := &conn{ev: r, login: c.login, sub: c.sub, number: c.number}
	r.again = append(r.again, n)
	return n
}

// storm ends some of the connections that are to be ended, or makes some of those that are to be made, and feeds the floods.
func (r *hostile) storm() error {
	if !r.raging {
		return nil
	}
	n := min(len(r.cut), stormStep)
	for _, c := range r.cut[:n] {
		c.close()
		r.sessions[c.number-r.o.Readers] = r.anew(c)
	}
	if r.cut = r.cut[n:]; len(r.cut) > 0 {
		return nil
	}
	again := r.again[:min(len(r.again), stormStep)]
	r.again = r.again[len(again):]
	for _, c := range again {
		if err := r.start(c, r.target); err != nil {
			return err
		}
		if i := c.number - r.o.Readers - r.o.Sessions; i >= 0 {
			r.floods[i] = c
		} else {
			r.sessions[c.number-r.o.Readers] = c
		}
	}
	for _, c := range r.floods {
		if c.state == running && c.backlog() == 0 {
			c.send(r.flood)
		}
	}
	return nil
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
	if !ok || c.number < 0 || c.number >= r.o.Readers || st.publisher >= len(r.publishers) {
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
		r.floodAcks++
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

func (r *hostile) up(c *conn) {
	r.crowd.up(c)
	if r.raging && c.number >= r.o.Readers && c.number < r.o.Readers+r.o.Sessions {
		r.back++
		if c.present {
			r.present++
		}
	}
}

func (r *hostile) down(c *conn, err error) {
	if c.number < r.o.Readers || !r.raging {
		r.crowd.down(c, err)
		return
	}
	r.refusals++
	if r.why == "" {
		r.why = err.Error()
	}
	r.anew(c)
}

var _ events = (*hostile)(nil)
