package main

import (
	"math"
	"time"
)

// series stands for count values: first, first+step, first+2*step, and so on, each of them copies times. A sweep reaches
// one connection after the other, so that the latencies of one frame over a million connections are a few series.
type series struct {
	first, step   time.Duration
	count, copies int64
}

// latencies is a set of values, exact however many there are.
type latencies []series

func (l latencies) count() (n int64) {
	for _, s := range l {
		n += s.count * s.copies
	}
	return n
}

// upTo returns how many values are at most v.
func (l latencies) upTo(v time.Duration) (n int64) {
	for _, s := range l {
		switch {
		case v < s.first:
		case s.step == 0:
			n += s.count * s.copies
		default:
			n += min(s.count, int64((v-s.first)/s.step)+1) * s.copies
		}
	}
	return n
}

// quantile returns the least value that is not exceeded by the share q of all, 0 of none.
func (l latencies) quantile(q float64) time.Duration {
	want := int64(math.Ceil(q * float64(l.count())))
	var low, high time.Duration // the answer is in (low, high]
	low--
	for _, s := range l {
		high = max(high, s.first+time.Duration(s.count-1)*s.step)
	}
	for high-low > 1 {
		middle := low + (high-low)/2
		if l.upTo(middle) >= want {
			high = middle
		} else {
			low = middle
		}
	}
	return high
}
