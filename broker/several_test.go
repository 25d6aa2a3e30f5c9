package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/storage"
)

// said is the text of a message.
func (e *entry) said(t testing.TB) string {
	t.Helper()
	var d struct{ Text string }
	if err := json.Unmarshal(e.Data, &d); err != nil {
		t.Fatal(err)
	}
	return d.Text
}

// inOrder checks that each user's messages, numbered from 0, are there in order, each once.
func inOrder(t testing.TB, all []entry) {
	t.Helper()
	next := map[string]int{}
	for i := range all {
		e := &all[i]
		if got := e.said(t); got != fmt.Sprint(next[e.From.User]) {
			t.Fatalf("seq %d of %s: %q where %d was to come", e.Seq, e.From.User, got, next[e.From.User])
		}
		next[e.From.User]++
	}
}

// Any node serves every room: who publishes where makes no difference to what anybody reads.
func TestSeveralNodesOneRoom(t *testing.T) {
	c := testcluster.StartCluster(t, 3, 1, testcluster.Options{})
	for _, as := range mqtttest.Flavours {
		t.Run(as.String(), func(t *testing.T) {
			room := roomOf(t)
			const each = 25
			var readers []*mqtttest.Client
			for i, n := range c.Nodes {
				r := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: fmt.Sprint("reader", i), ClientID: as.String()})
				r.Subscribe(msgs(room))
				readers = append(readers, r)
			}
			var wg sync.WaitGroup
			for i, n := range c.Nodes {
				p := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: fmt.Sprint("writer", i), ClientID: as.String()})
				wg.Go(func() {
					for k := range each {
						p.Say(room, fmt.Sprint(k))
					}
				})
			}
			wg.Wait()
			first := collect(t, readers[0], room, 1, 4*each)
			inOrder(t, first)
			same := func(a, b entry) bool { return a.TS == b.TS && a.From == b.From && string(a.Data) == string(b.Data) }
			for _, r := range readers[1:] {
				if !slices.EqualFunc(first, collect(t, r, room, 1, 4*each), same) {
					t.Fatal("two readers got different messages")
				}
			}
			c.SameDigest(storage.RoomKey{NS: "chat", Room: room}, 4*each)
		})
	}
}

// A session is a place in the log, and so it goes on at any node: away on one, back on another that stops half-way, to the
// end on a third.
func TestASessionGoesFromNodeToNode(t *testing.T) {
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{})
	for _, as := range mqtttest.Flavours {
		t.Run(as.String(), func(t *testing.T) {
			room := roomOf(t)
			const total = 120
			o := mqtttest.Options{Flavour: as, User: "walker", ClientID: as.String(), Keep: true}
			phone := mqtttest.Dial(t, c.Nodes[0].At(), o)
			phone.Subscribe(msgs(room))
			phone.Disconnect()
			writer := mqtttest.Dial(t, c.Nodes[1].At(), mqtttest.Options{Flavour: as, User: "writer", ClientID: as.String()})
			for k := range total {
				writer.Say(room, fmt.Sprint(k))
			}
			seen := map[uint64]bool{}
			last := uint64(0)
			for i := range 3 { // each node in turn, cut while it is being read
				o.Manual = i < 2
				phone = mqtttest.Dial(t, c.Nodes[(i+1)%3].At(), o)
				if !phone.Connack.SessionPresent {
					t.Fatalf("no session on node %d", (i+1)%3)
				}
				for len(seen) < (i+1)*total/3 {
					pk := phone.Next()
					e := parse(t, pk)
					if e.Seq > last+1 {
						t.Fatalf("seq %d after %d", e.Seq, last)
					}
					last = max(last, e.Seq)
					seen[e.Seq] = true
					if o.Manual {
						_ = phone.Ack(pk.PacketID)
					}
				}
				if o.Manual {
					phone.Cut()
				}
			}
			if last != total {
				t.Fatalf("the last one is %d", last)
			}
		})
	}
}

// The same device on another node ends the connection on the first; after the CONNACK nothing of the older is appended.
func TestTakeOverFromAnotherNode(t *testing.T) {
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{})
	for _, as := range mqtttest.Flavours {
		t.Run(as.String(), func(t *testing.T) {
			takesOver(t, c, as, true, true)
		})
	}
}

// takesOver connects a device to one node and then to another, where each session may be kept.
func takesOver(t *testing.T, c *testcluster.Cluster, as mqtttest.Flavour, kept, keep bool) {
	t.Helper()
	room := roomOf(t)
	id := fmt.Sprint(as, kept, keep)
	reader := mqtttest.Dial(t, c.Nodes[2].At(), mqtttest.Options{Flavour: as, User: "reader", ClientID: id})
	reader.Subscribe(msgs(room))
	o := mqtttest.Options{Flavour: as, User: "twice", ClientID: id, Keep: kept}
	old := mqtttest.Dial(t, c.Nodes[0].At(), o)
	old.Say(room, "0")
	o.Keep = keep
	now := mqtttest.Dial(t, c.Nodes[1].At(), o)
	_, _ = old.TryPublish(mqtttest.Message(send(room), "too late", 1))
	if got := old.Ended(); got != v5(as, 0x8e) {
		t.Errorf("the older connection ended with %#x", got)
	}
	now.Say(room, "1")
	inOrder(t, collect(t, reader, room, 1, 2))
	quiet(t, reader)
}

// A leader that stops under load: nothing acknowledged is lost, each sender's order is kept, and who is connected to
// another node sees a short pause.
func TestTheLeaderStopsUnderLoad(t *testing.T) {
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{})
	room := roomOf(t)
	leader, others := c.Leader(), c.Followers()
	reader := mqtttest.Dial(t, others[0].At(), mqtttest.Options{User: "reader", ClientID: "r"})
	reader.Subscribe(msgs(room))
	const each = 150
	var half, done sync.WaitGroup
	for i := range 4 {
		p := mqtttest.Dial(t, others[i%2].At(), mqtttest.Options{Flavour: mqtttest.Flavours[i], User: fmt.Sprint("w", i), ClientID: "w"})
		half.Add(1)
		done.Go(func() {
			for k := range each {
				if k == each/2 {
					half.Done()
				}
				p.Say(room, fmt.Sprint(k))
			}
		})
	}
	half.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := leader.App.Stop(ctx); err != nil {
		t.Error(err)
	}
	done.Wait()
	inOrder(t, collect(t, reader, room, 1, 4*each))
	c.Nodes = others
	c.SameDigest(storage.RoomKey{NS: "chat", Room: room}, 4*each)
}

// Live values reach the readers on all nodes, and who subscribes later, on whatever node, gets the newest as a retained one.
func TestLiveOnSeveralNodes(t *testing.T) {
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{})
	for _, as := range mqtttest.Flavours {
		t.Run(as.String(), func(t *testing.T) {
			room, user := roomOf(t), "alice."+as.String()
			topic := "chat/rooms/" + room + "/live/cursor/" + user
			alice := mqtttest.Dial(t, c.Nodes[0].At(), mqtttest.Options{Flavour: as, User: user, ClientID: "a"})
			alice.Say(room, "hello")
			var readers []*mqtttest.Client
			for i := range 2 { // none on the third node
				r := mqtttest.Dial(t, c.Nodes[i].At(), mqtttest.Options{Flavour: as, User: "reader", ClientID: fmt.Sprint(as, i)})
				r.Subscribe("chat/rooms/" + room + "/live/#")
				readers = append(readers, r)
			}
			// The second node's wish travels by a link of its own: the first value may be too early for it.
			mqtttest.Eventually(t, "a value reaches the other node", func() bool {
				alice.Publish(mqtttest.Message(topic, "first", 1))
				return readers[1].Waiting() > 0
			})
			alice.Publish(mqtttest.Message(topic, "newest", 1))
			for _, r := range readers {
				for {
					pk := r.Next()
					if pk.TopicName != topic || pk.FixedHeader.Qos != 0 {
						t.Fatalf("%s QoS %d", pk.TopicName, pk.FixedHeader.Qos)
					}
					if string(pk.Payload) == "newest" {
						break
					}
				}
			}
			late := mqtttest.Dial(t, c.Nodes[2].At(), mqtttest.Options{Flavour: as, User: "late", ClientID: as.String()})
			late.Subscribe("chat/rooms/" + room + "/live/#")
			if pk := late.Next(); string(pk.Payload) != "newest" || !pk.FixedHeader.Retain {
				t.Errorf("a new subscriber got %q, retain %v", pk.Payload, pk.FixedHeader.Retain)
			}
			alice.Disconnect()
			for _, r := range append(readers, late) {
				pk := r.Next()
				for string(pk.Payload) == "newest" && pk.FixedHeader.Retain { // what is kept may come by two ways at once
					pk = r.Next()
				}
				if pk.TopicName != topic || len(pk.Payload) > 0 {
					t.Errorf("after the writer left: %s %q", pk.TopicName, pk.Payload)
				}
				quiet(t, r)
			}
		})
	}
}
