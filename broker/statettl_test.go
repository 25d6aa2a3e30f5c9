package broker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// A state value has no ttl. One that is given is refused by name on every route, and the value before it stays.
func TestStateHasNoTTL(t *testing.T) {
	t.Parallel()
	oneAndThree(t, testcluster.Options{}, func(t *testing.T, nodes []*testcluster.Node) {
		openRoom(t, nodes, "r").Disconnect()
		for i, as := range mqtttest.Flavours {
			n := nodes[i%len(nodes)]
			key := fmt.Sprint("k", i)
			owner := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "owner", ClientID: as.String()})
			owner.Subscribe("chat/me/error", "chat/rooms/r/state/"+key)
			topic := "chat/rooms/r/state/" + key
			owner.Publish(mqtttest.Message(topic, `{"data":"kept"}`, 1))
			if pk := owner.Next(); pk.TopicName != topic {
				t.Fatalf("%s %s", pk.TopicName, pk.Payload)
			}
			refused := func(payload string, expiry uint32) {
				t.Helper()
				pk := mqtttest.Message(topic, payload, 1)
				pk.Properties.MessageExpiryInterval = expiry
				if ack := owner.Publish(pk); as.Version == mqtttest.V5 && ack.ReasonCode < 0x80 {
					t.Errorf("%v: %s is acknowledged with %#x", as, payload, ack.ReasonCode)
				}
				if e := owner.Next(); e.TopicName != "chat/me/error" || !strings.Contains(string(e.Payload), "ttl") ||
					!strings.Contains(string(e.Payload), `"code":"bad_payload"`) {
					t.Errorf("%v: %s: %s %s", as, payload, e.TopicName, e.Payload)
				}
			}
			refused(`{"data":"gone soon","ttl":5}`, 0)
			refused(`{"data":null,"ttl":5}`, 0)
			if as.Version == mqtttest.V5 {
				refused(`{"data":"gone soon"}`, 5)
			}
			tok := token(t, n, "owner")
			for line, body := range map[string]string{
				"PUT /rooms/r/state/" + key: `{"data":"gone soon","ttl":5}`,
				"POST /publish":             `{"topic":"` + topic + `","payload":"gone soon","qos":1,"properties":{"message_expiry_interval":5}}`,
			} {
				if code, detail := by(t, n, tok, line, body).code(); code != "bad_payload" || !strings.Contains(detail, "ttl") {
					t.Errorf("%s: %s %s", line, code, detail)
				}
			}
			if got := must(t, n, tok, "GET /rooms/r/state/"+key, ""); !strings.Contains(got, `"ver":1,`) || !strings.Contains(got, "kept") {
				t.Errorf("%v: it is %s now", as, got)
			}
			quiet(t, owner)
		}
	})
}
