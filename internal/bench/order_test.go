package bench

import (
	"maps"
	"testing"

	"pgregory.net/rapid"
)

// A reader knows of every message whether it is new, late or had before, as one who remembers all of them does.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := newOrder(2)
		type message struct {
			publisher int
			n         uint32
		}
		had, highest := map[message]bool{}, [2]uint32{}
		for range rapid.IntRange(0, 200).Draw(t, "messages") {
			m := message{rapid.IntRange(0, 1).Draw(t, "publisher"), rapid.Uint32Range(1, 40).Draw(t, "n")}
			want := inOrder
			switch {
			case had[m]:
				want = repeated
			case m.n < highest[m.publisher]:
				want = tooLate
			}
			if got := o.take(m.publisher, m.n); got != want {
				t.Fatalf("%+v is %v, want %v; had %v", m, got, want, maps.Collect(maps.All(had)))
			}
			had[m] = true
			highest[m.publisher] = max(highest[m.publisher], m.n)
		}
	})
}

// What arrives in order costs no memory.
func TestOrderWithoutGaps(t *testing.T) {
	o := newOrder(1)
	if allocs := testing.AllocsPerRun(100, func() { o.take(0, o.last[0]+1) }); allocs != 0 || o.gaps != nil {
		t.Errorf("%v allocations, gaps %v", allocs, o.gaps)
	}
}

func TestFlight(t *testing.T) {
	var f flight
	if _, ok := f.settle(0); ok || f.len() != 0 || f.full() {
		t.Fatal("a new flight has something under way")
	}
	rapid.Check(t, func(t *rapid.T) {
		var f flight
		model := map[uint16]int64{}
		for i := range rapid.IntRange(0, 100).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "add") {
				id := f.add(int64(i + 1))
				if _, taken := model[id]; taken || id == 0 {
					t.Fatalf("id %d is taken or 0", id)
				}
				model[id] = int64(i + 1)
			} else {
				id := rapid.Uint16Range(0, 20).Draw(t, "id")
				v, ok := f.settle(id)
				if want, there := model[id]; v != want || ok != there {
					t.Fatalf("settle %d: %d, %v; want %d, %v", id, v, ok, want, there)
				}
				delete(model, id)
			}
			if f.len() != len(model) {
				t.Fatalf("%d under way, want %d", f.len(), len(model))
			}
		}
	})
	for i := range maxInFlight {
		if f.full() {
			t.Fatalf("full with %d", i)
		}
		f.add(1)
	}
	if _, ok := f.settle(maxInFlight); !ok || f.full() || f.add(1) != maxInFlight || !f.full() {
		t.Errorf("%d under way", f.len())
	}
}
