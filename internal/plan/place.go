package main

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// slots is the number of parts into which a hash puts rooms. A table in the log says which group has which slot.
const slots = 16_384

// byHash returns what each of n parts carries, as shares of all messages, when a hash spreads the rooms but the moved
// busiest ones. r stands for the hash.
//
// Rooms of the tail are too many and too small to be looked at one by one: a part's share of them is a normal variable with
// their mean and variance.
func (z *traffic) byHash(n, moved int, r *rand.Rand) []float64 {
	load := make([]float64, n)
	spread := math.Sqrt(z.tailSquares / float64(n))
	for i := range load {
		load[i] = z.tail/float64(n) + spread*r.NormFloat64()
	}
	for i, p := range z.head {
		if part := r.IntN(n); i >= moved {
			load[part] += p
		}
	}
	return load
}

// byLoad returns what each group carries when the moved busiest rooms, and then the slots that hold all others, go, the
// fullest first, to the group that has least.
func (z *traffic) byLoad(groups, moved int, r *rand.Rand) []float64 {
	rest := z.byHash(slots, moved, r)
	slices.SortFunc(rest, func(a, b float64) int { return cmp.Compare(b, a) })
	load := make([]float64, groups) // a heap, the least first
	for _, p := range slices.Concat(z.head[:moved], rest) {
		load[0] += p
		sink(load)
	}
	return load
}

// sink restores the order of a heap whose first value has grown.
func sink(h []float64) {
	for i := 0; ; {
		least := i
		for _, child := range []int{2*i + 1, 2*i + 2} {
			if child < len(h) && h[child] < h[least] {
				least = child
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

// placements is how many hashes are tried.
const placements = 3

// fullest returns the median and the largest share of the fullest part over placements with different hashes.
func fullest(place func(r *rand.Rand) []float64) (median, worst float64) {
	all := make([]float64, placements)
	for i := range all {
		all[i] = slices.Max(place(rand.New(rand.NewPCG(uint64(i), 4))))
	}
	slices.Sort(all)
	return all[placements/2], all[placements-1]
}
