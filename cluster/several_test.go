package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/madang-chat/madang/cluster"
	"github.com/madang-chat/madang/cluster/link"
	"github.com/madang-chat/madang/internal/porttest"
)

const testSecret = "a secret of the tests"

// withPort opens the port of a node, on the address it had where it had one.
func withPort(t testing.TB, cfg *cluster.Config) {
	t.Helper()
	id, err := link.FromSecret(cfg.NodeID, []byte(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	at := cfg.Address
	if at == "" {
		at = porttest.Free(t)
	}
	if cfg.Port, err = link.Listen(at, id, testLogger()); err != nil {
		t.Fatal(err)
	}
	cfg.Address = cfg.Port.Addr().String()
	port := cfg.Port
	t.Cleanup(func() { _ = port.Close() }) // for those that never opened
}

func testLogger() *slog.Logger {
	if os.Getenv("MADANG_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

// several makes the configurations of n nodes that are to found a cluster together.
func several(t testing.TB, n int) []cluster.Config {
	t.Helper()
	base := t.TempDir()
	configs := make([]cluster.Config, n)
	var seeds []string
	for i := range configs {
		cfg := testConfig(t, filepath.Join(base, string(rune('a'+i))))
		cfg.NodeID, cfg.Expect, cfg.Logger = string(rune('a'+i)), n, testLogger()
		cfg.Several(200 * time.Millisecond)
		withPort(t, &cfg)
		seeds = append(seeds, cfg.Address)
		configs[i] = cfg
	}
	for i := range configs {
		configs[i].Seeds = seeds
	}
	return configs
}

// founded opens nodes and waits until all of them are ready.
func founded(t testing.TB, configs []cluster.Config) []running {
	t.Helper()
	var nodes []running
	for i := range configs {
		nodes = append(nodes, open(t, configs[i]))
	}
	for _, n := range nodes {
		wait(t, n.Ready(), n.NodeID()+" is ready")
	}
	return nodes
}

func leaderOf(t testing.TB, nodes []running) (leader running) {
	t.Helper()
	eventually(t, "one leads", func() bool {
		i := slices.IndexFunc(nodes, func(n running) bool { return n.IsLeader() })
		if i >= 0 {
			leader = nodes[i]
		}
		return i >= 0
	})
	return leader
}

func TestThreeNodesFoundACluster(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	nodes := founded(t, several(t, 3))
	for i, n := range nodes {
		n.put(t, fmt.Sprint("from ", i))
		if m := n.Members(); len(m) != 3 || !m[0].Voter || !m[1].Voter || !m[2].Voter {
			t.Fatalf("members of %s: %+v", n.NodeID(), m)
		}
	}
	for _, n := range nodes {
		eventually(t, "all have all", func() bool { return len(n.sm.Commands()) == 3 })
		if got := n.sm.Commands(); !slices.Equal(got, nodes[0].sm.Commands()) {
			t.Fatalf("%s has %q", n.NodeID(), got)
		}
	}
	for _, n := range nodes {
		n.close(t)
	}
}

// Whatever the order in which they start, and if they are stopped and started again before there is a cluster.
func TestNodesFindEachOtherInAnyOrder(t *testing.T) {
	configs := several(t, 3)
	c := open(t, configs[2])
	b := open(t, configs[1])
	select {
	case <-c.Ready():
		t.Fatal("two of three founded a cluster")
	case <-b.Ready():
		t.Fatal("two of three founded a cluster")
	case <-time.After(300 * time.Millisecond):
	}
	c.close(t)
	a := open(t, configs[0])
	withPort(t, &configs[2])
	c = open(t, configs[2])
	for _, n := range []running{a, b, c} {
		wait(t, n.Ready(), n.NodeID()+" is ready")
	}
	a.put(t, "x")
}

func TestARestartedClusterGoesOn(t *testing.T) {
	configs := several(t, 3)
	nodes := founded(t, configs)
	nodes[0].put(t, "before")
	for _, n := range nodes {
		n.close(t)
	}
	for i := range configs {
		withPort(t, &configs[i])
	}
	nodes = founded(t, configs)
	nodes[1].put(t, "after")
	eventually(t, "all have both", func() bool { return len(nodes[2].sm.Commands()) == 2 })
}

// A follower's commands go to the leader; whoever leads, and however often that changes, each is taken once and in order.
func TestForwardedCommandsKeepTheirOrder(t *testing.T) {
	nodes := founded(t, several(t, 3))
	const each = 400
	var wg sync.WaitGroup
	var answered atomic.Int64
	stop := make(chan struct{})
	for i, n := range nodes {
		wg.Go(func() {
			var in sync.WaitGroup
			window := make(chan struct{}, 4)
			for k := range each {
				window <- struct{}{}
				in.Add(1)
				n.Propose(fmt.Appendf(nil, "%d %d", i, k), func(_ []byte, err error) {
					if err != nil {
						t.Errorf("command %d of node %d: %v", k, i, err)
					}
					answered.Add(1)
					<-window
					in.Done()
				})
			}
			in.Wait()
		})
	}
	var moving sync.WaitGroup
	moving.Go(func() {
		for turn := 0; ; turn++ {
			select {
			case <-stop:
				return
			default:
			}
			before := answered.Load()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			_ = nodes[turn%3].Transfer(ctx, nodes[(turn+1)%3].NodeID())
			cancel()
			eventually(t, "some commands go through each leader", func() bool {
				n := answered.Load()
				return n >= before+20 || n == 3*each
			})
		}
	})
	wg.Wait()
	close(stop)
	moving.Wait()
	for _, n := range nodes {
		eventually(t, n.NodeID()+" has all", func() bool { return len(n.sm.Commands()) >= 3*each })
		next := [3]int{}
		for _, c := range n.sm.Commands() {
			var i, k int
			if _, err := fmt.Sscanf(c, "%d %d", &i, &k); err != nil || k != next[i] {
				t.Fatalf("%s: %q where %d was to come (%v)", n.NodeID(), c, next[i], err)
			}
			next[i]++
		}
		if !slices.Equal(n.sm.Commands(), nodes[0].sm.Commands()) {
			t.Fatalf("%s has another order", n.NodeID())
		}
	}
}

// A leader that ends politely hands over: nobody's commands fail.
func TestTheLeaderLeaves(t *testing.T) {
	nodes := founded(t, several(t, 3))
	leader := leaderOf(t, nodes)
	others := slices.DeleteFunc(slices.Clone(nodes), func(n running) bool { return n.NodeID() == leader.NodeID() })
	others[0].put(t, "before")
	leader.close(t)
	others[0].put(t, "after")
	others[1].put(t, "after too")
	eventually(t, "both have all", func() bool {
		return len(others[0].sm.Commands()) == 3 && slices.Equal(others[0].sm.Commands(), others[1].sm.Commands())
	})
}

func TestAReplicaIsTakenInAndNeverVotes(t *testing.T) {
	configs := several(t, 4)
	for i := range configs {
		configs[i].Expect = 3
	}
	configs[3].Replica = true
	nodes := founded(t, configs)
	r := nodes[3]
	r.put(t, "by way of a replica")
	eventually(t, "the replica knows its role", func() bool { return r.Role() == "replica" })
	if i := slices.IndexFunc(nodes[0].Members(), func(m cluster.Member) bool { return m.ID == "d" && m.Voter }); i >= 0 {
		t.Fatal("the replica has a vote")
	}
	if err := r.Transfer(t.Context(), "d"); err == nil || !strings.Contains(err.Error(), "never leads") {
		t.Fatalf("transfer to a replica: %v", err)
	}
	if err := r.Remove(t.Context(), "d"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is gone", func() bool { return len(leaderOf(t, nodes[:3]).Members()) == 3 })
}

// A node that comes later gets its vote when it has caught up.
func TestALateVoterIsPromoted(t *testing.T) {
	configs := several(t, 4)
	for i := range configs {
		configs[i].Expect = 3
	}
	nodes := founded(t, configs[:3])
	fill(t, nodes[0], 50)
	late := open(t, configs[3])
	wait(t, late.Ready(), "the late one is ready")
	eventually(t, "it has a vote", func() bool {
		m := nodes[0].Members()
		return len(m) == 4 && !slices.ContainsFunc(m, func(m cluster.Member) bool { return !m.Voter })
	})
	eventually(t, "it has all", func() bool { return len(late.sm.Commands()) == 50 })
}

// The place of a node is not given to one whose disk is empty: it may have voted there.
func TestAnEmptyDiskIsRefusedThePlaceItHad(t *testing.T) {
	configs := several(t, 3)
	nodes := founded(t, configs)
	lost := 2
	if nodes[lost].IsLeader() {
		lost = 1
	}
	nodes[lost].put(t, "x")
	nodes[lost].close(t)
	cfg := configs[lost]
	cfg.Dir = filepath.Join(t.TempDir(), "empty")
	withPort(t, &cfg)
	again := open(t, cfg)
	select {
	case err := <-again.Failed():
		if !errors.Is(err, cluster.ErrHadData) {
			t.Fatal(err)
		}
	case <-again.Ready():
		t.Fatal("it was taken back")
	case <-time.After(10 * time.Second):
		t.Fatal("it still waits")
	}
	again.close(t)

	// Once it has been removed it may come as a new one.
	rest := slices.Delete(slices.Clone(nodes), lost, lost+1)
	if err := rest[0].Remove(t.Context(), cfg.NodeID); err != nil {
		t.Fatal(err)
	}
	cfg.Dir = filepath.Join(t.TempDir(), "new")
	withPort(t, &cfg)
	again = open(t, cfg)
	wait(t, again.Ready(), "the new one is ready")
	again.put(t, "y")
}

// A node that comes back at another address says so.
func TestANodeMoves(t *testing.T) {
	configs := several(t, 3)
	nodes := founded(t, configs)
	at := 0
	if nodes[0].IsLeader() {
		at = 1
	}
	nodes[at].close(t)
	configs[at].Address = ""
	withPort(t, &configs[at])
	moved := open(t, configs[at])
	rest := slices.Delete(slices.Clone(nodes), at, at+1)
	eventually(t, "the others know its address", func() bool {
		return slices.ContainsFunc(rest[0].Members(), func(m cluster.Member) bool {
			return m.ID == moved.NodeID() && m.Address == configs[at].Address && m.Voter
		})
	})
	moved.put(t, "x")
}

func TestChangesThatCannotBeMade(t *testing.T) {
	nodes := founded(t, several(t, 3))
	leader := leaderOf(t, nodes)
	for name, err := range map[string]error{
		"remove nobody":   nodes[0].Remove(t.Context(), "nobody"),
		"promote nobody":  nodes[1].Promote(t.Context(), "nobody"),
		"transfer nobody": nodes[2].Transfer(t.Context(), "nobody"),
	} {
		if !errors.Is(err, cluster.ErrNotMember) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := nodes[0].Remove(t.Context(), leader.NodeID()); err == nil || !strings.Contains(err.Error(), "transfer") {
		t.Errorf("remove the leader: %v", err)
	}
}

// A node that knows nobody is told by the cluster whom to join.
func TestANodeIsInvited(t *testing.T) {
	configs := several(t, 4)
	late := configs[3]
	for i := range configs {
		configs[i].Expect, configs[i].Seeds = 3, configs[i].Seeds[:3]
	}
	nodes := founded(t, configs[:3])
	late.Seeds, late.Expect = nil, 3
	d := open(t, late)
	if err := add(t, nodes[1], "e", late.Address); err == nil {
		t.Error("a node was invited under another's name")
	}
	if err := add(t, nodes[1], "a", ""); !errors.Is(err, cluster.ErrMember) {
		t.Errorf("a member was added: %v", err)
	}
	if err := add(t, nodes[1], "d", late.Address); err != nil {
		t.Fatal(err)
	}
	wait(t, d.Ready(), "d is ready")
	eventually(t, "d has a vote", func() bool {
		m := nodes[0].Members()
		return len(m) == 4 && m[3].Voter
	})
	if err := add(t, nodes[2], "d", late.Address); !errors.Is(err, cluster.ErrMember) {
		t.Errorf("a member was added: %v", err)
	}
}

// add is Add at a node that may have no leader just now: on a machine that has much to do there is an election now and then.
func add(t *testing.T, n running, id, address string) (err error) {
	t.Helper()
	eventually(t, "there is a leader to ask", func() bool {
		err = n.Add(t.Context(), id, address)
		return !errors.Is(err, cluster.ErrNoLeader)
	})
	return err
}

// Where certificates come from an authority that may sign others too, nobody comes in who has not been named.
func TestOnlyTheInvitedComeIn(t *testing.T) {
	configs := several(t, 4)
	for i := range configs {
		configs[i].Expect, configs[i].Seeds, configs[i].Invited = 3, configs[i].Seeds[:3], true
	}
	nodes := founded(t, configs[:3])
	leader := leaderOf(t, nodes)
	log := &lines{}
	configs[3].Logger = slog.New(slog.NewTextHandler(log, nil))
	d := open(t, configs[3])
	eventually(t, "it is refused", func() bool { return log.contain("madang cluster add") })
	if m := leader.Members(); len(m) != 3 {
		t.Fatalf("members: %+v", m)
	}
	if err := nodes[1].Add(t.Context(), "d", ""); err != nil {
		t.Fatal(err)
	}
	wait(t, d.Ready(), "d is ready")
}

// A node that was removed is not heard any more, though it has the secret.
func TestARemovedNodeIsNotHeard(t *testing.T) {
	nodes := founded(t, several(t, 3))
	leader := leaderOf(t, nodes)
	i := slices.IndexFunc(nodes, func(n running) bool { return n.NodeID() != leader.NodeID() })
	gone := nodes[i]
	for _, n := range nodes {
		n.Peers().Listen(cluster.Hearing{})
	}
	gone.put(t, "heard")
	if err := leader.Remove(t.Context(), gone.NodeID()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := gone.ProposeWait(ctx, []byte("not heard")); !errors.Is(err, cluster.ErrUnknown) {
		t.Errorf("a command of a removed node: %v", err)
	}
	leader.put(t, "the end")
	if got := leader.sm.Commands(); slices.Contains(got, "not heard") {
		t.Errorf("the log has %q", got)
	}
	eventually(t, "nobody hears it", func() bool { return !slices.Contains(leader.Peers().Reached(), gone.NodeID()) })
}

// lines is a log that a test looks into.
type lines struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *lines) contain(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.all.String(), s)
}
