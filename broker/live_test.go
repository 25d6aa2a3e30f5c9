package broker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// Live values reach readers as sent, never the log; a new subscriber gets the newest, retained; they end with their writer.
func TestLive(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room, user := roomOf(t), "alice."+as.String()
		alice := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: user, ClientID: "a"})
		alice.Say(room, "hello")
		topic := "chat/rooms/" + room + "/live/cursor/" + user
		reader := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "bob", ClientID: as.String()})
		reader.Subscribe("chat/rooms/" + room + "/live/#")
		mqtttest.Eventually(t, "what the new room means for its owner is in the log", func() bool {
			waiting, err := n.Store().Outbox(1)
			return err == nil && len(waiting) == 0
		})
		commands := n.Node().Stats().Commands
		for _, payload := range []string{"\x00\x01raw", "newest"} {
			for qos := range byte(3) {
				alice.Publish(mqtttest.Message(topic, payload, qos))
				pk := reader.Next()
				if pk.TopicName != topic || string(pk.Payload) != payload || pk.FixedHeader.Qos != 0 || pk.FixedHeader.Retain {
					t.Errorf("got %s %q QoS %d retain %v", pk.TopicName, pk.Payload, pk.FixedHeader.Qos, pk.FixedHeader.Retain)
				}
			}
		}
		late := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "carol", ClientID: as.String()})
		late.Subscribe("chat/rooms/" + room + "/live/#")
		if pk := late.Next(); string(pk.Payload) != "newest" || !pk.FixedHeader.Retain {
			t.Errorf("a new subscriber got %q, retain %v", pk.Payload, pk.FixedHeader.Retain)
		}
		if v5 := as.Version == mqtttest.V5; v5 { // Retain Handling 2: nothing retained is wanted
			late.SubscribeAs(nil, mqtttest.Filter{Filter: "chat/rooms/" + room + "/live/#", Qos: 1, RetainHandling: 2})
			quiet(t, late)
		}
		for what, refused := range map[string]string{
			"another's":   "chat/rooms/" + room + "/live/cursor/bob",
			"nameless":    "chat/rooms/" + room + "/live/cursor",
			"no room's":   "chat/rooms/nowhere/live/cursor/" + user,
			"a namespace": "other/rooms/" + room + "/live/cursor/" + user,
		} {
			if ack := alice.Publish(mqtttest.Message(refused, "x", 1)); as.Version == mqtttest.V5 && ack.ReasonCode < 0x80 {
				t.Errorf("%s live value was taken", what)
			}
		}
		if ack := alice.Publish(mqtttest.Message(topic, strings.Repeat("x", 4097), 1)); as.Version == mqtttest.V5 && ack.ReasonCode != 0x97 {
			t.Errorf("a value of 4097 bytes: %#x", ack.ReasonCode)
		}
		quiet(t, reader)
		alice.Disconnect()
		if pk := reader.Next(); pk.TopicName != topic || len(pk.Payload) != 0 {
			t.Errorf("after its writer left: %s %q", pk.TopicName, pk.Payload)
		}
		if got := n.Node().Stats().Commands; got != commands {
			t.Errorf("%d commands in the log for live values", got-commands)
		}
	})
}

// A connection that is cut off does not empty its user's live values: only when the user has left they are.
func TestLiveOfOneWhoIsCutOff(t *testing.T) {
	t.Parallel()
	for grace, empties := range map[string]bool{"30s": false, "50ms": true} {
		t.Run(grace, func(t *testing.T) {
			oneAndThree(t, testcluster.Options{Set: []string{"rooms.presence_grace=" + grace}}, func(t *testing.T, nodes []*testcluster.Node) {
				openRoom(t, nodes, "r")
				last := nodes[len(nodes)-1]
				reader := mqtttest.Dial(t, last.At(), mqtttest.Options{User: "reader", ClientID: "r"})
				reader.Subscribe("chat/rooms/r/live/#")
				for i, as := range mqtttest.Flavours {
					user := fmt.Sprint("rider", i)
					topic := "chat/rooms/r/live/pos/" + user
					rider := mqtttest.Dial(t, nodes[0].At(), mqtttest.Options{Flavour: as, User: user, ClientID: "phone"})
					mqtttest.Eventually(t, "the reader's node wants it", func() bool {
						rider.Publish(mqtttest.Message(topic, "here", 1))
						return reader.Waiting() > 0
					})
					rider.Cut()
					if empties {
						for len(reader.Next().Payload) > 0 {
							continue
						}
						continue
					}
					mqtttest.Eventually(t, "the node has noticed", func() bool {
						return nodes[0].Metric("madang_connections_closed_total") >= float64(i+1)
					})
					if err := reader.Ping(); err != nil {
						t.Fatal(err)
					}
					for reader.Waiting() > 0 {
						if pk := reader.Next(); string(pk.Payload) != "here" {
							t.Errorf("%s: %q while its user is in a tunnel", pk.TopicName, pk.Payload)
						}
					}
				}
			})
		})
	}
}
