package testcluster

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/madang-chat/madang/storage"
)

// Cluster is several nodes of one cluster, in the order of their names: one, two, three, ...
type Cluster struct {
	Nodes []*Node
	t     testing.TB
	net   *network
}

var names = []string{"one", "two", "three", "four", "five"}

// StartCluster runs voters that found a cluster together, and replicas that join it, until the test ends.
func StartCluster(t testing.TB, voters, replicas int, o Options) *Cluster {
	t.Helper()
	c := &Cluster{t: t, net: newNetwork()}
	t.Cleanup(c.Heal)
	var seeds []string
	for i := range voters + replicas {
		at := freeAddress(t)
		seeds = append(seeds, at)
		c.net.at[at] = names[i]
	}
	for i := range voters + replicas {
		no := o
		no.name, no.dial = names[i], c.net.dialer(names[i])
		no.Set = append([]string{
			"cluster.bind=" + seeds[i], "cluster.join=" + strings.Join(seeds[:voters], ","),
			fmt.Sprintf("cluster.bootstrap_expect=%d", voters), "cluster.heartbeat=300ms",
		}, o.Set...)
		if i >= voters {
			no.Set = append(no.Set, "node.role=replica")
		}
		n := &Node{t: t, o: no}
		n.prepare()
		n.start()
		t.Cleanup(n.Stop)
		c.Nodes = append(c.Nodes, n)
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

// freeAddress is one that nobody listens on just now.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
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
