package cluster_test

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/madang-chat/madang/cluster"
	"github.com/madang-chat/madang/cluster/clustertest"
)

// eventually waits for a condition that nothing announces.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s: not after 10 s", what)
		}
	}
}

// pair opens a, which leads alone, and makes the configuration of b, which finds it.
func pair(t *testing.T) (a running, b cluster.Config) {
	t.Helper()
	base := t.TempDir()
	var configs [2]cluster.Config
	for i, id := range []string{"a", "b"} {
		cfg := testConfig(t, filepath.Join(base, id))
		cfg.NodeID, cfg.Replica = id, i == 1
		cfg.HeartbeatTimeout, cfg.ElectionTimeout, cfg.LeaderLeaseTimeout = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
		cfg.SegmentBytes, cfg.KeepLogBytes, cfg.TrailingLogs = 1<<14, 1, 4
		withPort(t, &cfg)
		configs[i] = cfg
	}
	configs[1].Seeds = []string{configs[0].Address}
	a = open(t, configs[0])
	wait(t, a.Ready(), "a leads")
	return a, configs[1]
}

func fill(t *testing.T, n running, count int) {
	t.Helper()
	for i := range count {
		n.put(t, fmt.Sprintf("%d %01000d", i, 0))
	}
}

func TestNodeThatLagsGetsACheckpointAndFollows(t *testing.T) {
	a, config := pair(t)
	fill(t, a, 100)
	if err := a.Raft().Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	if st := a.Stats(); st.LogFirst <= 1 {
		t.Fatalf("the log was not shortened: %+v", st)
	}
	fill(t, a, 5) // the store is ahead of its mark
	b := open(t, config)
	wait(t, b.Ready(), "b is ready")
	same := func() bool { return slices.Equal(a.sm.Commands(), b.sm.Commands()) }
	eventually(t, "b has what a has", same)
	if st := b.Stats(); st.SnapshotAt == 0 {
		t.Fatalf("b got no snapshot: %+v", st)
	}
	if b.Role() != "replica" || b.Leader() != "a" || b.IsLeader() {
		t.Fatalf("b: role %q, leader %q", b.Role(), b.Leader())
	}
	fill(t, a, 20)
	eventually(t, "b follows", same)
	if d := a.LogTime() - b.LogTime(); d > 5000 || d < -5000 {
		t.Fatalf("log times are %d ms apart", d)
	}

	b.close(t)
	fill(t, a, 5)
	withPort(t, &config)
	b = open(t, config)
	wait(t, b.Ready(), "b is ready again")
	eventually(t, "b has what a has after a restart", same)
}

func TestLeadershipIsHandedOverAndLogTimeGoesOn(t *testing.T) {
	a, config := pair(t)
	b := open(t, config)
	wait(t, b.Ready(), "b is ready")
	if err := b.Promote(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	fill(t, a, 10)
	eventually(t, "b follows", func() bool { return len(b.sm.Commands()) == 10 })
	stamped := a.LogTime()
	changed := b.LeaderChanges()
	// Transferred rather than closed: one of two voters alone could not lead on. Raft gives it one election time-out, which a
	// busy machine may need.
	eventually(t, "a hands over", func() bool { return a.Raft().LeadershipTransfer().Error() == nil || b.IsLeader() })
	wait(t, changed, "b hears of it")
	eventually(t, "b leads", b.IsLeader)
	b.put(t, "from b")
	if b.LogTime() < stamped-1000 {
		t.Fatalf("log time went back by %d ms", stamped-b.LogTime())
	}
	eventually(t, "a follows", func() bool { return len(a.sm.Commands()) == 11 })

	// What a is given while it does not lead goes to b, and is taken once.
	a.put(t, "by way of b")
	if got := a.sm.Commands(); len(got) != 12 || got[11] != "by way of b" {
		t.Fatalf("%d commands, last %q", len(got), got[len(got)-1])
	}
}

func TestReceivedSnapshotIsRestoredAtBoot(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	base := t.TempDir()
	from := testConfig(t, filepath.Join(base, "a"))
	a := open(t, from)
	fill(t, a, 30)
	if err := a.Raft().Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	to := testConfig(t, filepath.Join(base, "b"))
	to.NodeID = "b"
	b := open(t, to)
	fill(t, b, 3) // a stale log of its own
	b.close(t)

	// The snapshot arrives, becomes visible, and the power goes.
	disk := cluster.OSDisk()
	sender, err := cluster.OpenSnapshots(disk, filepath.Join(from.Dir, "snapshots"), a.sm)
	if err != nil {
		t.Fatal(err)
	}
	list, err := sender.List()
	if err != nil || len(list) != 1 {
		t.Fatalf("snapshots %v, %v", list, err)
	}
	meta, stream, err := sender.Open(list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	receiver, err := cluster.OpenSnapshots(disk, filepath.Join(to.Dir, "snapshots"), b.sm)
	if err != nil {
		t.Fatal(err)
	}
	sink, err := receiver.Create(raft.SnapshotVersionMax, meta.Index, meta.Term, meta.Configuration, meta.ConfigurationIndex, nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(sink, stream)
	if err != nil || n != meta.Size {
		t.Fatalf("%d bytes of %d, %v", n, meta.Size, err)
	}
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	a.close(t)

	to.Replica = true
	for range 2 { // the second time it is a mark
		withPort(t, &to)
		b = open(t, to)
		if !slices.Equal(b.sm.Commands(), a.sm.Commands()) {
			t.Fatalf("b has %d commands, a %d", len(b.sm.Commands()), len(a.sm.Commands()))
		}
		if st := b.Stats(); st.LogLast != 0 || st.SnapshotAt != meta.Index {
			t.Fatalf("stats %+v", st)
		}
		b.close(t)
	}
}

func TestDamagedStreamIsRefused(t *testing.T) {
	base := t.TempDir()
	sm, err := clustertest.OpenMachine(cluster.OSDisk(), filepath.Join(base, "store"))
	if err != nil {
		t.Fatal(err)
	}
	a := open(t, testConfig(t, filepath.Join(base, "a")))
	fill(t, a, 2)
	if err := a.Raft().Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	sender, err := cluster.OpenSnapshots(cluster.OSDisk(), filepath.Join(base, "a", "snapshots"), a.sm)
	if err != nil {
		t.Fatal(err)
	}
	list, _ := sender.List()
	meta, stream, err := sender.Open(list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	good, err := io.ReadAll(stream)
	if err != nil || int64(len(good)) != meta.Size {
		t.Fatalf("%d bytes of %d, %v", len(good), meta.Size, err)
	}
	stream.Close()
	receiver, err := cluster.OpenSnapshots(cluster.OSDisk(), filepath.Join(base, "b"), sm)
	if err != nil {
		t.Fatal(err)
	}
	receive := func(data []byte) error {
		sink, err := receiver.Create(raft.SnapshotVersionMax, 5, 1, meta.Configuration, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sink.Write(data); err != nil {
			return sink.Cancel()
		}
		return sink.Close()
	}
	for i := 0; i < len(good); i += 1 + len(good)/200 {
		bad := slices.Clone(good)
		bad[i] ^= 0x10
		_ = receive(bad)
		_ = receive(good[:i])
		if list, _ := receiver.List(); len(list) != 0 {
			t.Fatalf("a stream damaged at byte %d of %d became a snapshot", i, len(good))
		}
		if left, _ := cluster.OSDisk().List(filepath.Join(base, "b")); len(left) != 0 {
			t.Fatalf("left behind: %v", left)
		}
	}
	if err := receive(append(slices.Clone(good), 0)); err == nil {
		t.Fatal("bytes after the end are accepted")
	}
	if err := receive(good); err != nil {
		t.Fatal(err)
	}
}
