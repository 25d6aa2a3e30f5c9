package storage

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A deque is a slice that items leave at the front, whatever the order of steps.
func TestDequeIsASlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q deque[int]
		var want []int
		next := 0
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			for range rapid.IntRange(0, 3*dequeChunk).Draw(t, "push") {
				q.push(next)
				want = append(want, next)
				next++
			}
			for range min(rapid.IntRange(0, 3*dequeChunk).Draw(t, "pop"), len(want)) {
				q.pop()
				want = want[1:]
			}
			got := make([]int, q.len())
			for i := range got {
				got[i] = q.at(i)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%d items, want %d", len(got), len(want))
			}
			if held := len(q.chunks) * dequeChunk; held > len(want)+2*dequeChunk {
				t.Fatalf("%d places are held for %d items", held, len(want))
			}
		}
	})
}

// What is popped is let go: the collector gets it even while its piece is in use.
func TestDequeLetsGo(t *testing.T) {
	var q deque[*int]
	q.push(new(int))
	q.push(new(int))
	q.pop()
	if q.chunks[0][0] != nil || q.at(0) == nil {
		t.Fatal("the item is still there")
	}
	q.pop()
	if q.chunks != nil {
		t.Fatal("an empty deque holds memory")
	}
}

func BenchmarkDeque(b *testing.B) {
	var q deque[tailItem]
	b.ReportAllocs()
	for i := range b.N {
		q.push(tailItem{seq: uint64(i)})
		if i >= 1_000_000 {
			q.pop()
		}
	}
}
