package chaos

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// stuck lets the disks of a test hang: a write or sync begins and does not end before the disk goes on.
type stuck struct {
	mu    sync.Mutex
	nodes map[string]*stuckDisk
}

type stuckDisk struct {
	under string        // what hangs: paths that hold it
	on    chan struct{} // closed when the disk goes on
}

// newStuck returns disks that do not hang yet. Options.FaultsOf gets its wrap.
func newStuck() *stuck { return &stuck{nodes: map[string]*stuckDisk{}} }

func (s *stuck) wrap(node string, disk vfs.FS) vfs.FS {
	return errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		s.mu.Lock()
		d := s.nodes[node]
		s.mu.Unlock()
		if d != nil && strings.Contains(op.Path, d.under) {
			<-d.on
		}
		return nil
	}))
}

// hang lets the disk of a node hang, as far as paths hold under.
func (s *stuck) hang(node, under string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[node] = &stuckDisk{under: under, on: make(chan struct{})}
}

// goOn ends all hangs.
func (s *stuck) goOn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.nodes {
		close(d.on)
	}
	clear(s.nodes)
}

// readiness is what /readyz says.
func readiness(t *testing.T, n *testcluster.Node) (code int, text string) {
	t.Helper()
	resp, err := http.Get("http://" + n.Addr("ops") + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func saysThatItHangs(t *testing.T, n *testcluster.Node) {
	t.Helper()
	eventually(t, "/readyz says that the disk hangs", func() bool {
		code, text := readiness(t, n)
		return code == http.StatusServiceUnavailable && strings.Contains(text, "the disk hangs")
	})
	if n.Metric("madang_disk_stalled") != 1 {
		t.Error("the metric does not say it")
	}
}

func isWell(t *testing.T, n *testcluster.Node) {
	t.Helper()
	eventually(t, "the node is ready", func() bool { code, _ := readiness(t, n); return code == http.StatusOK })
}

// impatient makes a test short: the default is 3 s.
var impatient = []string{"limits.disk_patience=500ms"}

// The leader's disk hangs, all of it, the log's part or the store's: another one leads, clients go on there, the one that
// hangs acknowledges nothing, and when its disk goes on it follows, and has everything.
func TestClusterLeadersDiskHangs(t *testing.T) {
	disks := newStuck()
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{Memory: true, FaultsOf: disks.wrap, Set: impatient})
	t.Cleanup(disks.goOn)
	l := mqtttest.StartLoad(t, mqtttest.LoadOptions{Room: "hangs", Nodes: c.At, Senders: 4, Readers: 3})
	l.Await(t, 100)
	var p pauses
	for round, under := range []string{"", "/raft/", "/db/"} {
		old := c.Leader()
		room := fmt.Sprint("inside-", round)
		inside := mqtttest.Dial(t, old.At(), mqtttest.Options{User: "inside", ClientID: fmt.Sprint(round), Hears: 30 * time.Second})
		inside.Say(room, "before")
		l.Pause()
		disks.hang(old.Name(), under)
		id, err := inside.Send(mqtttest.Message("chat/rooms/"+room+"/send", "hangs", 1))
		if err != nil {
			t.Fatal(err)
		}
		next := c.LeaderOf(old)
		l.Await(t, 200)
		p.add(l.Pause())
		saysThatItHangs(t, old)
		if old.Node().IsLeader() {
			t.Error("it leads all the same")
		}
		if under != "/db/" && inside.Answered(id) { // what the store writes waits in memory for a while
			t.Errorf("%q: a message was acknowledged by a node whose disk hangs", under)
		}
		disks.goOn()
		eventually(t, "it follows", func() bool { return old.Node().Leader() == next.Name() })
		isWell(t, old)
		l.Await(t, 100)
	}
	entries := l.Finish(t)
	c.SameDigest(roomKey("hangs"), uint64(len(entries)))
	t.Logf("%d acknowledged; without an acknowledgement: %v", l.Acks(), p)
}

// A follower's disk hangs: nobody else notices, no election; when it goes on the follower has everything.
func TestClusterFollowersDiskHangs(t *testing.T) {
	disks := newStuck()
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{Memory: true, FaultsOf: disks.wrap, Set: slices.Concat(impatient, []string{"cluster.heartbeat=1s"})})
	t.Cleanup(disks.goOn)
	leader := c.Leader()
	term := leader.Node().Term()
	var p pauses
	total := 0
	for i, under := range []string{"", "/raft/", "/db/"} {
		victim := c.Followers()[i%2]
		at := func() (out []mqtttest.Addresses) {
			for _, n := range c.Nodes {
				if n != victim {
					out = append(out, n.At())
				}
			}
			return out
		}
		room := fmt.Sprint("hangs-", i)
		l := mqtttest.StartLoad(t, mqtttest.LoadOptions{Room: room, Nodes: at, Senders: 4, Readers: 2, Every: time.Millisecond})
		l.Await(t, 50)
		l.Pause()
		disks.hang(victim.Name(), under)
		l.Await(t, 200)
		saysThatItHangs(t, victim)
		l.Await(t, 200)
		p.add(l.Pause())
		disks.goOn()
		isWell(t, victim)
		entries := l.Finish(t)
		if n := l.Twice(); n > 0 {
			t.Errorf("%d messages are there twice", n)
		}
		c.SameDigest(roomKey(room), uint64(len(entries)))
		total += l.Acks()
	}
	if got := leader.Node().Term(); got != term || !leader.Node().IsLeader() {
		t.Errorf("term %d became %d, leader %s", term, got, leader.Node().Leader())
	}
	t.Logf("%d acknowledged; without an acknowledgement: %v", total, p)
}

// The disk of a node alone hangs: nothing is acknowledged, /readyz says why, and when it goes on what was sent has its outcome.
func TestDiskOfANodeAloneHangs(t *testing.T) {
	disks := newStuck()
	n := testcluster.Start(t, testcluster.Options{Memory: true, FaultsOf: disks.wrap, Set: impatient})
	t.Cleanup(disks.goOn)
	for round, under := range []string{"", "/raft/", "/db/"} {
		as := mqtttest.Flavours[round]
		w := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "w", ClientID: as.String(), Hears: 30 * time.Second})
		w.Say("alone", "before")
		disks.hang("one", under)
		id, err := w.Send(mqtttest.Message("chat/rooms/alone/send", "hangs", 1))
		if err != nil {
			t.Fatal(err)
		}
		if under != "/db/" { // what the store writes waits in memory for a while
			saysThatItHangs(t, n)
			if w.Answered(id) {
				t.Errorf("%q: it was acknowledged", under)
			}
		}
		disks.goOn()
		if _, err := w.Outcome(id, 1); err != nil {
			t.Errorf("%q: after it: %v", under, err)
		}
		isWell(t, n)
	}
	if got := len(texts(t, n, "alone")); got != 6 {
		t.Errorf("%d messages, not 6", got)
	}
}

// texts are the entries of a room.
func texts(t *testing.T, n *testcluster.Node, room string) (out []string) {
	t.Helper()
	es, err := n.Store().Entries(roomKey(room), 1, 1<<40, 1<<20, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		out = append(out, string(e.JSON))
	}
	return out
}
