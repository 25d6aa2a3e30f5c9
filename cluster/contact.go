package cluster

import (
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// contact is what a leader knows of which nodes answer it.
type contact struct {
	mu    sync.Mutex
	since map[string]time.Duration // nodes that do not answer, and since when, by Config.Monotonic
}

// lost notes that a node did not answer, resumed that it did again.
func (c *contact) lost(id string, now time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since == nil {
		c.since = map[string]time.Duration{}
	}
	if _, known := c.since[id]; !known {
		c.since[id] = now
	}
}

func (c *contact) resumed(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.since, id)
}

// clear forgets all: a leadership begins.
func (c *contact) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since = nil
}

// heard takes what raft says of its heartbeats.
func (n *Node) heard(o raft.Observation) {
	switch o := o.Data.(type) {
	case raft.FailedHeartbeatObservation:
		n.contact.lost(string(o.PeerID), n.cfg.Monotonic())
	case raft.ResumedHeartbeatObservation:
		n.contact.resumed(string(o.PeerID))
	}
}

// IsMember reports whether a node belongs to the cluster, as far as this one knows.
func (n *Node) IsMember(id string) bool {
	_, found := n.member(id)
	return found
}

// Silent returns the members that have not answered this leader for so long, in order; nothing on a node that does not
// lead.
func (n *Node) Silent(d time.Duration) []string {
	if !n.IsLeader() {
		return nil
	}
	now := n.cfg.Monotonic()
	n.contact.mu.Lock()
	defer n.contact.mu.Unlock()
	var out []string
	for id, since := range n.contact.since {
		if now-since >= d {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}
