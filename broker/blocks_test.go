package broker_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// A block ends what one writes to another directly, from every node, from a stored session, as a will, as typing; the
// writer is told nothing but that it cannot be, and the connection stays. The other's devices hear of the block.
func TestBlock(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		a, b := "ann-"+as.String(), "bob-"+as.String()
		room := "dm~" + a + "~" + b
		ann := caller(t, n, as, a)
		device := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: a, ClientID: "device"})
		device.Subscribe("chat/users/+/inbox", "chat/rooms/"+room+"/#")
		o := mqtttest.Options{Flavour: as, User: b, ClientID: "phone", Keep: true}
		bob := mqtttest.Dial(t, n.At(), o)
		bob.Subscribe("chat/me/error")
		refused := func(topic, payload string) {
			t.Helper()
			ack := bob.Publish(mqtttest.Message(topic, payload, 1))
			pk := bob.Next()
			if s := string(pk.Payload); as.Version == mqtttest.V5 && ack.ReasonCode < 0x80 || !strings.Contains(s, `"code":"forbidden"`) || strings.Contains(s, "block") {
				t.Errorf("%s: %#x %s", topic, ack.ReasonCode, s)
			}
		}
		// Before the room exists.
		call(t, ann, "blocks.add", `{"user":"`+b+`"}`)
		if e := nextTold(t, device, a, 1); e.Data.Event != "blocked" || e.Data.User != b {
			t.Errorf("%+v", e)
		}
		refused("chat/users/"+a+"/send", "hello?")
		refused(send(room), "hello?")
		if r, err := n.Store().Room(roomKey(room)); r != nil || err != nil {
			t.Errorf("the room was made: %+v %v", r, err)
		}
		call(t, ann, "blocks.remove", `{"user":"`+b+`"}`)
		nextTold(t, device, a, 2)
		bob.Publish(mqtttest.Message(send(room), "hello", 1))
		for pk := device.Next(); !strings.HasSuffix(pk.TopicName, "/msg/text"); pk = device.Next() {
		}
		// A room that is there, a session that is away, a will.
		bob.Disconnect()
		will := mqtttest.Message(send(room), "the will of one who is blocked", 1)
		o.Will = &will
		bob = mqtttest.Dial(t, n.At(), o)
		call(t, ann, "blocks.add", `{"user":"`+b+`"}`)
		at := head(t, n, room)
		refused("chat/users/"+a+"/send", "again")
		refused("chat/rooms/"+room+"/send/edit", `{"target":1,"data":{"text":"other"}}`)
		refused("chat/rooms/"+room+"/state/x", `{"data":1}`)
		refused("chat/rooms/"+room+"/live/typing/"+b, "1")
		bob.Cut()
		o.Will = nil
		bob = mqtttest.Dial(t, n.At(), o)
		refused(send(room), "from the stored session")
		if got := head(t, n, room); got != at {
			t.Errorf("%d entries were appended", got-at)
		}
		if r := tryCall(t, ann, "contacts.add", `{"user":"`+b+`"}`); r.Error.Code != "conflict" {
			t.Errorf("%+v", r)
		}
		ann.Publish(mqtttest.Message(send(room), "me neither", 1))
		if got := head(t, n, room); got != at {
			t.Errorf("the one who blocked wrote")
		}
		// Rooms of many are not of the two.
		call(t, ann, "room.create", `{"room":"`+roomOf(t)+`","kind":"public"}`)
		if ack := bob.Publish(mqtttest.Message(send(roomOf(t)), `{"data":{"text":"x"},"mentions":["`+a+`"]}`, 1)); ack.ReasonCode >= 0x80 {
			t.Errorf("%#x", ack.ReasonCode)
		}
		if !bob.Alive() {
			t.Error("the connection ended")
		}
	})
}

// A flood of direct messages from every node meets a block that is called on any of them: when the call has returned, none
// gets a place until it is lifted.
func TestNothingAfterABlock(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			if nodes == 1 {
				nothingAfterABlock(t, []*testcluster.Node{testcluster.Start(t, testcluster.Options{})})
				return
			}
			nothingAfterABlock(t, testcluster.StartCluster(t, nodes, 0, testcluster.Options{}).Nodes)
		})
	}
}

func nothingAfterABlock(t *testing.T, nodes []*testcluster.Node) {
	var callers []*mqtttest.Client
	for i, n := range nodes {
		c := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "ann", ClientID: fmt.Sprint(i)})
		c.Subscribe("chat/me/reply")
		callers = append(callers, c)
	}
	stop := make(chan struct{})
	var floods sync.WaitGroup
	defer floods.Wait()
	defer close(stop)
	tried := make([]atomic.Uint64, 2*len(nodes))
	for i := range tried {
		as := mqtttest.Flavours[i%len(mqtttest.Flavours)]
		c := mqtttest.Dial(t, nodes[i%len(nodes)].At(), mqtttest.Options{Flavour: as, User: "bob", ClientID: fmt.Sprint(i), Keep: i%2 == 0})
		floods.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := c.TryPublish(mqtttest.Message([]string{"chat/users/ann/send", send("dm~ann~bob")}[i%2], "x", 1)); err != nil {
					return
				}
				tried[i].Add(1)
			}
		})
	}
	more := func(n uint64) { // of each of them
		t.Helper()
		for i := range tried {
			was := tried[i].Load()
			mqtttest.Eventually(t, "the flood goes on", func() bool { return tried[i].Load() >= was+n })
		}
	}
	for round := range 6 {
		by, at := callers[round%len(callers)], nodes[round%len(nodes)]
		before := head(t, at, "dm~ann~bob")
		mqtttest.Eventually(t, "messages are taken", func() bool { return head(t, at, "dm~ann~bob") > before+10 })
		call(t, by, "blocks.add", `{"user":"bob"}`)
		from := head(t, at, "dm~ann~bob")
		more(10)
		call(t, by, "inbox", `{"read":1}`) // whose outcome is that of this node's Apply: it has all that came before
		if got := head(t, at, "dm~ann~bob"); got != from {
			t.Errorf("round %d: %d entries have a place after the block", round, got-from)
		}
		call(t, by, "blocks.remove", `{"user":"bob"}`)
	}
}
