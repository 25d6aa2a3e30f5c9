package cluster

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/madang-chat/madang/internal/logentry"
)

// StateMachine is what the log is applied to. The node calls Apply, Applied and Swap from one goroutine at a time;
// Sync and Checkpoint may run beside Apply.
type StateMachine interface {
	// Apply applies entries in order and answers them: result[i][g][c] belongs to entries[i].Groups[g].Commands[c].
	// nil means that the command was ignored: its number was not the next one, or is older than what is remembered. It
	// must be deterministic and skip entries at or below Applied. The entries and what they point to must not be
	// changed, nor kept after the call. An error means that the node must stop.
	Apply(entries []logentry.Entry) (results [][][][]byte, err error)

	// Applied returns the index and the log time (ms) of the last applied entry, as of the last call of Apply or Swap.
	Applied() (index uint64, logTime int64)

	// Sync makes everything applied so far durable.
	Sync() error

	// Checkpoint writes a consistent, self-contained copy into dir, which must not exist, with hard links where it can.
	Checkpoint(dir string) error

	// Swap atomically becomes the store whose files are in dir. They are moved, not copied: afterwards dir is gone.
	Swap(dir string) error
}

// fsm applies the log to the state machine and gives this node's own commands their results.
type fsm struct {
	node  string
	boot  uint64
	sm    StateMachine
	fail  *failure
	snaps *snapshotStore

	resolve func(first uint64, count int, results [][]byte)
	again   func()                // results were missed, everything unresolved must come again
	applied func(entryTime int64) // an entry with this log time was applied
	seen    func(index uint64)    // everything up to this raft index is applied

	entries []logentry.Entry // scratch

	batches, count atomic.Uint64
	restored       atomic.Uint64 // snapshots received
	nanos          atomic.Int64
	clock          func() time.Time
	stalls         *stalls
}

// ApplyBatch implements raft.BatchingFSM. Raft sends configuration entries too.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	responses := make([]any, len(logs))
	err := f.fail.get()
	if err == nil {
		err = f.applyBatch(logs)
	}
	if err == nil {
		f.seen(logs[len(logs)-1].Index)
	}
	if err != nil {
		err = f.fail.report(err)
		for i := range responses {
			responses[i] = err
		}
	}
	return responses
}

func (f *fsm) applyBatch(logs []*raft.Log) error {
	start := f.clock()
	applied, last := f.sm.Applied()
	f.entries = f.entries[:0]
	defer func() { clear(f.entries) }()
	missed := false
	for _, l := range logs {
		if l.Type != raft.LogCommand {
			continue
		}
		e, err := logentry.Decode(l.Index, l.Data)
		if err != nil {
			return fmt.Errorf("this node cannot go on: %w", err)
		}
		if e.Index <= applied {
			missed = missed || f.own(&e)
			continue
		}
		// A leader stamps after everything before has been applied to it, so that this changes nothing; an entry that
		// waited in raft through a short loss of leadership could carry an older time.
		last = max(last, e.Time)
		e.Time = last
		f.entries = append(f.entries, e)
	}
	if missed {
		f.again()
	}
	if len(f.entries) == 0 {
		return nil
	}
	f.stalls.begin(stallApply)
	results, err := f.sm.Apply(f.entries)
	f.stalls.end(stallApply)
	if err != nil {
		return fmt.Errorf("this node cannot go on: apply entries %d to %d: %w",
			f.entries[0].Index, f.entries[len(f.entries)-1].Index, err)
	}
	f.applied(last)
	for i := range f.entries {
		for g := range f.entries[i].Groups {
			group := &f.entries[i].Groups[g]
			if group.Node != f.node || group.Boot != f.boot {
				continue
			}
			var answers [][]byte
			if i < len(results) && g < len(results[i]) {
				answers = results[i][g]
			}
			f.resolve(group.First, len(group.Commands), answers)
		}
	}
	f.batches.Add(1)
	f.count.Add(uint64(len(f.entries)))
	f.nanos.Add(int64(f.clock().Sub(start)))
	return nil
}

// own reports whether e has commands of this node and boot.
func (f *fsm) own(e *logentry.Entry) bool {
	for i := range e.Groups {
		if e.Groups[i].Node == f.node && e.Groups[i].Boot == f.boot {
			return true
		}
	}
	return false
}

// Apply implements raft.FSM; raft uses ApplyBatch.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// Snapshot implements raft.FSM: the snapshot is how far the store is.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.fail.get(); err != nil {
		return nil, err
	}
	applied, _ := f.sm.Applied()
	return &markSnapshot{f: f, applied: applied}, nil
}

// Restore implements raft.FSM: the store becomes the one a received snapshot holds.
func (f *fsm) Restore(r io.ReadCloser) error {
	if err := f.fail.get(); err != nil {
		return err
	}
	id, err := readToken(r)
	if err != nil {
		return err
	}
	if err := f.snaps.restore(id); err != nil {
		// The store may be half way; raft would go on with it.
		return f.fail.report(fmt.Errorf("restore snapshot %s: %w", id, err))
	}
	f.restored.Add(1)
	_, last := f.sm.Applied()
	f.applied(last)
	f.again()
	return nil
}

// markSnapshot is a snapshot that is about to become a mark.
type markSnapshot struct {
	f       *fsm
	applied uint64
}

// Persist implements raft.FSMSnapshot. The store is synced first: when the mark is there, raft cuts its log.
func (m *markSnapshot) Persist(sink raft.SnapshotSink) error {
	s, ok := sink.(*snapshotSink)
	if !ok {
		return errors.New("snapshot goes to a store of another kind")
	}
	if err := m.f.sm.Sync(); err != nil {
		return m.f.fail.report(fmt.Errorf("sync the store for a snapshot: %w", err))
	}
	if err := m.f.fail.get(); err != nil {
		return err
	}
	s.mark(m.applied)
	return nil
}

// Release implements raft.FSMSnapshot.
func (m *markSnapshot) Release() {}

var (
	_ raft.BatchingFSM = (*fsm)(nil)
	_ raft.FSMSnapshot = (*markSnapshot)(nil)
)
