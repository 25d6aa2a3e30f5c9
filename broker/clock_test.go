package broker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// Who sets the clock of a machine, by an hour or a day, forward or back, ends no connection, no live value and no presence,
// and makes nothing wait: silence is noticed as before, and the head of a room is told.
func TestClockIsSet(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{Set: []string{"limits.ack_wait=5m", "rooms.live_ttl=5m", "rooms.presence_grace=5m"}})
	for i, step := range []time.Duration{time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			as := mqtttest.Flavours[i%len(mqtttest.Flavours)]
			room := "clock." + fmt.Sprint(i)
			who := func(name string, alive uint16) *mqtttest.Client {
				return mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: name, ClientID: room, KeepAlive: alive})
			}
			writer, reader, ghost := who("writer", 60), who("reader", 60), who("ghost", 60)
			writer.Say(room, "before")
			reader.Subscribe("chat/rooms/" + room + "/head")
			reader.Next()
			ghost.Subscribe("chat/rooms/" + room + "/msg/#")
			if ack := writer.Publish(mqtttest.Message("chat/rooms/"+room+"/live/place/writer", "here", 1)); ack.ReasonCode >= 0x80 {
				t.Fatalf("refused: %#x", ack.ReasonCode)
			}
			ghost.Cut()
			mqtttest.Eventually(t, "the node sees the end of a connection", func() bool { return n.Broker().Connections() == 2 })

			defer clock.Step(step)()
			for range 2 { // what looks at silence has looked at everybody, once from its start to its end
				silent := who("silent", 1)
				if got := silent.Ended(); as.Version == mqtttest.V5 && got != 0x8d {
					t.Errorf("silence ends with %#x", got)
				}
			}
			if err := writer.Ping(); err != nil {
				t.Errorf("the writer: %v", err)
			}
			if err := reader.Ping(); err != nil {
				t.Errorf("the reader: %v", err)
			}
			writer.Say(room, "after")
			for told := ""; !strings.Contains(told, "after"); {
				told = string(reader.Next().Payload)
			}
			late := who("late", 60)
			late.Subscribe("chat/rooms/"+room+"/live/#", "chat/rooms/"+room+"/presence")
			for want := map[string]string{"live": "here", "presence": `"ghost"`}; len(want) > 0; {
				pk := late.Next()
				for part, text := range want {
					if strings.Contains(pk.TopicName, "/"+part) && strings.Contains(string(pk.Payload), text) {
						delete(want, part)
					}
				}
			}
		})
	}
}
