package main

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

const (
	us = time.Microsecond
	ms = time.Millisecond
)

// began runs a gatherer that works 10 ms on each lot, with members that come at these times, and returns when each lot
// began and what was in it.
func began(p pace, at ...time.Duration) (starts []time.Duration, lots [][]time.Duration) {
	var tl timeline
	g := &gatherer[time.Duration]{
		t: &tl, pace: p,
		work: func([]time.Duration) time.Duration { return 10 * ms },
		done: func(lot []time.Duration, began time.Duration) {
			starts, lots = append(starts, began), append(lots, lot)
		},
	}
	tl.each(at, func(i int) { g.add(at[i]) })
	tl.run()
	return starts, lots
}

func TestGatherer(t *testing.T) {
	type lot = []time.Duration
	for name, c := range map[string]struct {
		pace   pace
		at     []time.Duration
		starts []time.Duration
		lots   []lot
	}{
		"alone":             {pace{}, lot{5 * ms}, lot{5 * ms}, []lot{{5 * ms}}},
		"while it works":    {pace{}, lot{0, 3 * ms, 9 * ms, 40 * ms}, lot{0, 10 * ms, 40 * ms}, []lot{{0}, {3 * ms, 9 * ms}, {40 * ms}}},
		"waits for company": {pace{3, 50 * ms}, lot{0, 20 * ms, 30 * ms, 35 * ms}, lot{0, 35 * ms}, []lot{{0}, {20 * ms, 30 * ms, 35 * ms}}},
		"waits no longer":   {pace{3, 50 * ms}, lot{0, 20 * ms, 60 * ms}, lot{0, 50 * ms, 100 * ms}, []lot{{0}, {20 * ms}, {60 * ms}}},
		"first never waits": {pace{3, 50 * ms}, lot{7 * ms}, lot{7 * ms}, []lot{{7 * ms}}},
	} {
		t.Run(name, func(t *testing.T) {
			starts, lots := began(c.pace, c.at...)
			if !slices.Equal(starts, c.starts) || !reflect.DeepEqual(lots, c.lots) {
				t.Errorf("lots %v began at %v, want %v at %v", lots, starts, c.lots, c.starts)
			}
		})
	}
}

func TestQuantile(t *testing.T) {
	l := latencies{{3, 2, 4, 2}, {5, 0, 1, 3}, {100, 7, 2, 1}} // 3 5 7 9 twice, 5 three times, 100 107
	all := []time.Duration{3, 3, 5, 5, 5, 5, 5, 7, 7, 9, 9, 100, 107}
	if n := l.count(); n != int64(len(all)) {
		t.Fatalf("%d values, want %d", n, len(all))
	}
	for i, v := range all {
		if got := l.quantile(float64(i+1) / float64(len(all)+1)); got != v {
			t.Errorf("quantile %d of %d is %d, want %d", i+1, len(all)+1, got, v)
		}
	}
	if got := l.quantile(1); got != 107 {
		t.Errorf("the largest is %d, want 107", got)
	}
}

func TestFit(t *testing.T) {
	c := fit(loneSend, hotFrame, hotFrames)
	if got := c.of(1); got != loneSend {
		t.Errorf("a lone send takes %v, want %v", got, loneSend)
	}
	if got := c.of(hotFrames) / hotFrames; (got - hotFrame).Abs() > time.Nanosecond {
		t.Errorf("a frame of %d takes %v, want %v", hotFrames, got, hotFrame)
	}
}

func TestOnWire(t *testing.T) {
	for frames, want := range map[int]int64{1: 290 + 90, 4: 4*290 + 90, 5: 5*290 + 180, 10: 10*290 + 270} {
		if got := onWire(frames); got != want {
			t.Errorf("%d frames are %d bytes on the line, want %d", frames, got, want)
		}
	}
}
