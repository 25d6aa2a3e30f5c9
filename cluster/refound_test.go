package cluster_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/madang-chat/madang/cluster"
	"github.com/madang-chat/madang/cluster/clustertest"
)

func machineOf(t testing.TB, cfg cluster.Config) *clustertest.Machine {
	t.Helper()
	sm, err := clustertest.OpenMachine(cfg.Disk, filepath.Join(filepath.Dir(cfg.Dir), cfg.NodeID+"-store"))
	if err != nil {
		t.Fatal(err)
	}
	return sm
}

// What one of three has left becomes a cluster of its own, with everything that is in its log, and others can join it.
func TestRefound(t *testing.T) {
	configs := several(t, 3)
	nodes := founded(t, configs)
	for i := range 20 {
		nodes[i%3].put(t, fmt.Sprint(i))
	}
	eventually(t, "all have all", func() bool { return len(nodes[1].sm.Commands()) == 20 })
	for _, n := range nodes {
		n.close(t)
	}
	cfg := configs[1]
	cfg.Disk, cfg.Port = cluster.OSDisk(), nil
	if err := os.RemoveAll(filepath.Join(filepath.Dir(cfg.Dir), cfg.NodeID+"-store")); err != nil { // so that all is in the log only
		t.Fatal(err)
	}
	other := cfg
	other.NodeID = "host-7"
	if _, err := cluster.Refound(other, machineOf(t, cfg), false); !errors.Is(err, cluster.ErrOtherNode) {
		t.Fatalf("under another name: %v", err)
	}
	empty := cfg
	empty.Dir = filepath.Join(t.TempDir(), "raft")
	if _, err := cluster.Refound(empty, machineOf(t, cfg), false); err == nil {
		t.Fatal("a store without its log became a cluster")
	}
	for again := range 2 {
		out, err := cluster.Refound(cfg, machineOf(t, cfg), false)
		if err != nil || out.Index < 20 || again == 0 && out.Replayed < 20 || again == 1 && out.Replayed != 0 {
			t.Fatalf("%+v, %v", out, err)
		}
		r, err := cluster.Verify(cfg.Disk, cfg.Dir, func(err error) { t.Error(err) })
		if err != nil || r.Last != 0 || r.Mark != out.Index || r.Node != "b" {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	withPort(t, &cfg)
	b := open(t, cfg)
	wait(t, b.Ready(), "b is ready")
	if m := b.Members(); len(m) != 1 || m[0].ID != "b" || !m[0].Voter {
		t.Fatalf("members %+v", m)
	}
	b.put(t, "after")
	if b.Term() < 1_700_000_000 {
		t.Errorf("term %d is one that the old cluster may have reached", b.Term())
	}
	fresh := configs[0]
	fresh.NodeID, fresh.Dir = "d", filepath.Join(t.TempDir(), "d")
	withPort(t, &fresh)
	d := open(t, fresh)
	wait(t, d.Ready(), "d is ready")
	eventually(t, "the new one has all", func() bool { return len(d.sm.Commands()) == 21 })
	if !slices.Equal(d.sm.Commands(), b.sm.Commands()) {
		t.Fatalf("%q and %q", d.sm.Commands(), b.sm.Commands())
	}
}

// Verify finds nothing wrong with what a power cut leaves, and changes nothing of it.
func TestVerifyAfterAPowerCut(t *testing.T) {
	for seed := range uint64(10) {
		mem := vfs.NewCrashableMem()
		cfg := testConfig(t, "/data/raft")
		cfg.Disk = clustertest.Disk(mem)
		n := open(t, cfg)
		wait(t, n.Ready(), "ready")
		for i := range 30 {
			n.put(t, fmt.Sprint(i))
		}
		rng := rand.New(rand.NewPCG(seed, 1))
		cut := clustertest.Disk(mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}))
		for range 2 {
			r, err := cluster.Verify(cut, cfg.Dir, func(err error) { t.Error(err) })
			if err != nil || r.Commands < 30 || r.Last < 30 {
				t.Fatalf("seed %d: %+v, %v", seed, r, err)
			}
		}
	}
}
