package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// Offline measures what absence costs: sessions subscribe and go, messages are published meanwhile, then all sessions
// come back at once.
type Offline struct {
	Target
	Sessions  int
	Messages  int
	InFlight  int // of the publisher
	Size      int
	SendTopic string
	ReadTopic string

	// Live readers of the same topic stay. While the sessions come back, and for LiveTime before, LiveRate messages a
	// second are published, to see what the return costs them.
	Live     int
	LiveRate float64
	LiveTime time.Duration

	ConnRate float64 // of the return, 0 = as fast as the broker answers
	Progress func(string)
}

const offlineQoS = 1 // what brokers keep for who is away

func (o *Offline) validate() error {
	switch {
	case o.InFlight < 1 || o.InFlight > maxInFlight:
		return optionf("%d in flight (-F): it is 1 to %d", o.InFlight, maxInFlight)
	case o.Live > 0 && o.LiveRate == 0:
		return optionf("live readers (--live) need messages (--rate)")
	case o.LiveTime < 0:
		return optionf("--live-time %v: it cannot be negative", o.LiveTime)
	case o.SendTopic == "" || o.ReadTopic == "":
		return optionf("no topic to publish or to subscribe to (--send-topic, --read-topic)")
	}
	return checkAll(
		checkCount("sessions", "-c", o.Sessions, 1, math.MaxInt32), checkCount("messages", "-L", o.Messages, 1, math.MaxInt32),
		checkCount("live readers", "--live", o.Live, 0, math.MaxInt32),
		checkCount("bytes, of which the generator needs some,", "-s", o.Size, stampLen, maxSize),
		checkRate("--rate", o.LiveRate), checkRate("-R", o.ConnRate),
	)
}

// offline is a run of Offline. Sessions have the numbers from 0, live readers follow, the publisher is the last.
type offline struct {
	*crowd
	o         *Offline
	stamps    *stamper
	made      int // the broker knows no session above this number
	publisher *conn
	orders    []order // of sessions and live readers
	got       []int64 // by each session, of what it missed

	sent     int64
	quota    int64 // messages to be sent as fast as they are acknowledged
	missed   int64 // how many of the first messages the sessions were away for
	acks     int64
	flight   flight
	liveFrom int64 // when the first message by rate was due
	liveSent int64

	back      int   // sessions that have what they missed
	drained   int64 // what sessions have of what they missed
	moved     int64 // when something was sent, delivered or acknowledged last
	delivered int64 // to sessions
	arrived   int64 // to everybody
	late      uint64
	repeats   uint64
	live      histogram
	payload   []byte
	packet    []byte
}

// Run measures. It returns the report also when not everything has arrived, and beside an error when sessions stay on
// the broker.
func (o *Offline) Run(ctx context.Context) (*Report, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	c, err := newCrowd(ctx, &o.Target, o.Progress)
	if err != nil {
		return nil, err
	}
	defer c.close()
	r := &offline{crowd: c, o: o, stamps: newStamper(), got: make([]int64, o.Sessions)}
	for range o.Sessions + o.Live {
		r.orders = append(r.orders, newOrder(1))
	}
	rep := &Report{Scenario: "offline", QoS: offlineQoS}
	for _, phase := range []func(context.Context, *Report) error{r.subscribe, r.publish, r.watchLive, r.comeBack, r.awaitRest} {
		if err = phase(ctx, rep); err != nil {
			rep = nil
			break
		}
	}
	return rep, errors.Join(err, r.removeSessions(ctx))
}

// sessions returns connections of the first n sessions.
func (r *offline) sessions(n int, clean bool) []*conn {
	conns := make([]*conn, n)
	for i := range conns {
		conns[i] = &conn{ev: r, login: r.target.login(i, clean), number: i}
	}
	return conns
}

// subscribe makes the sessions, which then go, and connects those who stay.
func (r *offline) subscribe(ctx context.Context, _ *Report) error {
	r.say("sessions subscribe and go")
	sub := subscription{r.o.ReadTopic, offlineQoS}
	sessions := r.sessions(r.o.Sessions, false)
	for _, c := range sessions {
		c.sub = sub
	}
	err := r.connect(ctx, sessions, 0)
	r.locked(func() {
		for i, c := range sessions {
			if c.mayLast {
				r.made = i + 1
			}
		}
	})
	if err != nil {
		return err
	}
	r.leave()
	var stay []*conn
	for i := r.o.Sessions; i < r.o.Sessions+r.o.Live; i++ {
		stay = append(stay, &conn{ev: r, login: r.target.login(i, true), number: i, sub: sub})
	}
	r.publisher = &conn{ev: r, login: r.target.login(r.o.Sessions+r.o.Live, true), number: r.o.Sessions + r.o.Live}
	return r.connect(ctx, append(stay, r.publisher), 0)
}

// publish sends what the sessions miss, as fast as it is acknowledged.
func (r *offline) publish(ctx context.Context, rep *Report) error {
	r.say("messages are published")
	start := r.clock()
	before, err := measure(r.o.PIDs)
	if err != nil {
		return err
	}
	r.locked(func() {
		r.quota = int64(r.o.Messages)
		r.fillUp()
	})
	stalled := func() bool { return r.now-r.moved > int64(connectPatience) }
	err = r.until(ctx, func() bool { return r.acks >= r.quota || r.endedWhy != nil || stalled() })
	r.locked(func() {
		if err == nil && r.acks < r.quota {
			err = cmp.Or(r.endedWhy, errors.New("nothing comes any more"))
		}
		if err != nil {
			err = fmt.Errorf("%d of %d messages are acknowledged: %w", r.acks, r.quota, err)
		}
	})
	if err != nil {
		return err
	}
	took := r.clock() - start
	after, err := measure(r.o.PIDs)
	rep.Published, rep.PublishedPerSecond = uint64(r.o.Messages), per(float64(r.o.Messages), took)
	rep.Acked, rep.AckedPerSecond = rep.Published, rep.PublishedPerSecond
	if cpu := after.cpu - before.cpu; cpu > 0 {
		rep.AcksPerCPU = float64(rep.Acked) / cpu
	}
	return err
}

// watchLive sees how long messages take to the live readers while nobody comes back.
func (r *offline) watchLive(ctx context.Context, rep *Report) error {
	if r.o.Live == 0 {
		return nil
	}
	r.say("live readers alone")
	start := r.clock()
	r.locked(func() { r.liveFrom, r.live = start, histogram{} })
	for r.clock() < start+int64(r.o.LiveTime) {
		if err := r.stepLive(ctx, longWait); err != nil {
			return err
		}
	}
	r.locked(func() { rep.LiveBefore, r.live = r.live.latency(), histogram{} })
	return nil
}

// stepLive sends what is due to the live readers and handles what arrives within wait.
func (r *offline) stepLive(ctx context.Context, wait time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var why error
	r.locked(func() {
		if why = r.endedWhy; why == nil && r.o.Live > 0 {
			wait = min(wait, r.postDue())
		}
	})
	if why != nil {
		return why
	}
	return r.poll(wait)
}

// postDue publishes what is due to the live readers, up to a batch, and returns the time until more is.
func (r *offline) postDue() time.Duration {
	for range batch {
		due := r.liveFrom + int64(float64(r.liveSent)/r.o.LiveRate*1e9)
		switch now := r.tick(); {
		case due > now:
			return time.Duration(due - now)
		case r.publisher.backlog() > maxBacklog || r.flight.full():
			return time.Millisecond
		}
		r.liveSent++
		r.post(due)
	}
	return 0
}

// comeBack connects all sessions and waits until they have what they missed, or get nothing of it any more.
func (r *offline) comeBack(ctx context.Context, rep *Report) error {
	r.say("all sessions come back")
	before, err := measure(r.o.PIDs)
	if err != nil {
		return err
	}
	sessions := r.sessions(r.o.Sessions, false)
	o := r.opening(sessions, r.o.ConnRate)
	r.locked(func() { r.missed = r.sent })
	moved, drained := o.begin, int64(0)
	for all := false; !all; {
		wait, err := o.step(ctx)
		if err == nil {
			err = r.stepLive(ctx, min(wait, r.o.giveUp))
		}
		if err != nil {
			return fmt.Errorf("sessions come back: %w", err)
		}
		r.locked(func() {
			all = r.back == len(sessions)
			if r.drained != drained || o.done < len(sessions) {
				drained, moved = r.drained, r.now
			}
		})
		if r.clock()-moved > int64(r.o.giveUp) {
			break // the rest is lost, as the report will say
		}
	}
	after, err := measure(r.o.PIDs)
	if err != nil {
		return err
	}
	r.locked(func() {
		rep.SessionsPresent = 0
		for _, c := range sessions {
			if c.present {
				rep.SessionsPresent++
			}
		}
		rep.Delivered, rep.LiveDuring = uint64(r.delivered), r.live.latency()
	})
	rep.Seconds = float64(moved-o.begin) / 1e9
	rep.DrainSeconds = rep.Seconds
	rep.DeliveriesPerSecond = per(float64(rep.Delivered), moved-o.begin)
	rep.CPUSeconds, rep.RSS = after.cpu-before.cpu, after.rss
	if rep.CPUSeconds > 0 {
		rep.DeliveriesPerCPU = float64(rep.Delivered) / rep.CPUSeconds
	}
	r.fill(rep)
	rep.RSSBefore = before.rss
	return nil
}

// awaitRest waits for what is still under way to anybody, and counts what has not come.
func (r *offline) awaitRest(ctx context.Context, rep *Report) error {
	var all int64
	r.locked(func() { all = r.sent * int64(len(r.orders)) })
	if err := r.until(ctx, func() bool { return r.arrived >= all || r.now-r.moved > int64(r.o.giveUp) }); err != nil {
		return err
	}
	r.locked(func() { rep.Lost, rep.OutOfOrder, rep.Repeated = new(all-r.arrived), new(r.late), new(r.repeats) })
	return nil
}

// removeSessions removes what was made of the sessions from the broker, also when the run has failed or ctx has ended:
// a broker would keep messages for them, with version 3 and 4 for ever.
func (r *offline) removeSessions(ctx context.Context) error {
	if r.made == 0 {
		return nil
	}
	r.say("sessions are removed")
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), r.o.giveUp)
		defer cancel()
	}
	r.leave()
	r.locked(func() { r.endedWhy = nil })
	if err := r.connect(ctx, r.sessions(r.made, true), 0); err != nil {
		return fmt.Errorf("remove the sessions %s to %s: %w; those that were made stay on the broker",
			r.target.expand("%c", 0), r.target.expand("%c", r.made-1), err)
	}
	return nil
}

// fillUp sends up to the number of messages in flight.
func (r *offline) fillUp() {
	for r.sent < r.quota && r.flight.len() < r.o.InFlight {
		r.post(r.now)
	}
}

func (r *offline) post(due int64) {
	r.sent++
	r.moved = r.now
	r.payload = r.stamps.append(r.payload[:0], stamp{due, 0, 0, uint32(r.sent), uint64(r.sent)}, r.o.Size)
	id := r.flight.add(r.sent)
	r.packet = appendPublish(r.packet[:0], r.target.Version, r.o.SendTopic, r.payload, offlineQoS, id, false)
	r.publisher.send(r.packet)
}

func (r *offline) message(c *conn, p *publication) {
	st, ok := r.stamps.find(p.rest)
	if !ok || c.number >= len(r.orders) || st.publisher != 0 || st.n == 0 || int64(st.n) > r.sent {
		return
	}
	switch r.orders[c.number].take(0, st.n) {
	case repeated:
		r.repeats++
		return
	case tooLate:
		r.late++
	}
	r.arrived++
	r.moved = r.now
	if c.number >= r.o.Sessions {
		r.live.add(r.now - st.due)
		return
	}
	r.delivered++
	if int64(st.n) <= r.missed {
		r.drained++
		if r.got[c.number]++; r.got[c.number] == r.missed {
			r.back++
		}
	}
}

func (r *offline) acked(c *conn, id uint16, code byte) {
	if c != r.publisher {
		return
	}
	if _, ok := r.flight.settle(id); !ok {
		return // of nothing that is under way
	}
	if code >= 0x80 {
		// Who is away for a message that there is not would wait for it in vain.
		c.fail(fmt.Errorf("a message was refused: %s", reason(code)))
		return
	}
	r.acks++
	r.moved = r.now
	r.fillUp()
}

var _ events = (*offline)(nil)
