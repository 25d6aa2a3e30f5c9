// Package cluster is one raft node behind a small door: a command goes in as bytes, its result comes out as bytes.
//
// It knows nothing of chat. What commands mean is the business of the StateMachine the log is applied to.
//
//	Propose ──> proposer ──> raft ──> log store ──> (committed) ──> fsm ──> StateMachine.Apply
//	   ^        numbers,     one      raft-wal,                      |      results
//	   |        groups,      voter    one fsync per append           v
//	   └─ done <── answers, in the order of Propose <──── proposer, by number
//
// Commands. The proposer numbers commands 1, 2, 3, ... within a boot of the node and puts all that wait into one log
// entry (group commit), with several entries in flight. There is no timer: an idle node sends at once, a busy one
// gathers while entries are in flight. Numbers make it safe to propose again, so after any error everything without a
// result is proposed again, oldest first, before anything new (go-back-N).
//
// Outcomes. A result is the one the node's own Apply returned. While the node lives, an unknown outcome is never
// reported: the command is proposed again under its number until Apply has answered it.
//
// Time. Every entry carries log time, which follows the wall clock with caution and never goes back (logtime.go).
//
// Disk. All files are reached through Disk, so that a test can drop what was not fsynced:
//
//	<dir>/boot               node id and boot number, rising with every start
//	<dir>/wal/meta           raft's term and vote, and the list of log segments
//	<dir>/wal/*.wal          log segments
//	<dir>/snapshots/<id>/    a snapshot: the file mark, and the directory db until a received one is restored
//
// A snapshot is a mark: taking one syncs the state machine and notes how far it is; history is copied only when a
// node that lags asks for it. A node whose files contradict each other refuses to start and says what to do.
package cluster
