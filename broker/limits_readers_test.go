package broker_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// What waits for readers is limited. A reader that does not read meets each limit in turn, is counted, loses nothing that
// was not declared, and meets none after a reload.
func TestLimitsOfReaders(t *testing.T) {
	t.Parallel()
	n := testcluster.Start(t, testcluster.Options{})
	l := &limited{Node: n, file: filepath.Join(t.TempDir(), "madang.yaml")}
	const entries, piece = 250, 8 << 10 // more than a socket and its queue hold
	text := strings.Repeat("x", piece)
	deaf := func(room string, qos byte) *mqtttest.Client {
		c := mqtttest.Dial(l.t, n.At(), mqtttest.Options{Flavour: mqtttest.Flavours[1], User: "deaf", ReadBuffer: 128 << 10})
		c.SubscribeAs(nil, mqtttest.Filter{Filter: msgs(room), Qos: qos}, mqtttest.Filter{Filter: "chat/me/sync"})
		c.Pause()
		return c
	}
	talk := func(room string, n int) {
		alice := l.open(mqtttest.Options{ClientID: "alice"})
		for range n {
			alice.Say(room, text)
		}
		alice.Disconnect()
	}
	ticks := func(room string) { // the broker's clock, which moves four times a second: tallies go by it
		c := l.open(mqtttest.Options{ClientID: "ticks"})
		c.Subscribe("chat/rooms/" + room + "/tally")
		c.Publish(mqtttest.Message("chat/rooms/"+room+"/cheer/x", "", 1))
		c.Next()
		c.Disconnect()
	}
	for _, tt := range []struct {
		key       limit.Key
		low, high string
		qos       byte
		gap       bool // what is over it is left out, and declared
	}{
		{limit.ConnectionBytes, "256KiB", "64MiB", 1, false},
		{limit.OutboundBytes, "64KiB", "512MiB", 1, false},
		{limit.QoS0Lag, "20", "10000", 0, true},
		{limit.QoS0LagTime, "1ms", "1h", 0, true},
	} {
		t.Run(strings.TrimPrefix(tt.key.String(), "limits."), func(t *testing.T) {
			l.t, l.key = t, tt.key.String()
			for _, value := range []string{tt.high, tt.low} {
				over := value == tt.low
				room := roomOf(t) + value
				l.set(value)
				before := l.refusals()
				c := deaf(room, tt.qos)
				talk(room, entries)
				ticks(room)
				c.Unpause()
				gaps := reads(t, c, 1, entries)
				if tt.gap && over != (len(gaps) > 0) || !tt.gap && len(gaps) > 0 {
					t.Errorf("at %s the gaps are %v", value, gaps)
				}
				if counted := l.refusals() > before; counted != over {
					t.Errorf("at %s it is counted: %v", value, counted)
				}
				c.Cut()
			}
		})
	}
	t.Run("stalled", func(t *testing.T) {
		l.t, l.key = t, limit.Stalled.String()
		room := roomOf(t)
		l.set("1h")
		deaf(room, 1)
		talk(room, entries)
		if l.refusals() != 0 {
			t.Error("counted already")
		}
		l.set("1s")
		mqtttest.Eventually(t, "it is counted", func() bool { return l.refusals() == 1 })
		mqtttest.Eventually(t, "it is closed", func() bool { return n.Metric("madang_connections") == 0 })
	})
	t.Run("window", func(t *testing.T) {
		l.t, l.key = t, limit.Window.String()
		room := roomOf(t)
		l.set("4")
		c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: mqtttest.Flavours[1], User: "mute", Manual: true})
		narrow := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: mqtttest.Flavours[1], User: "narrow", Manual: true, ReceiveMaximum: 2})
		c.Subscribe(msgs(room))
		narrow.Subscribe(msgs(room))
		talk(room, 20)
		gets := func(c *mqtttest.Client, n int) {
			t.Helper()
			for range n {
				c.Next()
			}
			quiet(t, c)
		}
		acks := func(c *mqtttest.Client, id uint16) {
			t.Helper()
			if err := c.Ack(id); err != nil {
				t.Fatal(err)
			}
		}
		gets(c, 4)
		if l.refusals() == 0 {
			t.Error("not counted")
		}
		gets(narrow, 2)
		l.set("10") // from the next acknowledgement on
		acks(c, 1)
		gets(c, 7)
		l.set("2")
		acks(c, 2)
		gets(c, 0)
		l.set("10")
		acks(narrow, 1)
		gets(narrow, 1)
	})
}
