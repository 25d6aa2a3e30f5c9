package cluster

import "time"

// Stats are counters since the start of the node.
type Stats struct {
	Commands  uint64 // put into entries, repetitions included
	Entries   uint64 // handed to raft
	Bytes     uint64 // of these entries
	Answered  uint64 // commands whose result came
	Refused   uint64 // commands Propose refused
	Errors    uint64 // entries raft refused: they are not in the log
	Unknown   uint64 // entries whose outcome raft did not know
	Repeats   uint64 // times everything unresolved was proposed again
	Pending   int    // commands without an answer now
	InFlight  int    // entries without an answer now
	TimeSteps uint64 // steps of the wall clock that log time did not follow at once, and jumps of log time

	LogAppends    uint64        // writes to the log, one fsync each
	LogEntries    uint64        // entries written
	LogBytes      uint64        // of their data
	LogSyncs      uint64        // fsyncs of log segments and their directory
	LogAppendTime time.Duration // spent in appends
	LogFirst      uint64        // first index kept
	LogLast       uint64        // last index

	ApplyBatches uint64        // calls of StateMachine.Apply
	ApplyEntries uint64        // entries in them
	ApplyTime    time.Duration // spent in them, decoding and answers included
	CommitIndex  uint64        // raft's
	SnapshotAt   uint64        // raft index of the newest snapshot

	DiskStalls uint64 // times a write did not end for Config.DiskPatience

	SnapshotsReceived uint64 // that became this node's store
}

// Stats returns the counters.
func (n *Node) Stats() Stats {
	n.prop.mu.Lock()
	p := n.prop.stats
	pending, inFlight := int(n.prop.tail-n.prop.head), n.prop.inFlight
	n.prop.mu.Unlock()
	mark, _ := n.snaps.newest()
	// On a closed log both are 0.
	first, _ := n.logs.FirstIndex()
	last, _ := n.logs.LastIndex()
	return Stats{
		Commands: p.commands, Entries: p.entries, Bytes: p.bytes, Answered: p.answered, Refused: p.refusals,
		Errors: p.errors, Unknown: p.unknown, Repeats: p.repeats, Pending: pending, InFlight: inFlight,
		TimeSteps:  n.timeSteps.Load(),
		LogAppends: n.logs.appends.Load(), LogEntries: n.logs.entries.Load(), LogBytes: n.logs.bytes.Load(),
		LogSyncs: n.logs.fs.syncs.Load(), LogAppendTime: time.Duration(n.logs.appendNanos.Load()),
		LogFirst: first, LogLast: last,
		ApplyBatches: n.fsm.batches.Load(), ApplyEntries: n.fsm.count.Load(),
		ApplyTime:   time.Duration(n.fsm.nanos.Load()),
		CommitIndex: n.raft.CommitIndex(), SnapshotAt: mark.Index,
		DiskStalls:        n.stalls.times.Load(),
		SnapshotsReceived: n.fsm.restored.Load(),
	}
}
