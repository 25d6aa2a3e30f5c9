package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// room is one room, all its readers live and at QoS 0, spread evenly over nodes of one kind, and a stream of messages.
//
//	publish ──> leader's log ──> commit ──> leader's sweeps
//	            (entries gather  │ 3 voters: one more fsync
//	             while it syncs) └─> replica (at most 16) ──> its sweeps
//	                 told with the next entry,     └─> replicas behind a relay ──> their sweeps
//	                 else 5 to 10 ms later
//
// A node has writers(); each owns an equal share of the connections and sweeps it with all that came while it swept. A
// connection gets one send per sweep. Writers share the line: a send takes the time of its core or of its share of the
// line, whichever is longer.
type room struct {
	nodes       int
	connections int
	machine     machine
	send        sendCost
	rate        float64       // messages per second, at random times
	sweepEvery  time.Duration // between the beginnings of two sweeps of a writer; 0: nothing waits
	toldAtOnce  bool          // replicas hear of a commit when it happens
}

// outcome is what a run of a room found.
type outcome struct {
	latency       latencies // from publish to the end of the send, of every frame to every connection
	delivered     []int64   // frames of each message
	cpu           float64   // of the cores of the busiest node
	sweeps        float64   // per second and writer
	framesPerSend float64
	egress        float64 // bits per second, of the busiest node
}

// maxNodes is a leader, its replicas, and one layer of replicas behind them.
const maxNodes = 1 + replicas + replicas*replicas

// feeder returns the node from which node i has the log, -1 for the leader.
func feeder(i int) int {
	switch {
	case i == 0:
		return -1
	case i <= replicas:
		return 0
	default:
		return 1 + (i-1-replicas)%replicas
	}
}

// share returns how many of n things the i-th of parts holds.
func share(n, parts, i int) int {
	s := n / parts
	if i < n%parts {
		s++
	}
	return s
}

// fullest returns the connections of the fullest node and of its fullest writer.
func (r *room) fullest() (node, writer int) {
	node = share(r.connections, r.nodes, 0)
	return node, share(node, r.machine.writers(), 0)
}

// step returns how long a writer takes for one connection.
func (r *room) step(frames int) time.Duration {
	line := float64(onWire(frames)*8) * float64(r.machine.writers()) / float64(r.machine.nic) * float64(time.Second)
	return max(r.send.of(frames), time.Duration(line))
}

// limits returns the most messages per second that a node keeps up with: its cores when each frame is a send of its own;
// its cores when a sweep may take as long as longest, so that what gathers shares sends, up to what may wait for a
// connection; and its line.
func (r *room) limits(longest time.Duration) (lone, batched, line float64) {
	conns, writer := r.fullest()
	lone = 1 / (r.send.of(1).Seconds() * float64(writer))
	// A sweep that takes longest carries longest*rate frames to each connection.
	left := longest - time.Duration(writer)*r.send.base
	batched = max(0, left.Seconds()/(longest.Seconds()*float64(writer)*r.send.frame.Seconds()))
	batched = min(batched, connectionBytes/frameBytes/longest.Seconds())
	const many = 1000
	line = float64(r.machine.nic) * many / (float64(onWire(many)*8) * float64(conns))
	return lone, batched, line
}

// errBehind is the end of a simulation that would never end: more comes than goes.
type errBehind struct{ what string }

func (e errBehind) Error() string { return "falls behind: " + e.what }

// keepsUp returns errBehind when sweeps grow for ever, with what they wait for.
func (r *room) keepsUp() error {
	_, writer := r.fullest()
	_, _, line := r.limits(time.Second)
	cpu := 1 / (r.send.frame.Seconds() * float64(writer)) // however many frames share a send
	switch {
	case r.rate < min(cpu, line):
		return nil
	case cpu < line:
		return errBehind{"CPU"}
	default:
		return errBehind{"line"}
	}
}

// simulate runs a stream at the room's rate, of at least 200 messages and some 40 sweeps, to its last delivery. It fails
// for a room that falls behind.
func (r *room) simulate() (*outcome, error) {
	if err := r.keepsUp(); err != nil {
		return nil, err
	}
	_, writer := r.fullest()
	messages := max(200, int(40*r.rate*r.send.of(1).Seconds()*float64(writer)))
	return r.play(arrivals(r.rate, messages, 7))
}

// play runs messages that are published at these times, to the last delivery. It fails for a room that no tree of nodes
// holds.
func (r *room) play(published []time.Duration) (*outcome, error) {
	if r.nodes < 1 || r.nodes > maxNodes {
		return nil, fmt.Errorf("a room on %d nodes: 1 to %d can be fed through one layer of relays", r.nodes, maxNodes)
	}
	const kinds = 2 // of writers on a node
	s := &roomRun{
		room: r, published: published, delivered: make([]int64, len(published)),
		latency: make(latencies, 0, kinds*r.nodes*len(published)),
	}
	for i := range r.nodes {
		s.addNode(i)
	}
	s.log = gatherer[int]{
		t:    &s.t,
		work: func([]int) time.Duration { return entryWall },
		done: func(lot []int, _ time.Duration) { s.appended(lot) },
	}
	s.t.each(published, func(i int) { s.log.add(i) })
	s.t.run()
	return s.outcome(), nil
}

// roomRun is the state of one simulation.
type roomRun struct {
	room  *room
	t     timeline
	log   gatherer[int] // numbers of messages, as everywhere below
	nodes []*roomNode

	published []time.Duration
	delivered []int64
	entries   [][]int // committed, in order
	latency   latencies
	sends     int64 // of all connections
}

// roomNode is a node and its writers; writers with the same number of connections do the same and are run once.
type roomNode struct {
	feeds   []*roomNode
	writers []*gatherer[int]
	told    int // entries of which the leader has told it; of direct replicas
	late    *rand.Rand
	busy    time.Duration // CPU
	bytes   int64
}

func (s *roomRun) addNode(i int) {
	n := &roomNode{late: rand.New(rand.NewPCG(uint64(i), 2))}
	s.nodes = append(s.nodes, n)
	if f := feeder(i); f >= 0 {
		s.nodes[f].feeds = append(s.nodes[f].feeds, n)
	}
	conns, writers := share(s.room.connections, s.room.nodes, i), s.room.machine.writers()
	more := conns % writers
	s.addWriters(n, conns/writers+1, more)
	s.addWriters(n, conns/writers, writers-more)
}

// addWriters gives n copies writers with conns connections each.
func (s *roomRun) addWriters(n *roomNode, conns, copies int) {
	if conns == 0 || copies == 0 {
		return
	}
	all := int64(conns) * int64(copies)
	w := &gatherer[int]{t: &s.t}
	if s.room.sweepEvery > 0 {
		w.pace = pace{goal: math.MaxInt, longest: s.room.sweepEvery}
	}
	w.work = func(lot []int) time.Duration { return time.Duration(conns) * s.room.step(len(lot)) }
	w.done = func(lot []int, began time.Duration) {
		step := s.room.step(len(lot))
		for _, m := range lot {
			s.latency = append(s.latency, series{began + step - s.published[m], step, int64(conns), int64(copies)})
			s.delivered[m] += all
		}
		n.busy += time.Duration(all) * s.room.send.of(len(lot))
		n.bytes += all * onWire(len(lot))
		s.sends += all
	}
	n.writers = append(n.writers, w)
}

// appended is called when the leader has synced an entry.
func (s *roomRun) appended(entry []int) {
	for _, n := range s.nodes[0].feeds {
		s.tell(n, len(s.entries)) // this entry takes along what was committed before
	}
	quorum := time.Duration(0)
	if s.room.nodes >= voters {
		quorum = roundTrip + entryWall
	}
	s.t.after(quorum, func() { s.committed(entry) })
}

func (s *roomRun) committed(entry []int) {
	s.entries = append(s.entries, entry)
	upTo := len(s.entries)
	leader := s.nodes[0]
	leader.busy += entryCPU
	for _, w := range leader.writers {
		w.add(entry...)
	}
	for _, n := range leader.feeds {
		wait := commitTimeout + time.Duration(n.late.Int64N(int64(commitTimeout)))
		if s.room.toldAtOnce {
			wait = 0
		}
		s.t.after(wait, func() { s.tell(n, upTo) })
	}
}

// tell makes a direct replica know that the first upTo entries are committed.
func (s *roomRun) tell(n *roomNode, upTo int) {
	if upTo <= n.told {
		return
	}
	news := s.entries[n.told:upTo]
	n.told = upTo
	s.t.after(hop, func() { s.arrive(n, news) })
}

// arrive is called when n has applied entries. What it feeds has them a hop later: a relay passes on only what is
// committed, at once.
func (s *roomRun) arrive(n *roomNode, entries [][]int) {
	var all []int
	for _, e := range entries {
		all = append(all, e...)
		n.busy += entryCPU
	}
	for _, w := range n.writers {
		w.add(all...)
	}
	for _, f := range n.feeds {
		if n != s.nodes[0] {
			s.t.after(hop, func() { s.arrive(f, entries) })
		}
	}
}

func (s *roomRun) outcome() *outcome {
	span := s.t.now.Seconds()
	o := &outcome{latency: s.latency, delivered: s.delivered}
	o.framesPerSend = float64(s.latency.count()) / float64(s.sends)
	for _, n := range s.nodes {
		o.cpu = max(o.cpu, n.busy.Seconds()/span/float64(s.room.machine.cores))
		o.egress = max(o.egress, float64(n.bytes*8)/span)
	}
	o.sweeps = float64(s.nodes[0].writers[0].lots) / span
	return o
}
