package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/madang-chat/madang/internal/logentry"
)

// fate is what happens to an entry in flakyRaft.
type fate int

const (
	committed     fate = iota
	refused            // answered as not in the log, and it is not
	lost               // answered as unknown, and not in the log
	lostCommitted      // answered as unknown, but committed at once
	lostLate           // answered as unknown, and committed after some later entries
	missed             // committed, but applied through a snapshot: the fsm never sees the results
	fates
)

// flakyRaft is a log with mishaps, applied to a model of the state machine.
type flakyRaft struct {
	p        *proposer
	fates    []fate
	late     []int // how many entries a lostLate one waits
	remember uint64

	entries chan flakyEntry

	// The state machine, used by serve only.
	list    []string
	last    uint64
	results map[uint64][]byte
	waiting []lateEntry
	err     error
}

type flakyEntry struct {
	data   []byte
	future *flakyFuture
}

type lateEntry struct {
	data []byte
	in   int
}

type flakyFuture struct{ done chan error }

func (f *flakyFuture) Error() error  { return <-f.done }
func (f *flakyFuture) Response() any { return nil }
func (f *flakyFuture) Index() uint64 { return 0 }

func (r *flakyRaft) Apply(cmd []byte, _ time.Duration) raft.ApplyFuture {
	f := &flakyFuture{make(chan error, 1)}
	r.entries <- flakyEntry{cmd, f}
	return f
}

// serve decides about entries, in order, until entries is closed.
func (r *flakyRaft) serve() {
	for i := 0; ; i++ {
		e, ok := <-r.entries
		if !ok {
			return
		}
		what := committed
		if i < len(r.fates) {
			what = r.fates[i]
		}
		for k := 0; k < len(r.waiting); {
			if r.waiting[k].in--; r.waiting[k].in >= 0 {
				k++
				continue
			}
			r.commit(r.waiting[k].data, true)
			r.waiting = slices.Delete(r.waiting, k, k+1)
		}
		var err error
		switch what {
		case committed:
			r.commit(e.data, true)
		case refused:
			err = raft.ErrNotLeader
			if i%2 == 0 {
				err = raft.ErrLeadershipTransferInProgress
			}
		case lost:
			err = raft.ErrLeadershipLost
		case lostCommitted:
			r.commit(e.data, true)
			err = raft.ErrLeadershipLost
		case lostLate:
			r.waiting = append(r.waiting, lateEntry{e.data, r.late[i]})
			err = errors.New("disk says maybe")
		case missed:
			r.commit(e.data, false)
			r.p.again()
		}
		e.future.done <- err
	}
}

func (r *flakyRaft) commit(data []byte, visible bool) {
	e, err := logentry.Decode(1, data)
	if err != nil || len(e.Groups) != 1 || e.Groups[0].Node != "node" || e.Groups[0].Boot != 7 {
		r.err = fmt.Errorf("entry %+v: %w", e, err)
		return
	}
	g := e.Groups[0]
	answers := make([][]byte, len(g.Commands))
	for i, c := range g.Commands {
		n := g.First + uint64(i)
		if n == r.last+1 {
			r.last = n
			r.list = append(r.list, string(c))
			r.results[n] = binary.BigEndian.AppendUint64(nil, uint64(len(r.list)))
			delete(r.results, n-r.remember)
		}
		answers[i] = r.results[n]
	}
	if visible {
		r.p.resolve(g.First, len(g.Commands), answers)
	}
}

func TestEveryCommandOnceInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &flakyRaft{
			fates:    rapid.SliceOfN(rapid.Custom(func(t *rapid.T) fate { return fate(rapid.IntRange(0, int(fates)-1).Draw(t, "fate")) }), 0, 30).Draw(t, "fates"),
			late:     rapid.SliceOfN(rapid.IntRange(0, 6), 30, 30).Draw(t, "late"),
			remember: uint64(rapid.SampledFrom([]int{2, 1 << 20}).Draw(t, "remember")),
			entries:  make(chan flakyEntry, 64),
			results:  map[uint64][]byte{},
		}
		var stamp int64
		r.p = newProposer("node", 7, r, func() int64 { stamp++; return stamp }, proposeLimits{
			entryBytes:    rapid.IntRange(1, 40).Draw(t, "entryBytes") + 10,
			entryCommands: rapid.IntRange(1, 8).Draw(t, "entryCommands"),
			inFlight:      rapid.IntRange(1, 6).Draw(t, "inFlight"),
			pendingBytes:  1 << 30,
		})
		r.p.retries.first, r.p.retries.most = time.Microsecond, 10*time.Microsecond
		r.p.start()
		var serving sync.WaitGroup
		serving.Go(r.serve)
		r.p.lead(true)

		count := rapid.IntRange(1, 120).Draw(t, "commands")
		type got struct {
			i      int
			result []byte
			err    error
		}
		answers := make(chan got, 2*count)
		for i := range count {
			data := []byte(fmt.Sprint(i))
			if i%17 == 16 {
				data = make([]byte, 100) // too large
			}
			r.p.propose(data, func(result []byte, err error) { answers <- got{i, result, err} })
			if i == count/2 {
				r.p.lead(false)
				r.p.lead(true)
			}
		}
		wedged := time.After(10 * time.Second)
		var want []string
		for i := range count {
			select {
			case g := <-answers:
				switch {
				case g.i != i:
					t.Fatalf("answer %d is for command %d", i, g.i)
				case i%17 == 16:
					if !errors.Is(g.err, ErrTooLarge) {
						t.Fatalf("command %d: %v", i, g.err)
					}
					continue
				case errors.Is(g.err, ErrForgotten) && r.remember == 2 && slices.Contains(r.fates, missed):
				case g.err != nil:
					t.Fatalf("command %d: %v", i, g.err)
				case binary.BigEndian.Uint64(g.result) != uint64(len(want)+1):
					t.Fatalf("command %d has place %d, want %d", i, binary.BigEndian.Uint64(g.result), len(want)+1)
				}
				want = append(want, fmt.Sprint(i))
			case <-wedged:
				t.Fatalf("answer %d never came: %+v", i, r.p.stats)
			}
		}
		r.p.drain(nil)
		close(r.entries)
		serving.Wait()
		r.p.stop(nil)
		if r.err != nil {
			t.Fatal(r.err)
		}
		if !slices.Equal(r.list, want) {
			t.Fatalf("list %v\nwant %v", r.list, want)
		}
		if n := len(answers); n != 0 {
			t.Fatalf("%d answers too many", n)
		}
		if commands, bytes := r.p.pending(); commands != 0 || bytes != 0 {
			t.Fatalf("pending %d, %d bytes", commands, bytes)
		}
	})
}

// stuckRaft takes entries and never answers.
type stuckRaft struct{ taken chan []byte }

func (s stuckRaft) Apply(cmd []byte, _ time.Duration) raft.ApplyFuture {
	s.taken <- cmd
	return &flakyFuture{make(chan error)}
}

func TestWhatArrivesGathersWhileEntriesAreInFlight(t *testing.T) {
	r := stuckRaft{make(chan []byte, 10)}
	p := newProposer("node", 7, r, func() int64 { return 1 }, proposeLimits{
		entryBytes: 1000, entryCommands: 100, inFlight: 1, pendingBytes: 1000,
	})
	var errs []error
	done := func(_ []byte, err error) { errs = append(errs, err) }
	var running sync.WaitGroup
	running.Go(p.run)
	running.Go(p.answer)
	p.propose([]byte("0"), done)
	p.lead(true)
	<-r.taken
	for range 12 {
		p.propose([]byte("x"), done)
	}
	<-p.flights
	if len(r.taken) != 0 {
		t.Fatal("a second entry was sent while one is in flight")
	}
	p.resolve(1, 1, [][]byte{[]byte("ok")})
	p.mu.Lock()
	p.inFlight--
	p.mu.Unlock()
	signal(p.kick)
	e, err := logentry.Decode(1, <-r.taken)
	if err != nil || e.Groups[0].First != 2 || len(e.Groups[0].Commands) != 12 {
		t.Fatalf("second entry %+v, %v", e, err)
	}
	// 97 bytes per command: at 1000 callers are to wait, beyond 2000 they are refused.
	space := p.space()
	if space == nil {
		t.Fatal("1164 bytes are pending, and nobody is told to wait")
	}
	p.resolve(2, 3, [][]byte{{1}, {1}, {1}})
	<-space
	if p.space() != nil {
		t.Fatal("873 bytes are pending, and callers wait")
	}
	for range 20 {
		p.propose([]byte("y"), done)
	}
	close(p.waited)
	p.stop(nil)
	running.Wait()
	if len(errs) != 33 || errs[0] != nil || errs[3] != nil || !errors.Is(errs[4], ErrClosed) || !errors.Is(errs[32], ErrOverloaded) {
		t.Fatalf("answers %v", errs)
	}
	p.propose([]byte("z"), done)
	if len(errs) != 34 || !errors.Is(errs[33], ErrClosed) {
		t.Fatal("propose after stop is not answered")
	}
}
