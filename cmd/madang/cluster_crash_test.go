package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/madang-chat/madang/api"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/porttest"
)

// crowd is the processes of a cluster.
type crowd struct {
	t     testing.TB
	args  [][]string
	nodes []*node // nil = killed
}

// startCrowd starts three nodes that found a cluster.
func startCrowd(t *testing.T) *crowd {
	t.Helper()
	c := &crowd{t: t, nodes: make([]*node, 3)}
	var seeds []string
	for range c.nodes {
		seeds = append(seeds, porttest.Free(t))
	}
	for i := range c.nodes {
		c.args = append(c.args, append(nodeArgs(t.TempDir(), "--dev"), "--set", fmt.Sprint("node.name=n", i),
			"--set", "cluster.bind="+seeds[i], "--set", "cluster.bootstrap_expect=3", "--set", "cluster.join="+strings.Join(seeds, ",")))
	}
	for i := range c.nodes {
		c.nodes[i] = startNode(t, c.args[i]...)
	}
	return c
}

// status is what a node says of the cluster.
func (c *crowd) status(n *node) (s api.ClusterStatus) {
	c.t.Helper()
	n.ask("/cluster", &s)
	return s
}

// ask reads what the operator's listener answers.
func (n *node) ask(path string, answer any) {
	n.t.Helper()
	resp, err := http.Get(strings.TrimSuffix(n.url("for operators"), "/readyz?verbose") + path)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		n.t.Fatal(err)
	}
}

// leader waits until a node that runs leads, and returns its number.
func (c *crowd) leader() (leader int) {
	c.t.Helper()
	c.eventually("a node leads", func() bool {
		leader = slices.IndexFunc(c.nodes, func(n *node) bool { return n != nil && c.status(n).Role == "leader" })
		return leader >= 0
	})
	return leader
}

func (c *crowd) eventually(what string, f func() bool) {
	c.t.Helper()
	late := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-late:
			c.t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// A node of three is killed under load, the leader as often as not, while everybody is connected to it or while they are
// connected to another. Whoever comes back goes to another node and goes on there: nothing that was acknowledged is
// missing, seq has no holes, each sender's order is kept, nothing is there twice; all nodes hold the same.
func TestCrashNodeOfThreeKilled(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	c := startCrowd(t)
	crew := mqtttest.NewCrew("r")
	crew.Enter(t, c.nodes[0].at())
	rounds := mqtttest.Rounds(t)
	var pauses []time.Duration
	for range rounds {
		victim := rng.IntN(3)
		if rng.IntN(2) == 0 {
			victim = c.leader()
		}
		crew.Talk(t, c.nodes[victim].at(), 1+rng.IntN(1000), func() {
			c.nodes[victim].kill()
			c.nodes[victim] = nil
		})
		next := c.nodes[(victim+1)%3]
		cut := time.Now()
		p := mqtttest.Dial(t, next.at(), mqtttest.Options{User: "probe"})
		p.Say("probe", "does anybody lead?")
		pauses = append(pauses, time.Since(cut))
		p.Cut()
		crew.Talk(t, next.at(), 1+rng.IntN(300), func() {}) // with two of three
		c.nodes[victim] = startNode(t, c.args[victim]...)
	}
	total := crew.Finish(t, c.nodes[rng.IntN(3)].at())
	var digests [3]string
	c.eventually("all nodes hold the same", func() bool {
		for i, n := range c.nodes {
			digests[i] = c.digest(n)
		}
		return digests[0] == digests[1] && digests[1] == digests[2]
	})
	checkHistory(t, c.nodes[0], "r", crew, total)
	slices.Sort(pauses)
	t.Logf("%d acknowledgements, %d kills; from a kill to the next acknowledgement on another node: median %v, longest %v",
		crew.Acks(), rounds, pauses[len(pauses)/2].Round(time.Millisecond), pauses[len(pauses)-1].Round(time.Millisecond))
	for _, n := range c.nodes {
		n.stop()
	}
}

func (c *crowd) digest(n *node) string {
	c.t.Helper()
	var d struct{ SHA256 string }
	n.ask("/digest?room=r", &d)
	return d.SHA256
}

// A node that is killed is declared lost; then the wills of the sessions that it held are published.
func TestCrashWillOfALostNode(t *testing.T) {
	c := startCrowd(t)
	victim := (c.leader() + 1) % 3
	reader := mqtttest.Dial(t, c.nodes[(victim+1)%3].at(), mqtttest.Options{User: "reader", ClientID: "r"})
	reader.Subscribe("chat/rooms/r/msg/#")
	will := mqtttest.Message("chat/rooms/r/send", "gone", 1)
	for _, f := range mqtttest.Flavours {
		mqtttest.Dial(t, c.nodes[victim].at(), mqtttest.Options{Flavour: f, User: "sender-" + f.String(), ClientID: "phone", Keep: true, Will: &will}).
			Say("r", "here")
		if got := string(reader.Next().Payload); !strings.Contains(got, "here") {
			t.Fatal(got)
		}
	}
	c.nodes[victim].kill()
	c.nodes[victim] = nil
	from := map[string]bool{}
	for range mqtttest.Flavours {
		var e struct {
			From struct{ User string }
			Data struct{ Text string }
		}
		if err := json.Unmarshal(reader.Next().Payload, &e); err != nil || e.Data.Text != "gone" || from[e.From.User] {
			t.Fatalf("%+v, %v", e, err)
		}
		from[e.From.User] = true
	}
	for i, n := range c.nodes {
		if n != nil {
			n.stop()
			c.nodes[i] = nil
		}
	}
}
