package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/storage"
)

const (
	maxDead     = 1000               // letters of one webhook
	placesTick  = time.Second        // between what the log is told of places
	seenTick    = time.Hour          // and of which webhooks there are
	keepUnseen  = 3 * 24 * time.Hour // a webhook that no configuration names any more
	keepItems   = 2_000_000          // ids of the feed, for a webhook that takes nothing; an era takes a million
	keepAge     = 3 * 24 * time.Hour // likewise
	ageTick     = time.Minute        // between looks for items that are too old
	logPatience = 10 * time.Second   // for the log to take a command of the leader's
)

// Store is what Hooks needs of *storage.Store.
type Store interface {
	Feed
	Webhooks() ([]storage.Webhook, error)
	Watch() *storage.Watcher
}

// Log takes changes of the replicated state; see calls.Log.
type Log interface {
	Propose(cmd storage.Command, done func(storage.Result, error))
}

// Leader is what the webhooks must know of the cluster.
type Leader interface {
	IsLeader() bool
	LeaderChanges() <-chan struct{}
	LogTime() int64        // ms
	DestructionHeld() bool // the clock jumped: nothing is removed for a while
}

// Config of New. All of it is needed.
type Config struct {
	Store  Store
	Log    Log
	Leader Leader
	Logger *slog.Logger
}

// Hooks sends to the webhooks of a node's configuration: what is in the log when the node leads, what is told by Notify always.
type Hooks struct {
	cfg Config
	log *slog.Logger

	mu    sync.Mutex
	set   chan struct{} // closed and replaced by Set
	hooks []Hook
	ends  map[string]*Endpoint
	told  map[string]*notifier
	stats map[string]*figures
	now   []*sender // while this node leads
}

// New returns Hooks without a webhook. Run does the work.
func New(cfg Config) *Hooks {
	return &Hooks{
		cfg: cfg, log: cfg.Logger.With("component", "webhooks"), set: make(chan struct{}), stats: map[string]*figures{},
		ends: map[string]*Endpoint{}, told: map[string]*notifier{},
	}
}

// Set takes over the webhooks of a configuration. An error leaves everything as it was.
func (h *Hooks) Set(hooks []Hook) error {
	ends := map[string]*Endpoint{}
	var errs []error
	for i := range hooks {
		w := &hooks[i]
		w.Target.Conns = w.Concurrency
		e, err := NewEndpoint(w.Target)
		if err != nil {
			errs = append(errs, fmt.Errorf("webhook %s: %w", w.Name, err))
			continue
		}
		ends[w.Name] = e
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.ends {
		e.Close()
	}
	h.hooks, h.ends, h.told = hooks, ends, map[string]*notifier{}
	for _, w := range hooks {
		if h.stats[w.Name] == nil {
			h.stats[w.Name] = &figures{}
		}
		h.told[w.Name] = newNotifier(w, ends[w.Name], h.log, h.stats[w.Name])
	}
	close(h.set)
	h.set = make(chan struct{})
	return nil
}

// Notify sends an event that is in no log to the webhooks that want it: at most once, events of one user in order. It does
// not wait; when too many wait already the oldest are dropped, and counted.
func (h *Hooks) Notify(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range h.told {
		n.add(&e)
	}
}

// wants reports whether a webhook wants events of a type, of whatever room.
func (h *Hooks) wants(typ string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.hooks {
		if Match(w.Filter.Events, typ) {
			return true
		}
	}
	return false
}

// dropped counts an event that nobody was told of, since too many waited.
func (h *Hooks) dropped(typ string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, n := range h.told {
		if Match(n.hook.Filter.Events, typ) {
			h.stats[name].dropped.Add(1)
		}
	}
}

// Run does the work until ctx ends.
func (h *Hooks) Run(ctx context.Context) {
	var told sync.WaitGroup
	defer told.Wait()
	told.Go(func() {
		for ctx.Err() == nil {
			h.notify(ctx)
		}
	})
	for ctx.Err() == nil {
		h.round(ctx)
	}
}

// notify sends what Notify is told, for one configuration.
func (h *Hooks) notify(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	h.mu.Lock()
	set := h.set
	for _, n := range h.told {
		all.Go(func() { n.run(ctx) })
	}
	h.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-set:
	}
}

// round is one configuration and one time of leading, or of not leading.
func (h *Hooks) round(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	changes := h.cfg.Leader.LeaderChanges()
	leads := h.cfg.Leader.IsLeader()
	h.mu.Lock()
	hooks, ends, set := h.hooks, h.ends, h.set
	h.mu.Unlock()
	if leads {
		senders, ok := h.begin(ctx, hooks, ends)
		if !ok {
			select {
			case <-ctx.Done():
			case <-time.After(placesTick):
			}
			return
		}
		for _, s := range senders {
			all.Go(func() { s.run(ctx) })
		}
		h.mu.Lock()
		h.now = senders
		h.mu.Unlock()
		defer func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.now = nil
		}()
		if _, _, on := h.cfg.Store.Feed(); on || len(senders) > 0 { // the log knows one that no configuration names any more
			all.Go(func() { h.keep(ctx, hooks, senders) })
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-set:
			return
		case <-changes:
			if h.cfg.Leader.IsLeader() != leads {
				return
			}
			changes = h.cfg.Leader.LeaderChanges()
		}
	}
}

// begin tells the log which webhooks there are and makes their senders, each at its place.
func (h *Hooks) begin(ctx context.Context, hooks []Hook, ends map[string]*Endpoint) (out []*sender, ok bool) {
	if ok := h.announce(ctx, hooks); !ok {
		return nil, false
	}
	known, err := h.cfg.Store.Webhooks()
	if err != nil {
		h.log.Error("read the webhooks", "err", err)
		return nil, false
	}
	places := map[string]uint64{}
	for _, w := range known {
		places[w.Name] = w.Place
	}
	for _, w := range hooks {
		place, known := places[w.Name]
		if !known {
			return nil, false // said a moment ago, not applied here yet
		}
		out = append(out, h.sender(w, ends[w.Name], place))
	}
	return out, true
}

func (h *Hooks) sender(w Hook, e *Endpoint, place uint64) *sender {
	h.mu.Lock()
	stats := h.stats[w.Name]
	h.mu.Unlock()
	s := newSender(w, e, h.cfg.Store, func() watcher { return h.cfg.Store.Watch() }, place, h.log, stats)
	s.bury = func(ctx context.Context, c *storage.FeedDead) bool {
		r, ok := h.propose(ctx, c)
		return ok && (r.Outcome == storage.Done || r.Outcome == storage.NotFound)
	}
	return s
}

// announce says which webhooks there are, unless there is none and the log knows none.
func (h *Hooks) announce(ctx context.Context, hooks []Hook) bool {
	if _, _, on := h.cfg.Store.Feed(); !on && len(hooks) == 0 {
		return true
	}
	c := &storage.FeedHooks{Keep: keepUnseen.Milliseconds()}
	for _, w := range hooks {
		c.Names = append(c.Names, w.Name)
	}
	r, ok := h.propose(ctx, c)
	if ok && r.Outcome != storage.Done {
		h.log.Error("the webhooks cannot be kept", "why", r.Detail)
	}
	return ok
}

// keep tells the log how far the webhooks are, and lets go what is kept too long for one.
func (h *Hooks) keep(ctx context.Context, hooks []Hook, senders []*sender) {
	tick := time.NewTicker(placesTick)
	defer tick.Stop()
	told := map[string]storage.HookPlace{}
	seen, aged := clock.Now(), time.Time{}
	for {
		select {
		case <-ctx.Done():
			h.flush(senders, told)
			return
		case <-tick.C:
		}
		h.flush(senders, told)
		now := clock.Now()
		if now.Sub(seen) >= seenTick {
			seen = now
			h.announce(ctx, hooks)
		}
		if h.cfg.Leader.DestructionHeld() {
			continue
		}
		first, next, _ := h.cfg.Store.Feed()
		upto := uint64(0)
		if next-first > keepItems {
			upto = next - 1 - keepItems
		}
		if now.Sub(aged) >= ageTick {
			aged = now
			upto = max(upto, h.tooOld(first))
		}
		if upto >= first {
			h.propose(ctx, &storage.FeedTrim{Upto: upto, MaxAge: keepAge.Milliseconds(), MaxCount: keepItems})
		}
	}
}

// tooOld is the last item of the oldest page that is older than it may be, 0 = none.
func (h *Hooks) tooOld(first uint64) (upto uint64) {
	items, err := h.cfg.Store.FeedItems(first, feedPage)
	if err != nil {
		h.log.Error("read the feed", "err", err)
		return 0
	}
	oldest := h.cfg.Leader.LogTime() - keepAge.Milliseconds()
	for i := range items {
		if items[i].At >= oldest {
			break
		}
		upto = items[i].ID
	}
	return upto
}

// flush proposes the places that are others than the log was told, and does not wait: the next one says more.
func (h *Hooks) flush(senders []*sender, told map[string]storage.HookPlace) {
	c := &storage.FeedPlaces{}
	for _, s := range senders {
		if w := s.where(); w != told[w.Name] {
			told[w.Name] = w
			c.Places = append(c.Places, w)
		}
	}
	if len(c.Places) > 0 {
		h.cfg.Log.Propose(c, func(storage.Result, error) {})
	}
}

// propose waits for the outcome of a command; ok is false when it will not come.
func (h *Hooks) propose(ctx context.Context, cmd storage.Command) (r storage.Result, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, logPatience)
	defer cancel()
	type answer struct {
		r   storage.Result
		err error
	}
	got := make(chan answer, 1)
	h.cfg.Log.Propose(cmd, func(r storage.Result, err error) { got <- answer{r, err} })
	select {
	case a := <-got:
		return a.r, a.err == nil
	case <-ctx.Done():
		return storage.Result{}, false
	}
}
