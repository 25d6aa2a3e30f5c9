package webhook_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// Who comes and goes is told, once for all their devices, and of a message whoever is not there, with what wakes their
// phone; whoever is there, or has read it elsewhere, is left alone.
func TestAbsent(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			t.Parallel()
			to := newReceiver(t)
			o := testcluster.Options{
				File: configure(t, "", to.URL, "    events: [\"user.*\", \"message.offline\"]\n"), Set: []string{"rooms.presence_grace=1s"},
			}
			var all []*testcluster.Node
			if nodes == 1 {
				all = []*testcluster.Node{testcluster.Start(t, o)}
			} else {
				all = testcluster.StartCluster(t, nodes, 0, o).Nodes
			}
			fed(t, all[0])
			absent(t, to, func(i int) *testcluster.Node { return all[i%len(all)] })
		})
	}
}

func absent(t *testing.T, to *receiver, node func(int) *testcluster.Node) {
	dial := func(i int, as mqtttest.Flavour, user, device string) *mqtttest.Client {
		c := mqtttest.Dial(t, node(i).At(), mqtttest.Options{Flavour: as, User: user, ClientID: device, Keep: true})
		c.Subscribe("chat/rooms/+/msg/#", "chat/me/reply")
		return c
	}
	told := func(typ, user string) (n int) {
		for _, e := range to.all() {
			if e.Type == typ && e.Data.User == user {
				n++
			}
		}
		return n
	}
	ann := dial(0, mqtttest.Flavours[1], "ann", "laptop")
	phone, tablet := dial(1, mqtttest.Flavours[0], "bob", "phone"), dial(2, mqtttest.Flavours[3], "bob", "tablet")
	dial(2, mqtttest.Flavours[2], "cem", "web")
	mqtttest.Eventually(t, "all are online", func() bool {
		return told("user.online", "ann") == 1 && told("user.online", "bob") == 1 && told("user.online", "cem") == 1
	})
	phone.Publish(mqtttest.Message("chat/me/rpc/devices.push", `{"params":{"device":"phone","provider":"fcm","token":"wake-me"}}`, 1))
	if pk := phone.Next(); !strings.Contains(string(pk.Payload), `"ok":true`) {
		t.Fatalf("%s", pk.Payload)
	}
	phone.Disconnect()
	tablet.Cut() // for a moment it may come back
	mqtttest.Eventually(t, "bob is offline", func() bool { return told("user.offline", "bob") == 1 })
	for _, other := range []string{"bob", "cem"} {
		ann.Publish(mqtttest.Message("chat/users/"+other+"/send", "are you there?", 1))
	}
	mqtttest.Eventually(t, "bob is to be woken", func() bool { return told("message.offline", "bob") == 1 })
	i := slices.IndexFunc(to.all(), func(e event) bool { return e.Type == "message.offline" })
	if e := to.all()[i]; e.ID != "chat/dm~ann~bob/1/bob" || e.Data.Message.Data.Text != "are you there?" || len(e.Data.Devices) != 1 ||
		e.Data.Devices[0].Token != "wake-me" {
		t.Errorf("got %+v", e)
	}
	if n := told("message.offline", "cem") + told("message.offline", "ann") + told("user.offline", "ann"); n > 0 || told("user.online", "bob") != 1 {
		t.Errorf("told too much: %+v", to.all())
	}
}

// After everybody is gone with the node, a new start says so, by namespace: those who were told online are offline.
func TestNobodyIsOnlineAfterAStart(t *testing.T) {
	t.Parallel()
	to := newReceiver(t)
	n := testcluster.Start(t, testcluster.Options{File: configure(t, "", to.URL, "    events: [\"user.*\"]\n")})
	fed(t, n)
	for _, user := range []string{"ann", "other/bob"} {
		mqtttest.Dial(t, n.At(), mqtttest.Options{User: user, ClientID: "laptop"}).Say("r", "hello")
	}
	synced := func() (out []string) {
		for _, e := range to.all() {
			if e.Type == "user.sync" && e.Data.Page == 1 && e.Data.Last {
				out = append(out, fmt.Sprint(e.Namespace, e.Data.Online))
			}
		}
		return out
	}
	mqtttest.Eventually(t, "both are online", func() bool {
		n := 0
		for _, e := range to.all() {
			if e.Type == "user.online" {
				n++
			}
		}
		return n == 2
	})
	before := len(synced())
	n.Restart()
	mqtttest.Eventually(t, "nobody is online", func() bool {
		all := synced()[before:]
		return slices.Contains(all, "chat[]") && slices.Contains(all, "other[]")
	})
}
