package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/madang-chat/madang/internal/logentry"
)

// A power cut at any time keeps everything up to the last Sync, and what it keeps is the state after some entry: never a
// part of a batch.
func TestPowerCutKeepsWhatWasSynced(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := drawLog(t)
		states := []map[string][]byte{{}}
		one := openOn(t, vfs.NewMem())
		defer func() { _ = one.Close() }()
		indexes := []uint64{0}
		for i := range entries {
			if _, err := one.Apply(entries[i : i+1]); err != nil {
				t.Fatalf("apply: %v", err)
			}
			states, indexes = append(states, dump(t, one)), append(indexes, entries[i].Index)
		}

		fs := vfs.NewCrashableMem()
		makeDurable(t, fs, "data")
		s := openOn(t, fs)
		defer func() { _ = s.Close() }()
		synced := uint64(0)
		for next := 0; next < len(entries); {
			n := rapid.IntRange(1, len(entries)-next).Draw(t, "batch")
			if _, err := s.Apply(entries[next : next+n]); err != nil {
				t.Fatalf("apply: %v", err)
			}
			next += n
			if rapid.Bool().Draw(t, "sync") {
				if err := s.Sync(); err != nil {
					t.Fatalf("sync: %v", err)
				}
				synced, _ = s.Applied()
			}
		}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "crash"), 1))
		percent := rapid.SampledFrom([]int{0, 30, 100}).Draw(t, "unsynced data kept")
		again := openOn(t, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}))
		defer func() { _ = again.Close() }()
		applied, _ := again.Applied()
		if applied < synced {
			t.Fatalf("applied %d after the power cut, synced up to %d", applied, synced)
		}
		for i, index := range indexes {
			if index == applied {
				diffDumps(t, states[i], dump(t, again))
				return
			}
		}
		t.Fatalf("applied %d is no entry", applied)
	})
}

// makeDurable makes a directory whose name a power cut does not take.
func makeDurable(t fataler, fs vfs.FS, dir string) {
	t.Helper()
	err := fs.MkdirAll(dir, 0o755)
	d, open := fs.OpenDir("/")
	if err := errors.Join(err, open); err != nil {
		t.Fatalf("mkdir %s: %v", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		t.Fatalf("mkdir %s: %v", dir, err)
	}
}

func TestCloseIsASync(t *testing.T) {
	fs := vfs.NewCrashableMem()
	makeDurable(t, fs, "data")
	l := newLog(t, openOn(t, fs))
	l.done(say("r", "ann", "hi"))
	want := dump(t, l.s)
	if err := l.s.Close(); err != nil {
		t.Fatal(err)
	}
	s := openOn(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	defer func() { _ = s.Close() }()
	diffDumps(t, want, dump(t, s))
}

func TestCheckpointIsCompleteAndDurable(t *testing.T) {
	fs := vfs.NewCrashableMem()
	makeDurable(t, fs, "data")
	l := newLog(t, openOn(t, fs))
	defer func() { _ = l.s.Close() }()
	for range 50 {
		l.done(say("r", "ann", "hi"))
	}
	want := dump(t, l.s)
	if err := l.s.Checkpoint("data/copy"); err != nil {
		t.Fatal(err)
	}
	l.done(say("r", "ann", "later"))
	if err := l.s.Checkpoint("data/copy"); err == nil {
		t.Fatal("a second checkpoint over the first")
	}
	s := openOn(t, fs.CrashClone(vfs.CrashCloneCfg{}), func(o *Options) { o.Dir = "data/copy" })
	defer func() { _ = s.Close() }()
	diffDumps(t, want, dump(t, s))
}

// everyRead calls everything that reads, Room last.
func everyRead(s *Store) map[string]error {
	k := room("r")
	out := map[string]error{}
	_, out["Entries"] = s.Entries(k, 1, 9, 9, 9)
	_, out["Member"] = s.Member(k, "ann")
	_, out["Members"] = s.Members(k, "", 9)
	_, out["UserRooms"] = s.UserRooms("chat", "ann", "", 9)
	_, out["Outbox"] = s.Outbox(9)
	_, out["Session"] = s.Session(phone)
	out["Sessions"] = s.Sessions(func(*Session) bool { return true })
	_, out["Nodes"] = s.Nodes()
	_, out["Secret"] = s.Secret("k")
	_, out["Digest"] = s.Digest(k)
	_, out["SeqAfter"] = s.SeqAfter(k, 0)
	_, _, _, out["OldestCID"] = s.OldestCID(k)
	out["RoomKeys"] = s.RoomKeys(func(RoomKey) bool { return true })
	_, out["EntriesBefore"] = s.EntriesBefore(k, 9, 9, 9)
	out["Sync"] = s.Sync()
	_, out["Room"] = s.Room(k)
	return out
}

func TestAfterCloseEverythingSaysSo(t *testing.T) {
	l := newTestLog(t)
	l.done(say("r", "ann", "hi"))
	if err := errors.Join(l.s.Close(), l.s.Close()); err != nil {
		t.Fatal(err)
	}
	all := everyRead(l.s)
	_, all["Apply"] = l.s.Apply([]logentry.Entry{l.entry()})
	all["Checkpoint"] = l.s.Checkpoint("copy")
	all["Swap"] = l.s.Swap("copy")
	for name, err := range all {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, ok := l.s.Recent(nil, room("r"), 1, 1, 1, 1); ok || l.s.TailBytes() != 0 {
		t.Errorf("memory still answers, tail %d bytes", l.s.TailBytes())
	}
}

// Readers never hold up Swap, Swap never holds up readers for good, and in between a room is never said to be missing.
func TestReadersBesideSwap(t *testing.T) {
	fs := vfs.NewMem()
	l := newLog(t, openOn(t, fs))
	for range 3 {
		l.done(sayAs("r", "ann", "hi", fmt.Sprint("c", l.index)))
	}
	s := l.s
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if r, err := s.Room(room("r")); r == nil || err != nil {
					t.Errorf("room %v, %v", r, err)
					return
				}
				for name, err := range everyRead(s) {
					if err != nil {
						t.Errorf("%s: %v", name, err)
						return
					}
				}
			}
		})
	}
	for i := range 20 {
		dir := fmt.Sprint("data/copy", i)
		if err := s.Checkpoint(dir); err != nil {
			t.Fatal(err)
		}
		if err := s.Swap(dir); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	readers.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
