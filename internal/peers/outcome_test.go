package main

import (
	"errors"
	"fmt"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{7}, 7},
		{[]float64{9, 1}, 5},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 9, 2}, 3},
	} {
		given := fmt.Sprint(tt.values)
		if got, ok := median(tt.values); !ok || got != tt.want {
			t.Errorf("median of %v: %v, %t; want %v", tt.values, got, ok, tt.want)
		}
		if fmt.Sprint(tt.values) != given {
			t.Errorf("the values %s were reordered", given)
		}
	}
	if v, ok := median(nil); ok {
		t.Errorf("median of nothing: %v", v)
	}
}

func TestCount(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.0416: "0.042", 0.416: "0.416", 4.164: "4.16", 41.64: "41.6", 416.4: "416", 999.4: "999", 1000: "1.00 k", 4164: "4.16 k",
		416400: "416 k", 999_900: "1.00 M", 2_345_678: "2.35 M", 12_345_678: "12.3 M",
	} {
		if got := count(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}

func TestCell(t *testing.T) {
	w := &row{figures: []figure{perCPU, p99}, stuck: 5}
	good := &report{PerCPU: 1.25e6, Latency: &latency{3}}
	cut := &report{PerCPU: 1.25e6, Latency: &latency{3}, Disconnected: 5}
	bad := &report{PerCPU: 1.25e6, Latency: &latency{3}, Lost: 1200, OutOfOrder: 1, Disconnected: 7, DisconnectedWhy: "reset"}
	died := fmt.Errorf("%w (exit status 3): out of memory\nmore", errEnded)
	for _, tt := range []struct {
		name   string
		o      outcome
		cell   string
		second string
	}{
		{"good", outcome{reports: []*report{good, good}}, "1.25 M", "3.00"},
		{"readers who never read were cut", outcome{reports: []*report{cut}}, "1.25 M", "3.00"},
		{
			"one bad run", outcome{reports: []*report{good, bad}}, "1.25 M; 1,200 messages lost, 1 out of order or twice, " +
				"2 connections ended by the broker (reset), in 1 of 2 runs", "3.00",
		},
		{
			"one failed",
			outcome{reports: []*report{good}, errs: []error{died}},
			"1.25 M; 1 of 2 runs failed: the broker ended (exit status 3): out of memory", "3.00",
		},
		{"all failed", outcome{errs: []error{died}}, "the broker ended (exit status 3): out of memory", "–"},
		{"nothing measured", outcome{reports: []*report{{}}}, "–", "–"},
	} {
		if got := tt.o.cell(w, 0); got != tt.cell {
			t.Errorf("%s: %s\nwant %s", tt.name, got, tt.cell)
		}
		if got := tt.o.cell(w, 1); got != tt.second {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.second)
		}
	}
}

func TestRatio(t *testing.T) {
	w := new(row)
	of := func(v float64) *outcome {
		return &outcome{reports: []*report{{PerCPU: v, Latency: &latency{v}}}}
	}
	theirs := map[string]*outcome{"slow": of(2), "fast": of(8), "failed": {errs: []error{errors.New("refused")}}, "mute": of(0)}
	for _, tt := range []struct {
		figure figure
		times  float64
		best   string
	}{{perCPU, 0.5, "fast"}, {p99, 2, "slow"}} {
		if times, best, ok := ratio(w, tt.figure, of(4), theirs); !ok || times != tt.times || best != tt.best {
			t.Errorf("%s: %v of %s, %t", tt.figure.name, times, best, ok)
		}
	}
	if _, best, ok := ratio(w, perCPU, new(outcome), theirs); ok {
		t.Errorf("no figure compares with %s", best)
	}
	if _, best, ok := ratio(w, perCPU, of(4), nil); ok {
		t.Errorf("compares with %s of nobody", best)
	}
}
