package storage

// dequeChunk is how many items one piece of a deque has.
const dequeChunk = 512

// deque is a first-in-first-out list with access by index. It grows piece by piece: nothing that is in it is ever moved,
// so that an append costs the same with ten items and with a million. (A slice of a million tail items took 10 ms to grow,
// and all publishers waited.) The zero value is empty.
type deque[T any] struct {
	chunks [][]T // all but the last are full
	first  int   // items of chunks[0] that are gone
	n      int
}

func (q *deque[T]) len() int { return q.n }

// at returns item i, counted from the oldest.
func (q *deque[T]) at(i int) T {
	i += q.first
	return q.chunks[i/dequeChunk][i%dequeChunk]
}

// set replaces item i.
func (q *deque[T]) set(i int, v T) {
	i += q.first
	q.chunks[i/dequeChunk][i%dequeChunk] = v
}

func (q *deque[T]) push(v T) {
	last := len(q.chunks) - 1
	if last < 0 || len(q.chunks[last]) == dequeChunk {
		q.chunks = append(q.chunks, nil)
		if last++; last > 0 {
			q.chunks[last] = make([]T, 0, dequeChunk) // the first grows as it needs to: most lists are short
		}
	}
	q.chunks[last] = append(q.chunks[last], v)
	q.n++
}

// pop removes the oldest item. There must be one.
func (q *deque[T]) pop() {
	var zero T
	q.chunks[0][q.first] = zero
	q.first++
	if q.n--; q.n == 0 {
		*q = deque[T]{}
		return
	}
	if q.first == dequeChunk {
		q.chunks[0] = nil
		q.chunks, q.first = q.chunks[1:], 0
	}
}
