package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/storage"
)

// Hook is one webhook as configured.
type Hook struct {
	Name        string
	Target      Target
	Filter      Filter
	Concurrency int             // rooms that are sent of at once
	Retries     []time.Duration // between the tries of one event; after the last it is given up
}

const (
	window      = 4096 // items of the feed that may be ahead of the place; what a failover may repeat
	feedPage    = 256
	downAfter   = 5 // failures in a row: from there on one event is tried at a time, the oldest
	jitter      = 0.2
	maxPause    = time.Hour // of a Retry-After
	maxError    = 200       // bytes of an error that are kept
	brokenPause = time.Second
)

// Feed is what a sender reads of *storage.Store.
type Feed interface {
	Feed() (first, next uint64, on bool)
	FeedItems(from uint64, limit int) ([]storage.FeedItem, error)
	Entries(k storage.RoomKey, from, to uint64, limit, maxBytes int) ([]*storage.Entry, error)
}

// watcher is a *storage.Watcher.
type watcher interface {
	Wake() <-chan struct{}
	Take() storage.Changes
	Close()
}

// poster is an Endpoint.
type poster interface {
	Post(ctx context.Context, id string, body []byte) (Answer, error)
}

// sender brings one webhook its events, from its place on. Its loop owns everything but state; tries run beside it and report
// to it. Of one room one event is under way, and the next one waits for it.
//
//	order:  [done] [     ] [done] [     ]      by id; what is done at the front moves the place
//	                 |              |
//	lanes:         room a         room b       a lane is ready, under way, or waits for its next try
type sender struct {
	hook  Hook
	to    poster
	feed  Feed
	watch func() watcher
	log   *slog.Logger
	stats *figures
	bury  func(ctx context.Context, c *storage.FeedDead) bool // false: the log did not take it

	next    uint64 // id to be read
	order   []*pending
	lanes   map[storage.RoomKey]*lane
	ready   []*lane
	waiting map[*lane]struct{} // until their time
	active  int
	failed  int       // tries in a row
	pause   time.Time // nothing is tried before it
	results chan result

	mu    sync.Mutex
	state storage.HookPlace // of which others are told
}

type pending struct {
	item  storage.FeedItem
	gap   uint64 // of a gap: where it begins
	tries int
	done  bool
}

// lane is a room with events that are not done.
type lane struct {
	room  storage.RoomKey
	queue []*pending
	due   time.Time
}

// result is how a try ended.
type result struct {
	lane   *lane
	done   bool // sent, given up, or not wanted
	taken  bool // by the receiver
	buried bool
	off    bool
	why    string // it was not taken; "" = nobody was asked
	after  time.Duration
}

func newSender(h Hook, to poster, feed Feed, watch func() watcher, place uint64, log *slog.Logger, stats *figures) *sender {
	return &sender{
		hook: h, to: to, feed: feed, watch: watch, log: log.With("webhook", h.Name), stats: stats, next: place + 1,
		lanes: map[storage.RoomKey]*lane{}, waiting: map[*lane]struct{}{}, results: make(chan result, max(h.Concurrency, 1)),
		state: storage.HookPlace{Name: h.Name, Place: place},
	}
}

// where is how far it is.
func (s *sender) where() storage.HookPlace {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

func (s *sender) tell(f func(*storage.HookPlace)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.state)
}

// run sends until ctx ends, or the receiver wants no more. It waits for what it has under way.
func (s *sender) run(ctx context.Context) {
	watch := s.watch()
	defer watch.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer func() {
		for ; s.active > 0; s.active-- {
			<-s.results
		}
	}()
	for {
		if err := s.fill(); err != nil {
			s.log.Error("read the feed", "err", err)
			s.pause = later(s.pause, clock.Now().Add(brokenPause))
		}
		s.start(ctx)
		timer.Reset(s.wait())
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-watch.Wake():
			watch.Take()
		case r := <-s.results:
			if s.take(r); r.off {
				return
			}
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// fill reads what is new, as far as the window goes.
func (s *sender) fill() error {
	first, next, _ := s.feed.Feed()
	if s.next < first {
		s.add(&pending{item: storage.FeedItem{ID: first - 1}, gap: s.next})
		s.next = first
	}
	for len(s.order) < window && s.next < next {
		items, err := s.feed.FeedItems(s.next, feedPage)
		if err != nil {
			return err
		}
		if len(items) == 0 { // trimmed meanwhile, or a hole between eras
			if s.next, _, _ = s.feed.Feed(); s.next < next {
				s.next = next
			}
			break
		}
		for _, it := range items {
			if s.concerns(&it) {
				s.add(&pending{item: it})
			}
			s.next = it.ID + 1
		}
	}
	s.advance()
	return nil
}

// concerns leaves out what is certainly not wanted, without reading its entry.
func (s *sender) concerns(it *storage.FeedItem) bool {
	f := &s.hook.Filter
	if it.Only != "" && it.Only != s.hook.Name || !f.place(it.Room.NS, it.Room.Room) {
		return false
	}
	if it.Seq == 0 {
		return Match(f.Events, "room."+it.Event)
	}
	t := typeOfMessage(it.Type)
	return t == "" || Match(f.Events, t)
}

func (s *sender) add(p *pending) {
	s.order = append(s.order, p)
	l := s.lanes[p.item.Room]
	if l == nil {
		l = &lane{room: p.item.Room}
		s.lanes[l.room] = l
		s.ready = append(s.ready, l)
	}
	l.queue = append(l.queue, p)
}

// advance moves the place over what is done.
func (s *sender) advance() {
	n := 0
	for n < len(s.order) && s.order[n].done {
		n++
	}
	if n > 0 {
		s.order = append(s.order[:0], s.order[n:]...)
	}
	place := s.next - 1
	if len(s.order) > 0 {
		place = s.order[0].item.ID - 1
		if g := s.order[0].gap; g != 0 {
			place = g - 1
		}
	}
	s.tell(func(p *storage.HookPlace) { p.Place = max(p.Place, place) })
}

func (s *sender) down() bool { return s.failed >= downAfter }

// start begins as many tries as may run. While the receiver is down only the oldest event is tried.
func (s *sender) start(ctx context.Context) {
	now := clock.Now()
	for l := range s.waiting {
		if !l.due.After(now) {
			delete(s.waiting, l)
			s.ready = append(s.ready, l)
		}
	}
	if s.pause.After(now) {
		return
	}
	if s.down() {
		if s.active == 0 && len(s.order) > 0 {
			oldest := s.lanes[s.order[0].item.Room]
			for i, l := range s.ready {
				if l == oldest {
					s.ready = append(s.ready[:i], s.ready[i+1:]...)
					s.try(ctx, l)
					break
				}
			}
		}
		return
	}
	for s.active < s.hook.Concurrency && len(s.ready) > 0 {
		l := s.ready[0]
		s.ready = s.ready[1:]
		s.try(ctx, l)
	}
}

func (s *sender) try(ctx context.Context, l *lane) {
	s.active++
	p := l.queue[0]
	p.tries++
	// An event that alone holds up everything behind it is given up at once: the receiver takes the others.
	last := p.tries > len(s.hook.Retries) || p.tries > 1 && len(s.order) >= window && s.failed == 0 && p == s.order[0]
	go func() { s.results <- s.send(ctx, l, p, p.tries, last) }()
}

// send is one try.
func (s *sender) send(ctx context.Context, l *lane, p *pending, tries int, last bool) (r result) {
	r.lane = l
	ev, err := s.event(p)
	switch {
	case err != nil:
		r.why = "the event cannot be read: " + err.Error()
		return r
	case !s.hook.Filter.Wants(&ev):
		r.done = true
		return r
	}
	a, err := s.to.Post(ctx, ev.ID, ev.Body())
	switch {
	case err == nil && a.OK():
		r.done, r.taken = true, true
		s.stats.sent.Add(1)
		return r
	case ctx.Err() != nil:
		return r // not the receiver's fault
	case err != nil:
		r.why = short(err.Error())
	case a.Status == http.StatusGone:
		r.why, r.off = "410 Gone: the receiver wants no more", true
	default:
		r.why, r.after = fmt.Sprintf("the receiver answered %d", a.Status), min(a.RetryAfter, maxPause)
	}
	s.stats.failed.Add(1)
	switch {
	case !last || r.off:
	case p.gap != 0: // it says only that something is missing; what comes after it must not wait for ever
		s.log.Warn("a gap was not taken", "from", p.gap, "to", p.item.ID, "why", r.why)
		r.done = true
	default:
		r.buried = s.bury(ctx, &storage.FeedDead{Hook: s.hook.Name, ID: p.item.ID, Tries: tries, Error: r.why, Max: maxDead})
		r.done = r.buried
	}
	return r
}

func short(s string) string {
	if len(s) > maxError {
		s = s[:maxError]
	}
	return s
}

func (s *sender) event(p *pending) (Event, error) {
	if p.gap != 0 {
		return gapEvent(p.gap, p.item.ID, clock.UnixMilli()), nil
	}
	if p.item.Seq == 0 {
		return eventOf(&p.item, nil), nil
	}
	es, err := s.feed.Entries(p.item.Room, p.item.Seq, p.item.Seq, 1, 1)
	if err != nil || len(es) == 0 || es[0].Seq != p.item.Seq {
		return eventOf(&p.item, nil), err
	}
	return eventOf(&p.item, es[0]), nil
}

// take settles a try.
func (s *sender) take(r result) {
	s.active--
	l := r.lane
	p := l.queue[0]
	if r.done {
		p.done = true
		l.queue[0] = nil
		if l.queue = l.queue[1:]; len(l.queue) == 0 {
			delete(s.lanes, l.room)
		} else {
			s.ready = append(s.ready, l)
		}
		if r.buried {
			s.stats.dead.Add(1)
			s.log.Warn("an event is given up", "room", l.room.Room, "tries", p.tries, "why", r.why)
		}
		s.advance()
	} else {
		l.due = clock.Now().Add(max(s.delay(p.tries), r.after))
		s.waiting[l] = struct{}{}
	}
	if r.taken {
		if s.down() {
			s.log.Info("the receiver is back")
			for w := range s.waiting { // it is to be asked for these now
				w.due = clock.Now()
			}
		}
		s.failed, s.pause = 0, time.Time{}
		s.tell(func(p *storage.HookPlace) { p.Error = "" })
		return
	}
	if r.why == "" {
		return
	}
	if s.failed++; s.failed == downAfter {
		s.log.Warn("the receiver takes nothing; its events wait", "why", r.why)
	}
	if r.after > 0 {
		s.pause = later(s.pause, clock.Now().Add(r.after))
	}
	s.tell(func(p *storage.HookPlace) { p.Error, p.Off = r.why, r.off })
	if r.off {
		s.log.Warn("the receiver wants no more events; they wait for the next reload of the configuration")
	}
}

// delay is how long the next try of an event waits.
func (s *sender) delay(tries int) time.Duration {
	r := s.hook.Retries
	if len(r) == 0 {
		return brokenPause
	}
	d := float64(r[min(max(tries, 1), len(r))-1])
	return time.Duration(d * (1 - jitter + 2*jitter*rand.Float64()))
}

// wait is how long there is nothing to do but to listen.
func (s *sender) wait() time.Duration {
	next := clock.Now().Add(time.Hour)
	if len(s.waiting) > 0 || s.pause.After(clock.Now()) {
		for l := range s.waiting {
			if l.due.Before(next) {
				next = l.due
			}
		}
		if s.pause.After(clock.Now()) {
			next = s.pause
		}
	}
	return max(clock.Until(next), time.Millisecond)
}
