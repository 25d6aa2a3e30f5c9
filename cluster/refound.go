package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
)

// refoundJump is how many numbers of the log a new cluster leaves out.
const refoundJump = 1_000_000

// Refounded says what Refound found.
type Refounded struct {
	Replayed int    // entries of the log that the store had not applied
	Index    uint64 // of the last entry; the new cluster goes on from there
}

// Refound makes the data of a node that does not run the beginning of a new cluster, with this node at cfg.Address as its
// only voter. Everything in its log is applied to sm, committed or not: the others, who would know, are given up. sm is
// durable and the log is empty on return. It may be called again after an interruption.
//
// restored says that sm comes from a backup and that the node has never run: there is no log to hold it against.
//
// Nodes of the old cluster should not run again with their data; a majority of them would be the old cluster.
func Refound(cfg Config, sm StateMachine, restored bool) (out Refounded, err error) {
	cfg.Port, cfg.Seeds, cfg.Expect, cfg.Replica = nil, nil, 0, false
	address := cfg.Address
	if err := cfg.check(); err != nil {
		return out, fmt.Errorf("cluster: %w", err)
	}
	fail := func(err error) (Refounded, error) {
		return out, fmt.Errorf("begin a new cluster in %s: %w", cfg.Dir, err)
	}
	if err := makeDir(cfg.Disk, cfg.Dir); err != nil {
		return fail(err)
	}
	switch _, owner, err := readBoot(cfg.Disk, filepath.Join(cfg.Dir, bootFile)); {
	case errors.Is(err, os.ErrNotExist) && restored:
	case err != nil:
		return fail(err)
	case restored:
		return fail(fmt.Errorf("node %q has run there", owner))
	case owner != cfg.NodeID:
		return fail(fmt.Errorf("%w: it is node %q, not %q (node.name)", ErrOtherNode, owner, cfg.NodeID))
	}
	failure := newFailure()
	logs, err := openLog(&cfg, filepath.Join(cfg.Dir, "wal"), failure)
	if err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(err, logs.Close()) }()
	snaps, err := openSnapshots(cfg.Disk, filepath.Join(cfg.Dir, "snapshots"), sm)
	if err != nil {
		return fail(err)
	}
	if !restored {
		err = checkBoot(sm, snaps, logs)
		if fresh, errFresh := isFresh(logs, snaps); err == nil && (fresh || errFresh != nil) {
			err = errors.Join(fmt.Errorf("%w: there is neither a log nor a snapshot", ErrLogLost), errFresh)
		}
		if err != nil {
			return fail(err)
		}
	}
	f := &fsm{
		sm: sm, fail: failure, snaps: snaps, clock: cfg.Clock, resolve: func(uint64, int, [][]byte) {}, again: func() {},
		applied: func(int64) {}, seen: func(uint64) {},
	}
	term, err := out.replay(f, logs, snaps)
	if err == nil {
		err = sm.Sync()
	}
	if err != nil {
		return fail(err)
	}
	applied, _ := sm.Applied()
	if restored {
		out.Index = max(applied, 1)
	}
	// Whatever a node of the old cluster still has is older than this and lies below it, so that one that runs again after all
	// is given the new cluster's store, and never leads.
	out.Index += refoundJump
	term = max(term+1, uint64(cfg.Clock().Unix()))
	if err := logs.SetUint64(keyCurrentTerm, term); err != nil {
		return fail(err)
	}
	if address == "" {
		address = cfg.NodeID
	}
	alone := raft.Configuration{Servers: []raft.Server{{
		Suffrage: raft.Voter, ID: raft.ServerID(cfg.NodeID), Address: raft.ServerAddress(address),
	}}}
	sink, err := snaps.Create(raft.SnapshotVersionMax, out.Index, term, alone, out.Index, nil)
	if err != nil {
		return fail(err)
	}
	sink.(*snapshotSink).mark(applied)
	if err := sink.Close(); err != nil {
		return fail(err)
	}
	if err := logs.truncate(); err != nil {
		return fail(err)
	}
	return out, nil
}

// replay applies what the log has and the store has not, and returns the last term.
func (out *Refounded) replay(f *fsm, logs *logStore, snaps *snapshotStore) (term uint64, err error) {
	newest, _ := snaps.newest()
	out.Index, term = newest.Index, max(newest.Term, 1)
	first, err := logs.FirstIndex()
	if err != nil {
		return 0, err
	}
	last, err := logs.LastIndex()
	if err != nil || last == 0 {
		return term, err
	}
	applied, _ := f.sm.Applied()
	for i := first; i <= last; i++ {
		var entry raft.Log
		if err := logs.GetLog(i, &entry); err != nil {
			return 0, err
		}
		term = max(term, entry.Term)
		if i <= applied || entry.Type != raft.LogCommand {
			continue
		}
		if err := f.applyBatch([]*raft.Log{&entry}); err != nil {
			return 0, err
		}
		out.Replayed++
	}
	out.Index = max(out.Index, last)
	return term, nil
}
