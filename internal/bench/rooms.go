package bench

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	maxBacklog = 1 << 20 // bytes that wait for a publisher's socket before it falls behind its rate
	ringSize   = 1 << 17 // messages under way that are known one by one, a power of two
)

// Rooms measures fan-out: readers in rooms, and publishers who go round the rooms.
type Rooms struct {
	Target
	Rooms      int
	Readers    int // of each room
	Stuck      int // more readers of each room, who never read; nothing is expected of them
	Slow       int // likewise: of three one never reads, one reads a byte a second, one never acknowledges
	Publishers int
	QoS        byte // of publishing and of subscribing

	// A publisher has InFlight messages under way: the next follows when one has come to all its readers and, with QoS 1
	// or 2, is acknowledged. With a Rate, in messages a second over all publishers, messages are sent when they are due.
	InFlight int
	Rate     float64

	Size      int    // bytes of a message
	SendTopic string // %r is the number of the room
	ReadTopic string

	ConnRate float64       // connections a second, 0 = as fast as they are answered
	Warmup   time.Duration // before what is measured
	Duration time.Duration
	Limit    uint64 // messages, 0 = no limit
	Progress func(string)
}

func (o *Rooms) validate() error {
	if err := checkAll(
		checkCount("rooms", "--rooms", o.Rooms, 1, maxRooms), checkCount("readers", "-c", o.Readers, 1, math.MaxInt32),
		checkCount("readers who never read", "--stuck", o.Stuck, 0, math.MaxInt32),
		checkCount("slow readers", "--slow", o.Slow, 0, math.MaxInt32),
		checkCount("publishers", "--publishers", o.Publishers, 1, maxPublishers),
		checkCount("bytes, of which the generator needs some,", "-s", o.Size, stampLen, maxSize),
		checkQoS(o.QoS), checkRate("--rate", o.Rate), checkRate("-R", o.ConnRate), period{o.Warmup, o.Duration}.check(),
	); err != nil {
		return err
	}
	if most := min(ringSize/2/o.Publishers, maxInFlight); o.Rate == 0 && (o.InFlight < 1 || o.InFlight > most) {
		return optionf("%d in flight (-F): with %d publishers it is at most %d each", o.InFlight, o.Publishers, most)
	}
	if o.SendTopic == "" || o.ReadTopic == "" {
		return optionf("no topic to publish or to subscribe to (--send-topic, --read-topic)")
	}
	if o.Rooms > 1 && (!strings.Contains(o.SendTopic, "%r") || !strings.Contains(o.ReadTopic, "%r")) {
		return optionf("--send-topic and --read-topic of several rooms need %%r, the number of the room")
	}
	return nil
}

// rooms is a run of Rooms.
type rooms struct {
	*crowd
	o      *Rooms
	stamps *stamper
	topics []string

	readers    []reader    // by the number of their connection
	publishers []publisher // by noPublisher - 1 - that number
	crawling   []*conn     // read a byte a second
	nextByte   int64
	ring       []underway // message n is at n & (len-1)
	payload    []byte
	packet     []byte

	posting    bool
	turn       int    // publisher of the next message, with a rate
	gone       int    // publishers whose connection has ended
	sent       uint64 // messages of the whole run
	expected   int64  // deliveries of the whole run
	delivered  int64
	late       uint64 // out of order
	repeats    uint64
	acks       uint64
	refusals   uint64
	moved      int64 // when something was sent, delivered or acknowledged last
	latency    histogram
	ackLatency histogram
}

// noPublisher is the number of a connection that neither publishes nor counts what it reads.
const noPublisher = -1

type reader struct {
	room  int
	order order
}

type publisher struct {
	conn *conn
	next int      // room
	n    []uint32 // messages sent, by room
	acks flight   // messages
}

// underway is a message that somebody waits for.
type underway struct {
	message   uint64 // 0 = none
	publisher int32
	left      int32
	due       int64
}

// Run measures. It returns the report also when what was published has not all arrived.
func (o *Rooms) Run(ctx context.Context) (*Report, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	c, err := newCrowd(ctx, &o.Target, o.Progress)
	if err != nil {
		return nil, err
	}
	defer c.close()
	r := &rooms{crowd: c, o: o, stamps: newStamper(), ring: make([]underway, ringSize)}
	if err := r.build(ctx); err != nil {
		return nil, err
	}
	r.locked(func() { r.posting = true })
	t, err := r.run(ctx, period{o.Warmup, o.Duration}, r)
	if err != nil {
		return nil, err
	}
	rep := &Report{Scenario: "rooms", QoS: o.QoS, ConnectsPerSecond: r.rate, KBPerConnection: r.each(t.rss)}
	t.fill(rep)
	r.locked(func() {
		r.posting = false
		rep.Latency, rep.AckLatency = r.latency.latency(), r.ackLatency.latency()
	})
	if err := r.until(ctx, r.done); err != nil {
		return nil, err
	}
	r.locked(func() {
		rep.Lost = new(max(r.expected-r.delivered, 0)) // below 0 when what was refused came nevertheless
		rep.OutOfOrder, rep.Repeated = new(r.late), new(r.repeats)
	})
	r.fill(rep)
	return rep, nil
}

// build connects everybody.
func (r *rooms) build(ctx context.Context) error {
	o := r.o
	number := func(topic string, room int) string { return strings.ReplaceAll(topic, "%r", strconv.Itoa(room)) }
	var conns, stuck []*conn
	add := func(number int) *conn {
		n := &conn{ev: r, login: o.login(len(conns), true), number: number}
		conns = append(conns, n)
		return n
	}
	r.publishers = make([]publisher, o.Publishers)
	for i := range r.publishers {
		r.publishers[i] = publisher{conn: add(noPublisher - 1 - i), next: i % o.Rooms, n: make([]uint32, o.Rooms)}
	}
	for room := range o.Rooms {
		r.topics = append(r.topics, number(o.SendTopic, room))
		sub := subscription{number(o.ReadTopic, room), o.QoS}
		for range o.Readers {
			add(len(r.readers)).sub = sub
			r.readers = append(r.readers, reader{room, newOrder(o.Publishers)})
		}
		for i := range o.Stuck + o.Slow {
			n := add(noPublisher)
			n.sub = sub
			switch {
			case i < o.Stuck || i%3 == 0:
				stuck = append(stuck, n)
			case i%3 == 1:
				r.crawling = append(r.crawling, n)
			default:
				n.mute = true
			}
		}
	}
	if err := r.connect(ctx, conns, o.ConnRate); err != nil {
		return err
	}
	r.locked(func() {
		for _, n := range stuck {
			n.stopReading()
		}
		for _, n := range r.crawling {
			n.stopReading()
		}
	})
	return nil
}

func (r *rooms) totals() totals {
	return totals{sent: r.sent, acked: r.acks, refused: r.refusals, delivered: r.delivered}
}

func (r *rooms) forget() { r.latency, r.ackLatency = histogram{}, histogram{} }

func (r *rooms) over() bool { return !r.posting && r.done() || r.ended == len(r.conns) }

// done says whether nothing comes any more.
func (r *rooms) done() bool { return r.settled() || r.stalled() || r.ended == len(r.conns) }

// stalled says whether what is under way is taken as lost.
func (r *rooms) stalled() bool { return r.now-r.moved > int64(r.o.giveUp) }

// settled says whether nothing is under way.
func (r *rooms) settled() bool {
	return r.delivered >= r.expected && (r.o.QoS == 0 || r.acks == r.sent)
}

// step publishes what is due, and handles what has arrived.
func (r *rooms) step(start int64) error {
	wait := longWait
	r.locked(func() {
		if now := r.tick(); now >= r.nextByte {
			r.nextByte = now + int64(time.Second)
			for _, n := range r.crawling {
				n.readByte()
			}
		}
		switch {
		case r.o.Rate > 0:
			wait = r.postDue(start)
		case r.posting && (r.sent == 0 || r.stalled()):
			clear(r.ring) // lost, as the report will say
			r.refill()
		}
	})
	return r.poll(wait)
}

// refill brings every publisher to its number of messages in flight, when there are none.
func (r *rooms) refill() {
	for i := range r.publishers {
		for range r.o.InFlight {
			r.post(i, r.tick())
		}
	}
}

// postDue publishes what is due, up to a batch, and returns the time until more is.
func (r *rooms) postDue(start int64) time.Duration {
	for range batch {
		due := start + int64(float64(r.sent)/r.o.Rate*1e9)
		now := r.tick()
		p := &r.publishers[r.turn]
		switch {
		case !r.posting:
			return longWait
		case due > now:
			return min(time.Duration(due-now), longWait)
		case p.conn.backlog() > maxBacklog || p.acks.full():
			return time.Millisecond
		}
		r.post(r.turn, due)
		r.turn = (r.turn + 1) % len(r.publishers)
	}
	return 0
}

// post publishes the publisher's next message, where it still can.
func (r *rooms) post(i int, due int64) {
	o, p := r.o, &r.publishers[i]
	if !r.posting || p.conn.state != running || p.acks.full() {
		return
	}
	room := p.next
	p.next = (p.next + 1) % o.Rooms
	p.n[room]++
	r.sent++
	r.moved = r.now
	r.expected += int64(o.Readers)
	left := int32(o.Readers)
	var id uint16
	if o.QoS > 0 {
		left++
		id = p.acks.add(int64(r.sent))
	}
	r.ring[r.sent&uint64(len(r.ring)-1)] = underway{message: r.sent, publisher: int32(i), left: left, due: due}
	r.payload = r.stamps.append(r.payload[:0], stamp{due, i, room, p.n[room], r.sent}, o.Size)
	r.packet = appendPublish(r.packet[:0], p.conn.login.version, r.topics[room], r.payload, o.QoS, id, false)
	if o.Limit > 0 && r.sent >= o.Limit {
		r.posting = false
	}
	p.conn.send(r.packet)
}

// message takes a delivery.
func (r *rooms) message(c *conn, p *publication) {
	st, ok := r.stamps.find(p.rest)
	if !ok || c.number < 0 || !r.known(&st) {
		return
	}
	rd := &r.readers[c.number]
	if st.room != rd.room {
		r.late++ // it is nowhere in the order of this room
		return
	}
	switch rd.order.take(st.publisher, st.n) {
	case repeated:
		r.repeats++
		return
	case tooLate:
		r.late++
	}
	r.delivered++
	r.moved = r.now
	r.latency.add(r.now - st.due)
	r.settle(st.message)
}

// known says whether the stamp is one that was sent: what arrives may be anything.
func (r *rooms) known(st *stamp) bool {
	return st.publisher < len(r.publishers) && st.room < r.o.Rooms && st.n > 0 && st.n <= r.publishers[st.publisher].n[st.room]
}

// underway returns the message if somebody waits for it, else nil.
func (r *rooms) underway(message uint64) *underway {
	if u := &r.ring[message&uint64(len(r.ring)-1)]; message > 0 && u.message == message {
		return u
	}
	return nil
}

// settle counts one of those a message waits for; its publisher goes on when that was the last.
func (r *rooms) settle(message uint64) {
	u := r.underway(message)
	if u == nil {
		return
	}
	if u.left--; u.left == 0 {
		r.finish(u)
	}
}

func (r *rooms) finish(u *underway) {
	u.message = 0
	if r.o.Rate == 0 {
		r.post(int(u.publisher), r.now)
	}
}

func (r *rooms) acked(c *conn, id uint16, code byte) {
	if c.number >= noPublisher {
		return
	}
	v, ok := r.publishers[noPublisher-1-c.number].acks.settle(id)
	if !ok {
		return // of nothing that is under way
	}
	message := uint64(v)
	r.acks++
	r.moved = r.now
	u := r.underway(message)
	if u != nil {
		r.ackLatency.add(r.now - u.due)
	}
	if code < 0x80 {
		r.settle(message)
		return
	}
	r.refusals++
	r.refused(code)
	r.expected -= int64(r.o.Readers)
	if u != nil {
		r.finish(u)
	}
}

func (r *rooms) down(c *conn, err error) {
	r.crowd.down(c, err)
	if c.number < noPublisher {
		if r.gone++; r.gone == len(r.publishers) {
			r.posting = false
		}
	}
}

var _ events = (*rooms)(nil)
