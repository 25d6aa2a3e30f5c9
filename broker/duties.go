package broker

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/madang-chat/madang/storage"
)

// Leader is what the duties must know of the cluster.
type Leader interface {
	IsLeader() bool
	LeaderChanges() <-chan struct{}
	LogTime() int64        // ms
	DestructionHeld() bool // the clock jumped: nothing is expired or removed for a while
	// Silent returns the nodes that have not answered the leader for so long.
	Silent(d time.Duration) []string
	// IsMember reports whether a node belongs to the cluster.
	IsMember(node string) bool
}

// Retention says how much of a room is kept; 0 = that bound does not apply.
type Retention struct {
	Age   time.Duration
	Count uint64
	Bytes uint64
}

// Duties is what the leader does for everyone: carrying what rooms' changes mean to users, publishing wills that are due,
// expiring sessions, retention. Every step is a command that Apply checks again, so two leaders do no harm.
type Duties struct {
	Store     *storage.Store
	Log       Log
	Leader    Leader
	Retention Retention
	// Dedupe is how long cids are kept at least, and for how many of the newest entries of a room; nil = for ever.
	Dedupe func() (window time.Duration, keep uint64)
	Logger *slog.Logger
	Every  time.Duration // between walks over rooms and sessions; 0 = one minute
}

const (
	outboxBatch  = 256
	trimBatch    = 10_000 // entries of a room per command
	defaultEvery = time.Minute
	lostAfter    = 10 * time.Second // rules.md 4: without contact for so long a node is lost
)

// never is the pause after which there is nothing to look at.
const never = time.Duration(math.MaxInt64)

// Run does the duties whenever this node leads, until ctx ends. Each has a goroutine of its own: none waits for the work of
// another, however much of that there is.
func (d *Duties) Run(ctx context.Context) {
	every := d.Every
	if every == 0 {
		every = defaultEvery
	}
	var running sync.WaitGroup
	running.Go(func() {
		whenTold(ctx, d.Store, d.Leader, func(ch *storage.Changes) bool { return ch.Outbox }, d.followUps)
	})
	running.Go(func() { whenTold(ctx, d.Store, d.Leader, func(ch *storage.Changes) bool { return ch.Wills }, d.wills) })
	running.Go(func() { each(ctx, time.Second, d.lost) })
	running.Go(func() { each(ctx, every, d.walk) })
	running.Wait()
}

// each does something at regular times, until ctx ends.
func each(ctx context.Context, every time.Duration, do func(context.Context)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do(ctx)
		}
	}
}

// walk looks at all sessions and logs.
func (d *Duties) walk(ctx context.Context) {
	if d.Leader.IsLeader() && !d.Leader.DestructionHeld() {
		d.expire(ctx)
		d.trim(ctx)
	}
}

// propose waits for the result, so that duties never run ahead of the log. ok is false when it will not come.
func (d *Duties) propose(ctx context.Context, cmd storage.Command) (r storage.Result, ok bool) {
	r, err := proposeTo(ctx, d.Log, cmd)
	return r, err == nil
}

// lost declares nodes lost that do not answer, and those that were removed. Their sessions count as disconnected from then on; one that lives all the
// same says so and is back.
func (d *Duties) lost(ctx context.Context) {
	if !d.Leader.IsLeader() {
		return
	}
	silent := d.Leader.Silent(lostAfter)
	nodes, err := d.Store.Nodes()
	if err != nil {
		d.Logger.Error("read nodes", "err", err)
		return
	}
	for _, n := range nodes {
		if n.Up && (slices.Contains(silent, n.Name) || !d.Leader.IsMember(n.Name)) {
			d.Logger.Warn("node is lost", "node", n.Name, "member", d.Leader.IsMember(n.Name))
			d.propose(ctx, &storage.NodeLost{Node: n.Name, Boot: n.Boot})
		}
	}
}

// followUps carries what waits in the outbox, until nothing does.
func (d *Duties) followUps(ctx context.Context) time.Duration {
	for ctx.Err() == nil {
		items, err := d.Store.Outbox(outboxBatch)
		if err != nil {
			d.Logger.Error("read outbox", "err", err)
			return time.Minute
		}
		if len(items) == 0 {
			break
		}
		for i, it := range items {
			cmd := &storage.FollowUp{ID: it.ID}
			if i < len(items)-1 {
				d.Log.Propose(cmd, ignore) // in order; the last one's result says that all are in
			} else if _, ok := d.propose(ctx, cmd); !ok {
				return time.Second
			}
		}
	}
	return never
}

// wills publishes the wills that are due and returns how long until the next one is.
func (d *Duties) wills(ctx context.Context) time.Duration {
	var due []*storage.Session
	next := int64(math.MaxInt64)
	now := d.Leader.LogTime()
	err := d.Store.Sessions(func(s *storage.Session) bool {
		switch {
		case !s.HasWill || s.Connected:
		case s.WillDue <= now:
			due = append(due, s)
		default:
			next = min(next, s.WillDue)
		}
		return true
	})
	if err != nil {
		d.Logger.Error("read wills", "err", err)
		return time.Minute
	}
	for _, s := range due {
		if r, ok := d.propose(ctx, &storage.FireWill{Session: s.ID, Epoch: s.Epoch}); ok && r.Outcome != storage.Done && r.Outcome != storage.Fenced {
			d.Logger.Info("will refused", "user", s.ID.User, "device", s.ID.Client, "why", r.Outcome.String(), "detail", r.Detail)
		}
	}
	if next == math.MaxInt64 {
		return never
	}
	return max(time.Duration(next-now)*time.Millisecond, 10*time.Millisecond)
}

func (d *Duties) expire(ctx context.Context) {
	var gone []*storage.Session
	now := d.Leader.LogTime()
	err := d.Store.Sessions(func(s *storage.Session) bool {
		if !s.Connected && s.Expiry != storage.NeverExpires && s.EndedAt+int64(s.Expiry)*1000 <= now {
			gone = append(gone, s)
		}
		return len(gone) < outboxBatch
	})
	if err != nil {
		d.Logger.Error("read sessions", "err", err)
		return
	}
	for _, s := range gone {
		if _, ok := d.propose(ctx, &storage.Expire{Session: s.ID, Epoch: s.Epoch}); !ok {
			return
		}
	}
}

// trim applies retention and forgets cids, log by log.
func (d *Duties) trim(ctx context.Context) {
	var rooms []storage.RoomKey
	err := d.Store.LogKeys(func(k storage.RoomKey) bool {
		rooms = append(rooms, k)
		return true
	})
	for _, k := range rooms {
		if err != nil || ctx.Err() != nil {
			break
		}
		err = d.trimRoom(ctx, k)
	}
	if err != nil {
		d.Logger.Error("apply retention", "err", err)
	}
}

func (d *Duties) trimRoom(ctx context.Context, k storage.RoomKey) error {
	r, err := d.Store.Room(k)
	if err != nil || r == nil {
		return err
	}
	upto, err := d.excess(k, r.Head)
	if err != nil {
		return err
	}
	if upto >= r.Head.First {
		d.propose(ctx, &storage.Trim{
			Room: k, Upto: upto, MaxAge: d.Retention.Age.Milliseconds(), MaxCount: d.Retention.Count, MaxBytes: d.Retention.Bytes,
		})
	}
	if d.Dedupe == nil {
		return nil
	}
	window, newest := d.Dedupe()
	keep := r.Head.Back(newest) // and all above
	if window <= 0 || keep <= 1 {
		return nil
	}
	seq, ts, ok, err := d.Store.OldestCID(k)
	if err != nil || !ok || seq >= keep || ts >= d.Leader.LogTime()-window.Milliseconds() {
		return err
	}
	d.propose(ctx, &storage.Forget{
		Room: k, Upto: min(keep-1, seq+trimBatch), Window: window.Milliseconds(), Keep: newest,
	})
	return nil
}

// excess returns the newest entry that a bound of retention lets go, 0 when there is none. Age, count and bytes all fall
// with the seq, so it is found by bisection.
func (d *Duties) excess(k storage.RoomKey, h storage.Head) (uint64, error) {
	oldest := d.Leader.LogTime() - d.Retention.Age.Milliseconds()
	var err error
	n := int(h.Kept())
	kept := sort.Search(n, func(i int) bool {
		seq := h.At(uint64(i))
		if err != nil || d.Retention.Count > 0 && uint64(n-1-i) >= d.Retention.Count {
			return false
		}
		if d.Retention.Age == 0 && d.Retention.Bytes == 0 {
			return true
		}
		es, readErr := d.Store.Entries(k, seq, seq, 1, 1)
		if err = readErr; err != nil || len(es) == 0 {
			return true
		}
		e := es[0]
		old := d.Retention.Age > 0 && e.TS < oldest
		large := d.Retention.Bytes > 0 && h.Total-e.Total >= d.Retention.Bytes
		return !old && !large
	})
	if err != nil || kept == 0 {
		return 0, err
	}
	return h.At(uint64(kept) - 1), nil
}
