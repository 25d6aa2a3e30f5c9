package bench

import (
	"math"
	"math/bits"
	"time"
)

// subBuckets is the number of buckets per power of two: a percentile is at most 1/64 above the true value.
const subBuckets = 64

// histogram counts durations in buckets that widen with the value. The zero value is empty.
type histogram struct {
	counts [subBuckets * (64 - 5)]uint64
	n      uint64
	max    int64
}

func (h *histogram) add(ns int64) {
	ns = max(ns, 0)
	h.counts[bucket(ns)]++
	h.n++
	h.max = max(h.max, ns)
}

func bucket(ns int64) int {
	v := uint64(ns)
	if v < subBuckets {
		return int(v)
	}
	shift := bits.Len64(v) - 7 // leaves 7 bits, the first of them set
	return subBuckets*shift + int(v>>shift)
}

// upper is the largest value of a bucket.
func upper(i int) int64 {
	if i < 2*subBuckets {
		return int64(i)
	}
	shift := i/subBuckets - 1
	return int64(uint64(i-subBuckets*shift+1)<<shift - 1)
}

// quantile returns the value that a share q of the durations does not exceed, 0 when there are none.
func (h *histogram) quantile(q float64) time.Duration {
	want := uint64(math.Ceil(q * float64(h.n)))
	var seen uint64
	for i, c := range h.counts {
		if seen += c; seen >= want && c > 0 {
			return time.Duration(min(upper(i), h.max))
		}
	}
	return time.Duration(h.max)
}

// Latency are percentiles in milliseconds.
type Latency struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99.9"`
	Max  float64 `json:"max"`
}

func (h *histogram) latency() *Latency {
	if h.n == 0 {
		return nil
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return &Latency{
		P50: ms(h.quantile(0.5)), P90: ms(h.quantile(0.9)), P99: ms(h.quantile(0.99)),
		P999: ms(h.quantile(0.999)), Max: ms(time.Duration(h.max)),
	}
}
