package main

import (
	"math/rand/v2"
	"time"
)

// disk is a node's log device under several groups, whose commands come at random, rate per second in all.
type disk struct {
	groups   int
	rate     float64
	commands int
}

// diskOutcome is how long a command waited for its fsync to end, and what the device did.
type diskOutcome struct {
	wait  latencies
	syncs float64 // per second
}

func syncTime(commands int) time.Duration { return syncBase + time.Duration(commands)*syncCommand }

// shared simulates one queue of fsyncs for all groups: what waits, of whatever group, is written and synced together.
func (d disk) shared() diskOutcome {
	var t timeline
	var o diskOutcome
	g := &gatherer[time.Duration]{
		t:    &t,
		work: func(lot []time.Duration) time.Duration { return syncTime(len(lot)) },
		done: func(lot []time.Duration, _ time.Duration) { o.take(t.now, lot) },
	}
	times := arrivals(d.rate, d.commands, 8)
	t.each(times, func(i int) { g.add(times[i]) })
	t.run()
	o.syncs /= t.now.Seconds()
	return o
}

// own simulates groups that sync each for itself: a group with commands queues for the device, and when its turn comes it
// takes what it has by then.
func (d disk) own() diskOutcome {
	var t timeline
	var o diskOutcome
	waiting := make([][]time.Duration, d.groups)
	var turns []int // groups that wait for the device
	busy := false
	var next func()
	next = func() {
		if busy || len(turns) == 0 {
			return
		}
		g := turns[0]
		turns = turns[1:]
		lot := waiting[g]
		waiting[g], busy = nil, true
		t.after(syncTime(len(lot)), func() {
			busy = false
			o.take(t.now, lot)
			next()
		})
	}
	r := rand.New(rand.NewPCG(9, 5))
	times := arrivals(d.rate, d.commands, 8)
	t.each(times, func(i int) {
		g := r.IntN(d.groups)
		if waiting[g] = append(waiting[g], times[i]); len(waiting[g]) == 1 {
			turns = append(turns, g)
			next()
		}
	})
	t.run()
	o.syncs /= t.now.Seconds()
	return o
}

func (o *diskOutcome) take(now time.Duration, lot []time.Duration) {
	o.syncs++
	for _, at := range lot {
		o.wait = append(o.wait, series{first: now - at, count: 1, copies: 1})
	}
}
