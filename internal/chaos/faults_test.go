package chaos

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/storage"
)

// fault lets writes to a disk fail, from the n-th on or the n-th alone.
type fault struct {
	err   error
	once  bool
	armed atomic.Bool
	left  atomic.Int64
	hit   atomic.Bool
}

func (f *fault) String() string { return f.err.Error() }

// MaybeError implements errorfs.Injector.
func (f *fault) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpFileClose, errorfs.OpLock, errorfs.OpRemove, errorfs.OpRemoveAll: // need no space
		return nil
	}
	if !f.armed.Load() || op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
		return nil
	}
	left := f.left.Add(-1)
	if left > 0 || f.once && left < 0 {
		return nil
	}
	f.hit.Store(true)
	return f.err
}

// A disk that is full, or broken, at any write or sync: the node says so in one error that names the disk, acknowledges
// nothing that it has not, and after a start on a disk that works everything acknowledged is there, once.
func TestCrashDiskFaults(t *testing.T) {
	step := 23 // every so many writes; each is tried by make crash
	if rounds := mqtttest.Rounds(t); rounds > 3 {
		step = 1
	}
	for _, kind := range []struct {
		err  error
		once bool
	}{{syscall.ENOSPC, false}, {syscall.EIO, false}, {syscall.EIO, true}, {syscall.EROFS, false}} {
		t.Run(fmt.Sprintf("%v once %v", kind.err, kind.once), func(t *testing.T) {
			t.Parallel()
			tried := 0
			for n := int64(1); ; n += int64(step) {
				f := &fault{err: kind.err, once: kind.once}
				if !faultAt(t, f, n) {
					break // the load ends before the n-th write
				}
				tried++
			}
			if tried < 5 {
				t.Errorf("%d faults only", tried)
			}
			t.Logf("%d faults", tried)
		})
	}
}

// faultAt runs a node whose n-th write fails, and looks at what is left. It reports whether there was an n-th.
func faultAt(t *testing.T, f *fault, n int64) (hit bool) {
	t.Helper()
	f.left.Store(n)
	node := testcluster.Start(t, testcluster.Options{
		Memory: true, ShortLog: true, Set: []string{"cluster.trailing_logs=4", "cluster.snapshot_threshold=8"},
		Faults: func(disk vfs.FS) vfs.FS { return errorfs.Wrap(disk, f) },
	})
	defer node.Stop()
	c := mqtttest.Dial(t, node.At(), mqtttest.Options{Flavour: mqtttest.Flavours[1], User: "ann", ClientID: "a", Hears: 5 * time.Second})
	f.armed.Store(true)
	var acked []string
	failed := make(chan error, 1)
	over := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case err := <-node.Failed():
			failed <- err
			c.Cut() // as the end of the process does
		case <-over:
		}
	})
	for i := range faultMessages {
		cid := fmt.Sprint("m", i)
		ack, err := c.TryPublish(mqtttest.Message("chat/rooms/r/send", `{"cid":"`+cid+`","data":"`+strings.Repeat("x", 500)+`"}`, 1))
		if err != nil || ack.ReasonCode >= 0x80 {
			break
		}
		acked = append(acked, cid)
	}
	f.armed.Store(false)
	c.Cut()
	close(over)
	watching.Wait()
	if !f.hit.Load() {
		return false
	}
	ended := func(err error) {
		if !errors.Is(err, f.err) && !strings.Contains(err.Error(), f.err.Error()) {
			t.Errorf("write %d: the node ends and says: %v", n, err)
		}
		node.Crash()
	}
	select {
	case err := <-failed:
		ended(err)
	default: // it goes on, or has met the fault in the background and is about to end
		if err := node.TryStop(10 * time.Second); err == nil {
			node.Begin()
			break
		}
		select {
		case err := <-node.Failed():
			ended(err)
		case <-time.After(mqtttest.Patience):
			t.Fatalf("write %d: the node neither stops nor says why", n)
		}
	}
	if got := cids(t, node); !isPrefix(acked, got) {
		t.Errorf("write %d: %d messages are acknowledged, there are %d: %v", n, len(acked), len(got), got)
	}
	return true
}

const faultMessages = 120

// isPrefix reports whether got is acked and, at most, one message more whose outcome was unknown.
func isPrefix(acked, got []string) bool {
	return len(got) >= len(acked) && len(got) <= len(acked)+1 && slices.Equal(acked, got[:len(acked)])
}

// cids are those of the messages of room r, in order.
func cids(t *testing.T, n *testcluster.Node) []string {
	t.Helper()
	out, err := cidsOf(n)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func cidsOf(n *testcluster.Node) (out []string, err error) {
	es, err := n.Store().Entries(storage.RoomKey{NS: "chat", Room: "r"}, 1, 1<<40, 1<<20, 1<<30)
	for _, e := range es {
		_, after, _ := strings.Cut(string(e.JSON), `"cid":"`)
		cid, _, _ := strings.Cut(after, `"`)
		out = append(out, cid)
	}
	return out, err
}
