package broker_test

import (
	"slices"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// Overlapping filters deliver an entry once, with the highest QoS and, for v5, all their identifiers.
func TestOverlappingFilters(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "bob", ClientID: as.String()})
		for id, f := range []mqtttest.Filter{{Filter: msgs(room)}, {Filter: "chat/rooms/" + room + "/msg/text", Qos: 2}} {
			props := func(p *packets.Properties) { p.SubscriptionIdentifier = []int{id + 1} }
			if as.Version != mqtttest.V5 {
				props = nil
			}
			if ack := c.SubscribeAs(props, f); ack.ReasonCodes[0] != min(f.Qos, 1) {
				t.Fatalf("%s granted %#x", f.Filter, ack.ReasonCodes[0])
			}
		}
		alice := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "alice", ClientID: as.String()})
		for _, tc := range []struct {
			to  string
			qos byte
			ids []int
		}{{send(room), 1, []int{1, 2}}, {send(room) + "/photo", 0, []int{1}}} {
			alice.Publish(mqtttest.Message(tc.to, "x", 1))
			pk := c.Next()
			ids := slices.Sorted(slices.Values(pk.Properties.SubscriptionIdentifier))
			if as.Version != mqtttest.V5 {
				tc.ids = nil
			}
			if pk.FixedHeader.Qos != tc.qos || !slices.Equal(ids, tc.ids) {
				t.Errorf("%s: QoS %d, identifiers %v", pk.TopicName, pk.FixedHeader.Qos, ids)
			}
		}
		quiet(t, c)
		c.Unsubscribe(msgs(room))
		alice.Publish(mqtttest.Message(send(room)+"/photo", "x", 1))
		quiet(t, c)
		alice.Say(room, "still text")
		if e := parse(t, c.Next()); e.text() != "still text" {
			t.Errorf("got %+v", e)
		}
	})
}

// No Local (MQTT 5, 3.8.3.1) keeps a device's own messages from it, not those of the user's other devices.
func TestNoLocal(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	for _, web := range []bool{false, true} {
		as := mqtttest.Flavour{Version: mqtttest.V5, Web: web}
		t.Run(as.String(), func(t *testing.T) {
			room := roomOf(t)
			phone := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "bob", ClientID: "phone"})
			phone.SubscribeAs(nil, mqtttest.Filter{Filter: msgs(room), Qos: 1, NoLocal: true})
			tablet := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "bob", ClientID: "tablet"})
			phone.Say(room, "my own")
			quiet(t, phone)
			tablet.Say(room, "from the other device")
			collect(t, phone, room, 2, 1)
		})
	}
}

// limits.filters_per_session counts filters, not SUBSCRIBEs of them, whether they come in one packet or in many, and over
// a reconnect.
func TestFiltersPerSession(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{Set: []string{"limits.filters_per_session=3"}})
	for _, as := range mqtttest.Flavours {
		t.Run(as.String(), func(t *testing.T) {
			refused := byte(0x80)
			if as.Version == mqtttest.V5 {
				refused = 0x97
			}
			o := mqtttest.Options{Flavour: as, User: "bob", ClientID: as.String(), Keep: true}
			c := mqtttest.Dial(t, n.At(), o)
			check := func(want []byte, filters ...string) {
				t.Helper()
				var all []mqtttest.Filter
				for _, f := range filters {
					all = append(all, mqtttest.Filter{Filter: f, Qos: 1})
				}
				if got := c.SubscribeAs(nil, all...).ReasonCodes; !slices.Equal(got, want) {
					t.Errorf("%v: %#x, want %#x", filters, got, want)
				}
			}
			check([]byte{1, 1, 1, refused}, msgs("a"), msgs("b"), msgs("c"), msgs("d"))
			check([]byte{1, 1, refused}, msgs("a"), "$last/1/"+msgs("b"), msgs("d"))
			c.Cut()
			c = mqtttest.Dial(t, n.At(), o)
			check([]byte{1, refused}, msgs("a"), msgs("d"))
			c.Unsubscribe("$last/5/" + msgs("a"))
			check([]byte{1, refused}, msgs("d"), msgs("a"))
		})
	}
}
