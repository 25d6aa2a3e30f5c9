package storage

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/madang-chat/madang/internal/logentry"
)

const benchBatch = 64

// BenchmarkApply applies one entry of 64 messages of 128 bytes per round. The figures that count are those per message.
func BenchmarkApply(b *testing.B) {
	for name, tc := range map[string]struct {
		rooms int
		cid   bool
	}{"one room": {1, false}, "64 rooms": {64, false}, "one room with cids": {1, true}} {
		b.Run(name, func(b *testing.B) {
			s := openOn(b, vfs.Default, func(o *Options) { o.Dir, o.CacheSize = b.TempDir()+"/db", 0 })
			defer func() { _ = s.Close() }()
			l := newLog(b, s)
			commands := func(round int) []Command {
				out := make([]Command, benchBatch)
				for i := range out {
					c := say(fmt.Sprint("r", i%tc.rooms), "ann", strings.Repeat("x", 128))
					c.Device = "web-1"
					if tc.cid {
						c.CID = fmt.Sprint("c", round, "-", i)
					}
					out[i] = c
				}
				return out
			}
			l.as("a", commands(-1)...)
			b.ReportAllocs()
			b.ResetTimer()
			for round := range b.N {
				b.StopTimer()
				l.now++
				e := []logentry.Entry{l.entry(l.group("a", commands(round)...))}
				b.StartTimer()
				if _, err := s.Apply(e); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*benchBatch), "ns/msg")
		})
	}
}

// BenchmarkSessions applies one entry in which 64 new sessions are taken, one in which they are released, and one in which they
// are taken again, per round.
func BenchmarkSessions(b *testing.B) {
	s := openOn(b, vfs.Default, func(o *Options) { o.Dir, o.CacheSize = b.TempDir()+"/db", 0 })
	defer func() { _ = s.Close() }()
	l := newLog(b, s)
	l.as("a", say("r", "ann", "x"))
	b.ReportAllocs()
	b.ResetTimer()
	for round := range b.N {
		b.StopTimer()
		take, release, again := make([]Command, benchBatch), make([]Command, benchBatch), make([]Command, benchBatch)
		id := func(i int) SessionID { return SessionID{User: fmt.Sprint("u", round, "-", i), Client: "phone"} }
		for i := range benchBatch {
			t := Take{Session: id(i), Node: "a", Boot: 1, Expiry: NeverExpires}
			take[i], again[i] = &t, &t
			release[i] = &Release{Session: id(i), Epoch: uint64(2*benchBatch*round + i + 1), Place: 1}
		}
		for _, batch := range [][]Command{take, release, again} {
			l.now++
			e := []logentry.Entry{l.entry(l.group("a", batch...))}
			b.StartTimer()
			if _, err := s.Apply(e); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*3*benchBatch), "ns/command")
}

// benchStore is a room of n entries, of which memory holds none or all.
func benchStore(b *testing.B, n int, tail int64) *Store {
	b.Helper()
	s := openOn(b, vfs.Default, func(o *Options) { o.Dir, o.CacheSize, o.TailBytes = b.TempDir()+"/db", 0, tail })
	b.Cleanup(func() { _ = s.Close() })
	l := newLog(b, s)
	cmds := make([]Command, 500)
	for i := range cmds {
		cmds[i] = say("r", "ann", strings.Repeat("x", 128))
	}
	for range n / len(cmds) {
		l.as("a", cmds...)
	}
	b.ReportAllocs()
	b.ResetTimer()
	return s
}

const benchEntries = 50_000

func BenchmarkEntriesPage(b *testing.B) {
	for name, tail := range map[string]int64{"memory": 1 << 30, "disk": 1} {
		b.Run(name, func(b *testing.B) {
			s := benchStore(b, benchEntries, tail)
			for i := range b.N {
				from := uint64(i*7919)%(benchEntries-50) + 1
				es, err := s.Entries(room("r"), from, from+49, 50, 1<<20)
				if err != nil || len(es) != 50 {
					b.Fatalf("%d entries, %v", len(es), err)
				}
			}
		})
	}
}

func BenchmarkSeqAfter(b *testing.B) {
	for name, tail := range map[string]int64{"memory": 1 << 30, "disk": 1} {
		b.Run(name, func(b *testing.B) {
			s := benchStore(b, benchEntries, tail)
			for i := range b.N {
				pos := uint64(i*7919)%benchEntries + 1
				if seq, err := s.SeqAfter(room("r"), pos); err != nil || seq != pos+1 {
					b.Fatalf("%d, %v", seq, err)
				}
			}
		})
	}
}

func BenchmarkRecent(b *testing.B) {
	s := benchStore(b, benchEntries, 1<<30)
	var dst []*Entry
	for range b.N {
		var ok bool
		if dst, ok = s.Recent(dst[:0], room("r"), benchEntries-7, benchEntries, 8, 1<<20); !ok || len(dst) != 8 {
			b.Fatalf("%d entries, %v", len(dst), ok)
		}
	}
}
