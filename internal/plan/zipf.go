package main

import (
	"math"
	"slices"
)

// traffic is how messages are spread over rooms by Zipf's law: the room of rank i has a share proportional to i^-s.
type traffic struct {
	head        []float64 // shares of the busiest rooms, each by itself
	tail        float64   // share of all others together
	tailSquares float64   // sum of the squares of their shares
}

// newTraffic computes the shares of the head busiest of so many rooms, and the sums over the others by integrals. s must
// lie above 0.5 (below, squares of the tail would need another integral) and not be 1 exactly: take 1 + 1e-9.
func newTraffic(s float64, rooms, head int) *traffic {
	z := &traffic{head: make([]float64, head)}
	sum := 0.0
	for i := range z.head {
		z.head[i] = math.Pow(float64(i+1), -s)
		sum += z.head[i]
	}
	z.tail = powerSum(s, head, rooms)
	z.tailSquares = powerSum(2*s, head, rooms)
	sum += z.tail
	for i := range z.head {
		z.head[i] /= sum
	}
	z.tail /= sum
	z.tailSquares /= sum * sum
	return z
}

// capped returns the traffic when no room may have more than most of it; what is cut off goes to all others alike.
func (z *traffic) capped(most float64) *traffic {
	c := &traffic{head: slices.Clone(z.head), tail: z.tail, tailSquares: z.tailSquares}
	for at := 0; at < len(c.head) && c.head[at] > most; {
		cut := 0.0
		for ; at < len(c.head) && c.head[at] > most; at++ {
			cut += c.head[at] - most
			c.head[at] = most
		}
		others := 1 - float64(at)*most - cut
		grow := 1 + cut/others
		for i := at; i < len(c.head); i++ {
			c.head[i] *= grow
		}
		c.tail *= grow
		c.tailSquares *= grow * grow
	}
	return c
}

// powerSum returns the sum of i^-s for from < i <= to, by the integral and its first correction (Euler and Maclaurin).
func powerSum(s float64, from, to int) float64 {
	a, b := float64(from), float64(to)
	integral := (math.Pow(b, 1-s) - math.Pow(a, 1-s)) / (1 - s)
	return integral + (math.Pow(b, -s)-math.Pow(a, -s))/2
}
