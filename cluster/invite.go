package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"
)

const (
	permitTime = time.Hour // for a node that was named to come
	permitMost = 100
)

// Add lets a node come in that is not a member yet. Where its name must be known (Config.Invited), it is for an hour, at
// the node that leads now. With an address the leader also goes and tells the node, which waits there with an empty disk,
// whom to ask. Any node may be asked.
func (n *Node) Add(ctx context.Context, id, address string) error {
	return n.command(ctx, question{Ask: askPermit, ID: id, Address: address})
}

// permit does what Add asks, at the leader.
func (n *Node) permit(ctx context.Context, q question, member bool) error {
	if member {
		return fmt.Errorf("%w: %q", ErrMember, q.ID)
	}
	now := n.cfg.Monotonic()
	n.admitMu.Lock()
	maps.DeleteFunc(n.permits, func(_ string, until time.Duration) bool { return now >= until })
	full := len(n.permits) >= permitMost
	if !full {
		n.permits[q.ID] = now + permitTime
	}
	n.admitMu.Unlock()
	if full {
		return fmt.Errorf("%d nodes have been named and have not come yet", permitMost)
	}
	if q.Address == "" {
		return nil
	}
	r, err := n.ask(ctx, q.Address, q.ID, question{Ask: askInvite, Address: n.cfg.Address})
	if err != nil {
		return fmt.Errorf("invite the node at %s: %w", q.Address, err)
	}
	return r.err()
}

// accept notes who invited this node; its next try to join asks there.
func (n *Node) accept(q question) error {
	switch {
	case !n.fresh.Load():
		return errors.New("the node has data: it belongs to a cluster already")
	case n.cfg.Invited: // who asks may be anybody whom the authority has signed
		return errors.New("with certificates of your own a node is told whom to join by its configuration: set cluster.join")
	}
	n.inviteMu.Lock()
	defer n.inviteMu.Unlock()
	n.invited = q.Address
	return nil
}

// seeds are where to look for other nodes.
func (n *Node) seeds() []string {
	n.inviteMu.Lock()
	defer n.inviteMu.Unlock()
	if n.invited == "" {
		return n.cfg.Seeds
	}
	return append([]string{n.invited}, n.cfg.Seeds...)
}
