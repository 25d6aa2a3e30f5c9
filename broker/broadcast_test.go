package broker_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// nextBroadcast takes the next message but for me/sync, which must be a broadcast of that seq, and returns its text.
func nextBroadcast(t testing.TB, c *mqtttest.Client, typ string, seq uint64) string {
	t.Helper()
	pk := c.Next()
	for beside(pk) {
		pk = c.Next()
	}
	var e entry
	if err := json.Unmarshal(pk.Payload, &e); err != nil || pk.TopicName != "chat/broadcast/"+typ || e.Type != typ || e.Seq != seq || e.Room != "" {
		t.Fatalf("%s carries %s, want broadcast %d of type %s (%v)", pk.TopicName, pk.Payload, seq, typ, err)
	}
	var s string
	if json.Unmarshal(e.Data, &s) == nil {
		return s
	}
	return e.text()
}

// A broadcast reaches every user of the namespace, stored sessions as they come back at any node; who comes late asks for
// what was before; guests and others do not have it, and only admins send one.
func TestBroadcast(t *testing.T) {
	t.Parallel()
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{})
	sent := uint64(0)
	for _, as := range mqtttest.Flavours {
		t.Run(as.String(), func(t *testing.T) {
			v5 := as.Version == mqtttest.V5
			dial := func(node int, user, device string, keep bool) *mqtttest.Client {
				return mqtttest.Dial(t, c.Nodes[node].At(), mqtttest.Options{Flavour: as, User: user, ClientID: device + as.String(), Keep: keep})
			}
			live, stored := dial(0, "ann", "live", false), dial(1, "bob", "stored", true)
			notices, guest := dial(2, "cat", "notices", false), dial(0, "", "", false)
			foreign := dial(1, "other/dan", "x", false)
			live.Subscribe("chat/broadcast/+", "chat/broadcast/#")
			stored.Subscribe("chat/broadcast/#")
			notices.Subscribe("chat/broadcast/notice")
			foreign.Subscribe("#")
			guest.SubscribeAs(nil, mqtttest.Filter{Filter: "#", Qos: 1})
			if ack := guest.SubscribeAs(nil, mqtttest.Filter{Filter: "chat/broadcast/#", Qos: 1}); ack.ReasonCodes[0] < 0x80 {
				t.Errorf("a guest subscribes to broadcasts: %#x", ack.ReasonCodes[0])
			}
			stored.Disconnect()

			admin := dial(2, "admin", "console", false)
			for i, typ := range []string{"text", "notice", "text", "notice"} {
				if ack := admin.Publish(mqtttest.Message("chat/broadcast/"+typ, fmt.Sprint(i), byte(i%3))); v5 && ack.ReasonCode >= 0x80 {
					t.Fatalf("%#x %s", ack.ReasonCode, ack.Properties.ReasonString)
				}
			}
			for _, who := range []*mqtttest.Client{live, notices, guest, foreign} {
				if ack := who.Publish(mqtttest.Message("chat/broadcast/text", "no", 1)); v5 && ack.ReasonCode < 0x80 {
					t.Errorf("acknowledged with %#x", ack.ReasonCode)
				}
			}
			will := mqtttest.Message("chat/broadcast/text", "a will", 1)
			for _, keep := range []bool{false, true} {
				mqtttest.Dial(t, c.Nodes[0].At(), mqtttest.Options{Flavour: as, User: "eve", ClientID: as.String(), Keep: keep, Will: &will}).Cut()
				mqtttest.Dial(t, c.Nodes[0].At(), mqtttest.Options{Flavour: as, User: "eve", ClientID: as.String(), Keep: keep}).Disconnect()
			}
			stored = dial(0, "bob", "stored", true)
			for _, reader := range []*mqtttest.Client{live, stored} {
				for i, typ := range []string{"text", "notice", "text", "notice"} {
					if got := nextBroadcast(t, reader, typ, sent+uint64(i)+1); got != fmt.Sprint(i) {
						t.Errorf("broadcast %d is %q", i, got)
					}
				}
				noMore(t, reader)
			}
			nextBroadcast(t, notices, "notice", sent+2)
			nextBroadcast(t, notices, "notice", sent+4)
			noMore(t, notices)
			for _, nobody := range []*mqtttest.Client{guest, foreign} {
				for noMore := nobody.Ping() == nil; noMore && nobody.Waiting() > 0; {
					if pk := nobody.Next(); strings.Contains(pk.TopicName, "broadcast") {
						t.Errorf("%s %s", pk.TopicName, pk.Payload)
					}
				}
			}
			mqtttest.Eventually(t, "the node of one who comes late has all of it", func() bool { return head(t, c.Nodes[1], "broadcast~") == sent+4 })
			late := dial(1, "late", "x", false)
			late.Subscribe("chat/broadcast/#")
			noMore(t, late)
			late.Subscribe("$last/1/chat/broadcast/#")
			nextBroadcast(t, late, "notice", sent+4)
			late.Subscribe(fmt.Sprintf("$since/%d/chat/broadcast/#", sent+2))
			nextBroadcast(t, late, "text", sent+3)
			nextBroadcast(t, late, "notice", sent+4)
			noMore(t, late)
			if sent += 4; head(t, c.Nodes[0], "broadcast~") != sent {
				t.Errorf("%d broadcasts, want %d", head(t, c.Nodes[0], "broadcast~"), sent)
			}
		})
	}
}

// Broadcasts are there after a restart, and a stored session goes on where it was.
func TestBroadcastsOverARestart(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	o := mqtttest.Options{User: "bob", ClientID: "phone", Keep: true}
	phone := mqtttest.Dial(t, n.At(), o)
	phone.Subscribe("chat/#")
	tell := func(text string) {
		t.Helper()
		mqtttest.Dial(t, n.At(), mqtttest.Options{User: "admin", ClientID: "a"}).Publish(mqtttest.Message("chat/broadcast/text", text, 1))
	}
	tell("one")
	if got := nextBroadcast(t, phone, "text", 1); got != "one" {
		t.Error(got)
	}
	phone.Disconnect()
	tell("two")
	n.Restart()
	tell("three")
	phone = mqtttest.Dial(t, n.At(), o)
	for i, want := range []string{"two", "three"} {
		if got := nextBroadcast(t, phone, "text", uint64(i)+2); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	noMore(t, phone)
}
