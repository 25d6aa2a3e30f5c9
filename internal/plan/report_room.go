package main

import (
	"errors"
	"fmt"
	"time"
)

// million is the connections of the first goal.
const million = 1_000_000

// patience is how long a sweep may take before a chat feels slow: what was sent then takes up to twice as long.
const patience = time.Second

// layout is so many nodes, with so many cores and Gbit/s.
type layout struct {
	nodes, cores int
	line         int64
}

// layouts are those of the first goal that are compared; middle and wide are those that
// other tables look at more closely.
var (
	middle  = layout{64, 4, 10}
	wide    = layout{64, 16, 25}
	layouts = []layout{{1, 16, 25}, {4, 16, 25}, {17, 16, 25}, middle, wide, {273, 4, 10}}
)

// room is one room of a million.
func (l layout) room(rate float64) *room {
	return &room{
		nodes: l.nodes, connections: million, rate: rate, send: measured,
		machine: machine{cores: l.cores, nic: l.line * gigabit},
	}
}

func (l layout) cells() []string { return []string{count(l.nodes), count(l.cores), count(l.line)} }

var layoutHead = []string{"nodes", "cores", "Gbit/s"}

func costTable() *table {
	t := &table{
		title: "Costs of a node that the rest is computed from.",
		head:  []string{"what", "figure", "where from"},
	}
	us := func(d time.Duration) string { return number(float64(d)/float64(time.Microsecond)) + " µs" }
	t.row("send with one frame", us(loneSend), "measured, 5 to 9 µs")
	t.row(fmt.Sprintf("frame, %d to a send in a sweep", hotFrames), us(hotFrame), "measured")
	t.row("so: a send + each frame in it", us(measured.base)+" + "+us(measured.frame), "fits both")
	t.row("entry of the log", fmt.Sprintf("%s of CPU, %s until synced", us(entryCPU), us(entryWall)), "measured")
	t.row("command in an entry", us(commandCPU), "measured without MQTT")
	t.row("publish: its client's read and acknowledgement", us(publishCost()), "what is left of 2 cores / 50,000 a second")
	t.row("acknowledged messages of one group", count(groupPerSecond)+" a second", "measured, 50,000 to 80,000 on 2 cores")
	t.row("fsync of n commands", us(syncBase)+" + n x "+us(syncCommand), "measured")
	t.row("connections", count(connectsPerSecond)+" a second", "measured on 2 cores; not assumed to grow with cores")
	t.row("memory of a connection", "12 to 16 KiB", "measured, resident; without the kernel's socket")
	t.row("frame; message in log and store", fmt.Sprintf("%d; %d bytes", frameBytes, logBytes), "measured")
	t.row("bytes on the line", fmt.Sprintf("%d more for each %d", overhead, segment), "Ethernet, IP, TCP")
	t.row("between nodes", fmt.Sprintf("%s round trip, %s until applied", us(roundTrip), us(hop)), "assumed")
	return t
}

func nodeTable() *table {
	t := &table{
		title: "One room of 1,000,000 connections: what a node holds, and the most messages a second it keeps up with.",
		note: "Four limits: latency, when the sweep of a single message takes more than a second; CPU, when each frame is a send of " +
			"its own; CPU, when sweeps may take a second and share sends; the line. Half of the cores deliver.",
		head: append(layoutHead, "connections per node", "memory", "all reconnect in", "sweep of 1 message",
			"CPU, own sends", "CPU, shared sends", "line", "breaks first", "sharing gives"),
	}
	for _, l := range layouts {
		r := l.room(1)
		conns, writer := r.fullest()
		lone, shared, line := r.limits(patience)
		first, most := "CPU and latency", shared
		if line < shared {
			first, most = "line", line
		}
		t.row(append(l.cells(), count(conns), binary(float64(conns)*memoryLow)+" to "+binary(float64(conns)*memoryHigh),
			seconds(float64(conns)/connectsPerSecond), duration(time.Duration(writer)*r.send.of(1)),
			number(lone), number(shared), number(line), first, "x "+number(most/lone))...)
	}
	return t
}

func streamTable() (*table, error) {
	t := &table{
		title: "The same room under a stream of messages, simulated.",
		note:  "Latency is from the publish to the end of the send, over all frames. CPU and Gbit/s out are of the busiest node.",
		head:  append(append(layoutHead, "messages/s"), outcomeHead...),
	}
	for _, l := range layouts {
		for _, rate := range []float64{1, 10, 100} {
			cells, err := l.room(rate).cells()
			if err != nil {
				return nil, err
			}
			t.row(append(append(l.cells(), number(rate)), cells...)...)
		}
	}
	return t, nil
}

// outcomeHead are the columns that tables of simulated rooms share.
var outcomeHead = []string{"p50", "p99", "max", "sweeps/s of a writer", "frames per send", "CPU", "Gbit/s out"}

// cells simulates the room and returns these columns; of a room that falls behind, what it waits for.
func (r *room) cells() ([]string, error) {
	o, err := r.simulate()
	if behind := (errBehind{}); errors.As(err, &behind) {
		return []string{behind.Error(), "", "", "", "", "", ""}, nil
	}
	if err != nil {
		return nil, err
	}
	return []string{
		duration(o.latency.quantile(0.5)), duration(o.latency.quantile(0.99)), duration(o.latency.quantile(1)),
		number(o.sweeps), number(o.framesPerSend), percent(o.cpu), gigabits(o.egress),
	}, nil
}

func changeTable() (*table, error) {
	t := &table{
		title: "What changes these figures.",
		note: "Told at once: replicas hear of a commit when it happens, not 5 to 10 ms later. A sweep every 250 ms: a writer begins " +
			"no sweep earlier after the one before. Costs of a send: the ends of what was measured, and twice the middle.",
		head: append([]string{"nodes", "messages/s", "change"}, outcomeHead...),
	}
	costs := func(lone, hot time.Duration) func(*room) {
		return func(r *room) { r.send = fit(lone, hot, hotFrames) }
	}
	for _, c := range []struct {
		layout layout
		rate   float64
		change string
		apply  func(*room)
	}{
		{wide, 10, "none", func(*room) {}},
		{wide, 10, "told at once", func(r *room) { r.toldAtOnce = true }},
		{middle, 100, "none", func(*room) {}},
		{middle, 100, "a sweep every 250 ms", func(r *room) { r.sweepEvery = 250 * time.Millisecond }},
		{middle, 100, "lone send 5 µs; 8 to a send 1 µs each", costs(5*time.Microsecond, hotFrame)},
		{middle, 100, "9 µs; 1.25 µs", costs(9*time.Microsecond, 1250*time.Nanosecond)},
		{middle, 100, "14 µs; 2 µs", costs(2*loneSend, 2*hotFrame)},
	} {
		r := c.layout.room(c.rate)
		c.apply(r)
		cells, err := r.cells()
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("%d x %d cores", c.layout.nodes, c.layout.cores)
		t.row(append([]string{name, number(c.rate), c.change}, cells...)...)
	}
	return t, nil
}

func stormTable() *table {
	t := &table{
		title: "The clients of a node, or of the whole room, connect again, simulated.",
		note: fmt.Sprintf("A client gives up after %s, waits %s and doubles that to %s. With admission a node turns away at once whom it "+
			"cannot serve within %s. A stored session also costs a command, of which one group commits %s a second.",
			duration(connectPatience), duration(firstWait), duration(longestWait), duration(connectHold), count(groupPerSecond)),
		head: []string{
			"nodes", "lost", "clients per node left", "half, all back: no admission", "failed tries per client",
			"with admission", "failed tries per client", "commands of sessions", "memory of a node then",
		},
	}
	for _, c := range []struct {
		nodes int
		all   bool
	}{{4, false}, {17, false}, {64, false}, {4, true}, {17, true}, {64, true}} {
		left, lost, what := c.nodes-1, share(million, c.nodes, 0), "one node"
		if c.all {
			left, lost, what = c.nodes, million, "all"
		}
		per := share(lost, left, 0)
		plain := storm{clients: per, perSecond: connectsPerSecond}.simulate()
		admitted := storm{clients: per, perSecond: connectsPerSecond, admission: true}.simulate()
		t.row(count(c.nodes), what, count(per),
			duration(plain.half)+", "+duration(plain.all), number(plain.failed),
			duration(admitted.half)+", "+duration(admitted.all), number(admitted.failed),
			seconds(float64(lost)/groupPerSecond), binary(float64(share(million, left, 0))*memoryHigh))
	}
	return t
}
