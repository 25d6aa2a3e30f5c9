package broker_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/storage"
)

// A device has one connection, on whatever node, also one whose session ends with it and of which the log knows nothing.
func TestACleanSessionIsUnique(t *testing.T) {
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{})
	for _, as := range mqtttest.Flavours {
		for _, keep := range [][2]bool{{false, false}, {false, true}, {true, false}} {
			t.Run(fmt.Sprintf("%v-%v-%v", as, keep[0], keep[1]), func(t *testing.T) {
				takesOver(t, c, as, keep[0], keep[1])
			})
		}
	}
}

// Of connections that come to all nodes at once one is left, or none.
func TestConnectingEverywhereAtOnce(t *testing.T) {
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{})
	for _, keep := range []bool{false, true} {
		for round := range 10 {
			var all [3]*mqtttest.Client
			var wg sync.WaitGroup
			for i, n := range c.Nodes {
				wg.Go(func() {
					all[i], _ = mqtttest.TryDial(t, n.At(), mqtttest.Options{User: "crowd", ClientID: fmt.Sprint(keep, round), Keep: keep})
				})
			}
			wg.Wait()
			mqtttest.Eventually(t, "at most one is left", func() bool {
				left := 0
				for _, n := range c.Nodes {
					left += n.Broker().Connections()
				}
				return left <= 1
			})
			for _, one := range all {
				if one != nil {
					one.Cut()
				}
			}
		}
	}
}

// Nodes that did not see each other both let a device in; when they do again, the one that came last stays.
func TestTwoConnectionsMeet(t *testing.T) {
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{})
	o := mqtttest.Options{Flavour: mqtttest.Flavours[1], User: "twice", ClientID: "phone"}
	a, b := c.Followers()[0], c.Followers()[1]
	c.Cut(a, b)
	old := mqtttest.Dial(t, a.At(), o)
	now := mqtttest.Dial(t, b.At(), o)
	old.Say("meeting", "still here")
	c.Heal()
	if got := old.Ended(); got != 0x8e {
		t.Errorf("the older connection ended with %#x", got)
	}
	now.Say("meeting", "I am")
	c.SameDigest(storage.RoomKey{NS: "chat", Room: "meeting"}, 2)
}

// Who connects to one node after the other, quicker than anybody should, is on the last one in the end, and what each
// connection said came before what the next one said.
func TestADeviceThatWanders(t *testing.T) {
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{})
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprint("keep ", keep), func(t *testing.T) {
			room := roomOf(t)
			reader := mqtttest.Dial(t, c.Nodes[0].At(), mqtttest.Options{User: "reader", ClientID: t.Name()})
			reader.Subscribe(msgs(room))
			const steps = 30
			var before *mqtttest.Client
			for i := range steps {
				now := mqtttest.Dial(t, c.Nodes[i%3].At(), mqtttest.Options{
					Flavour: mqtttest.Flavours[i%4], User: "wanderer", ClientID: t.Name(), Keep: keep,
				})
				if before != nil {
					_, _ = before.TryPublish(mqtttest.Message(send(room), "too late", 1))
					before.Ended()
				}
				now.Say(room, fmt.Sprint(i))
				before = now
			}
			inOrder(t, collect(t, reader, room, 1, steps))
			quiet(t, reader)
		})
	}
}
