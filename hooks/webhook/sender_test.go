package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/storage"
)

// receiver answers posts as a test says, and remembers them.
type receiver struct {
	mu     sync.Mutex
	answer func(id string, try int) (Answer, error)
	tries  map[string]int
	took   []string // ids, in the order they were taken
	asked  []string // ids, in the order of the tries
	at     []time.Time
	busy   map[string]bool // rooms under way
	most   int             // of them at once
	t      *testing.T
}

func (r *receiver) Post(ctx context.Context, id string, _ []byte) (Answer, error) {
	r.mu.Lock()
	room := roomOf(id)
	if r.busy[room] {
		r.t.Errorf("two events of %s are under way", room)
	}
	r.busy[room] = true
	r.most = max(r.most, len(r.busy))
	r.tries[id]++
	r.asked = append(r.asked, id)
	r.at = append(r.at, clock.Now())
	answer, try := r.answer, r.tries[id]
	r.mu.Unlock()
	a, err := Answer{Status: 200}, error(nil)
	select {
	case <-time.After(10 * time.Millisecond):
		if answer != nil {
			a, err = answer(id, try)
		}
	case <-ctx.Done():
		err = ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.busy, room)
	if err == nil && a.OK() {
		r.took = append(r.took, id)
	}
	return a, err
}

func roomOf(id string) string {
	for i := len(id) - 1; i >= 0; i-- {
		if id[i] == '/' {
			return id[:i]
		}
	}
	return id
}

// fakeFeed is a feed in memory: in a bubble of its own time nothing may wait for a disk.
type fakeFeed struct {
	first, next uint64
	items       map[uint64]storage.FeedItem
	entries     map[storage.RoomKey]map[uint64]*storage.Entry
	heads       map[storage.RoomKey]uint64
	letters     []storage.FeedDead
}

func (f *fakeFeed) Feed() (first, next uint64, on bool) { return f.first, f.next, true }

func (f *fakeFeed) FeedItems(from uint64, limit int) (out []storage.FeedItem, err error) {
	for id := max(from, f.first); id < f.next && len(out) < limit; id++ {
		out = append(out, f.items[id])
	}
	return out, nil
}

func (f *fakeFeed) Entries(k storage.RoomKey, from, _ uint64, _, _ int) ([]*storage.Entry, error) {
	if e := f.entries[k][from]; e != nil {
		return []*storage.Entry{e}, nil
	}
	return nil, nil
}

func (f *fakeFeed) add(it storage.FeedItem) {
	it.ID = f.next
	f.items[f.next] = it
	f.next++
}

// noNews is a watcher of a feed that does not change while a sender runs.
type noNews struct{}

func (noNews) Wake() <-chan struct{} { return nil }
func (noNews) Take() storage.Changes { return storage.Changes{} }
func (noNews) Close()                {}

// rig is a sender over a feed in memory.
type rig struct {
	t    *testing.T
	feed *fakeFeed
	to   *receiver
	s    *sender
}

// inBubble runs a test with a sender in a bubble of its own time.
func inBubble(t *testing.T, change func(*Hook), f func(r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		h := Hook{Name: "h", Concurrency: 4, Retries: []time.Duration{time.Second, time.Minute}}
		if change != nil {
			change(&h)
		}
		r := &rig{
			t: t, to: &receiver{t: t, tries: map[string]int{}, busy: map[string]bool{}},
			feed: &fakeFeed{
				first: 1, next: 1, items: map[uint64]storage.FeedItem{}, heads: map[storage.RoomKey]uint64{},
				entries: map[storage.RoomKey]map[uint64]*storage.Entry{},
			},
		}
		r.s = newSender(h, r.to, r.feed, func() watcher { return noNews{} }, 0, slog.New(slog.DiscardHandler), &figures{})
		r.s.bury = func(_ context.Context, c *storage.FeedDead) bool {
			r.feed.letters = append(r.feed.letters, *c)
			return true
		}
		f(r)
	})
}

// run lets the sender run for so long.
func (r *rig) run(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	r.s.run(ctx)
}

// say puts messages in a room; the first ones make it.
func (r *rig) say(room string, n int) {
	k := storage.RoomKey{NS: "chat", Room: room}
	if r.feed.entries[k] == nil {
		r.feed.entries[k] = map[uint64]*storage.Entry{}
		r.feed.add(storage.FeedItem{Room: k, Event: storage.FeedCreated, Data: []byte("{}")})
	}
	for range n {
		r.feed.heads[k]++
		seq := r.feed.heads[k]
		r.feed.entries[k][seq] = &storage.Entry{Seq: seq, Type: "text", JSON: []byte("{}")}
		r.feed.add(storage.FeedItem{Room: k, Seq: seq, Type: "text"})
	}
}

func (r *rig) took(want ...string) {
	r.t.Helper()
	if !slices.Equal(r.to.took, want) {
		r.t.Fatalf("taken %v, want %v", r.to.took, want)
	}
}

func (r *rig) place(want uint64) {
	r.t.Helper()
	if p := r.s.where(); p.Place != want {
		r.t.Fatalf("the place is %+v, want %d", p, want)
	}
}

// Events of one room are sent one after the other, rooms beside each other, as many as may.
func TestSenderOrder(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		for range 5 {
			for i := range 8 {
				r.say(fmt.Sprint("r", i), 1)
			}
		}
		r.run(time.Minute)
		got := map[string][]string{}
		for _, id := range r.to.took {
			got[roomOf(id)] = append(got[roomOf(id)], id[len(roomOf(id))+1:])
		}
		for room, ids := range got {
			if !slices.Equal(ids[1:], []string{"1", "2", "3", "4", "5"}) || !strings.HasPrefix(ids[0], "created-") {
				t.Errorf("%s: %v", room, ids)
			}
		}
		if len(r.to.took) != 48 || r.to.most != 4 { // with the rooms' making
			t.Errorf("%d events taken, %d at once", len(r.to.took), r.to.most)
		}
		r.place(48)
	})
}

// An endpoint that fails five times and then works gets everything, each event once, and its room waits meanwhile.
func TestSenderTriesAgain(t *testing.T) {
	retries := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second}
	inBubble(t, func(h *Hook) { h.Retries = retries; h.Filter.Events = []string{"message.*"} }, func(r *rig) {
		r.to.answer = func(id string, try int) (Answer, error) {
			switch {
			case id != "chat/bad/1" || try > 5:
				return Answer{Status: 204}, nil
			case try == 3:
				return Answer{}, errors.New("connection refused")
			}
			return Answer{Status: 500}, nil
		}
		r.say("bad", 2)
		r.say("good", 2)
		r.run(time.Hour)
		r.took("chat/good/1", "chat/good/2", "chat/bad/1", "chat/bad/2")
		r.place(6)
		if r.s.where().Error != "" || r.s.stats.failed.Load() != 5 || r.s.stats.sent.Load() != 4 {
			t.Errorf("%+v, %+v", r.s.where(), r.s.stats)
		}
		var bad []time.Time
		for i, id := range r.to.asked {
			if id == "chat/bad/1" {
				bad = append(bad, r.to.at[i])
			}
		}
		for i, want := range retries {
			if got := bad[i+1].Sub(bad[i]); got < want*8/10 || got > want*12/10+20*time.Millisecond {
				t.Errorf("try %d came after %v, want about %v", i+2, got, want)
			}
		}
	})
}

// After the last try the event is a dead letter and the room goes on; tried again, it comes under its old id.
func TestSenderGivesUp(t *testing.T) {
	inBubble(t, func(h *Hook) { h.Filter.Events = []string{"message.*"} }, func(r *rig) {
		r.to.answer = func(id string, try int) (Answer, error) {
			if id == "chat/r/1" && try <= 3 {
				return Answer{Status: 400}, nil
			}
			return Answer{Status: 200}, nil
		}
		r.say("r", 2)
		r.run(time.Hour)
		r.took("chat/r/2")
		r.place(3)
		want := []storage.FeedDead{{Hook: "h", ID: 2, Tries: 3, Error: "the receiver answered 400", Max: maxDead}}
		if !slices.Equal(r.feed.letters, want) || r.s.stats.dead.Load() != 1 {
			t.Fatalf("letters %+v", r.feed.letters)
		}
		again := r.feed.items[2]
		again.Only, again.Was = "h", 2
		r.feed.add(again)
		again.Only = "another"
		r.feed.add(again)
		r.run(time.Hour)
		r.took("chat/r/2", "chat/r/1")
		r.place(5)
	})
}

// A receiver that is down is asked about the oldest event only, at its times, and gets all when it is back.
func TestSenderWaitsForAReceiverThatIsDown(t *testing.T) {
	inBubble(t, func(h *Hook) { h.Retries = []time.Duration{time.Minute, time.Hour} }, func(r *rig) {
		back := clock.Now().Add(30 * time.Minute)
		r.to.answer = func(string, int) (Answer, error) {
			if clock.Now().Before(back) {
				return Answer{}, errors.New("connection refused")
			}
			return Answer{Status: 200}, nil
		}
		for i := range 50 {
			r.say(fmt.Sprint("r", i), 1)
		}
		r.run(29 * time.Minute)
		if n := len(r.to.asked); n > 10 {
			t.Errorf("%d tries of a receiver that is down", n)
		}
		r.place(0)
		r.run(3 * time.Hour)
		if len(r.to.took) != 100 {
			t.Errorf("%d events taken when it was back, want 100", len(r.to.took))
		}
		r.place(100)
	})
}

// 410 ends it; what comes then waits.
func TestSenderHears410(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		r.to.answer = func(string, int) (Answer, error) { return Answer{Status: 410}, nil }
		r.say("r", 3)
		began := clock.Now()
		r.run(time.Hour)
		if clock.Since(began) > time.Minute || len(r.to.asked) != 1 || !r.s.where().Off {
			t.Errorf("after %v: %d tries, %+v", clock.Since(began), len(r.to.asked), r.s.where())
		}
		r.place(0)
	})
}

// Retry-After holds for all rooms.
func TestSenderHearsRetryAfter(t *testing.T) {
	inBubble(t, func(h *Hook) { h.Concurrency = 1 }, func(r *rig) {
		r.to.answer = func(_ string, try int) (Answer, error) {
			if len(r.to.asked) == 1 && try == 1 {
				return Answer{Status: 429, RetryAfter: 10 * time.Minute}, nil
			}
			return Answer{Status: 200}, nil
		}
		r.say("a", 1)
		r.say("b", 1)
		r.run(time.Hour)
		if got := r.to.at[1].Sub(r.to.at[0]); got < 10*time.Minute {
			t.Errorf("asked again after %v", got)
		}
		r.place(4)
	})
}

// What was let go before it was sent, and what the room does not have any more, is told as a gap.
func TestSenderTellsGaps(t *testing.T) {
	inBubble(t, nil, func(r *rig) {
		r.say("r", 4) // items 1 to 5
		r.feed.first = 4
		delete(r.feed.entries[storage.RoomKey{NS: "chat", Room: "r"}], 3)
		r.run(time.Minute)
		slices.Sort(r.to.took)
		r.took("chat/r/3", "chat/r/4", "gap-1-3")
		r.place(5)
	})
}

// One event that the receiver does not take holds up at most a window of others.
func TestSenderWindow(t *testing.T) {
	inBubble(t, func(h *Hook) {
		h.Retries = []time.Duration{time.Second, 10 * time.Hour, 10 * time.Hour}
		h.Filter.Events = []string{"message.*"}
	}, func(r *rig) {
		r.to.answer = func(id string, _ int) (Answer, error) {
			if id == "chat/bad/1" {
				return Answer{Status: 500}, nil
			}
			return Answer{Status: 200}, nil
		}
		r.say("bad", 1)
		for i := range 4 {
			r.say(fmt.Sprint("r", i), window/4+10)
		}
		r.run(time.Hour)
		if n := len(r.to.took); n != window+40 {
			t.Errorf("%d taken of %d that the receiver wants", n, window+40)
		}
		if r.s.stats.dead.Load() != 1 {
			t.Error("the one that holds them up is kept")
		}
	})
}
