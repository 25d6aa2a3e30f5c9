package app

import (
	"slices"

	"github.com/madang-chat/madang/internal/roster"
)

// A disk that hangs is met by the log: the node takes no part in the cluster while a write does not end, so that another one
// leads (package cluster). Here its clients are sent to nodes whose disks go on, and operators are told. What the clients have
// sent has no outcome until the disk goes on; they send it again elsewhere, as after the death of a node.

// watchStalls follows whether the disk hangs.
func (a *App) watchStalls() {
	drained := false // by this, not by an admin
	for {
		changed := a.node.StallChanges()
		switch hangs := a.node.Stalled() != nil; {
		case hangs && !drained && !a.broker.Draining() && a.others():
			a.log.Warn("sending clients to other nodes until the disk goes on", "dir", a.space.dir)
			drained = true
			a.broker.Drain(true)
		case !hangs && drained:
			drained = false
			a.broker.Drain(false)
			a.log.Info("clients may come again")
		}
		select {
		case <-changed:
		case <-a.ctx.Done():
			return
		}
	}
}

// others reports whether another node could take clients.
func (a *App) others() bool {
	return slices.ContainsFunc(a.roster.Best(""), func(n roster.Node) bool { return n.Name != a.nodeName() })
}

// unwell reports whether this node should neither lead nor get more clients, for its disk's sake.
func (a *App) unwell() bool { return a.full.Load() || a.node.Stalled() != nil }
