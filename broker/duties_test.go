package broker_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/madang-chat/madang/broker"
	"github.com/madang-chat/madang/internal/logentry"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/storage"
)

// alone is the log and the leader of a store that duties have to themselves.
type alone struct {
	t      testing.TB
	s      *storage.Store
	mu     sync.Mutex
	index  uint64
	stuck  bool // follow-ups are taken, and the outbox stays as it is
	kinds  map[string]int
	times  atomic.Int64 // how often the time was asked
	silent atomic.Int64 // and who is silent
}

func onItsOwn(t testing.TB) *alone {
	t.Helper()
	fs := vfs.NewMem()
	s, err := storage.Open(storage.Options{Dir: "db", FS: fs, CacheSize: 1 << 20, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	a := &alone{t: t, s: s, kinds: map[string]int{}}
	a.apply(&storage.NodeUp{Node: "a", Boot: 1})
	return a
}

func (a *alone) apply(c storage.Command) storage.Result {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.index++
	out, err := a.s.Apply([]logentry.Entry{{Index: a.index, Time: 1_000_000, Groups: []logentry.Group{
		{Node: "a", Boot: 1, First: a.index, Commands: [][]byte{storage.Encode(c)}},
	}}})
	if err != nil {
		a.t.Error(err)
		return storage.Result{}
	}
	r, err := storage.DecodeResult(out[0][0][0])
	if err != nil {
		a.t.Error(err)
	}
	return r
}

func (a *alone) Propose(c storage.Command, done func(storage.Result, error)) {
	a.mu.Lock()
	a.kinds[fmt.Sprintf("%T", c)]++
	a.mu.Unlock()
	if _, ok := c.(*storage.FollowUp); ok && a.stuck {
		done(storage.Result{}, nil)
		return
	}
	done(a.apply(c), nil)
}

func (a *alone) proposed(kind string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.kinds[kind] > 0
}

func (*alone) Space() <-chan struct{}          { return nil }
func (*alone) IsLeader() bool                  { return true }
func (*alone) LeaderChanges() <-chan struct{}  { return nil }
func (*alone) DestructionHeld() bool           { return false }
func (*alone) IsMember(string) bool            { return true }
func (a *alone) LogTime() int64                { a.times.Add(1); return 1_000_000 }
func (a *alone) Silent(time.Duration) []string { a.silent.Add(1); return nil }

// duties does them until the test ends.
func (a *alone) duties(every time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	d := &broker.Duties{
		Store: a.s, Log: a, Leader: a, Retention: broker.Retention{Count: 1}, Every: every, Logger: slog.New(slog.DiscardHandler),
	}
	var running sync.WaitGroup
	running.Go(func() { d.Run(ctx) })
	a.t.Cleanup(func() { cancel(); running.Wait() })
}

func (a *alone) say(room string) {
	k := storage.RoomKey{NS: "chat", Room: room}
	if r := a.apply(&storage.Append{Room: k, From: storage.Actor{User: "alice"}, Type: "text", Tail: []byte(`,"data":{}`), AutoCreate: storage.Public}); r.Outcome != storage.Done {
		a.t.Fatalf("%+v", r)
	}
}

// An outbox that is never empty, as when people are mentioned all the time, keeps the leader from nothing else it does.
func TestFollowUpsHoldNothingUp(t *testing.T) {
	t.Parallel()
	a := onItsOwn(t)
	a.stuck = true
	a.say("general")
	a.say("general")
	a.duties(10 * time.Millisecond)
	mqtttest.Eventually(t, "lost nodes are looked for", func() bool { return a.silent.Load() > 0 })
	mqtttest.Eventually(t, "retention is applied", func() bool { return a.proposed("*storage.Trim") })
	if !a.proposed("*storage.FollowUp") {
		t.Error("nothing is carried")
	}
}

// What is carried is no reason to look for wills, for which every session is read.
func TestFollowUpsLookForNoWills(t *testing.T) {
	t.Parallel()
	a := onItsOwn(t)
	a.duties(time.Hour)
	mqtttest.Eventually(t, "wills were looked for", func() bool { return a.times.Load() > 0 })
	for i := range 20 {
		a.say(fmt.Sprint("room", i))
		mqtttest.Eventually(t, "the outbox is carried", func() bool {
			items, err := a.s.Outbox(1)
			return err == nil && len(items) == 0
		})
	}
	if n := a.times.Load(); n != 1 {
		t.Errorf("wills were looked for %d times", n)
	}
	a.apply(&storage.NodeLost{Node: "a", Boot: 1})
	mqtttest.Eventually(t, "a lost node's wills are looked for", func() bool { return a.times.Load() == 2 })
}
