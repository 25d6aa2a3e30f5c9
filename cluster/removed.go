package cluster

import (
	"context"
	"time"
)

const (
	removedLook  = 5 * time.Second // between looks, while this node hears of no leader
	removedTwice = 2               // looks in a row that must find it out: a member that lags may not know of this node yet
)

// noticeRemoval ends a node that the others have removed. They do not tell it: the leader stops speaking to it at once. So a
// node that hears of no leader asks the others who they are.
func (n *Node) noticeRemoval() {
	t := time.NewTicker(removedLook)
	defer t.Stop()
	found := 0
	for {
		select {
		case <-t.C:
		case <-n.ctx.Done():
			return
		}
		if n.fresh.Load() || n.Leader() != "" || !n.isRemoved() {
			found = 0
			continue
		}
		if found++; found == removedTwice {
			_ = n.fail.report(ErrRemoved)
			return
		}
	}
}

// isRemoved reports whether another node knows a leader, and this node is none of its members.
func (n *Node) isRemoved() bool {
	for _, m := range n.Members() {
		if m.ID == n.cfg.NodeID {
			continue
		}
		ctx, cancel := context.WithTimeout(n.ctx, time.Second)
		r, err := n.ask(ctx, m.Address, m.ID, question{Ask: askHello})
		cancel()
		if err != nil || r.Leader == "" || len(r.Members) == 0 {
			continue
		}
		for _, o := range r.Members {
			if o.ID == n.cfg.NodeID {
				return false
			}
		}
		return true
	}
	return false
}
