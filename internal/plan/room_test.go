package main

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// fast is a machine whose line limits nothing.
func fast(cores int) machine { return machine{cores: cores, nic: 1e6 * gigabit} }

// A room computed by hand: three connections, one writer, a send 210 µs and 100 µs for each frame; an entry takes 450 µs.
//
//	published   in the log      swept                                          reaches a, b, c
//	0           0 to 450        450 to 1380, 310 µs each                       760, 1070, 1380
//	100         450 to 900      waits for the sweep                            1790, 2200, 2610
//	600         900 to 1350     with the one before: 1380 to 2610, 410 µs each the same
func TestRoomByHand(t *testing.T) {
	r := &room{nodes: 1, connections: 3, machine: fast(2), send: sendCost{210 * us, 100 * us}}
	o, err := r.play([]time.Duration{0, 100 * us, 600 * us})
	if err != nil {
		t.Fatal(err)
	}
	var got []time.Duration
	for _, s := range o.latency {
		for i := range s.count {
			got = append(got, s.first+time.Duration(i)*s.step)
		}
	}
	want := []time.Duration{760, 1070, 1380, 1690, 2100, 2510, 1190, 1600, 2010}
	for i := range want {
		want[i] *= us
	}
	if !slices.Equal(got, want) {
		t.Errorf("latencies %v, want %v", got, want)
	}
	if p50 := o.latency.quantile(0.5); p50 != 1600*us {
		t.Errorf("p50 %v, want 1.6ms", p50)
	}
	const sends, frames = 6, 9
	if o.framesPerSend != float64(frames)/sends {
		t.Errorf("%v frames per send, want 1.5", o.framesPerSend)
	}
	if want := (3*450. + 3*310 + 3*410) / 2610 / 2; math.Abs(o.cpu-want) > 1e-9 {
		t.Errorf("CPU %v, want %v", o.cpu, want)
	}
	if want := 8 * 3 * float64(onWire(1)+onWire(2)) / 2610e-6; math.Abs(o.egress-want) > 1e-3 {
		t.Errorf("%v bits per second, want %v", o.egress, want)
	}
}

// A message alone reaches the nodes of each layer when hand computation says: log 450 µs, quorum 650 µs, a replica 5 to
// 10 ms and a hop later, a node behind a relay one more hop later; then a send.
func TestLayers(t *testing.T) {
	for _, c := range []struct {
		nodes    int
		from, to time.Duration // of the last delivery, a send of 10 µs included
	}{
		{1, 460 * us, 460 * us},
		{2, 460*us + 5*ms + hop, 460*us + 10*ms + hop},
		{3, 1110*us + 5*ms + hop, 1110*us + 10*ms + hop},
		{17, 1110*us + 5*ms + hop, 1110*us + 10*ms + hop},
		{273, 1110*us + 5*ms + 2*hop, 1110*us + 10*ms + 2*hop},
	} {
		r := &room{nodes: c.nodes, connections: c.nodes, machine: fast(2), send: sendCost{10 * us, 0}}
		o, err := r.play([]time.Duration{0})
		if err != nil {
			t.Fatal(err)
		}
		if got := o.latency.quantile(1); got < c.from || got > c.to {
			t.Errorf("%d nodes: the last delivery is after %v, want %v to %v", c.nodes, got, c.from, c.to)
		}
	}
	if _, err := (&room{nodes: maxNodes + 1, machine: fast(2)}).play(nil); err == nil {
		t.Errorf("%d nodes were fed through one layer of relays", maxNodes+1)
	}
}

// Every message reaches every connection once, whatever the shape.
func TestEveryFrameOnce(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 60 {
		r := &room{
			nodes: 1 + rnd.IntN(60), connections: 1 + rnd.IntN(5000), machine: machine{1 + rnd.IntN(16), gigabit, 0, 0},
			send: measured, toldAtOnce: rnd.IntN(2) == 0, sweepEvery: time.Duration(rnd.IntN(2)) * 50 * ms,
		}
		o, err := r.play(arrivals(math.Pow(10, 4*rnd.Float64()), 1+rnd.IntN(100), rnd.Uint64()))
		if err != nil {
			t.Fatal(err)
		}
		for m, n := range o.delivered {
			if n != int64(r.connections) {
				t.Fatalf("%+v: message %d was delivered %d times", r, m, n)
			}
		}
		if n := o.latency.count(); n != int64(r.connections*len(o.delivered)) {
			t.Fatalf("%+v: %d latencies of %d messages", r, n, len(o.delivered))
		}
		if first := slices.MinFunc(o.latency, func(a, b series) int { return int(a.first - b.first) }).first; first < entryWall {
			t.Fatalf("%+v: a frame came %v after its publish, before its entry was synced", r, first)
		}
	}
}

// More nodes never raise the p99 of a million connections. (With sweeps shorter than a hop one more layer would.)
func TestMoreNodesAreNotSlower(t *testing.T) {
	for cores, all := range map[int][]int{4: {1, 2, 4, 16, 17, 18, 64, 128, 273}, 16: {1, 4, 17, 18, 64}} {
		for _, rate := range []float64{1, 10, 100} {
			before := time.Duration(math.MaxInt64)
			for _, nodes := range all {
				o, err := layout{nodes, cores, 25}.room(rate).simulate()
				if behind := (errBehind{}); errors.As(err, &behind) {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if p99 := o.latency.quantile(0.99); p99 > before {
					t.Errorf("%d cores, %v messages/s: p99 %v on %d nodes, less on fewer: %v", cores, rate, p99, nodes, before)
				} else {
					before = p99
				}
			}
		}
	}
}

// Just below its limit a room's latencies do not depend on how long the stream is; just above they grow with it.
func TestLimits(t *testing.T) {
	base := room{nodes: 1, connections: 2000, machine: fast(2), send: measured, rate: 1}
	slow := base
	slow.machine.nic = gigabit / 10
	for name, r := range map[string]room{"CPU": base, "line": slow} {
		at := func(share float64, messages int) time.Duration {
			limit := 1 / (2000 * measured.frame.Seconds())
			if name == "line" {
				_, _, limit = r.limits(time.Second)
			}
			r.rate = limit * share
			if behind := (errBehind{}); errors.As(r.keepsUp(), &behind) != (share > 1) || share > 1 && behind.what != name {
				t.Errorf("%s: at %v of the limit: %v", name, share, r.keepsUp())
			}
			o, err := r.play(arrivals(r.rate, messages, 1))
			if err != nil {
				t.Fatal(err)
			}
			return o.latency.quantile(0.99)
		}
		if short, long := at(0.8, 2000), at(0.8, 8000); long > 2*short {
			t.Errorf("%s: below the limit p99 grew from %v to %v with the stream", name, short, long)
		}
		if short, long := at(1.5, 2000), at(1.5, 8000); long < 2*short {
			t.Errorf("%s: above the limit p99 stayed at %v, %v before", name, long, short)
		}
	}
}

// With a steady stream the simulation meets the closed formula: a sweep that takes d carries rate*d frames to each
// connection, so d = connections*base / (1 - rate*connections*frame).
func TestSteadySweep(t *testing.T) {
	r := &room{nodes: 1, connections: 10_000, machine: fast(2), send: measured, rate: 300}
	times := make([]time.Duration, 3000)
	for i := range times {
		times[i] = time.Duration(i) * time.Second / 300
	}
	o, err := r.play(times)
	if err != nil {
		t.Fatal(err)
	}
	d := 10_000 * measured.base.Seconds() / (1 - 300*10_000*measured.frame.Seconds())
	if want := 300 * d; math.Abs(o.framesPerSend-want) > 0.05*want {
		t.Errorf("%v frames per send, the formula says %v", o.framesPerSend, want)
	}
}

func TestEverybodyComesBack(t *testing.T) {
	s := storm{clients: 7000 * 3, perSecond: 7000}
	if o := s.simulate(); (o.all-3*time.Second).Abs() > 100*ms || o.failed != 0 {
		t.Errorf("three seconds of work took %v, with %v failed tries per client", o.all, o.failed)
	}
	s.clients = 7000 * 40
	plain := s.simulate()
	s.admission = true
	admitted := s.simulate()
	if least := 40 * time.Second; plain.all < least || admitted.all < least {
		t.Errorf("40 s of work took %v, with admission %v", plain.all, admitted.all)
	}
	if admitted.all > plain.all/2 || admitted.failed > plain.failed {
		t.Errorf("admission: %+v, without %+v", admitted, plain)
	}
}
