package cluster

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/hashicorp/raft"
)

// keyCurrentTerm is where raft keeps its term in the stable store.
var keyCurrentTerm = []byte("CurrentTerm")

// checkBoot compares log, snapshots and store before raft sees them, finishes what a crash interrupted, and refuses a
// node that lost something.
//
//	a received snapshot is visible but not restored      restore it now
//	the store is behind its newest mark                  refuse: what the mark says was synced is gone
//	the log ends before the newest snapshot, or has      delete the log: what it held is in the snapshot, raft-wal
//	another entry at its index                           refuses gaps, and nothing else clears it
//	the log begins after what the snapshot covers        refuse: entries are missing
//	the store is ahead of log and snapshot               refuse: the end of the log is gone
func checkBoot(sm StateMachine, snaps *snapshotStore, logs *logStore) error {
	newest, found := snaps.newest()
	if found && newest.Received {
		if err := snaps.restore(newest.id); err != nil {
			return fmt.Errorf("restore received snapshot: %w", err)
		}
		newest, _ = snaps.newest()
	}
	applied, _ := sm.Applied()
	if applied < newest.StoreApplied {
		return fmt.Errorf("%w (store applied %d, mark says %d)", ErrBehindMark, applied, newest.StoreApplied)
	}
	first, err := logs.FirstIndex()
	if err != nil {
		return err
	}
	last, err := logs.LastIndex()
	if err != nil {
		return err
	}
	if found && last > 0 {
		stale := last < newest.Index
		if !stale && first <= newest.Index {
			var entry raft.Log
			if err := logs.GetLog(newest.Index, &entry); err != nil {
				return fmt.Errorf("read the log: %w", err)
			}
			stale = entry.Term != newest.Term
		}
		if stale {
			if err := logs.truncate(); err != nil {
				return fmt.Errorf("delete a log that ends before the snapshot: %w", err)
			}
			first, last = 0, 0
		}
	}
	if last > 0 && first > newest.Index+1 {
		return fmt.Errorf("%w (the log begins at %d, the snapshot covers %d)", ErrLogLost, first, newest.Index)
	}
	if applied > newest.StoreApplied && applied > max(last, newest.Index) {
		return fmt.Errorf("%w (applied %d, log ends at %d, snapshot covers %d)", ErrLogLost, applied, last, newest.Index)
	}
	return nil
}

// bootstrap makes a fresh node the only voter of a new cluster. On a node that has a log or a snapshot it does nothing.
func bootstrap(rc *raft.Config, logs *logStore, snaps *snapshotStore, trans raft.Transport) error {
	last, err := logs.LastIndex()
	if err != nil {
		return err
	}
	if _, found := snaps.newest(); found || last > 0 {
		return nil
	}
	term, err := logs.GetUint64(keyCurrentTerm)
	if err != nil {
		return err
	}
	configuration := raft.Configuration{Servers: []raft.Server{{
		Suffrage: raft.Voter, ID: rc.LocalID, Address: trans.LocalAddr(),
	}}}
	switch term {
	case 0:
		err := raft.BootstrapCluster(rc, logs, logs, snaps, trans, configuration)
		if cause := logs.fail.get(); cause != nil {
			return cause // raft's own error hides it
		}
		return err
	case 1:
		// An earlier bootstrap saved its term and was interrupted before its entry. Raft refuses to go on from there.
		return logs.StoreLog(&raft.Log{
			Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(configuration),
		})
	default:
		return fmt.Errorf("%w (raft's term is %d and there is no log)", ErrLogLost, term)
	}
}

// isFresh reports whether a node has neither log nor snapshot.
func isFresh(logs *logStore, snaps *snapshotStore) (bool, error) {
	last, err := logs.LastIndex()
	_, found := snaps.newest()
	return last == 0 && !found, err
}

// startRaft calls raft.NewRaft, which panics when it cannot save its term or read its log.
func startRaft(rc *raft.Config, f *fsm, logs *logStore, snaps *snapshotStore, trans raft.Transport) (r *raft.Raft, err error) {
	defer func() {
		if p := recover(); p != nil {
			r, err = nil, fmt.Errorf("start raft: %v", p)
			if cause := logs.fail.get(); cause != nil {
				err = fmt.Errorf("start raft: %w", cause)
			}
		}
	}()
	cache, err := raft.NewLogCache(logCacheEntries, logs)
	if err != nil {
		return nil, err
	}
	return raft.NewRaft(rc, f, cache, logs, snaps, trans)
}

// Open starts a node on cfg.Dir, which must be its own, and applies its log to sm. A fresh directory becomes a cluster
// of this one voter, unless there are Seeds: then the node looks for others (join.go). It returns without waiting for leadership or for the log: see Ready. The caller
// owns sm and closes it after Close. Errors that match ErrBehindMark, ErrLogLost, ErrDamaged or ErrOtherNode will not
// go away by trying again.
func Open(cfg Config, sm StateMachine) (*Node, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	n, err := open(cfg, sm)
	if err != nil {
		return nil, fmt.Errorf("open node %q in %s: %w", cfg.NodeID, cfg.Dir, err)
	}
	return n, nil
}

func open(cfg Config, sm StateMachine) (_ *Node, err error) {
	var undo []func() error
	defer func() {
		for i := len(undo) - 1; err != nil && i >= 0; i-- {
			_ = undo[i]()
		}
	}()
	if err := makeDir(cfg.Disk, cfg.Dir); err != nil {
		return nil, err
	}
	boot, err := nextBoot(cfg.Disk, cfg.Dir, cfg.NodeID, cfg.Clock().UnixNano())
	if err != nil {
		return nil, err
	}
	fail := newFailure()
	logs, err := openLog(&cfg, filepath.Join(cfg.Dir, "wal"), fail)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	undo = append(undo, logs.Close)
	snaps, err := openSnapshots(cfg.Disk, filepath.Join(cfg.Dir, "snapshots"), sm)
	if err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	snaps.hold = logs.hold
	if err := checkBoot(sm, snaps, logs); err != nil {
		return nil, err
	}
	var trans raft.Transport
	var own io.Closer
	var over *raftTransport
	if cfg.Port != nil {
		over = newRaftTransport(cfg.Port, cfg.Address, cfg.Logger)
		trans, own = over, over
	} else {
		_, t := raft.NewInmemTransport(raft.ServerAddress(cfg.NodeID))
		trans, own = t, t
	}
	undo = append(undo, own.Close)
	rc := cfg.raftConfig()
	if len(cfg.Seeds) == 0 && cfg.Expect < 2 && !cfg.Replica {
		if err := bootstrap(rc, logs, snaps, trans); err != nil {
			return nil, fmt.Errorf("begin a cluster: %w", err)
		}
	}
	fresh, err := isFresh(logs, snaps)
	if err != nil {
		return nil, err
	}
	n := newNode(cfg, boot, sm, fail, logs, snaps, own)
	n.fresh.Store(fresh)
	if over != nil {
		n.letIn, n.mute = over.open, over.mute
		if err := n.recallWord(); err != nil {
			return nil, err
		}
	}
	r, err := startRaft(rc, n.fsm, logs, snaps, trans)
	if err != nil {
		return nil, err
	}
	n.run(r)
	return n, nil
}
