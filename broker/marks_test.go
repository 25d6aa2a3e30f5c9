package broker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/storage"
)

// A read mark that one device publishes comes to all devices of its user, and as a receipt to the members; it never goes
// back.
func TestReadMarks(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		owner := caller(t, n, as, "owner-"+as.String())
		call(t, owner, "room.create", `{"room":"`+room+`","kind":"public"}`)
		for _, u := range []string{"ann", "bob"} {
			call(t, owner, "room.invite", `{"room":"`+room+`","user":"`+u+`"}`)
		}
		for i := range 5 {
			owner.Say(room, fmt.Sprint(i)) // entries 3 to 7
		}
		dial := func(user, device string) *mqtttest.Client {
			return mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: user, ClientID: device + as.String()})
		}
		phone, laptop, bob, eve := dial("ann", "phone"), dial("ann", "laptop"), dial("bob", "b"), dial("eve", "e")
		for _, c := range []*mqtttest.Client{phone, laptop} {
			c.Subscribe("chat/me/read", "chat/me/error")
		}
		receipts := "chat/rooms/" + room + "/receipts"
		bob.Subscribe(receipts)
		eve.Subscribe(receipts) // no member
		mark := func(c *mqtttest.Client, payload string) {
			t.Helper()
			c.Publish(mqtttest.Message("chat/rooms/"+room+"/read", payload, 1))
		}
		want := func(c *mqtttest.Client, topic, payload string) {
			t.Helper()
			if pk := c.Next(); pk.TopicName != topic || string(pk.Payload) != payload {
				t.Errorf("got %s %s, want %s %s", pk.TopicName, pk.Payload, topic, payload)
			}
		}
		mark(phone, `{"seq":4}`)
		mark(phone, `{"seq":5}`)
		mark(phone, `{"seq":4}`)
		mark(phone, `{"delivered":6}`)
		for _, c := range []*mqtttest.Client{phone, laptop} {
			want(c, "chat/me/read", `{"room":"`+room+`","seq":5,"delivered":6,"unread":2}`)
		}
		want(bob, receipts, `{"user":"ann","seq":5,"delivered":6}`)
		mark(laptop, `{"seq":99}`)
		for _, c := range []*mqtttest.Client{phone, laptop} {
			want(c, "chat/me/read", `{"room":"`+room+`","seq":7,"delivered":7,"unread":0}`)
		}
		want(bob, receipts, `{"user":"ann","seq":7,"delivered":7}`)
		for payload, code := range map[string]string{`{}`: "bad_payload", `x`: "bad_payload", `{"seq":-1}`: "bad_payload"} {
			mark(laptop, payload)
			if e := string(laptop.Next().Payload); !strings.Contains(e, `"code":"`+code+`"`) {
				t.Errorf("%s: %s", payload, e)
			}
		}
		quiet(t, eve)
		quiet(t, phone)
	})
}

// Marks cost the log one command in two seconds, whoever publishes how many.
func TestMarksTravelTogether(t *testing.T) {
	t.Parallel()
	n := testcluster.Start(t, testcluster.Options{})
	as := mqtttest.Flavours[1]
	owner := caller(t, n, as, "owner")
	call(t, owner, "room.create", `{"room":"r","kind":"public"}`)
	const members = 20
	var all []*mqtttest.Client
	for i := range members {
		u := fmt.Sprint("u", i)
		call(t, owner, "room.invite", `{"room":"r","user":"`+u+`"}`)
		all = append(all, mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: u, ClientID: "c"}))
	}
	before := n.Node().Stats().Commands
	const each = 20
	for seq := 1; seq <= each; seq++ {
		for _, c := range all {
			c.Publish(mqtttest.Message("chat/rooms/r/read", fmt.Sprintf(`{"seq":%d}`, seq), 1))
		}
	}
	k := storage.RoomKey{NS: "chat", Room: "r"}
	mqtttest.Eventually(t, "all marks are in the log", func() bool {
		for i := range members {
			if m, err := n.Store().Mark(k, fmt.Sprint("u", i)); err != nil || m.Read < each {
				return false
			}
		}
		return true
	})
	if got := n.Node().Stats().Commands - before; got > 10 {
		t.Errorf("%d commands for %d marks", got, members*each)
	}
}
