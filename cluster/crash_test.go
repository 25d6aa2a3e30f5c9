package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/madang-chat/madang/cluster"
	"github.com/madang-chat/madang/cluster/clustertest"
)

// TestPowerCutLosesNothingAcknowledged cuts the power again and again under load, each time at some moment, keeping a
// random part of what was not synced, and starts the next node on what is left.
func TestPowerCutLosesNothingAcknowledged(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	fs := vfs.NewCrashableMem()
	var acked []string
	sent := map[string]bool{}
	for round := range 12 {
		cfg := testConfig(t, "/data/raft")
		cfg.Disk = clustertest.Disk(fs)
		cfg.SegmentBytes = 8 << 10 // segments change often
		cfg.SnapshotBytes, cfg.KeepLogBytes, cfg.TrailingLogs = 16<<10, 8<<10, 8
		cfg.MaxEntryCommands = 4
		n, err := tryOpen(cfg)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		wait(t, n.Ready(), "ready")
		checkAll(t, round, n.sm.Commands(), acked, sent)

		// The first rounds are short, so that cuts hit the very beginning too.
		target := rng.IntN(1 + 40*round)
		var mu sync.Mutex
		var fresh []string
		enough := make(chan struct{})
		if target == 0 {
			close(enough)
		}
		stop := make(chan struct{})
		var callers sync.WaitGroup
		for c := range 8 {
			callers.Go(func() {
				for i := 0; ; i++ {
					cmd := fmt.Sprintf("%d/%d/%d/%0100d", round, c, i, 0)
					mu.Lock()
					sent[cmd] = true
					mu.Unlock()
					if _, err := n.ProposeWait(context.Background(), []byte(cmd)); err != nil {
						return
					}
					mu.Lock()
					fresh = append(fresh, cmd)
					if len(fresh) == target {
						close(enough)
					}
					mu.Unlock()
					select {
					case <-stop:
						return
					default:
					}
				}
			})
		}
		wait(t, enough, "commands")
		mu.Lock()
		acked = append(acked, fresh...) // what was acknowledged before the cut
		mu.Unlock()
		next := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		close(stop)
		callers.Wait()
		n.close(t) // the old node lives on a disk that nobody will look at again
		fs = next
	}
}

// checkAll checks that got has every acknowledged command, each once, and nothing that nobody sent.
func checkAll(t *testing.T, round int, got, acked []string, sent map[string]bool) {
	t.Helper()
	seen := map[string]bool{}
	for _, c := range got {
		if seen[c] || !sent[c] {
			t.Fatalf("round %d: command %.20q twice or never sent", round, c)
		}
		seen[c] = true
	}
	for i, c := range acked {
		if !seen[c] {
			t.Fatalf("round %d: acknowledged command %.20q (%d of %d) is gone, %d are there", round, c, i, len(acked), len(got))
		}
	}
}

// faultyDisk fails every write operation from the n-th on.
type faultyDisk struct {
	cluster.Disk
	mu   sync.Mutex
	left int // operations that still work; negative: all
	seen int
}

var errFault = errors.New("no space left on this disk")

func (d *faultyDisk) op() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen++
	if d.left < 0 {
		return nil
	}
	if d.left == 0 {
		return errFault
	}
	d.left--
	return nil
}

func (d *faultyDisk) set(left int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = left
}

func (d *faultyDisk) Create(name string) (cluster.File, error) {
	if err := d.op(); err != nil {
		return nil, err
	}
	f, err := d.Disk.Create(name)
	return faultyFile{f, d}, err
}

func (d *faultyDisk) OpenReadWrite(name string) (cluster.File, error) {
	f, err := d.Disk.OpenReadWrite(name)
	return faultyFile{f, d}, err
}

func (d *faultyDisk) Rename(from, to string) error {
	return errors.Join(d.op(), d.Disk.Rename(from, to)) // it may have happened all the same
}

func (d *faultyDisk) SyncDir(dir string) error {
	if err := d.op(); err != nil {
		return err
	}
	return d.Disk.SyncDir(dir)
}

type faultyFile struct {
	cluster.File
	d *faultyDisk
}

func (f faultyFile) WriteAt(p []byte, at int64) (int, error) {
	if err := f.d.op(); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, at)
}

func (f faultyFile) Sync() error {
	if err := f.d.op(); err != nil {
		return err
	}
	return f.File.Sync()
}

// TestFullDiskEndsInOneClearErrorAndARestartIsEnough lets the disk fail at every operation in turn.
func TestFullDiskEndsInOneClearErrorAndARestartIsEnough(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 11
	}
	for at, survived := 0, false; !survived; at += step {
		fs := vfs.NewCrashableMem()
		d := &faultyDisk{Disk: clustertest.Disk(fs), left: -1}
		cfg := testConfig(t, "/data/raft")
		cfg.Logger = nil
		cfg.SegmentBytes = 4096
		cfg.MaxEntryCommands = 5
		cfg.Disk = d
		d.set(at)
		var acked []string
		n, err := tryOpen(cfg)
		switch {
		case err != nil && !errors.Is(err, errFault):
			t.Fatalf("operation %d: open: %v", at, err)
		case err == nil:
			const count = 300
			answered := make(chan string, count)
			all := make(chan struct{})
			for i := range count {
				cmd := fmt.Sprintf("%d %0200d", i, 0)
				n.Propose([]byte(cmd), func(_ []byte, err error) {
					if err == nil {
						answered <- cmd
						if len(answered) == count {
							close(all)
						}
					}
				})
			}
			select {
			case err := <-n.Failed():
				if !errors.Is(err, errFault) {
					t.Fatalf("operation %d: failed with %v", at, err)
				}
			case <-all:
				survived = true // the disk never got so far
			case <-time.After(10 * time.Second):
				t.Fatalf("operation %d: the node does not say that its disk is full", at)
			}
			n.close(t)
			for len(answered) > 0 {
				acked = append(acked, <-answered)
			}
		}
		// A store whose writes are lost, a disk that has room again.
		d.Disk = clustertest.Disk(fs.CrashClone(vfs.CrashCloneCfg{}))
		d.set(-1)
		n, err = tryOpen(cfg)
		if err != nil {
			t.Fatalf("operation %d: open again: %v", at, err)
		}
		wait(t, n.Ready(), "ready")
		if got := n.sm.Commands(); len(got) < len(acked) || !slices.Equal(got[:len(acked)], acked) {
			t.Fatalf("operation %d: %d commands were acknowledged, %d are there", at, len(acked), len(got))
		}
		n.put(t, "more")
		n.close(t)
		if survived && at < 60 {
			t.Fatalf("only %d operations were tried", at)
		}
	}
}
