package webhook

import (
	"context"
	"hash/fnv"
	"log/slog"
	"sync"
)

// notifyQueue is how many events that are in no log wait for one webhook. Beyond it the oldest goes.
const notifyQueue = 1000

// notifier sends what is in no log: at most once, those of one user in order, and the newest when there are too many.
type notifier struct {
	hook  Hook
	to    poster
	log   *slog.Logger
	stats *figures
	lanes []*notifyLane
}

type notifyLane struct {
	mu    sync.Mutex
	queue []Event
	wake  chan struct{}
}

func newNotifier(h Hook, to poster, log *slog.Logger, stats *figures) *notifier {
	n := &notifier{hook: h, to: to, log: log.With("webhook", h.Name), stats: stats}
	for range max(h.Concurrency, 1) {
		n.lanes = append(n.lanes, &notifyLane{wake: make(chan struct{}, 1)})
	}
	return n
}

// add takes an event if the webhook wants it. It does not wait.
func (n *notifier) add(e *Event) {
	if !n.hook.Filter.Wants(e) {
		return
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(e.Namespace + "/" + e.User)) // never fails
	l := n.lanes[h.Sum32()%uint32(len(n.lanes))]
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= max(notifyQueue/len(n.lanes), 1) {
		l.queue = append(l.queue[:0], l.queue[1:]...)
		n.stats.dropped.Add(1)
	}
	l.queue = append(l.queue, *e)
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run sends until ctx ends.
func (n *notifier) run(ctx context.Context) {
	var all sync.WaitGroup
	for _, l := range n.lanes {
		all.Go(func() { n.serve(ctx, l) })
	}
	all.Wait()
}

func (n *notifier) serve(ctx context.Context, l *notifyLane) {
	for {
		for e, ok := l.pop(); ok && ctx.Err() == nil; e, ok = l.pop() {
			a, err := n.to.Post(ctx, e.ID, e.Body())
			if err == nil && a.OK() {
				n.stats.sent.Add(1)
				continue
			}
			n.stats.failed.Add(1)
			n.log.Debug("an event was not taken", "type", e.Type, "status", a.Status, "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
	}
}

func (l *notifyLane) pop() (e Event, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		return e, false
	}
	e, l.queue = l.queue[0], l.queue[1:]
	return e, true
}
