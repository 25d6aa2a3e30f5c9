package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func sum(shares []float64) (s float64) {
	for _, p := range shares {
		s += p
	}
	return s
}

// The integral over the tail is the sum over its rooms.
func TestTail(t *testing.T) {
	const rooms, head = 200_000, 1_000
	for _, s := range []float64{0.8, 1 + 1e-9, 1.2} {
		exact, squares := 0.0, 0.0
		for i := head + 1; i <= rooms; i++ {
			exact += math.Pow(float64(i), -s)
			squares += math.Pow(float64(i), -2*s)
		}
		if got := powerSum(s, head, rooms); math.Abs(got/exact-1) > 1e-5 {
			t.Errorf("s %v: tail %v, exactly %v", s, got, exact)
		}
		if got := powerSum(2*s, head, rooms); math.Abs(got/squares-1) > 1e-4 {
			t.Errorf("s %v: squares of the tail %v, exactly %v", s, got, squares)
		}
		z := newTraffic(s, rooms, head)
		if all := sum(z.head) + z.tail; math.Abs(all-1) > 1e-9 {
			t.Errorf("s %v: the shares of all rooms are %v together", s, all)
		}
	}
}

func TestCapped(t *testing.T) {
	z := newTraffic(1.2, 1_000_000, 10_000).capped(0.01)
	if all := sum(z.head) + z.tail; math.Abs(all-1) > 1e-9 {
		t.Errorf("the shares of all rooms are %v together", all)
	}
	if most := slices.Max(z.head); most > 0.01+1e-12 {
		t.Errorf("a room has %v", most)
	}
	if !slices.IsSortedFunc(z.head, func(a, b float64) int { return int(math.Copysign(1, b-a)) }) && z.head[0] < z.head[len(z.head)-1] {
		t.Error("the order of rooms changed")
	}
}

// However rooms are placed, all messages are somewhere, and the fullest group has at least the mean and the busiest room.
func TestPlacement(t *testing.T) {
	z := newTraffic(0.9, 1_000_000, 20_000)
	for _, groups := range []int{8, 64, 500} {
		r := func() *rand.Rand { return rand.New(rand.NewPCG(3, 3)) }
		hash, load := z.byHash(groups, 0, r()), z.byLoad(groups, 100, r())
		for name, loads := range map[string][]float64{"by hash": hash, "by load": load} {
			if all := sum(loads); len(loads) != groups || math.Abs(all-1) > 0.01 {
				t.Errorf("%d groups %s: %d with %v together", groups, name, len(loads), all)
			}
			if most := slices.Max(loads); most < z.head[0] || most < 0.99/float64(groups) {
				t.Errorf("%d groups %s: the fullest has %v", groups, name, most)
			}
		}
		if slices.Max(load) > slices.Max(hash) {
			t.Errorf("%d groups: %v by load, %v by hash", groups, slices.Max(load), slices.Max(hash))
		}
	}
}

// One group on a disk has nobody to share with.
func TestOneGroupOnADisk(t *testing.T) {
	d := disk{groups: 1, rate: 20_000, commands: 4_000}
	own, shared := d.own(), d.shared()
	for _, q := range []float64{0.5, 0.99, 1} {
		if a, b := own.wait.quantile(q), shared.wait.quantile(q); a != b {
			t.Errorf("quantile %v: %v alone, %v shared", q, a, b)
		}
	}
	d.groups = 20
	if own, shared = d.own(), d.shared(); own.wait.count() != 4_000 || shared.wait.count() != 4_000 {
		t.Errorf("%d and %d commands of 4000 were synced", own.wait.count(), shared.wait.count())
	}
	if a, b := own.wait.quantile(0.5), shared.wait.quantile(0.5); a < 2*b {
		t.Errorf("20 groups: %v each for itself, %v shared", a, b)
	}
}

func TestCopies(t *testing.T) {
	for _, c := range []struct{ nodes, readers, want float64 }{{1, 10, 1}, {4, 1, 1}, {4, 2, 1.75}, {10, 1e6, 10}} {
		if got := copies(c.nodes, c.readers); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%v readers on %v nodes: %v copies, want %v", c.readers, c.nodes, got, c.want)
		}
	}
}

// The arithmetic of the goal, as anybody can check it on paper.
func TestDay(t *testing.T) {
	for name, c := range map[string]struct{ got, want float64 }{
		"mean":              {meanPerSecond(), 694_444},
		"peak":              {peakPerSecond(), 2_083_333},
		"TB a day, 3 times": {storedBytes(1) / float64(tb), 59.4},
		"idle calls of one": {idleCalls(1), 2 * (1/0.0075 + 1/0.105)},
		"publish, µs":       {float64(publishCost()) / float64(us), 16},
		// 7 µs x 2,083,333 x 20
		"delivery cores": {newDemand(20, 0, 1).deliver, 291.67},
	} {
		if math.Abs(c.got/c.want-1) > 1e-4 {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
}
