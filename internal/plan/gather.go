package main

import "time"

// gatherer is a server that takes all that waits, works on it, and then takes what came meanwhile: an entry of the log, a
// sweep over a room, a write of a disk. Lots grow with the load; without a pace nothing ever waits for company.
type gatherer[T any] struct {
	t    *timeline
	pace pace
	// work returns how long a lot takes. It is called when the work begins.
	work func(lot []T) time.Duration
	// done is called when the work on a lot has ended. It may add to the gatherer.
	done func(lot []T, began time.Duration)

	waiting []T
	busy    bool
	held    bool // a timer will call begin
	lots    int
	last    time.Duration // when the newest lot was begun
}

// pace lets a lot wait until it has goal members, at most until longest after the beginning of the lot before. The zero
// pace never waits.
type pace struct {
	goal    int
	longest time.Duration
}

// add gives the gatherer what comes at the same moment.
func (g *gatherer[T]) add(items ...T) {
	g.waiting = append(g.waiting, items...)
	g.begin()
}

func (g *gatherer[T]) begin() {
	if g.busy || len(g.waiting) == 0 {
		return
	}
	if left := g.last + g.pace.longest - g.t.now; g.lots > 0 && left > 0 && len(g.waiting) < g.pace.goal {
		if !g.held {
			g.held = true
			g.t.after(left, func() {
				g.held = false
				g.begin()
			})
		}
		return
	}
	lot := g.waiting
	g.waiting, g.busy, g.last = nil, true, g.t.now
	g.lots++
	g.t.after(g.work(lot), func() {
		g.busy = false
		g.done(lot, g.last)
		g.begin()
	})
}
