package broker_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// v5 returns reason for a v5 client; others are told nothing.
func v5(as mqtttest.Flavour, reason byte) byte {
	if as.Version == mqtttest.V5 {
		return reason
	}
	return 0
}

// A client that is silent for one and a half times its keep alive is gone (MQTT 5, 3.1.2.10).
func TestKeepAlive(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{Set: []string{"limits.keepalive_min=0"}})
	for _, as := range mqtttest.Flavours {
		t.Run(as.String(), func(t *testing.T) {
			c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "bob", ClientID: as.String(), KeepAlive: 1})
			if got := c.Ended(); got != v5(as, 0x8d) {
				t.Errorf("ended with %#x", got)
			}
		})
	}
}

// A socket that takes nothing for limits.stalled is closed; its session goes on where it was.
func TestStalledConnectionIsCutAndComesBack(t *testing.T) {
	t.Parallel()
	n := testcluster.Start(t, testcluster.Options{Set: []string{"limits.stalled=1s", "limits.message=64KiB", "limits.connection_bytes=64KiB"}})
	for _, as := range mqtttest.Flavours {
		t.Run(as.String(), func(t *testing.T) {
			room := roomOf(t)
			o := mqtttest.Options{Flavour: as, User: "slow", ClientID: as.String(), Keep: true, ReadBuffer: 128 << 10, Manual: true}
			slow := mqtttest.Dial(t, n.At(), o)
			slow.Subscribe(msgs(room))
			slow.Pause()
			alice := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "alice", ClientID: as.String()})
			before := n.Metric("madang_stalled_closed_total")
			text := strings.Repeat("x", 60<<10)
			const total = 200
			for range total {
				alice.Say(room, text)
			}
			mqtttest.Eventually(t, "the connection is closed", func() bool { return n.Metric("madang_stalled_closed_total") > before })
			slow.Cut()
			o.Manual = false
			collect(t, mqtttest.Dial(t, n.At(), o), room, 1, total)
		})
	}
}

// Above its quota a client is refused, message by message, and stays; others do not notice.
func TestFlood(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{Set: []string{"limits.messages_per_second=5"}})
	for _, as := range mqtttest.Flavours {
		t.Run(as.String(), func(t *testing.T) {
			room, user := roomOf(t), "flood-"+as.String()
			c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: user, ClientID: "a"})
			c.Subscribe("chat/me/error")
			const total = 30
			refused := 0
			for range total {
				ack := c.Publish(mqtttest.Message(send(room), "again", 1))
				if ack.ReasonCode == 0x97 { // MQTT 5, 3.4.2.1: quota exceeded
					refused++
				} else if ack.ReasonCode != 0 {
					t.Fatalf("PUBACK %#x", ack.ReasonCode)
				}
			}
			told := c.Waiting()
			if as.Version == mqtttest.V5 && told != refused || told == 0 {
				t.Errorf("%d refusals, %d explained", refused, told)
			}
			if got := head(t, n, room); got != uint64(total-told) {
				t.Errorf("%d messages, %d refused, %d entries", total, told, got)
			}
			var why struct {
				Code       string
				Status     int
				RetryAfter float64 `json:"retry_after"`
			}
			if err := json.Unmarshal(c.Next().Payload, &why); err != nil || why.Code != "rate_limited" || why.Status != 429 || why.RetryAfter <= 0 {
				t.Errorf("me/error %+v, %v", why, err)
			}
			served(t, n, as)
			if !c.Alive() {
				t.Error("the connection has ended")
			}
		})
	}
}
