package broker

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/internal/mqtttest"
)

// What the log certainly did not take is refused and the connection stays; what it may have taken is answered by the end
// of the connection, so that the client sends it again.
func TestErrorsOfTheLog(t *testing.T) {
	for _, version := range []byte{mqtttest.V311, mqtttest.V5} {
		for qos := range byte(3) {
			for _, tc := range []struct {
				err     error
				refused string
				reason  byte
			}{{calls.ErrTooLarge, "too_large", 0x97}, {calls.ErrOverloaded, "rate_limited", 0x97}, {errors.New("who knows"), "", 0x88}} {
				t.Run(fmt.Sprintf("v%d/qos%d/%v", version, qos, tc.err), func(t *testing.T) {
					r := newRig(t)
					c := mqtttest.Dial(t, mqtttest.Addresses{MQTT: r.addr}, mqtttest.Options{
						Flavour: mqtttest.Flavour{Version: version}, User: "alice", ClientID: "a",
					})
					c.Subscribe("chat/me/error")
					c.Say("r", "this makes the room")
					r.log.mu.Lock()
					r.log.err = tc.err
					r.log.mu.Unlock()
					reason := tc.reason
					if version != mqtttest.V5 {
						reason = 0
					}
					pk := mqtttest.Message("chat/rooms/r/send", "x", qos)
					if tc.refused == "" {
						if _, err := c.Send(pk); err != nil {
							t.Fatal(err)
						}
						if got := c.Ended(); got != reason {
							t.Errorf("ended with %#x, want %#x", got, reason)
						}
						if answer, err := c.NextAnswer(); err == nil {
							t.Errorf("answered by packet type %d", answer.FixedHeader.Type)
						}
						return
					}
					if ack := c.Publish(pk); qos > 0 && ack.ReasonCode != reason {
						t.Errorf("answered with %#x, want %#x", ack.ReasonCode, reason)
					}
					if why := string(c.Next().Payload); !strings.Contains(why, `"code":"`+tc.refused+`"`) {
						t.Errorf("me/error %s", why)
					}
					if err := c.Ping(); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}
