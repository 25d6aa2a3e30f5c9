package calls

import (
	"fmt"
	"math/bits"
	"testing"

	"pgregory.net/rapid"
)

// Whatever the limit and the order, one node stays below it, each other goes past it by a part at most, and the list is counted
// far less often than rooms are taken.
func TestSparesStayBelowTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 500).Draw(t, "most")
		nodes := make([]spares, rapid.IntRange(1, spareParts).Draw(t, "nodes"))
		has, counts := 0, 0
		for range 4 * most {
			s := &nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "node")]
			if !s.take("chat", "ann", most) {
				if has >= most {
					continue
				}
				counts++
				s.counted("chat", "ann", has, most)
			}
			has++
		}
		if has > most+most/spareParts*len(nodes) {
			t.Fatalf("%d of %d", has, most)
		}
		// Each count is good for an eighth of what is left, until that is less than one.
		if len(nodes) == 1 && counts > spareParts*(bits.Len(uint(most))+1) {
			t.Fatalf("counted %d times for %d", counts, most)
		}
		if len(nodes) == 1 && has > most {
			t.Fatalf("%d of %d on one node", has, most)
		}
	})
}

// Another limit, another user and another namespace are counted anew, and what is remembered is bounded.
func TestSparesAreOfOneUser(t *testing.T) {
	var s spares
	s.counted("chat", "ann", 0, 1000)
	if s.take("chat", "bob", 1000) || s.take("other", "ann", 1000) || !s.take("chat", "ann", 1000) {
		t.Error("somebody else's")
	}
	if s.take("chat", "ann", 2000) || s.take("chat", "ann", 1000) {
		t.Error("of another limit")
	}
	for i := range 3 * spareMost {
		s.counted("chat", fmt.Sprint(i), 0, 1000)
	}
	if len(s.of) > spareMost {
		t.Errorf("%d users are remembered", len(s.of))
	}
}
