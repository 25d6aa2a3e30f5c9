// Package presence knows who is online: the table of a node's own connections and of the rooms their clients are in, what
// other nodes have told of theirs, and the union of all of them.
//
// A user is online while a device of theirs is. A device is a client id of a user; it is online while it has a connection,
// and for a grace after a connection that ended without a goodbye. It is in a room while its connection reads what is said
// there, and for the same grace.
//
// Nothing here is counted up and down: what a node tells of a room or a user is all that is true of it now, in place of
// what it told before. Lost, late and repeated pages therefore do no harm, and a count cannot drift.
//
// The package holds no socket and starts no goroutine. Its time is what its callers say.
package presence
