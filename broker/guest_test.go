package broker_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// A guest reads a public room and writes nothing by any route. Every refusal is answered and explained, and the
// connection stays.
func TestGuestOnlyReads(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		alice := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "alice", ClientID: "a-" + as.String()})
		alice.Say(room, "hello")
		before := head(t, n, room)
		watcher := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "alice", ClientID: "w-" + as.String()})
		watcher.Subscribe(msgs(room), "chat/rooms/"+room+"/live/#")

		will := mqtttest.Message(send(room), "boo", 1)
		guest := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, ClientID: "phone", Will: &will})
		if id := guest.Connack.Properties.AssignedClientID; id != "" { // clients end the connection over that
			t.Errorf("a guest with a client id was assigned %q", id)
		}
		mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, ClientID: "phone"}) // ids of guests mean nothing: no take-over
		guest.Subscribe("chat/me/error")
		refused := func(pk packets.Packet, code string) {
			t.Helper()
			ack := guest.Publish(pk)
			if qos := pk.FixedHeader.Qos; as.Version == mqtttest.V5 && qos > 0 && ack.ReasonCode < 0x80 {
				t.Errorf("publish to %q: reason %#x", pk.TopicName, ack.ReasonCode)
			}
			var e struct {
				Op, Topic, Code string
				Status          int
				MID             uint16
			}
			said := guest.Next()
			if err := json.Unmarshal(said.Payload, &e); err != nil || said.TopicName != "chat/me/error" {
				t.Fatalf("%s %s: %v", said.TopicName, said.Payload, err)
			}
			if e.Code != code || e.Op != "publish" && e.Op != "will" {
				t.Errorf("publish to %q: me/error %s, want %s", pk.TopicName, said.Payload, code)
			}
		}
		// The will was refused at CONNECT, and that was kept until somebody wanted to know.
		var e struct{ Op, Code string }
		if err := json.Unmarshal(guest.Next().Payload, &e); err != nil || e.Op != "will" || e.Code != "guest_read_only" {
			t.Errorf("will: %+v %v", e, err)
		}
		for qos := range byte(3) {
			refused(mqtttest.Message(send(room), "x", qos), "guest_read_only")
			retained := mqtttest.Message(send(room)+"/text", "x", qos)
			retained.FixedHeader.Retain = true
			refused(retained, "guest_read_only")
			for _, topic := range []string{
				"chat/rooms/" + room + "/live/typing/" + "alice", "chat/rooms/" + room + "/state/k",
				"chat/rooms/" + room + "/read", "chat/rooms/" + room + "/msg/text", "chat/rooms/" + room + "/cheer/heart",
				"chat/users/alice/send", "chat/users/alice/inbox", "chat/broadcast/text", "other/rooms/" + room + "/send",
				"chat/rooms/nowhere/send", "chat/rooms/" + room + "/send/system", "some/plain/topic", "$SYS/broker/version",
			} {
				code := "guest_read_only"
				if topic == "other/rooms/"+room+"/send" {
					code = "forbidden"
				}
				refused(mqtttest.Message(topic, "x", qos), code)
			}
		}
		if as.Version == mqtttest.V5 {
			alias := mqtttest.Message(send(room), "x", 1)
			alias.Properties.TopicAliasFlag, alias.Properties.TopicAlias = true, 3
			refused(alias, "guest_read_only")
			alias.TopicName, alias.PacketID = "", 0
			refused(alias, "guest_read_only")
		}
		var p struct{ Code string }
		if status := post(t, n, "/rooms/"+room+"/messages", "", `{"data":{"text":"x"}}`, &p); status != http.StatusForbidden || p.Code != "guest_read_only" {
			t.Errorf("HTTP: %d %s", status, p.Code)
		}
		guest.Subscribe("$last/10/" + msgs(room))
		collect(t, guest, room, 1, 1)
		for _, filter := range []string{"chat/rooms/+/msg/#", "chat/rooms/nowhere/msg/#", "chat/users/alice/inbox", "$SYS/#", "$share/g/" + msgs(room)} {
			if ack := guest.SubscribeAs(nil, mqtttest.Filter{Filter: filter, Qos: 1}); ack.ReasonCodes[0] < 0x80 {
				t.Errorf("a guest was granted %s", filter)
			}
			guest.Next() // me/error
		}
		if !guest.Alive() {
			t.Fatal("the connection ended")
		}
		guest.Cut() // its will is not published
		alice.Say(room, "last")
		if got := head(t, n, room); got != before+1 {
			t.Errorf("%d entries were added by a guest", got-before-1)
		}
		collect(t, watcher, room, before+1, 1)
		quiet(t, watcher)
	})
}

// Guests cost the log nothing, however many come and go.
func TestGuestsAddNothingToTheLog(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	total := 10_000
	if testing.Short() {
		total = 1000
	}
	before := n.Node().Stats().Commands
	const together = 100
	for i := 0; i < total; i += together {
		var guests []*mqtttest.Client
		for k := range together {
			as := mqtttest.Flavours[0]
			if k%10 == 0 {
				as = mqtttest.Flavours[k/10%4]
			}
			c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, ClientID: fmt.Sprint(k), Keep: k%2 == 0})
			if c.Connack.SessionPresent {
				t.Fatal("a guest has a session")
			}
			guests = append(guests, c)
		}
		guests[0].Subscribe(msgs("lobby"))
		for _, c := range guests {
			c.Cut()
		}
	}
	if added := n.Node().Stats().Commands - before; added != 0 {
		t.Errorf("%d guests added %d commands to the log", total, added)
	}
	mqtttest.Eventually(t, "all have gone", func() bool { return n.Broker().Connections() == 0 })
}

// A guest with a token is somebody who can be known again, and writes where the room says so.
func TestGuestWithToken(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	alice := token(t, n, "alice")
	var room map[string]any
	if status := post(t, n, "/rooms", alice, `{"room":"open","kind":"public","guest":"write"}`, &room); status != http.StatusCreated {
		t.Fatalf("%d %v", status, room)
	}
	var g struct{ Token, User string }
	if status := post(t, n, "/auth/guest", "", `{"name":"Visitor"}`, &g); status != http.StatusCreated {
		t.Fatalf("guest token: %d", status)
	}
	c := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "-", Password: g.Token, ClientID: "x"})
	c.Subscribe(msgs("open"))
	c.Say("open", "hi")
	if e := parse(t, c.Next()); e.From.User != g.User || e.From.Role != "guest" {
		t.Errorf("%+v, want from %s", e, g.User)
	}
	ack := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: mqtttest.Flavour{Version: mqtttest.V5}}).
		Publish(mqtttest.Message(send("open"), "x", 1))
	if ack.ReasonCode != 0x87 {
		t.Errorf("a guest without a token: reason %#x", ack.ReasonCode)
	}
}
