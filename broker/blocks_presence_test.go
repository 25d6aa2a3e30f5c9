package broker_test

import (
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// A block hides in the room of the two that the other comes, goes and reads: from live subscriptions, new ones and calls.
// When it is lifted, all of it is there again. Others of the room, who oversee it, see it all the time.
func TestBlockHidesWhoIsThere(t *testing.T) {
	t.Parallel()
	oneAndThree(t, testcluster.Options{}, func(t *testing.T, nodes []*testcluster.Node) {
		for i, as := range mqtttest.Flavours {
			n, other := nodes[i%len(nodes)], nodes[(i+1)%len(nodes)]
			hidesWhoIsThere(t, n, other, as)
		}
	})
}

func hidesWhoIsThere(t *testing.T, n, other *testcluster.Node, as mqtttest.Flavour) {
	a, b := "kay-"+as.String(), "lou-"+as.String()
	room := "dm~" + a + "~" + b
	at := "chat/rooms/" + room
	empty, none := `{"mode":"full","v":0,"online":[]}`, `{"users":0,"connections":0}`
	dial := func(n *testcluster.Node, user, device string) *mqtttest.Client {
		return mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: user, ClientID: device})
	}
	lou, admin, asks := caller(t, other, as, b), caller(t, n, as, "admin"), caller(t, n, as, a)
	lou.Publish(mqtttest.Message("chat/users/"+a+"/send", "hi", 1))
	mqtttest.Eventually(t, "the room is there", func() bool { r, err := n.Store().Room(roomKey(room)); return err == nil && r != nil })
	here := func(devices string) {
		t.Helper()
		mqtttest.Eventually(t, "all nodes know who is there", func() bool {
			r := tryCall(t, admin, "presence.get", `{"room":"`+room+`"}`)
			return r.OK && strings.Contains(string(r.Result), devices)
		})
	}
	phone := dial(other, b, "phone")
	phone.Subscribe(at + "/msg/#")
	here(`{"user":"` + b + `","devices":1}`)
	kay := dial(n, a, "k")
	kay.Subscribe(at+"/presence", at+"/occupancy", at+"/receipts")
	if pk := kay.Next(); !strings.Contains(string(pk.Payload), b) {
		t.Fatalf("%s %s", pk.TopicName, pk.Payload)
	}
	next(t, kay, at+"/occupancy", `{"users":1,"connections":1}`, true)
	call(t, lou, "blocks.add", `{"user":"`+a+`"}`)
	told := map[string]bool{}
	for len(told) < 2 {
		pk := kay.Next()
		if s := string(pk.Payload); s == empty || s == none {
			told[s] = true
		} else {
			t.Errorf("after the block: %s %s", pk.TopicName, s)
		}
	}
	watch := dial(n, "admin", "watch")
	watch.Subscribe("$all/" + at + "/presence")
	phone.Disconnect()
	sees(t, watch, `"event":"leave","user":"`+b+`"`)
	phone = dial(other, b, "phone")
	phone.Subscribe(at+"/msg/#", at+"/live/#")
	sees(t, watch, `"event":"join","user":"`+b+`"`)
	call(t, lou, "read", `{"room":"`+room+`","seq":1}`)
	mqtttest.Eventually(t, "the mark is in the log", func() bool {
		m, err := n.Store().Mark(roomKey(room), b)
		return err == nil && m.Read == 1
	})
	if r := call(t, asks, "presence.get", `{"room":"`+room+`"}`); strings.Contains(string(r), `"user"`) || !strings.Contains(string(r), `"users":0`) {
		t.Errorf("presence.get: %s", r)
	}
	late := dial(n, a, "late")
	late.Subscribe(at + "/presence")
	next(t, late, at+"/presence", empty, true)
	late.Disconnect()
	if err := kay.Ping(); err != nil {
		t.Fatal(err)
	}
	for kay.Waiting() > 0 { // the block is in the log and in lou's list: it may be told twice
		if pk := kay.Next(); string(pk.Payload) != empty && string(pk.Payload) != none {
			t.Errorf("after the block: %s %s", pk.TopicName, pk.Payload)
		}
	}
	call(t, lou, "blocks.remove", `{"user":"`+a+`"}`)
	for {
		pk := kay.Next()
		s := string(pk.Payload)
		if strings.Contains(s, `"online":[{"user":"`+b+`","devices":1}]`) {
			break
		}
		if pk.TopicName != at+"/occupancy" && s != empty {
			t.Errorf("what was hidden is told later: %s %s", pk.TopicName, s)
		}
	}
}

// sees waits for a message that says this.
func sees(t testing.TB, c *mqtttest.Client, what string) {
	t.Helper()
	for pk := c.Next(); !strings.Contains(string(pk.Payload), what); pk = c.Next() {
	}
}
