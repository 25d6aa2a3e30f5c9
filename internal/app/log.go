package app

import (
	"errors"
	"sync/atomic"

	"github.com/madang-chat/madang/broker"
	"github.com/madang-chat/madang/cluster"
	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/storage"
)

// commandLog is the node's log as rules and broker see it: commands instead of bytes, and the errors of package calls
// where package cluster says that a command is not in the log. Those two do not know each other. Every other error passes
// through and means that the outcome is not known.
type commandLog struct {
	broker.Commands
	closing *atomic.Bool // set before the node is closed
	full    *atomic.Bool // the disk has no room for what clients write
}

// Propose is that of broker.Commands. Once the node is being closed nothing is proposed any more: cluster.ErrClosed alone
// does not tell a command that came too late from one that was under way.
func (l commandLog) Propose(cmd storage.Command, done func(storage.Result, error)) {
	if l.closing.Load() {
		done(storage.Result{}, calls.ErrStopping)
		return
	}
	if l.full.Load() && fillsDisk(cmd) {
		done(storage.Result{}, calls.ErrStorageFull)
		return
	}
	l.Commands.Propose(cmd, func(r storage.Result, err error) { done(r, logError(err)) })
}

// fillsDisk reports whether a command is what clients write. All others keep sessions and rooms going, or make room.
func fillsDisk(cmd storage.Command) bool {
	switch cmd.(type) {
	case *storage.Append, *storage.Contact, *storage.RoomCreate, *storage.RoomSet, *storage.Join:
		return true
	}
	return false
}

// logError is err of package cluster as package calls has it.
func logError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, cluster.ErrTooLarge):
		return errors.Join(calls.ErrTooLarge, err)
	case errors.Is(err, cluster.ErrOverloaded):
		return errors.Join(calls.ErrOverloaded, err)
	}
	return err
}

var (
	_ broker.Log = commandLog{}
	_ calls.Log  = commandLog{}
)
