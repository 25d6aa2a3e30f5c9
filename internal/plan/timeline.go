package main

import "time"

// timeline runs events in the order of their times; of two at the same time, the one that was asked for first. It is
// used by one goroutine.
type timeline struct {
	now   time.Duration
	asked int64
	queue []event // a heap, the next event first
}

type event struct {
	at    time.Duration
	asked int64
	do    func()
}

func (e *event) before(f *event) bool { return e.at < f.at || e.at == f.at && e.asked < f.asked }

// after runs do when d has passed.
func (t *timeline) after(d time.Duration, do func()) {
	t.asked++
	e := event{at: t.now + d, asked: t.asked, do: do}
	t.queue = append(t.queue, e)
	i := len(t.queue) - 1
	for i > 0 && e.before(&t.queue[(i-1)/2]) {
		t.queue[i] = t.queue[(i-1)/2]
		i = (i - 1) / 2
	}
	t.queue[i] = e
}

// each runs do with the number of each of these times, which must be in order.
func (t *timeline) each(times []time.Duration, do func(i int)) {
	i := 0
	var next func()
	next = func() {
		if i++; i < len(times) {
			t.after(times[i]-t.now, next)
		}
		do(i - 1)
	}
	if len(times) > 0 {
		t.after(times[0]-t.now, next)
	}
}

// run returns when no event is left.
func (t *timeline) run() {
	for len(t.queue) > 0 {
		next := t.take()
		t.now = next.at
		next.do()
	}
}

// take removes the first event of the heap.
func (t *timeline) take() event {
	q := t.queue
	first, e := q[0], q[len(q)-1]
	q[len(q)-1] = event{}
	q = q[:len(q)-1]
	for i := 0; len(q) > 0; {
		child := 2*i + 1
		if child+1 < len(q) && q[child+1].before(&q[child]) {
			child++
		}
		if child >= len(q) || e.before(&q[child]) {
			q[i] = e
			break
		}
		q[i] = q[child]
		i = child
	}
	t.queue = q
	return first
}
