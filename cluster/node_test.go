package cluster_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/madang-chat/madang/cluster"
	"github.com/madang-chat/madang/cluster/clustertest"
)

// Raft does not answer entries it holds when its main loop ends. A failed node, and one that loses a leadership while it is
// shut down, keep the goroutine that waits for them. Tests of nodes that do neither check themselves.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/madang-chat/madang/cluster.(*proposer).wait"),
		goleak.IgnoreAnyFunction("github.com/madang-chat/madang/cluster.(*Node).watch.func1"), // a barrier, likewise
		// Raft's own: a leadership offered to a node that is gone, until the call times out.
		goleak.IgnoreAnyFunction("github.com/hashicorp/raft.(*InmemTransport).makeRPC"),
		goleak.IgnoreAnyFunction("github.com/hashicorp/raft.(*Raft).leaderLoop.func2"))
}

// testConfig makes a node that is quick to lead.
func testConfig(t testing.TB, dir string) cluster.Config {
	cfg := cluster.DefaultConfig(dir, "a")
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	cfg.HeartbeatTimeout, cfg.ElectionTimeout, cfg.LeaderLeaseTimeout = 10*time.Millisecond, 10*time.Millisecond, 10*time.Millisecond
	cfg.SegmentBytes = 1 << 16
	return cfg
}

type running struct {
	*cluster.Node
	sm *clustertest.Machine
}

func open(t testing.TB, cfg cluster.Config) running {
	t.Helper()
	r, err := tryOpen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.close(t) })
	return r
}

func tryOpen(cfg cluster.Config) (running, error) {
	if cfg.Disk == nil {
		cfg.Disk = cluster.OSDisk()
	}
	sm, err := clustertest.OpenMachine(cfg.Disk, filepath.Join(filepath.Dir(cfg.Dir), cfg.NodeID+"-store"))
	if err != nil {
		return running{}, err
	}
	n, err := cluster.Open(cfg, sm)
	return running{n, sm}, err
}

func (r running) close(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.Close(ctx); err != nil {
		t.Error(err)
	}
}

func wait(t testing.TB, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: nothing after 10 s", what)
	}
}

func (r running) put(t testing.TB, cmd string) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	res, err := r.ProposeWait(ctx, []byte(cmd))
	if err != nil {
		t.Fatalf("propose %q: %v", cmd, err)
	}
	return binary.BigEndian.Uint64(res)
}

func TestNodeLeadsAppliesAndStartsAgain(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	cfg := testConfig(t, filepath.Join(t.TempDir(), "raft"))
	n := open(t, cfg)
	wait(t, n.Ready(), "ready")
	for i := range 10 {
		if got := n.put(t, fmt.Sprint(i)); got != uint64(i+1) {
			t.Fatalf("command %d got place %d", i, got)
		}
	}
	if !n.IsLeader() || n.Leader() != "a" || n.Role() != "leader" || n.Term() == 0 || n.NodeID() != "a" {
		t.Fatalf("leader %v %q, role %q, term %d", n.IsLeader(), n.Leader(), n.Role(), n.Term())
	}
	boot, logTime := n.Boot(), n.LogTime()
	if st := n.Stats(); st.Answered != 10 || st.Pending != 0 || st.LogAppends == 0 || st.LogSyncs == 0 {
		t.Fatalf("stats %+v", st)
	}
	n.close(t)
	if _, err := n.ProposeWait(context.Background(), []byte("late")); !errors.Is(err, cluster.ErrClosed) {
		t.Fatalf("propose after close: %v", err)
	}

	n = open(t, cfg) // the machine was never synced: all comes from the log
	if n.Boot() <= boot {
		t.Fatalf("boot %d after %d", n.Boot(), boot)
	}
	defer n.close(t)
	wait(t, n.Ready(), "ready again")
	if got := len(n.sm.Commands()); got != 10 {
		t.Fatalf("%d commands after restart", got)
	}
	if n.LogTime() < logTime {
		t.Fatal("log time went back over a restart")
	}
	n.put(t, "10")
}

func TestDoneIsCalledOnceInOrder(t *testing.T) {
	n := open(t, testConfig(t, filepath.Join(t.TempDir(), "raft")))
	const count = 5000
	var got []int // the answering goroutine's, until the last
	last := make(chan struct{})
	for i := range count {
		cmd := []byte(fmt.Sprint(i))
		if i%1000 == 500 {
			cmd = make([]byte, 2<<20) // refused, in its place
		}
		n.Propose(cmd, func(result []byte, err error) {
			if (err != nil) != (i%1000 == 500) || (err != nil && !errors.Is(err, cluster.ErrTooLarge)) {
				t.Errorf("command %d: %v", i, err)
			}
			got = append(got, i)
			if len(got) == count {
				close(last)
			}
		})
	}
	wait(t, last, "all answered")
	if !slices.IsSorted(got) {
		t.Fatal("answers out of order")
	}
	if c, b := n.Pending(); c != 0 || b != 0 {
		t.Fatalf("pending %d, %d bytes", c, b)
	}
}

func TestSnapshotTruncatesAndStartsAgain(t *testing.T) {
	cfg := testConfig(t, filepath.Join(t.TempDir(), "raft"))
	cfg.SnapshotBytes, cfg.KeepLogBytes, cfg.TrailingLogs = 1<<18, 1<<16, 16
	n := open(t, cfg)
	big := make([]byte, 8<<10)
	for i := 0; n.Stats().LogFirst <= 1; i++ {
		copy(big, fmt.Sprint(i))
		n.put(t, string(big))
		if i > 5000 {
			t.Fatal("the log is never shortened")
		}
	}
	st := n.Stats()
	if st.SnapshotAt == 0 || st.LogFirst > st.SnapshotAt+1 {
		t.Fatalf("stats %+v", st)
	}
	want := len(n.sm.Commands())
	n.close(t)
	n = open(t, cfg)
	wait(t, n.Ready(), "ready")
	if got := len(n.sm.Commands()); got != want {
		t.Fatalf("%d commands after restart, want %d", got, want)
	}

	// A store that lost what its mark says is durable must not start.
	n.close(t)
	if err := cluster.OSDisk().RemoveAll(filepath.Join(filepath.Dir(cfg.Dir), "a-store")); err != nil {
		t.Fatal(err)
	}
	if _, err := tryOpen(cfg); !errors.Is(err, cluster.ErrBehindMark) {
		t.Fatalf("open with an empty store: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	base := t.TempDir()
	cfg := testConfig(t, filepath.Join(base, "raft"))
	n := open(t, cfg)
	n.put(t, "x")
	if err := n.sm.Sync(); err != nil {
		t.Fatal(err)
	}
	n.close(t)

	other := cfg
	other.NodeID = "b"
	if _, err := tryOpen(other); !errors.Is(err, cluster.ErrOtherNode) {
		t.Fatalf("open as another node: %v", err)
	}
	if err := cluster.OSDisk().RemoveAll(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	if _, err := tryOpen(cfg); !errors.Is(err, cluster.ErrLogLost) {
		t.Fatalf("open without the log: %v", err)
	}
}

func TestApplyErrorStopsTheNode(t *testing.T) {
	cfg := testConfig(t, filepath.Join(t.TempDir(), "raft"))
	n := open(t, cfg)
	wait(t, n.Ready(), "ready")
	boom := errors.New("boom")
	n.sm.Break(boom)
	answered := make(chan error, 1)
	n.Propose([]byte("x"), func(_ []byte, err error) { answered <- err })
	select {
	case err := <-n.Failed():
		if !errors.Is(err, boom) {
			t.Fatalf("failed with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the node goes on")
	}
	select {
	case err := <-answered:
		t.Fatalf("answered: %v", err)
	default:
	}
	n.close(t)
	if err := <-answered; !errors.Is(err, cluster.ErrClosed) {
		t.Fatalf("answered with %v at close", err)
	}
}

func TestProposeWaitGivesUpAsUnknown(t *testing.T) {
	cfg := testConfig(t, filepath.Join(t.TempDir(), "raft"))
	cfg.Replica = true // never gets a leader
	withPort(t, &cfg)
	n := open(t, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := n.ProposeWait(ctx, []byte("x"))
		if !errors.Is(err, cluster.ErrUnknown) || !errors.Is(err, context.Canceled) {
			t.Errorf("ProposeWait: %v", err)
		}
	})
	cancel()
	wg.Wait()
	select {
	case <-n.Ready():
		t.Fatal("ready without a leader")
	default:
	}
}

// BenchmarkPropose measures group commit with a real fsync: 256 callers, each waiting for its result.
func BenchmarkPropose(b *testing.B) {
	cfg := cluster.DefaultConfig(filepath.Join(b.TempDir(), "raft"), "a")
	n, err := cluster.Open(cfg, &clustertest.Counter{})
	if err != nil {
		b.Fatal(err)
	}
	wait(b, n.Ready(), "ready")
	const callers = 256
	before := n.Stats()
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	work := make(chan struct{}, callers)
	for range callers {
		wg.Go(func() {
			done := make(chan error, 1)
			answer := func(_ []byte, err error) { done <- err }
			for range work {
				n.Propose(make([]byte, 256), answer)
				if err := <-done; err != nil {
					b.Error(err)
				}
			}
		})
	}
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	wg.Wait()
	b.StopTimer()
	after := n.Stats()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
	b.ReportMetric(float64(after.Commands-before.Commands)/float64(after.Entries-before.Entries), "commands/entry")
	b.ReportMetric(float64(after.LogAppends-before.LogAppends)/b.Elapsed().Seconds(), "appends/s")
	b.ReportMetric(float64(after.LogSyncs-before.LogSyncs)/float64(b.N), "fsyncs/command")
	if err := n.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
}
