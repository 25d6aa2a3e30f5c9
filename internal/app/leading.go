package app

import (
	"context"
	"time"
)

const (
	giveWayLook = time.Second     // between looks whether a node leads that should not
	handOverMax = 3 * time.Second // for another node to lead
)

// giveLeadershipAway hands leadership over whenever this node has it and drains, or has no room on its disk while another
// voter has.
func (a *App) giveLeadershipAway() {
	t := time.NewTicker(giveWayLook)
	defer t.Stop()
	for {
		if a.node.IsLeader() && (a.broker.Draining() || a.full.Load() && a.othersHaveRoom()) {
			a.handOver(a.ctx)
		}
		select {
		case <-t.C:
		case <-a.giveWay:
		case <-a.ctx.Done():
			return
		}
	}
}

// signal wakes who waits on a 1-buffered channel.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// othersHaveRoom reports whether another voter could lead and write.
func (a *App) othersHaveRoom() bool {
	for _, n := range a.roster.All() {
		for _, m := range a.node.Members() {
			if m.Voter && m.ID == n.Name && n.Name != a.nodeName() && !n.Full && !n.Draining {
				return true
			}
		}
	}
	return false
}

// handOver lets another node lead, if this one does and there is one.
func (a *App) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, handOverMax)
	defer cancel()
	a.node.HandOver(ctx)
}
