package main

import (
	"math/rand/v2"
	"time"
)

// arrivals returns the times of n events that come independently of each other, rate per second. They depend on seed,
// rate and n alone, so that runs over different nodes see the same stream.
func arrivals(rate float64, n int, seed uint64) []time.Duration {
	r := rand.New(rand.NewPCG(seed, 1))
	times := make([]time.Duration, n)
	var at time.Duration
	for i := range times {
		at += time.Duration(r.ExpFloat64() * float64(time.Second) / rate)
		times[i] = at
	}
	return times
}
