// Package storage is the replicated state of a Madang node: rooms and their numbered logs, members, sessions and their
// places, in one Pebble store, changed only by Apply.
//
// Apply takes the entries of the Raft log in order and is deterministic: it reads no clock, no randomness, no
// configuration of the node; the time is the entry's log time, every limit is in the command. One call is one Pebble
// batch that carries the applied index, committed without sync: the Raft log is the durable copy, and Sync makes the
// store durable before that log is cut.
//
// One goroutine calls Apply. Everything else may be called by any number of goroutines at any time. Reads see whole
// batches: what a Watcher announces can be read.
//
// Layout of keys: keys.go. Layout of an entry: entry.go. Rules of numbering: numbering.go.
package storage
