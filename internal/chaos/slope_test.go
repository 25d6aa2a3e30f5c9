package chaos

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// series is what was measured of one thing, over the time since the start.
type series struct {
	at    []time.Duration
	value []float64
}

func (s *series) add(at time.Duration, v float64) {
	s.at, s.value = append(s.at, at), append(s.value, v)
}

// perHour is the slope by Theil and Sen, the median of the slopes between any two samples: up to a quarter of them may be
// wild, as they are while a node comes back, without moving it.
func (s *series) perHour() float64 {
	var all []float64
	for i := range s.at {
		for j := i + 1; j < len(s.at); j++ {
			if d := s.at[j] - s.at[i]; d > 0 {
				all = append(all, (s.value[j]-s.value[i])/d.Hours())
			}
		}
	}
	return median(all)
}

func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// base is where the samples begin: the median of their first third.
func (s *series) base() float64 { return median(s.value[:(len(s.value)+2)/3]) }

// grown is what the slope makes of the whole time of the samples.
func (s *series) grown() float64 {
	if len(s.at) == 0 {
		return 0
	}
	return s.perHour() * (s.at[len(s.at)-1] - s.at[0]).Hours()
}

// bound is how much something may grow.
type bound struct {
	share float64 // of the base, in an hour
	slack float64 // over the whole time: caches that fill, tables that wait to be flushed. Less than this is no growth.
}

// broken reports whether something grows without bound, as far as the samples tell: faster than the bound, and by more than
// what is known to fill and stay. What a short run forgives shows in a long one.
func (b bound) broken(s *series) bool {
	return s.perHour() > b.share*s.base() && s.grown() > b.slack
}

func (b bound) String() string { return fmt.Sprintf("%.0f %%", 100*b.share) }

func TestSlope(t *testing.T) {
	b := bound{share: 0.1, slack: 20}
	for name, tt := range map[string]struct {
		value  func(rng *rand.Rand, minute int) float64
		slope  float64 // per hour
		near   float64
		broken bool
	}{
		"flat":                 {func(*rand.Rand, int) float64 { return 100 }, 0, 0, false},
		"noise":                {func(r *rand.Rand, _ int) float64 { return 100 + 10*r.Float64() }, 0, 2, false},
		"a leak":               {func(_ *rand.Rand, m int) float64 { return 100 + float64(m) }, 60, 0, true},
		"a leak in noise":      {func(r *rand.Rand, m int) float64 { return 100 + float64(m) + 20*r.Float64() }, 60, 10, true},
		"wild samples":         {func(_ *rand.Rand, m int) float64 { return 100 + float64(m%8/7)*1000 }, 0, 0, false},
		"a leak, wild samples": {func(_ *rand.Rand, m int) float64 { return 100 + float64(m) + float64(m%8/7)*1000 }, 60, 10, true},
		"little by little":     {func(_ *rand.Rand, m int) float64 { return 100 + float64(m)/10 }, 6, 0.01, false},
		"a cache that fills":   {func(_ *rand.Rand, m int) float64 { return 100 + min(float64(m), 15) }, 0, 1, false},
		"less and less":        {func(_ *rand.Rand, m int) float64 { return 200 - float64(m) }, -60, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 2))
			var s series
			for m := range 120 {
				s.add(time.Duration(m)*time.Minute, tt.value(rng, m))
			}
			if got := s.perHour(); math.Abs(got-tt.slope) > tt.near {
				t.Errorf("slope %v, want %v", got, tt.slope)
			}
			if got := b.broken(&s); got != tt.broken {
				t.Errorf("broken %v, want %v", got, tt.broken)
			}
		})
	}
	if one := (&series{}); one.perHour() != 0 || one.grown() != 0 || one.base() != 0 || b.broken(one) {
		t.Error("of no samples there is a slope")
	}
}
