package storage

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"
)

const received = "snapshots/1/db"

// twoStores makes a store with 3 entries in data/db and one with 7 in received, all of it durable, and returns what each
// holds. open opens the first one on a file system over fs.
func twoStores(t *testing.T, fs *vfs.MemFS) (older, newer map[string][]byte) {
	t.Helper()
	for _, dir := range []string{"data", "snapshots/1"} {
		if err := fs.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"/", "snapshots"} {
		d, err := fs.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			t.Fatal(err)
		}
	}
	fill := func(n int, dir string) map[string][]byte {
		s := openOn(t, fs, func(o *Options) { o.Dir = dir })
		l := newLog(t, s)
		for i := range n {
			l.done(say("r", "ann", fmt.Sprint(i)))
		}
		out := dump(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return out
	}
	return fill(3, "data/db"), fill(7, received)
}

func sameDump(a, b map[string][]byte) bool {
	return maps.EqualFunc(a, b, slices.Equal)
}

func TestSwap(t *testing.T) {
	fs := vfs.NewCrashableMem()
	_, newer := twoStores(t, fs)
	s := openOn(t, fs)
	w := s.Watch()
	unpin := s.Pin(room("r"))
	defer unpin()
	if r, err := s.Room(room("r")); err != nil || r.Head.Seq != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := s.Swap(received); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Changes{Reset: true}, w.Take()); d != "" {
		t.Fatal(d)
	}
	diffDumps(t, newer, dump(t, s))
	if r, err := s.Room(room("r")); err != nil || r.Head.Seq != 7 || s.Pos() != 7 || s.TailBytes() != 0 {
		t.Fatalf("%+v, %v, pos %d, tail %d", r, err, s.Pos(), s.TailBytes())
	}
	if index, _ := s.Applied(); index != 7 {
		t.Fatalf("applied %d", index)
	}
	for _, dir := range []string{received, "data/db" + asideSuffix} {
		if there, err := exists(fs, dir); there || err != nil {
			t.Fatalf("%s: %v, %v", dir, there, err)
		}
	}
	l := newLog(t, s)
	l.index, l.last["a"] = 7, 7
	l.done(say("r", "ann", "on"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openOn(t, fs)
	defer func() { _ = s.Close() }()
	if r, err := s.Room(room("r")); err != nil || r.Head.Seq != 8 {
		t.Fatalf("%+v, %v", r, err)
	}
}

// A power cut before any call of the disk leaves the whole old store or the whole new one, and Open finds it.
func TestCrashAtEveryStepOfASwap(t *testing.T) {
	fs := vfs.NewCrashableMem()
	older, newer := twoStores(t, fs)
	var mu sync.Mutex // Pebble also works in the background
	var clones []*vfs.MemFS
	steps := 0
	s := openOn(t, errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		steps++
		// Inside its directory Pebble relies on the order in which names are kept: no random choice among them.
		inside := strings.HasPrefix(op.Path, "data/db/") || op.Path == "data/db" && op.Kind == errorfs.OpFileSync
		for _, percent := range []int{0, 50, 100} {
			if percent == 50 && inside {
				continue
			}
			rng := rand.New(rand.NewPCG(uint64(steps), uint64(percent)))
			clones = append(clones, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}))
		}
		return nil
	})))
	mu.Lock()
	clones = nil
	mu.Unlock()
	if err := s.Swap(received); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	clones = append(clones, fs.CrashClone(vfs.CrashCloneCfg{}))
	was, is := 0, 0
	for i, clone := range clones {
		again := openOn(t, clone)
		switch got := dump(t, again); {
		case sameDump(got, older):
			was++
		case sameDump(got, newer):
			is++
		default:
			t.Fatalf("crash %d leaves %d keys, the old store has %d, the new one %d", i, len(got), len(older), len(newer))
		}
		if aside, err := exists(clone, "data/db"+asideSuffix); aside || err != nil {
			t.Fatalf("crash %d: something is left aside: %v, %v", i, aside, err)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if was < 10 || is < 10 {
		t.Fatalf("%d crashes, after %d the old store, after %d the new one", len(clones), was, is)
	}
}

// faulty are the calls made to fail: not those of Pebble's own files once it is open, after which it may not go on.
var faulty = []errorfs.OpKind{
	errorfs.OpRename, errorfs.OpRemoveAll, errorfs.OpStat, errorfs.OpOpenDir, errorfs.OpList, errorfs.OpOpen, errorfs.OpLock,
}

// failing fails the n-th faulty call, and counts them.
type failing struct {
	mu      sync.Mutex
	n, seen int
}

func (f *failing) String() string { return fmt.Sprintf("fails call %d", f.n) }

func (f *failing) MaybeError(op errorfs.Op) error {
	if !slices.Contains(faulty, op.Kind) {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen++; f.seen == f.n {
		return errorfs.ErrInjected
	}
	return nil
}

func (f *failing) start(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n, f.seen = n, 0
}

func (f *failing) failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n > 0 && f.seen >= f.n
}

// Whichever call fails: after an error the store is closed, and what Open finds then is one of the two, whole.
func TestASwapThatFails(t *testing.T) {
	for n := 1; ; n++ {
		fs := vfs.NewCrashableMem()
		older, newer := twoStores(t, fs)
		f := &failing{}
		s := openOn(t, errorfs.Wrap(fs, f))
		f.start(n)
		err := s.Swap(received)
		if !f.failed() {
			if n < 10 || err != nil {
				t.Fatalf("only %d calls, %v", n-1, err)
			}
			_ = s.Close()
			return
		}
		f.start(0)
		if err != nil {
			if _, read := s.Room(room("r")); !errors.Is(read, ErrClosed) {
				t.Fatalf("call %d failed (%v), and the store is still open: %v", n, err, read)
			}
			if s.TailBytes() != 0 {
				t.Fatalf("call %d failed, and the tail holds %d bytes", n, s.TailBytes())
			}
		}
		if err := s.Close(); err != nil {
			t.Fatalf("close after call %d failed: %v", n, err)
		}
		again := openOn(t, fs)
		if got := dump(t, again); !sameDump(got, older) && !sameDump(got, newer) {
			t.Fatalf("call %d failed (%v): %d keys, the old store has %d, the new one %d", n, err, len(got), len(older), len(newer))
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// An Open that cannot see whether there is a store must not make an empty one.
func TestOpenThatFailsInTheMiddleOfASwap(t *testing.T) {
	for n := 1; ; n++ {
		fs := vfs.NewCrashableMem()
		older, _ := twoStores(t, fs)
		if err := fs.Rename("data/db", "data/db"+asideSuffix); err != nil {
			t.Fatal(err)
		}
		f := &failing{}
		f.start(n)
		s, err := Open(Options{Dir: "data/db", FS: errorfs.Wrap(fs, f), Logger: quiet, CacheSize: 1 << 20})
		done := !f.failed()
		f.start(0)
		if err != nil {
			s = openOn(t, fs)
		}
		diffDumps(t, older, dump(t, s))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if done {
			if n < 5 || err != nil {
				t.Fatalf("only %d calls, %v", n-1, err)
			}
			return
		}
	}
}

// Files that are no store must not take the place of one.
func TestSwapForSomethingThatIsNoStore(t *testing.T) {
	for name, prepare := range map[string]func(fs vfs.FS) error{
		"nothing":         func(fs vfs.FS) error { return fs.RemoveAll(received) },
		"empty directory": func(fs vfs.FS) error { return errors.Join(fs.RemoveAll(received), fs.MkdirAll(received, 0o755)) },
		"damaged store": func(fs vfs.FS) error {
			s, err := Open(Options{Dir: received, FS: fs, Logger: quiet})
			if err != nil {
				return err
			}
			return errors.Join(s.db.Set([]byte(keyMetaApplied), []byte{99}, nil), s.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			older, _ := twoStores(t, fs)
			if err := prepare(fs); err != nil {
				t.Fatal(err)
			}
			s := openOn(t, fs)
			if err := s.Swap(received); err == nil {
				t.Fatal("swapped")
			}
			if _, err := s.Apply(nil); !errors.Is(err, ErrClosed) {
				t.Fatalf("the store is open: %v", err)
			}
			s = openOn(t, fs)
			defer func() { _ = s.Close() }()
			diffDumps(t, older, dump(t, s))
		})
	}
}

// Pos moves to the new store's only after watchers were told of the Reset; the disk calls of Swap are where to look.
func TestResetComesBeforeTheNewPos(t *testing.T) {
	fs := vfs.NewCrashableMem()
	twoStores(t, fs)
	var s *Store
	var w *Watcher
	var mu sync.Mutex // Pebble also works in the background
	reset, seen := false, false
	s = openOn(t, errorfs.Wrap(fs, errorfs.InjectorFunc(func(errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if w != nil {
			pos := s.Pos()
			reset = w.Take().Reset || reset
			seen = seen || pos == 7
			if pos == 7 && !reset {
				t.Error("the new pos is out, and the watcher knows of no reset")
			}
		}
		return nil
	})))
	watch := func(it *Watcher) {
		mu.Lock()
		defer mu.Unlock()
		w = it
	}
	watch(s.Watch())
	if err := s.Swap(received); err != nil {
		t.Fatal(err)
	}
	watch(nil)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if !seen {
		t.Fatal("no call was made with the new pos")
	}
}
