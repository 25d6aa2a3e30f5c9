package storage

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

// told is the feed in short: room/seq:type, or room:event.
func (l *testLog) told(from uint64) (out []string) {
	l.t.Helper()
	items, err := l.s.FeedItems(from, 1000)
	if err != nil {
		l.t.Fatalf("feed: %v", err)
	}
	for _, it := range items {
		if it.Seq != 0 {
			out = append(out, fmt.Sprintf("%s/%d:%s", it.Room.Room, it.Seq, it.Type))
		} else {
			out = append(out, it.Room.Room+":"+it.Event)
		}
	}
	return out
}

func (l *testLog) hooks() (out []Webhook) {
	l.t.Helper()
	out, err := l.s.Webhooks()
	if err != nil {
		l.t.Fatalf("webhooks: %v", err)
	}
	for i := range out {
		out[i].Seen = 0
	}
	return out
}

var ann = Actor{User: "ann"}

// Without a webhook nothing is written; with one, everything that happens to rooms is, in the order of the log.
func TestFeedTellsOfRooms(t *testing.T) {
	l := newTestLog(t)
	l.done(&RoomCreate{Room: room("before"), By: ann, Kind: Public})
	if got := l.told(0); got != nil {
		t.Fatalf("a feed that nobody wants holds %q", got)
	}
	l.done(&FeedHooks{Names: []string{"h"}})
	name := "New"
	l.done(&RoomCreate{Room: room("r"), By: ann, Kind: Public, Name: `a "room"`})
	l.done(say("r", "ann", "one"))
	l.done(&Join{Room: room("r"), By: Actor{User: "bob"}})
	l.done(&RoomSet{Room: room("r"), By: ann, Name: &name})
	l.done(&Moderate{Room: room("r"), By: ann, Act: ActFreeze})
	a := say("dm~ann~bob", "ann", "psst")
	a.AutoCreate = Direct
	l.done(a)
	l.done(&RoomDelete{Room: room("r"), By: ann})
	want := []string{"r:created", "r/1:text", "r/2:system", "r:updated", "r/3:system", "dm~ann~bob:created", "dm~ann~bob/1:text", "r:deleted"}
	if d := cmp.Diff(want, l.told(0)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	items, _ := l.s.FeedItems(0, 1)
	if want := `{"room":"r","ts":1000000,"by":"ann","kind":"public","name":"a \"room\"","guest":"read"}`; string(items[0].Data) != want {
		t.Errorf("created carries %s, want %s", items[0].Data, want)
	}
	verifyIsClean(t, l)
}

// What all webhooks have behind them is removed; a place never goes back, and none goes past what there is.
func TestFeedPlaces(t *testing.T) {
	l := newTestLog(t)
	l.done(&RoomCreate{Room: room("r"), By: ann, Kind: Public})
	l.done(&FeedHooks{Names: []string{"h", "i"}})
	for range 5 {
		l.done(say("r", "ann", "x"))
	}
	places := func(h, i uint64) {
		l.done(&FeedPlaces{Places: []HookPlace{{Name: "h", Place: h}, {Name: "i", Place: i, Error: "503"}, {Name: "unknown", Place: 9}}})
	}
	ends := func(first, next uint64) {
		t.Helper()
		if f, n, on := l.s.Feed(); f != first || n != next || !on {
			t.Fatalf("the feed goes from %d to %d, want %d to %d", f, n, first, next)
		}
	}
	places(3, 1)
	ends(2, 6)
	places(2, 99)
	ends(2, 6)
	if d := cmp.Diff([]Webhook{{Name: "h", Place: 3}, {Name: "i", Place: 1, Error: "503"}}, l.hooks()); d != "" {
		t.Fatal(d)
	}
	if r := l.do(&FeedTrim{Upto: 4, MaxCount: 2}); r.Outcome != Conflict {
		t.Fatalf("trimmed what a bound keeps: %+v", r)
	}
	l.done(&FeedTrim{Upto: 3, MaxCount: 2})
	ends(4, 6)
	l.now += 10_000
	l.done(say("r", "ann", "later"))
	if r := l.do(&FeedTrim{Upto: 6, MaxAge: 5_000}); r.Outcome != Conflict {
		t.Fatalf("trimmed what is not old: %+v", r)
	}
	l.done(&FeedTrim{Upto: 5, MaxAge: 5_000})
	ends(6, 7)
	places(6, 6)
	ends(7, 7)
	// One that is named no more goes after a while, and with the last one the feed.
	l.done(&FeedHooks{Names: []string{"h"}, Keep: 60_000})
	if len(l.hooks()) != 2 {
		t.Fatal("a webhook is forgotten at once")
	}
	l.now += 60_000
	l.done(&FeedHooks{Names: []string{"h"}, Keep: 60_000})
	if d := cmp.Diff([]Webhook{{Name: "h", Place: 6}}, l.hooks()); d != "" {
		t.Fatal(d)
	}
	l.done(say("r", "ann", "x"))
	l.done(&FeedHooks{})
	if f, n, on := l.s.Feed(); on || f != n || l.told(0) != nil {
		t.Fatal("a feed without webhooks goes on")
	}
	verifyIsClean(t, l)
}

// Dead letters are bounded, and tried again under the number they had.
func TestFeedDeadLetters(t *testing.T) {
	l := newTestLog(t)
	l.done(&RoomCreate{Room: room("r"), By: ann, Kind: Public})
	l.done(&FeedHooks{Names: []string{"h", "i"}})
	for range 4 {
		l.done(say("r", "ann", "x"))
	}
	for id := uint64(1); id <= 4; id++ {
		l.done(&FeedDead{Hook: "h", ID: id, Tries: 5, Error: "410", Max: 3})
	}
	if r := l.do(&FeedDead{Hook: "h", ID: 4, Max: 3}); !r.Present {
		t.Fatalf("a letter is there twice: %+v", r)
	}
	if r := l.do(&FeedDead{Hook: "h", ID: 9, Max: 3}); r.Outcome != NotFound {
		t.Fatalf("a letter about nothing: %+v", r)
	}
	dead := func() (ids []uint64) {
		all, err := l.s.DeadLetters("h", 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range all {
			ids = append(ids, d.Item.First())
		}
		return ids
	}
	if got := dead(); !slices.Equal(got, []uint64{2, 3, 4}) {
		t.Fatalf("letters %v", got)
	}
	if d := cmp.Diff(Webhook{Name: "h", Dead: 3, Dropped: 1}, l.hooks()[0]); d != "" {
		t.Fatal(d)
	}
	if r := l.done(&FeedRetry{Hook: "h", IDs: []uint64{3, 3, 77}}); r.Seq != 1 {
		t.Fatalf("%d tried again, want 1", r.Seq)
	}
	if r := l.done(&FeedRetry{Hook: "h"}); r.Seq != 2 {
		t.Fatalf("%d tried again, want 2", r.Seq)
	}
	if got := dead(); got != nil {
		t.Fatalf("letters %v are left", got)
	}
	items, err := l.s.FeedItems(5, 10)
	if err != nil || len(items) != 3 {
		t.Fatal(items, err)
	}
	for i, was := range []uint64{3, 2, 4} {
		if it := items[i]; it.First() != was || it.Only != "h" || it.Seq != was {
			t.Errorf("item %d is %+v, want %d again", i, it, was)
		}
	}
	verifyIsClean(t, l)
}

// The feed survives a restart, and an era gives no number again.
func TestFeedReopened(t *testing.T) {
	fs := vfs.NewMem()
	s := openOn(t, fs)
	l := newLog(t, s)
	l.done(&RoomCreate{Room: room("r"), By: ann, Kind: Public})
	l.done(&FeedHooks{Names: []string{"h"}})
	l.done(say("r", "ann", "x"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	l.s = openOn(t, fs)
	defer func() { _ = l.s.Close() }()
	l.done(say("r", "ann", "y"))
	if got := strings.Join(l.told(0), " "); got != "r/1:text r/2:text" {
		t.Fatalf("the feed holds %s", got)
	}
	if err := l.s.NewEra(); err != nil {
		t.Fatal(err)
	}
	items, err := l.s.FeedItems(3, 10)
	if err != nil || len(items) != 1 || items[0].ID <= EraJump {
		t.Fatalf("after the era: %+v, %v", items, err)
	}
}

// verifyIsClean closes the store and lets Verify read it.
func verifyIsClean(t *testing.T, l *testLog) {
	t.Helper()
	if err := l.s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(l.s.opts, func(err error) { t.Errorf("verify: %v", err) }); err != nil {
		t.Fatal(err)
	}
}
