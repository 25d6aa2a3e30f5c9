package presence

// queue holds what waits for its time, in the order of the times: each is added with one that is not before the last.
// Where one is, by a moment, it waits for that moment.
type queue[T any] struct{ all []timed[T] }

type timed[T any] struct {
	v  T
	at int64 // ms
}

func (q *queue[T]) add(v T, at int64) { q.all = append(q.all, timed[T]{v, at}) }

// ripe takes out what has waited until now.
func (q *queue[T]) ripe(now int64, f func(v T, at int64)) {
	n := 0
	for ; n < len(q.all) && q.all[n].at <= now; n++ {
		f(q.all[n].v, q.all[n].at)
	}
	clear(q.all[:n])
	if q.all = q.all[n:]; len(q.all) == 0 {
		q.all = nil
	}
}
