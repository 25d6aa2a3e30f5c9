package calls

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/madang-chat/madang/hooks/calls/callstest"
	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/storage"
)

// fill applies n commands in batches.
func fill(log *callstest.Log, each func(i int) storage.Command, n int) {
	const batch = 1000
	for at := 0; at < n; at += batch {
		var cmds []storage.Command
		for i := at; i < min(at+batch, n); i++ {
			cmds = append(cmds, each(i))
		}
		log.ApplyAll(cmds)
	}
}

// timed runs f b.N times and reports the 99th percentile.
func timed(b *testing.B, f func()) {
	b.Helper()
	var all []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		began := clock.Now()
		f()
		all = append(all, clock.Since(began))
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
}

// A list of ten thousand rooms: its first page, with what is unread in all of them.
func BenchmarkRoomsList(b *testing.B) {
	const rooms = 10_000
	log := callstest.NewLog(b, storage.Options{Dir: b.TempDir()})
	user := storage.Actor{User: "u"}
	fill(log, func(i int) storage.Command {
		return &storage.RoomCreate{Room: storage.RoomKey{NS: "chat", Room: fmt.Sprintf("r%05d", i)}, By: user, Kind: storage.Public}
	}, rooms)
	fill(log, func(i int) storage.Command {
		return &storage.Append{
			Room: storage.RoomKey{NS: "chat", Room: fmt.Sprintf("r%05d", i%rooms)}, From: user, Type: "text",
			Tail: []byte(`,"data":{"text":"hello, this is about as long as what people write"}`),
		}
	}, 3*rooms)
	c := New(Config{Log: log, Store: log.Store, Auth: &callstest.Tokens{}})
	timed(b, func() {
		page, err := c.RoomsList(context.Background(), as("u"), RoomsListInput{})
		if err != nil || len(page.Rooms) != defaultRooms || *page.Unread != 3*rooms {
			b.Fatalf("%d rooms, %v", len(page.Rooms), err)
		}
	})
}

// A page of fifty at any depth of a large room; MADANG_BENCH_ENTRIES says how large, 100,000 when not set.
func BenchmarkHistoryDepth(b *testing.B) {
	entries := 100_000
	if n, err := strconv.Atoi(os.Getenv("MADANG_BENCH_ENTRIES")); err == nil {
		entries = n
	}
	log := callstest.NewLog(b, storage.Options{Dir: b.TempDir()})
	k := storage.RoomKey{NS: "chat", Room: "r"}
	fill(log, func(i int) storage.Command {
		a := &storage.Append{
			Room: k, From: storage.Actor{User: fmt.Sprint("u", i%1000)}, Type: "text", AutoCreate: storage.Public,
			Tail: []byte(`,"data":{"text":"hello, this is about as long as what people write"}`),
		}
		if i%20 == 19 {
			a.Type, a.Target, a.Emoji = "reaction", uint64(i), "👍"
		}
		return a
	}, entries)
	c := New(Config{Log: log, Store: log.Store, Auth: &callstest.Tokens{}})
	rng := rand.New(rand.NewPCG(1, 2))
	timed(b, func() {
		page, err := c.History(context.Background(), as("u1"), HistoryInput{Room: "r", Before: new(100 + rng.Uint64N(uint64(entries-100)))})
		if err != nil || len(page.Messages) != defaultHistory {
			b.Fatalf("%d messages, %v", len(page.Messages), err)
		}
	})
}
