package broker

import (
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// A worker that waits is woken by the next id, whichever way the two meet.
func TestPubacksWake(t *testing.T) {
	var p pubacks
	if p.add(1) {
		t.Error("nobody waits, and somebody is woken")
	}
	if p.want() {
		t.Error("an id is here, and the worker waits")
	}
	if got := p.take(); !slices.Equal(got, []uint16{1}) {
		t.Errorf("taken: %v", got)
	}
	if !p.want() {
		t.Error("no id is here, and the worker does not wait")
	}
	if !p.add(2) {
		t.Error("the worker waits, and is not woken")
	}
	if p.add(3) {
		t.Error("the worker is woken twice")
	}
	if got := p.take(); !slices.Equal(got, []uint16{2, 3}) {
		t.Errorf("taken: %v", got)
	}
}

// No id gets lost or changes its place while both sides work.
func TestPubacksKeepTheOrder(t *testing.T) {
	var p pubacks
	const count = 50_000
	wake := make(chan struct{}, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		for id := range count {
			if p.add(uint16(id)) {
				select {
				case wake <- struct{}{}:
				default:
				}
			}
		}
	})
	next := 0
	for next < count {
		for _, id := range p.take() {
			if id != uint16(next) {
				t.Fatalf("id %d in the place of %d", id, uint16(next))
			}
			next++
		}
		if next < count && p.want() {
			<-wake
		}
	}
	wg.Wait()
}

// A client that acknowledges for ever what nobody sent holds a bounded amount of memory.
func TestPubacksAreBounded(t *testing.T) {
	var p pubacks
	for id := range 1_000_000 {
		p.add(uint16(id))
	}
	if n := len(p.take()); n > packetIDs {
		t.Errorf("%d ids are kept", n)
	}
}

// The window against a model: a delivery is in flight until it, and all before it, are acknowledged.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		w := newWindow(limit)
		cur := &cursor{}
		type flight struct {
			id    uint16
			seq   uint64
			acked bool
		}
		var model []flight
		seq := uint64(0)
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "send") && !w.full() {
				seq++
				model = append(model, flight{id: w.take(cur, seq), seq: seq})
			} else if len(model) > 0 {
				i := rapid.IntRange(0, len(model)-1).Draw(t, "which")
				model[i].acked = true
				w.ack(model[i].id)
				for len(model) > 0 && model[0].acked {
					model = model[1:]
				}
			}
			w.ack(uint16(rapid.IntRange(60000, 65535).Draw(t, "nonsense")))
			if w.full() != (len(model) == limit) || w.free() != limit-len(model) || w.empty() != (len(model) == 0) {
				t.Fatalf("full %v, free %d, empty %v with %d of %d in flight", w.full(), w.free(), w.empty(), len(model), limit)
			}
			var low uint64
			for _, f := range model {
				if !f.acked {
					low = f.seq
					break
				}
			}
			if got := w.lowest(cur); got != low {
				t.Fatalf("lowest not acknowledged: %d, want %d", got, low)
			}
		}
	})
}
