package bench

import (
	"net"
	"slices"
	"testing"
)

// player is a run of rooms without a network: what its connections send is kept.
type player struct {
	*rooms
	all []*conn // publisher, two readers, one who never counts
}

func newPlayer(version byte) *player {
	o := room(Target{Version: version, giveUp: forever}, 2)
	l := &loop{epfd: -1, timer: -1, event: -1, conns: map[int32]*conn{}, now: 1}
	r := &rooms{
		crowd: &crowd{loop: l, target: &o.Target}, o: o, stamps: &stamper{mark: []byte("m#0a1b2c")}, topics: []string{"t"},
		ring: make([]underway, 16), posting: true, readers: []reader{{0, newOrder(1)}, {0, newOrder(1)}},
	}
	p := &player{rooms: r}
	for _, number := range []int{noPublisher - 1, 0, 1, noPublisher} {
		nc, _ := net.Pipe()
		s := &stream{conn: nc}
		s.more.L = &s.mu
		p.all = append(p.all, &conn{loop: l, ev: r, fd: -1, stream: s, state: running, number: number, login: login{version: version}})
	}
	r.conns = p.all
	r.publishers = []publisher{{conn: p.all[0], n: make([]uint32, 1)}}
	return p
}

// end stops the timers of streams that were closed.
func (p *player) end() {
	for _, c := range p.all {
		if c.stream.cutter != nil {
			c.stream.cutter.Stop()
		}
	}
}

// outcome is what must not depend on how bytes arrive.
type outcome struct {
	sent, acks, refusals, late, repeats uint64
	expected, delivered                 int64
	ended                               int
	states                              [4]connState
}

func (p *player) outcome() outcome {
	o := outcome{
		sent: p.sent, acks: p.acks, refusals: p.refusals, late: p.late, repeats: p.repeats,
		expected: p.expected, delivered: p.delivered, ended: p.ended,
	}
	for i, c := range p.all {
		o.states[i] = c.state
	}
	return o
}

// play lets arrive what script says: the connection, the number of bytes, the bytes; cut in pieces of a size.
func (p *player) play(script []byte, piece int) {
	p.refill()
	for len(script) > 2 {
		c, n := p.all[script[0]%4], min(int(script[1]), len(script)-2)
		for b := range slices.Chunk(script[2:2+n], piece) {
			if c.state != ended {
				c.feed(b)
			}
		}
		script = script[2+n:]
	}
}

// script is what arrives at a connection.
func script(to byte, packets ...[]byte) []byte {
	b := slices.Concat(packets...)
	return append([]byte{to, byte(len(b))}, b...)
}

// Bytes of a broker, whatever they are and in whatever pieces they come, break nothing, and are counted the same.
func FuzzFeed(f *testing.F) {
	stamps := &stamper{mark: []byte("m#0a1b2c")}
	message := func(n uint32, qos byte, id uint16) []byte {
		return appendPublish(nil, 4, "t", stamps.append(nil, stamp{room: 0, n: n, message: uint64(n)}, stampLen), qos, id, false)
	}
	dup := message(1, 1, 9)
	dup[0] |= 8
	f.Add(byte(4), byte(1), slices.Concat(
		script(1, message(1, 0, 0), message(2, 1, 7)), script(1, message(3, 2, 8), appendAck(nil, typePubrel, 8)),
		script(2, message(2, 0, 0), message(1, 0, 0), dup), script(3, message(1, 1, 1)),
		script(0, appendAck(nil, typePubrec, 1), appendAck(nil, typePubcomp, 1), appendAck(nil, typePuback, 2), appendAck(nil, typePuback, 2)),
		script(0, []byte{typePubrec << 4, 3, 0, 3, 0x97}),
	))
	f.Add(byte(5), byte(3), slices.Concat(
		script(0, []byte{typeConnack << 4, 3, 0, 0, 0}), script(1, []byte{typeSuback << 4, 4, 0, 1, 0, 0}),
		script(2, []byte{typeDisconnect << 4, 1, 0x8e}), script(3, []byte{0x30, 0xff, 0xff, 0xff, 0xff}),
	))
	f.Add(byte(4), byte(200), script(1, message(0xffffffff, 0, 0), message(0, 0, 0), []byte{typePingresp << 4, 0}, []byte{0xf0, 0}))
	f.Fuzz(func(t *testing.T, version, piece byte, script []byte) {
		version = 4 + version%2
		whole, pieces := newPlayer(version), newPlayer(version)
		defer whole.end()
		defer pieces.end()
		whole.play(script, 1<<16)
		pieces.play(script, max(int(piece), 1))
		if a, b := whole.outcome(), pieces.outcome(); a != b {
			t.Errorf("at once %+v, in pieces of %d %+v", a, piece, b)
		}
		if r := whole.rooms; r.acks > r.sent || r.refusals > r.acks || r.delivered > 2*int64(r.sent) || r.expected < 0 {
			t.Errorf("%+v", whole.outcome())
		}
	})
}

// A connection that greets, and one that subscribes, take nothing but what belongs there.
func FuzzGreeting(f *testing.F) {
	f.Add(byte(4), []byte{typeConnack << 4, 2, 0, 0, typeSuback << 4, 3, 0, 1, 0})
	f.Add(byte(5), []byte{typeConnack << 4, 3, 1, 0, 0, typePingresp << 4, 0, typeSuback << 4, 4, 0, 1, 0, 0x87})
	f.Add(byte(4), []byte("HTTP/1.1 400 Bad Request\r\n"))
	f.Fuzz(func(t *testing.T, version byte, b []byte) {
		p := newPlayer(4 + version%2)
		defer p.end()
		for _, c := range p.all {
			c.state, c.sub = greeting, subscription{"t", 1}
			c.feed(b)
			if p.ready > 1 || c.state == running && p.ready == 0 || c.state < running && p.ready > 0 {
				t.Errorf("state %d, ready %d times", c.state, p.ready)
			}
			p.ready = 0
		}
	})
}

// A packet that comes in many pieces is not copied with each of them.
func TestLongPacket(t *testing.T) {
	p := newPlayer(4)
	defer p.end()
	const size = 1 << 20
	b := appendPublish(nil, 4, "t", make([]byte, size), 0, 0, false)
	c := p.all[1]
	allocs := testing.AllocsPerRun(1, func() {
		for piece := range slices.Chunk(b, 1000) {
			c.feed(piece)
		}
	})
	if c.state != running || c.rest != nil || allocs > 100 {
		t.Errorf("state %d, %d bytes left, %v allocations", c.state, len(c.rest), allocs)
	}
}
