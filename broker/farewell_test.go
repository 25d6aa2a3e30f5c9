package broker_test

import (
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// A call that ends the connection it is made by is answered before, at the QoS it was made; then the connection ends.
func TestCallThatEndsItsConnectionIsAnswered(t *testing.T) {
	t.Parallel()
	oneAndThree(t, testcluster.Options{}, func(t *testing.T, nodes []*testcluster.Node) {
		for i, as := range mqtttest.Flavours {
			for _, qos := range []byte{0, 1} {
				for _, c := range []struct {
					name, method, params string
					keep                 bool
				}{
					{"device", "devices.kick", `{"device":"phone"}`, false},
					{"stored", "devices.kick", `{"device":"phone"}`, true},
					{"all", "devices.kick", `{"all":true}`, true},
					{"loggedout", "logout", `{"device":"phone"}`, true},
					{"deleted", "user.delete", `{"user":"%u"}`, true},
				} {
					user := c.name + "-" + as.String() + string('0'+qos)
					phone := mqtttest.Dial(t, nodes[i%len(nodes)].At(), mqtttest.Options{Flavour: as, User: user, ClientID: "phone", Keep: c.keep})
					phone.SubscribeAs(nil, mqtttest.Filter{Filter: "chat/me/reply", Qos: 1})
					params := strings.ReplaceAll(c.params, "%u", user)
					if _, err := phone.TryPublish(mqtttest.Message("chat/me/rpc/"+c.method, `{"id":"1","params":`+params+`}`, qos)); err != nil {
						t.Errorf("%s: %v", user, err)
					}
					if pk := phone.Next(); !strings.Contains(string(pk.Payload), `"ok":true`) {
						t.Errorf("%s: %s", user, pk.Payload)
					}
					mqtttest.Eventually(t, user+" is sent away", func() bool { return !phone.Alive() })
				}
			}
		}
	})
}
