package broker_test

import (
	"strconv"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// What one says, the others in the room get: the same bytes, numbered, with who said it.
func TestTalk(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		alice := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "alice", ClientID: "phone"})
		var readers []*mqtttest.Client
		for _, other := range mqtttest.Flavours {
			c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: other, User: "bob", ClientID: "on-" + other.String()})
			c.Subscribe(msgs(room))
			readers = append(readers, c)
		}
		for qos := range byte(3) {
			ack := alice.Publish(mqtttest.Message(send(room), "안녕 "+strconv.Itoa(int(qos)), qos))
			if as.Version == mqtttest.V5 && qos > 0 {
				if got := userProperty(ack, "seq"); got != strconv.Itoa(int(qos)+1) {
					t.Errorf("QoS %d: acknowledged with seq %q", qos, got)
				}
			}
			var first []byte
			for i, c := range readers {
				pk := c.Next()
				e := parse(t, pk)
				if e.Seq != uint64(qos)+1 || e.N != e.Seq || e.From.User != "alice" || e.From.Device != "phone" ||
					e.From.Role != "owner" || e.text() != "안녕 "+strconv.Itoa(int(qos)) || e.TS == 0 {
					t.Errorf("got %s", pk.Payload)
				}
				if first == nil {
					first = pk.Payload
				}
				if string(pk.Payload) != string(first) {
					t.Errorf("two readers got different bytes:\n%s\n%s", first, pk.Payload)
				}
				if pk.FixedHeader.Qos != 1 || pk.FixedHeader.Dup || pk.FixedHeader.Retain {
					t.Errorf("delivered with QoS %d, DUP %v, RETAIN %v", pk.FixedHeader.Qos, pk.FixedHeader.Dup, pk.FixedHeader.Retain)
				}
				if mqtttest.Flavours[i].Version == mqtttest.V5 {
					if userProperty(pk, "seq") != strconv.Itoa(int(e.Seq)) || userProperty(pk, "from") != "alice" ||
						userProperty(pk, "ts") != strconv.FormatInt(e.TS, 10) {
						t.Errorf("user properties %v", pk.Properties.User)
					}
				}
			}
		}
	})
}

// A client is told every limit that it must keep.
func TestConnackSaysTheLimits(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{Set: []string{"limits.in_flight=77", "limits.keepalive_max=5m", "limits.session_expiry=1h"}})
	c := mqtttest.Dial(t, n.At(), mqtttest.Options{
		Flavour: mqtttest.Flavour{Version: mqtttest.V5}, User: "alice", KeepAlive: 3600, Expiry: 1 << 30,
	})
	p := c.Connack.Properties
	if p.ReceiveMaximum != 77 || p.MaximumPacketSize != 16<<20 || p.TopicAliasMaximum != 16 || p.ServerKeepAlive != 300 ||
		p.AssignedClientID == "" || p.SharedSubAvailable != 0 || !p.SharedSubAvailableFlag || p.MaximumQosFlag ||
		p.RetainAvailable != 1 || p.WildcardSubAvailable != 1 || p.SubIDAvailable != 1 {
		t.Errorf("%+v", p)
	}
	// An id made up by the broker ends with the connection.
	if !p.SessionExpiryIntervalFlag || p.SessionExpiryInterval != 0 {
		t.Errorf("session expiry %d for a client without an id", p.SessionExpiryInterval)
	}
	if userProperty(c.Connack, "message-limit") != strconv.Itoa(256<<10) {
		t.Errorf("user properties %v", p.User)
	}
	named := mqtttest.Dial(t, n.At(), mqtttest.Options{
		Flavour: mqtttest.Flavour{Version: mqtttest.V5}, User: "alice", ClientID: "phone", Expiry: 1 << 30,
	})
	if got := named.Connack.Properties.SessionExpiryInterval; got != 3600 {
		t.Errorf("session expiry %d, want the longest granted, 3600", got)
	}
}

// One connection keeps 200 publishes in flight; their acknowledgements come in the order of the publishes.
func TestPipelinedAcknowledgementsInOrder(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "alice", ClientID: "phone"})
		const inFlight, rounds = 200, 5
		for range rounds {
			var want []uint16
			for i := range inFlight {
				topic := send(room)
				if i%10 == 9 {
					topic = "chat/rooms/" + room + "/msg/text" // refused; its answer keeps its place
				}
				id, err := c.Send(mqtttest.Message(topic, "x", 1))
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, id)
			}
			for i, id := range want {
				ack, err := c.NextAnswer()
				if err != nil {
					t.Fatal(err)
				}
				if ack.FixedHeader.Type != packets.Puback || ack.PacketID != id {
					t.Fatalf("answer %d is type %d id %d, want the PUBACK of %d", i, ack.FixedHeader.Type, ack.PacketID, id)
				}
				if refused := ack.ReasonCode >= 0x80; as.Version == mqtttest.V5 && refused != (i%10 == 9) {
					t.Fatalf("answer %d: reason %#x", i, ack.ReasonCode)
				}
			}
		}
	})
}
