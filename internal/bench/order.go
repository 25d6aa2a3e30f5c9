package bench

import "slices"

// order is what one reader has had of each publisher, who numbers messages from 1.
type order struct {
	last []uint32       // highest number, by publisher
	gaps map[int][]span // what is missing below it, in its order; nil where nothing was ever missing
}

type span struct{ from, to uint32 } // both included

type arrival uint8

const (
	inOrder  arrival = iota
	tooLate          // a higher number came before
	repeated         // it had come already
)

func newOrder(publishers int) order { return order{last: make([]uint32, publishers)} }

// take notes a message.
func (o *order) take(publisher int, n uint32) arrival {
	last := &o.last[publisher]
	if n > *last {
		if n > *last+1 {
			if o.gaps == nil {
				o.gaps = map[int][]span{}
			}
			o.gaps[publisher] = append(o.gaps[publisher], span{*last + 1, n - 1})
		}
		*last = n
		return inOrder
	}
	gaps := o.gaps[publisher]
	i, _ := slices.BinarySearchFunc(gaps, n, func(g span, n uint32) int { return int(int64(g.to) - int64(n)) })
	if i == len(gaps) || n < gaps[i].from {
		return repeated
	}
	var left []span
	g := gaps[i]
	if g.from < n {
		left = append(left, span{g.from, n - 1})
	}
	if n < g.to {
		left = append(left, span{n + 1, g.to})
	}
	o.gaps[publisher] = slices.Replace(gaps, i, i+1, left...)
	return tooLate
}
