package cluster

import (
	"errors"

	"github.com/hashicorp/raft"
)

// Errors of proposals. Only the ones marked "not in the log" are refusals; after the others the command may have been
// applied, or may still be.
var (
	// ErrClosed means that the node was closed before the result of the command was known. The command may be in the
	// log. Propose on a closed node returns it too; then the command is not in the log.
	ErrClosed = errors.New("node is closed")

	// ErrUnknown means that the outcome of the command is not known: it may be applied, now or later.
	ErrUnknown = errors.New("outcome unknown")

	// ErrForgotten means that the command was applied, but the state machine no longer remembers its result. It happens
	// only to a node that was brought up to date by a snapshot. It wraps ErrUnknown.
	ErrForgotten error = wrapped{"command was applied, its result is no longer remembered", ErrUnknown}

	// ErrTooLarge means that the command is larger than Config.MaxEntryBytes. It is not in the log.
	ErrTooLarge = errors.New("command is too large for a log entry")

	// ErrOverloaded means that the callers went on proposing well beyond Config.PendingBytes. It is not in the log.
	ErrOverloaded = errors.New("too many commands are waiting")
)

// Errors of Open. The node must not start on this directory.
var (
	// ErrOtherNode means that the directory belongs to a node with another id.
	ErrOtherNode = errors.New("this directory belongs to another node")

	// ErrBehindMark means that the store lost what its snapshot mark says is durable.
	ErrBehindMark = errors.New("this node's store is behind its own snapshot mark: remove the node (madang cluster remove), wipe its data and let it join anew")

	// ErrLogLost means that the store has applied entries which are neither in the log nor covered by a snapshot.
	ErrLogLost = errors.New("this node's log ends before what its store has applied: remove the node (madang cluster remove), wipe its data and let it join anew")

	// ErrRemoved means that the cluster goes on without this node.
	ErrRemoved = errors.New("this node was removed from the cluster: empty its data directory to let it join anew")

	// ErrDamaged means that a file of the node cannot be what was written there.
	ErrDamaged = errors.New("file is damaged: remove the node (madang cluster remove), wipe its data and let it join anew")
)

// wrapped is an error with its own text that is also another one.
type wrapped struct {
	text string
	is   error
}

func (w wrapped) Error() string { return w.text }
func (w wrapped) Unwrap() error { return w.is }

// notInLog reports whether err of an apply future says for certain that the entry is not in the log. Every other
// error means unknown: an entry whose StoreLogs failed may be on disk, a shut down raft may have committed it.
func notInLog(err error) bool {
	return errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipTransferInProgress)
}
