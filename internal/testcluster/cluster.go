package testcluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/porttest"
	"github.com/madang-chat/madang/storage"
)

// Cluster is several nodes of one cluster, in the order of their names: one, two, three, ...
type Cluster struct {
	Nodes []*Node
	t     testing.TB
	net   *network
	o     Options
	made  int        // nodes so far
	mu    sync.Mutex // held by Add and At: a load runs beside Add
}

var names = []string{"one", "two", "three", "four", "five", "six", "seven"}

// StartCluster runs voters that found a cluster together, and replicas that join it, until the test ends.
func StartCluster(t testing.TB, voters, replicas int, o Options) *Cluster {
	t.Helper()
	c := &Cluster{t: t, net: newNetwork()}
	t.Cleanup(c.Heal)
	var seeds []string
	for i := range voters + replicas {
		at := porttest.Free(t)
		seeds = append(seeds, at)
		c.net.at[at] = names[i]
	}
	o.Set = append([]string{
		"cluster.join=" + strings.Join(seeds[:voters], ","), fmt.Sprintf("cluster.bootstrap_expect=%d", voters), "cluster.heartbeat=300ms",
	}, o.Set...)
	c.o = o
	for i := range voters + replicas {
		c.Nodes = append(c.Nodes, c.start(seeds[i], i >= voters))
	}
	for _, n := range c.Nodes {
		n.awaitReady()
	}
	c.Meet()
	return c
}

// Meet waits until all nodes that run reach each other past the log too.
func (c *Cluster) Meet() {
	c.t.Helper()
	c.eventually("the nodes reach each other", func() bool {
		running := 0
		for _, n := range c.Nodes {
			if n.App != nil {
				running++
			}
		}
		for _, n := range c.Nodes {
			if n.App != nil && len(n.App.Node().Peers().Reached()) < running-1 {
				return false
			}
		}
		return true
	})
}

// start starts the next node.
func (c *Cluster) start(at string, replica bool) *Node {
	c.t.Helper()
	o := c.o
	o.name = names[c.made]
	c.made++
	o.net = c.net
	o.Set = append([]string{"cluster.bind=" + at}, o.Set...)
	if replica {
		o.Set = append(o.Set, "node.role=replica")
	}
	n := &Node{t: c.t, o: o}
	n.prepare()
	n.start()
	c.t.Cleanup(n.Stop)
	return n
}

// Add starts one more node, with an empty disk and a name of its own, and waits until it serves.
func (c *Cluster) Add(replica bool) *Node {
	c.t.Helper()
	at := porttest.Free(c.t)
	c.net.name(at, names[c.made])
	n := c.start(at, replica)
	n.awaitReady()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Nodes = append(c.Nodes, n)
	return n
}

// PowerCut cuts the power of nodes at the same moment, and starts them on what their disks hold then. Between the two it
// calls dark, when nothing of them runs any more; what clients hear of them until then is of no world. Other links that
// were cut are healed.
func (c *Cluster) PowerCut(rng *rand.Rand, dark func(), victims ...*Node) {
	c.t.Helper()
	for _, n := range victims {
		c.Isolate(n) // what it still says nobody may believe
	}
	disks := make([]*vfs.MemFS, len(victims))
	for i, n := range victims {
		disks[i] = n.cutPower(rng)
	}
	var ended sync.WaitGroup
	for i, n := range victims {
		old := n.App
		ended.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			n.plug.pull()
			_ = old.Stop(ctx) // of whatever it does by then nobody sees anything
		})
		n.mem = disks[i]
	}
	ended.Wait()
	dark()
	c.Heal()
	for _, n := range victims {
		n.start()
	}
	for _, n := range victims {
		n.awaitReady()
	}
	c.Meet()
}

// At is where clients connect, in the order of the nodes.
func (c *Cluster) At() []mqtttest.Addresses {
	var out []mqtttest.Addresses
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.Nodes {
		out = append(out, n.At())
	}
	return out
}

// Cut loses everything between two nodes until Heal; they are not told.
func (c *Cluster) Cut(a, b *Node) { c.net.cut(a.Name(), b.Name()) }

// Isolate cuts a node off from all others.
func (c *Cluster) Isolate(n *Node) {
	for _, o := range c.Nodes {
		if o != n {
			c.Cut(n, o)
		}
	}
}

// Heal mends every cut.
func (c *Cluster) Heal() { c.net.heal() }

// Leader waits until one leads and returns it.
func (c *Cluster) Leader() *Node {
	c.t.Helper()
	var leader *Node
	c.eventually("one node leads", func() bool {
		for _, n := range c.Nodes {
			if n.App != nil && n.App.Node().IsLeader() {
				leader = n
			}
		}
		return leader != nil
	})
	return leader
}

// LeaderOf waits until one of the others leads and returns it.
func (c *Cluster) LeaderOf(without *Node) *Node {
	c.t.Helper()
	var leader *Node
	c.eventually("one of the others leads", func() bool {
		for _, n := range c.Nodes {
			if n != without && n.App.Node().IsLeader() {
				leader = n
			}
		}
		return leader != nil
	})
	return leader
}

// Forget leaves a node out from here on.
func (c *Cluster) Forget(n *Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Nodes = slices.DeleteFunc(slices.Clone(c.Nodes), func(o *Node) bool { return o == n })
}

// Followers returns the nodes that do not lead.
func (c *Cluster) Followers() []*Node {
	c.t.Helper()
	leader := c.Leader()
	var out []*Node
	for _, n := range c.Nodes {
		if n != leader {
			out = append(out, n)
		}
	}
	return out
}

// SameDigest waits until every node holds the same entries of a room, head of them in number.
func (c *Cluster) SameDigest(k storage.RoomKey, head uint64) {
	c.t.Helper()
	c.eventually("all nodes hold the same", func() bool {
		var first storage.Digest
		for i, n := range c.Nodes {
			d, err := n.Store().Digest(k)
			if err != nil || d.Head != head {
				return false
			}
			if i == 0 {
				first = d
			} else if d != first {
				c.t.Fatalf("node %s holds %+v, node %s %+v", c.Nodes[0].Name(), first, n.Name(), d)
			}
		}
		return true
	})
}

// Name is the node's.
func (n *Node) Name() string { return n.o.name }

// Dir is where the node keeps its data.
func (n *Node) Dir() string { return n.o.Dir }

func (c *Cluster) eventually(what string, ok func() bool) {
	c.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(startTime)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			c.t.Fatalf("%s: not after %v", what, startTime)
		}
	}
}
