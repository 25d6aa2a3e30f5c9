package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/madang-chat/madang/broker/presence"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/storage"
)

// placesOf returns the Places commands that f has proposed, while the log answers with err.
func (r *rig) placesOf(err error, f func()) (out []*storage.Places) {
	r.log.mu.Lock()
	r.log.err, r.log.watch = err, func(cmd storage.Command) {
		if p, ok := cmd.(*storage.Places); ok {
			out = append(out, p)
		}
	}
	r.log.mu.Unlock()
	f()
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	r.log.err, r.log.watch = nil, nil
	return out
}

func said(commands []*storage.Places) (out []string) {
	for _, c := range commands {
		for _, l := range c.Lags {
			out = append(out, fmt.Sprint(l.Session.User, " at ", l.Seq))
		}
		if c.Pos != 0 {
			out = append(out, fmt.Sprint("place ", c.Pos))
		}
	}
	return out
}

// keep makes a client one with a stored session of that epoch, or without one.
func (r *rig) keep(c *client, stored bool, epoch uint64) {
	r.b.workers[0].call(func() {
		r.b.mu.Lock() // the broker may just be told of its Take
		defer r.b.mu.Unlock()
		c.stored, c.epoch = stored, epoch
	})
}

// withReader returns a rig whose stored reader has been sent n messages of room r and acknowledges nothing.
func withReader(t *testing.T, n int) (r *rig, reader *client, k storage.RoomKey) {
	t.Helper()
	r, k = newRig(t), storage.RoomKey{NS: "chat", Room: "r"}
	w := r.b.workers[0]
	reader = r.enter(t, mqtttest.V311, "reader", "chat/rooms/r/msg/#", 1)
	alice := r.enter(t, mqtttest.V311, "alice", "", 0)
	r.keep(reader, true, 0)
	t.Cleanup(func() { r.keep(reader, false, 0) }) // the log knows of no such session
	for range n {
		say(t, alice, "hello")
	}
	until(t, "all is sent", func() (sent bool) {
		w.call(func() { sent = reader.cursors[k] != nil && reader.cursors[k].next == uint64(n)+1 })
		return sent
	})
	until(t, "and told", func() bool { return r.b.told.Load() == r.b.cfg.Store.Pos() })
	return r, reader, k
}

// A lag that the log may not have taken is told again, and the place is not claimed before: whoever goes on from it would
// miss what the lagging reader has not acknowledged. So is the end of a lag.
func TestPlacesUntold(t *testing.T) {
	r, reader, k := withReader(t, 1)
	w := r.b.workers[0]
	pos := r.b.told.Load()
	var claimed place
	commit := func() { claimed = r.b.commitPlaces(pos, claimed) }
	check := func(what string, err error, want ...string) {
		t.Helper()
		if got := said(r.placesOf(err, commit)); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	lag, place := "reader at 1", fmt.Sprint("place ", pos)
	lost := errors.New("no leader")
	check("without an outcome", lost, lag)
	check("again", lost, lag)
	check("taken", nil, lag, place)
	check("nothing new", nil)
	claimed.pos = 0
	check("the claim is lost", lost, place)
	check("and told again", nil, place)

	w.call(func() { reader.window.ack(1) })
	check("acknowledged, without an outcome", lost, "reader at 0")
	check("taken", nil, "reader at 0")
	check("nothing new", nil)
	w.call(func() { w.replay(reader.cursors[k]); reader.cursors[k].next = 2 })
	check("a lag the log was told when it was asked for is over", nil, "reader at 0")
	w.detach(reader, presence.Gone)
}

// laterLog answers when it is told to.
type laterLog struct {
	mu      sync.Mutex
	waiting []laterCommand
}

type laterCommand struct {
	cmd  storage.Command
	done func(storage.Result, error)
}

func (l *laterLog) Propose(cmd storage.Command, done func(storage.Result, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, laterCommand{cmd, done})
}

func (l *laterLog) Space() <-chan struct{} { return nil }

// take returns what waits for an answer.
func (l *laterLog) take() []laterCommand {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.waiting
	l.waiting = nil
	return all
}

// withLog returns a broker of which only what is gathered works.
func withLog(l Log) *Broker {
	b := &Broker{cfg: Config{Log: l}, marks: map[markKey]storage.MarkOf{}, presence: presence.New("one", 1, 0)}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// Of what many did a few go in one command, and the next when that has its outcome. With nobody who waits all go at once; a
// mark that may be lost goes with the next.
func TestGatheredInPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log laterLog
		b := withLog(&log)
		const all = 2*gatheredPerCommand + 1
		user := func(i int) string { return fmt.Sprint("user", i) }
		sizes := func(commands []laterCommand) (out []int) {
			for _, c := range commands {
				switch c := c.cmd.(type) {
				case *storage.Marks:
					out = append(out, len(c.Marks))
				case *storage.Active:
					out = append(out, len(c.Users))
				}
			}
			return out
		}
		mark := func() {
			for i := range all {
				b.takeMark(&storage.MarkOf{Room: storage.RoomKey{NS: "chat", Room: "r"}, User: user(i), Read: 1})
			}
		}
		var running sync.WaitGroup
		for what, commit := range map[string]func(context.Context){
			"marks": b.commitMarks,
			"times": func(ctx context.Context) { b.commitActive(ctx, true) },
		} {
			mark()
			for i := range all {
				b.presence.Connect(storage.SessionID{NS: "chat", User: user(i), Client: what}, false, time.Hour.Milliseconds())
			}
			running.Go(func() { commit(b.ctx) })
			for _, want := range []int{gatheredPerCommand, gatheredPerCommand, 1} {
				synctest.Wait()
				got := log.take()
				if n := sizes(got); !slices.Equal(n, []int{want}) {
					t.Fatalf("%s: commands of %d are under way, want one of %d", what, n, want)
				}
				got[0].done(storage.Result{}, nil)
			}
			running.Wait()
		}
		mark()
		ended, cancel := context.WithCancel(b.ctx)
		cancel()
		for range 2 { // without an outcome they are told again
			b.commitMarks(ended)
			if n := sizes(log.take()); !slices.Equal(n, []int{gatheredPerCommand, gatheredPerCommand, 1}) {
				t.Errorf("when nobody waits: commands of %d", n)
			}
		}
	})
}

// A session that leaves is with nobody until its Release is proposed: no place is claimed that it has not reached, however its
// broker comes to know that it has gone.
func TestPlacesOfOneWhoLeaves(t *testing.T) {
	r, reader, _ := withReader(t, 1)
	w := r.b.workers[0]
	other := r.enter(t, mqtttest.V311, "other", "", 1)
	for _, c := range []*client{reader, other} {
		res, err := proposeTo(t.Context(), r.log, &storage.Take{Session: c.sid, Node: "one", Boot: 1, Expiry: 60})
		if err != nil || res.Epoch == 0 {
			t.Fatalf("%+v, %v", res, err)
		}
		r.keep(c, true, res.Epoch)
	}
	pos := r.b.told.Load()
	claimed := func() (epochs []uint64) {
		for _, p := range r.placesOf(nil, func() { r.b.commitPlaces(pos, place{}) }) {
			epochs = append(epochs, p.Epoch)
		}
		return epochs
	}
	r.b.beginLeave(reader)
	w.detach(reader, presence.Cut)
	if got, want := claimed(), []uint64{reader.epoch - 1}; !slices.Equal(got, want) {
		t.Errorf("while the session of epoch %d leaves places of epochs %d are claimed, want %d", reader.epoch, got, want)
	}
	r.b.settle(reader)
	if got, want := claimed(), []uint64{other.epoch}; !slices.Equal(got, want) {
		t.Errorf("after its Release places of epochs %d are claimed, want %d", got, want)
	}
	r.keep(other, false, other.epoch)
}

// A reader who asks for less than it lacks is told to the log as lagging where it was: the log has the place that was asked for.
func TestPlacesAfterAReplay(t *testing.T) {
	r, reader, k := withReader(t, 3)
	w := r.b.workers[0]
	commit := func() { r.b.commitPlaces(r.b.told.Load(), place{pos: 9, epoch: 9}) }
	if got := said(r.placesOf(nil, commit)); !slices.Equal(got, []string{"reader at 1"}) {
		t.Fatalf("told: %q", got)
	}
	w.call(func() { w.replay(reader.cursors[k]) })
	if got := said(r.placesOf(nil, commit)); !slices.Equal(got, []string{"reader at 1"}) {
		t.Errorf("after the replay: %q", got)
	}
}

// Nor is the place of one who lags moved on when it asks for less than it lacks, though the log knows nothing of the lag yet.
func TestReplayOfLessThanLacks(t *testing.T) {
	r, reader, _ := withReader(t, 3)
	if got := reader.asked(map[string]uint64{"r": 3, "s": 4}); got["r"] != 1 || got["s"] != 4 {
		t.Errorf("the places are %v", got)
	}
	r.b.workers[0].call(func() { reader.window.ack(1) })
	for asked, want := range map[uint64]uint64{1: 1, 2: 2, 3: 2} {
		if got := reader.asked(map[string]uint64{"r": asked}); got["r"] != want {
			t.Errorf("asked for %d: %v, want %d", asked, got, want)
		}
	}
}

// A broker that stops does not wait for what is told of many: without a leader that would be all its time.
func TestStopWithoutALeader(t *testing.T) {
	r := newRig(t)
	r.enter(t, mqtttest.V311, "alice", "", 0)
	stopped := make(chan struct{})
	r.log.mu.Lock()
	r.log.silent = true
	r.log.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	go func() { defer close(stopped); r.b.Stop(ctx) }()
	select {
	case <-stopped:
	case <-time.After(time.Minute):
		t.Error("it waits for the log")
	}
	cancel()
	<-stopped
}
