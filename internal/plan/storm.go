package main

import (
	"math/rand/v2"
	"time"
)

// storm is a crowd of clients that connect to one node again. Each gives up after connectPatience, waits and tries again;
// waits double from firstWait to longestWait, half of it at random. The node lets one in after the other.
//
// Without admission everybody who asks gets a place in the line, and those who have given up meanwhile are served too.
// With admission the line is as long as what can be served within connectHold, and the others are turned away at once.
type storm struct {
	clients   int
	perSecond float64
	admission bool
}

const (
	connectPatience = 10 * time.Second
	connectHold     = 5 * time.Second
	firstWait       = time.Second
	longestWait     = 30 * time.Second
)

// stormOutcome says when half and when all of the clients were in, and how many tries of a client came to nothing.
type stormOutcome struct {
	half, all time.Duration
	failed    float64 // per client
}

// stormScale is how much smaller the simulated crowd and node are; times do not depend on it as long as both are large.
const stormScale = 50

func (s storm) simulate() stormOutcome {
	clients := s.clients / stormScale
	cost := time.Duration(float64(time.Second) * stormScale / s.perSecond)
	room := int(connectHold.Seconds() * s.perSecond / stormScale)
	r := rand.New(rand.NewPCG(uint64(s.clients), 3))

	var t timeline
	var in []time.Duration
	var failed, waiting int
	var free time.Duration // when the node has done what waits
	var try func(wait time.Duration)
	again := func(wait time.Duration) {
		failed++
		t.after(wait/2+time.Duration(r.Int64N(int64(wait/2))), func() { try(min(2*wait, longestWait)) })
	}
	try = func(wait time.Duration) {
		asked := t.now
		if s.admission && waiting >= room {
			free = max(free, t.now) + time.Duration(refusal*float64(cost))
			t.after(free-t.now, func() { again(wait) })
			return
		}
		waiting++
		free = max(free, t.now) + cost
		if free-asked > connectPatience {
			t.after(connectPatience, func() { again(wait) })
			t.after(free-t.now, func() { waiting-- })
			return
		}
		t.after(free-t.now, func() { waiting--; in = append(in, t.now) })
	}
	for range clients {
		t.after(time.Duration(r.Int64N(int64(firstWait))), func() { try(firstWait) })
	}
	t.run()
	return stormOutcome{half: in[len(in)/2], all: in[len(in)-1], failed: float64(failed) / float64(clients)}
}
