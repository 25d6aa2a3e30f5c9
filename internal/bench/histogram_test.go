package bench

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A percentile is never below the true one, and at most 1/64 above it.
func TestQuantile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.OneOf(rapid.Int64Range(0, 200), rapid.Int64Range(0, 1e10), rapid.Int64Range(0, math.MaxInt64))
		all := rapid.SliceOfN(value, 1, 200).Draw(t, "durations")
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		var h histogram
		for _, v := range all {
			h.add(v)
		}
		slices.Sort(all)
		want := all[max(int(math.Ceil(q*float64(len(all))))-1, 0)]
		got := int64(h.quantile(q))
		if got < want || got > all[len(all)-1] || got-want > want/64 {
			t.Errorf("quantile %v is %d, want %d", q, got, want)
		}
	})
}

// Every value lies in a bucket whose largest value is not below it, and the buckets follow each other.
func TestBuckets(t *testing.T) {
	for i := range len(histogram{}.counts) {
		if u := upper(i); u >= 0 && bucket(u) != i {
			t.Fatalf("the largest value %d of bucket %d lies in bucket %d", u, i, bucket(u))
		} else if next := u + 1; next > 0 && bucket(next) != i+1 {
			t.Fatalf("%d lies in bucket %d, want %d", next, bucket(next), i+1)
		} else if u == math.MaxInt64 {
			return
		}
	}
	t.Error("the buckets end before the values do")
}

func TestLatency(t *testing.T) {
	var h histogram
	if h.latency() != nil || h.quantile(0.5) != 0 {
		t.Errorf("of nothing: %v, %v", h.latency(), h.quantile(0.5))
	}
	h.add(-5) // a clock that went back a little
	for range 98 {
		h.add(int64(50 * time.Microsecond))
	}
	h.add(int64(7 * time.Second))
	l := h.latency()
	if l.P50 != l.P90 || l.P50 < 0.05 || l.P50 > 0.051 || l.P999 != 7000 || l.Max != 7000 {
		t.Errorf("%v", l)
	}
}
