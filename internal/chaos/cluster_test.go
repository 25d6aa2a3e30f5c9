package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/storage"
)

func roomKey(room string) storage.RoomKey { return storage.RoomKey{NS: "chat", Room: room} }

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// A leader that is cut off acknowledges nothing, whatever its clients send; the others go on; and when it is back all agree,
// and what its clients sent has its outcome.
func TestClusterLeaderCutOff(t *testing.T) {
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{})
	for round, as := range mqtttest.Flavours {
		room := fmt.Sprint("cut-", round)
		leader := c.Leader()
		inside := mqtttest.Dial(t, leader.At(), mqtttest.Options{Flavour: as, User: "inside", ClientID: as.String(), Hears: 30 * time.Second})
		inside.Say(room, "before")
		c.Isolate(leader)
		id, err := inside.Send(mqtttest.Message("chat/rooms/"+room+"/send", "cut off", 1))
		if err != nil {
			t.Fatal(err)
		}
		others := c.Followers()
		eventually(t, "another one leads", func() bool {
			return slices.ContainsFunc(others, func(n *testcluster.Node) bool { return n.Node().IsLeader() })
		})
		outside := mqtttest.Dial(t, others[round%2].At(), mqtttest.Options{Flavour: as, User: "outside", ClientID: as.String()})
		for i := range 20 {
			outside.Say(room, fmt.Sprint(i))
		}
		if inside.Answered(id) {
			t.Fatalf("%v: the minority acknowledged a message", as)
		}
		c.Heal()
		if _, err := inside.Outcome(id, 1); err != nil {
			t.Fatalf("%v: after healing: %v", as, err)
		}
		c.SameDigest(roomKey(room), 22)
	}
}

// A follower that comes and goes twenty times changes nothing for the others: no election, no message lost.
func TestClusterFlappingFollower(t *testing.T) {
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{})
	leader := c.Leader()
	flapping := c.Followers()[0]
	term := leader.Node().Term()
	l := mqtttest.StartLoad(t, mqtttest.LoadOptions{Room: "flaps", Nodes: c.At, Senders: 3, Readers: 3, Every: time.Millisecond})
	for range 20 {
		c.Isolate(flapping)
		l.Await(t, 20)
		eventually(t, "it knows that it hears nobody", func() bool { return flapping.Node().Leader() == "" })
		c.Heal()
		eventually(t, "it hears the leader", func() bool { return flapping.Node().Leader() == leader.Name() })
	}
	entries := l.Finish(t)
	c.SameDigest(roomKey("flaps"), uint64(len(entries)))
	if got := leader.Node().Term(); got != term || !leader.Node().IsLeader() {
		t.Errorf("term %d became %d, leader %s", term, got, leader.Node().Leader())
	}
}

// The power of all nodes goes at once, in the middle of everything; of what was not synced a random part is left. Nothing
// acknowledged is missing.
func TestClusterPowerCutOfAll(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{Memory: true})
	l := mqtttest.StartLoad(t, mqtttest.LoadOptions{Room: "power", Nodes: c.At, Senders: 4, Readers: 3})
	for range 5 {
		l.Await(t, 1+rng.IntN(500))
		l.Freeze(true)
		c.PowerCut(rng, func() { l.Freeze(false) }, c.Nodes...)
	}
	l.Await(t, 100)
	entries := l.Finish(t)
	c.SameDigest(roomKey("power"), uint64(len(entries)))
	t.Logf("%d acknowledged, %d entries", l.Acks(), len(entries))
}

// Every node is stopped and started in turn, under load: nobody loses anything.
func TestClusterRollingRestart(t *testing.T) {
	c := testcluster.StartCluster(t, 3, 1, testcluster.Options{})
	l := mqtttest.StartLoad(t, mqtttest.LoadOptions{Room: "rolling", Nodes: c.At, Senders: 4, Readers: 4, Every: time.Millisecond})
	l.Await(t, 100)
	var pauses []time.Duration
	for _, n := range c.Nodes {
		l.Pause()
		n.Stop()
		l.Await(t, 50)
		n.Begin()
		l.Await(t, 50)
		pauses = append(pauses, l.Pause().Round(time.Millisecond))
	}
	entries := l.Finish(t)
	if n := l.Twice(); n > 0 {
		t.Errorf("%d messages without cid are there twice, and no node has died", n)
	}
	c.SameDigest(roomKey("rolling"), uint64(len(entries)))
	t.Logf("longest time without an acknowledgement, by step: %v", pauses)
}

// A node is replaced by one with an empty disk and another name, under load, and so is the leader.
func TestClusterReplaceANode(t *testing.T) {
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{Set: []string{"cluster.snapshot_threshold=50", "cluster.trailing_logs=20"}})
	l := mqtttest.StartLoad(t, mqtttest.LoadOptions{Room: "replace", Nodes: c.At, Senders: 4, Readers: 3, Every: time.Millisecond})
	for range 2 {
		l.Await(t, 300)
		gone := c.Leader()
		gone.Stop()
		l.Await(t, 100)
		leader := c.LeaderOf(gone)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if err := leader.Node().Remove(ctx, gone.Name()); err != nil {
			t.Fatal(err)
		}
		cancel()
		c.Forget(gone)
		c.Add(false)
		eventually(t, "three have a vote", func() bool {
			voters := 0
			for _, m := range leader.Node().Members() {
				if m.Voter {
					voters++
				}
			}
			return voters == 3
		})
	}
	entries := l.Finish(t)
	c.SameDigest(roomKey("replace"), uint64(len(entries)))
}

// Replicas come and go under load, with readers on them; they serve all, and never lead.
func TestClusterReplicasComeAndGo(t *testing.T) {
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{})
	l := mqtttest.StartLoad(t, mqtttest.LoadOptions{Room: "replicas", Nodes: c.At, Senders: 4, Readers: 4, Every: time.Millisecond})
	for range 2 {
		l.Await(t, 100)
		r := c.Add(true)
		reader := mqtttest.Dial(t, r.At(), mqtttest.Options{User: "near", ClientID: r.Name()})
		reader.Subscribe("$last/5/chat/rooms/replicas/msg/#")
		l.Await(t, 100)
		for range 50 {
			reader.Next()
		}
		if role := r.Cluster().Role; role != "replica" {
			t.Errorf("it is a %s", role)
		}
		c.Forget(r)
		r.Stop()
		if err := c.Leader().Node().Remove(t.Context(), r.Name()); err != nil {
			t.Fatal(err)
		}
	}
	entries := l.Finish(t)
	if n := l.Twice(); n > 0 {
		t.Errorf("%d messages without cid are there twice, and no node has died", n)
	}
	c.SameDigest(roomKey("replicas"), uint64(len(entries)))
}

// A session that was away for 2,000 messages, over a restart of all nodes, and for 500 more, goes on at a node that is cut
// off half-way and at a third: it gets all of them in order.
func TestClusterLongWayHome(t *testing.T) {
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{})
	for _, as := range mqtttest.Flavours {
		room := "home-" + as.String()
		o := mqtttest.Options{Flavour: as, User: "walker", ClientID: as.String(), Keep: true, Manual: true}
		phone := mqtttest.Dial(t, c.Nodes[0].At(), o)
		phone.Subscribe("chat/rooms/" + room + "/msg/#")
		phone.Disconnect()
		say := func(n int) {
			w := mqtttest.Dial(t, c.Nodes[1].At(), mqtttest.Options{Flavour: as, User: "writer", ClientID: as.String()})
			for range n / 100 {
				var ids []uint16
				for range 100 {
					id, err := w.Send(mqtttest.Message("chat/rooms/"+room+"/send", "x", 1))
					if err != nil {
						t.Fatal(err)
					}
					ids = append(ids, id)
				}
				for _, id := range ids {
					if _, err := w.Outcome(id, 1); err != nil {
						t.Fatal(err)
					}
				}
			}
			w.Cut()
		}
		say(2000)
		for _, n := range c.Nodes {
			n.Restart()
		}
		say(500)
		seen := uint64(0)
		for i, upto := range []uint64{1250, 2500} {
			phone = mqtttest.Dial(t, c.Nodes[i+1].At(), o)
			if !phone.Connack.SessionPresent {
				t.Fatalf("%v: no session on node %d", as, i+1)
			}
			for seen < upto {
				pk := phone.Next()
				seq := seqOf(t, pk.Payload)
				if seq > seen+1 {
					t.Fatalf("%v: %d after %d", as, seq, seen)
				}
				seen = max(seen, seq)
				if err := phone.Ack(pk.PacketID); err != nil {
					t.Fatal(err)
				}
			}
			phone.Cut()
		}
	}
}

// Clocks that step by an hour and a day, forward and back, on one node and then on all: the log's time never goes back,
// nothing expires early, and nobody is elected for it.
func TestClusterClockSteps(t *testing.T) {
	var steps [4]atomic.Int64 // of nodes one, two, three, and the time since the start
	number := map[string]int{"one": 0, "two": 1, "three": 2}
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{Clock: func(node string) time.Time {
		return time.Now().Add(time.Duration(steps[number[node]].Load()))
	}})
	leader := c.Leader()
	term := leader.Node().Term()
	phone := mqtttest.Options{User: "phone", ClientID: "p", Keep: true, Expiry: 600, Flavour: mqtttest.Flavours[1]}
	kept := mqtttest.Dial(t, leader.At(), phone)
	kept.Subscribe("chat/rooms/clock/msg/#")
	kept.Disconnect()
	w := mqtttest.Dial(t, c.Followers()[0].At(), mqtttest.Options{User: "w", ClientID: "w"})
	said := 0
	say := func() {
		for range 5 {
			w.Say("clock", fmt.Sprint(said))
			said++
		}
	}
	say()
	began := time.Now()
	for _, step := range []time.Duration{time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour} {
		for _, all := range []bool{false, true} {
			for i := range 3 {
				if all || i == number[leader.Name()] {
					steps[i].Add(int64(step))
				}
			}
			say()
			if !all { // back before the next
				steps[number[leader.Name()]].Add(-int64(step))
				say()
			}
		}
	}
	eventually(t, "the leader has applied what a follower has", func() bool {
		r, err := leader.Store().Room(roomKey("clock"))
		return err == nil && r != nil && r.Head.Seq == uint64(said)
	})
	es, err := leader.Store().Entries(roomKey("clock"), 1, uint64(said), said, 1<<30)
	if err != nil || len(es) != said {
		t.Fatalf("%d entries, %v", len(es), err)
	}
	for i := 1; i < len(es); i++ {
		if es[i].TS < es[i-1].TS {
			t.Errorf("ts goes back from %d to %d", es[i-1].TS, es[i].TS)
		}
	}
	if d := time.Duration(es[len(es)-1].TS-es[0].TS) * time.Millisecond; d > time.Since(began)+11*time.Second {
		t.Errorf("the log's time went %v on in %v", d, time.Since(began))
	}
	if got := leader.Node().Term(); got != term {
		t.Errorf("term %d became %d", term, got)
	}
	if back := mqtttest.Dial(t, c.Nodes[0].At(), phone); !back.Connack.SessionPresent {
		t.Error("the session has expired")
	}
	c.SameDigest(roomKey("clock"), uint64(said))
}

func seqOf(t testing.TB, payload []byte) (seq uint64) {
	t.Helper()
	_, rest, _ := strings.Cut(string(payload), `"seq":`)
	if _, err := fmt.Sscan(strings.ReplaceAll(rest, ",", " "), &seq); err != nil {
		t.Fatalf("%s: %v", payload, err)
	}
	return seq
}

// lagging makes nodes keep so little of their log that who was away for a moment needs a snapshot.
var lagging = []string{"cluster.snapshot_threshold=20", "cluster.trailing_logs=5"}

// A node that was away for longer than the log goes back gets the store as it is, under load. It loses its power at any
// moment of that, and so does who sends it; both come up again, and it arrives.
func TestClusterSnapshotUnderLoad(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{Memory: true, Set: lagging, ShortLog: true})
	l := mqtttest.StartLoad(t, mqtttest.LoadOptions{Room: "lag", Nodes: c.At, Senders: 4, Readers: 3})
	installed := 0
	for round := range 6 {
		away := c.Followers()[0]
		c.Isolate(away)
		before, _ := away.Store().Applied()
		for behind := uint64(0); behind < 60; {
			l.Await(t, 100)
			now, _ := c.Leader().Store().Applied()
			behind = now - before
		}
		c.Heal()
		victim := []*testcluster.Node{away, c.Leader()}[round%2]
		for range rng.IntN(4) { // some of the way
			l.Await(t, 1+rng.IntN(60))
		}
		if away.Node().Stats().SnapshotsReceived > 0 {
			installed++
		}
		l.Freeze(true)
		c.PowerCut(rng, func() { l.Freeze(false) }, victim)
	}
	entries := l.Finish(t)
	c.SameDigest(roomKey("lag"), uint64(len(entries)))
	t.Logf("%d acknowledged; the snapshot had arrived before the cut in %d of 6 rounds", l.Acks(), installed)
}

// A leader that was cut off with entries that nobody else has finds, when it comes back, that the others' log begins after
// them: it gets a snapshot over a tail that conflicts (raft issue 697), once, and follows.
func TestClusterSnapshotOverAConflictingTail(t *testing.T) {
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{Set: lagging, ShortLog: true})
	for round := range 3 {
		room := fmt.Sprint("tail-", round)
		old := c.Leader()
		inside := mqtttest.Dial(t, old.At(), mqtttest.Options{User: "inside", ClientID: fmt.Sprint(round), Hears: 30 * time.Second})
		inside.Say(room, "before")
		c.Isolate(old)
		var ids []uint16
		for i := range 50 { // into its log, and no further
			id, err := inside.Send(mqtttest.Message("chat/rooms/"+room+"/send", fmt.Sprint("inside ", i), 1))
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		next := c.LeaderOf(old)
		outside := mqtttest.Dial(t, next.At(), mqtttest.Options{User: "outside", ClientID: fmt.Sprint(round)})
		for i := range 200 {
			outside.Say(room, fmt.Sprint(i))
		}
		c.Heal()
		for _, id := range ids {
			if _, err := inside.Outcome(id, 1); err != nil {
				t.Fatal(err)
			}
		}
		c.SameDigest(roomKey(room), 1+50+200)
		if got := old.Node().Stats().SnapshotsReceived; got == 0 || got > uint64(3*(round+1)) {
			t.Errorf("it received %d snapshots", got)
		}
	}
}

// The same device comes to another node every 200 ms, under load: what it says on one is in the log before what it says on
// the next, nothing is taken from a connection that it has left, and nothing is lost.
func TestClusterWanderingDevice(t *testing.T) {
	steps := 15
	if rounds > 0 {
		steps = 100 // 20 s
	}
	for _, keep := range []bool{false, true} {
		c := testcluster.StartCluster(t, 3, 0, testcluster.Options{})
		l := mqtttest.StartLoad(t, mqtttest.LoadOptions{Room: "load", Nodes: c.At, Senders: 4, Readers: 3, Every: time.Millisecond})
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		var before *mqtttest.Client
		said := 0
		for i := range steps {
			now := mqtttest.Dial(t, c.Nodes[i%3].At(), mqtttest.Options{
				Flavour: mqtttest.Flavours[i%4], User: "wanderer", ClientID: "phone", Keep: keep,
			})
			left := time.Now()
			if before != nil {
				_, _ = before.TryPublish(mqtttest.Message("chat/rooms/wander/send", "too late", 1))
				before.Ended()
				if d := time.Since(left); d > time.Second {
					t.Errorf("the connection before lived for %v", d)
				}
			}
			for range 3 {
				now.Say("wander", fmt.Sprint(said))
				said++
			}
			before = now
			<-tick.C
		}
		es, err := c.Nodes[0].Store().Entries(roomKey("wander"), 1, uint64(said)+uint64(steps), said+steps, 1<<30)
		eventually(t, "all is there", func() bool {
			es, err = c.Nodes[0].Store().Entries(roomKey("wander"), 1, uint64(said)+uint64(steps), said+steps, 1<<30)
			return err != nil || len(es) >= said
		})
		if err != nil || len(es) != said {
			t.Fatalf("keep %v: %d entries of %d, %v", keep, len(es), said, err)
		}
		for i, e := range es {
			if !strings.Contains(string(e.JSON), fmt.Sprintf(`"text":"%d"`, i)) {
				t.Fatalf("keep %v: entry %d is %s", keep, i+1, e.JSON)
			}
		}
		l.Finish(t)
	}
}
