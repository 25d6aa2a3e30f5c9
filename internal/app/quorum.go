package app

import (
	"sync/atomic"
	"time"

	"github.com/madang-chat/madang/broker"
	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/storage"
)

// quorumPatience is how long calls wait for a leader, as CONNECTs do: an election takes a second or two.
const quorumPatience = 5 * time.Second

// quorumLog is the log of calls. While nobody leads for longer than an election takes it refuses them: their callers wait for
// an answer, and no_quorum is one, where a command that waits for a leader would be an unknown outcome.
type quorumLog struct {
	broker.Log
	lost *atomic.Pointer[time.Time] // when the leader was lost; nil = there is one
}

// Propose implements calls.Log.
func (l quorumLog) Propose(cmd storage.Command, done func(storage.Result, error)) {
	if at := l.lost.Load(); at != nil && clock.Since(*at) > quorumPatience {
		done(storage.Result{}, calls.ErrNoQuorum)
		return
	}
	l.Log.Propose(cmd, done)
}

// watchQuorum keeps when the leader was lost.
func (a *App) watchQuorum() {
	for {
		changes := a.node.LeaderChanges()
		switch lost := a.leaderLost.Load(); {
		case a.node.Leader() != "":
			a.leaderLost.Store(nil)
		case lost == nil:
			now := clock.Now()
			a.leaderLost.Store(&now)
		}
		select {
		case <-changes:
		case <-a.ctx.Done():
			return
		}
	}
}
