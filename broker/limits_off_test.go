package broker_test

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/config"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/internal/webtest"
)

// A limit of 0 is none, for each of them: a node on which all are off talks to everybody as others do.
func TestLimitsAreOffAtZero(t *testing.T) {
	t.Parallel()
	set := []string{"auth.register=open"}
	for _, k := range config.Keys() {
		if k.Section() == "limits" {
			set = append(set, k.Name+"=0")
		}
	}
	n := testcluster.Start(t, testcluster.Options{Set: set})
	for _, as := range mqtttest.Flavours {
		t.Run(as.String(), func(t *testing.T) {
			room := roomOf(t)
			o := mqtttest.Options{Flavour: as, User: "ann", ClientID: as.String(), Keep: true}
			ann := mqtttest.Dial(t, n.At(), o)
			if got := ann.Connack.Properties.ReceiveMaximum; as.Version == mqtttest.V5 && got != math.MaxUint16 {
				t.Errorf("the CONNACK says %d may be in flight", got)
			}
			bob := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "bob", ClientID: as.String(), Keep: true})
			bob.Subscribe(msgs(room))
			var ids []uint16
			text := strings.Repeat("x", 4<<10)
			for range 100 { // many at once, each with its answer
				id, err := ann.Send(mqtttest.Message(send(room), text, 1))
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, id)
			}
			for _, id := range ids {
				answer, err := ann.Outcome(id, 1)
				if err != nil || answer.ReasonCode >= 0x80 {
					t.Fatalf("%v, %#x %q", err, answer.ReasonCode, answer.Properties.ReasonString)
				}
			}
			ann.Publish(mqtttest.Message(send(room), strings.Repeat("y", 1<<20), 2))
			ann.Publish(mqtttest.Message("chat/rooms/"+room+"/state/topic", `"z"`, 1))
			collect(t, bob, room, 1, 101)
			ann.Disconnect()
			if ann = mqtttest.Dial(t, n.At(), o); !ann.Connack.SessionPresent {
				t.Error("the session is gone")
			}
			will := mqtttest.Message(send(room), "the will", 1)
			will.Properties = packets.Properties{}
			o.ClientID, o.Will = "will", &will
			mqtttest.Dial(t, n.At(), o).Cut()
			if e := collect(t, bob, room, 102, 1); e[0].text() != "the will" {
				t.Errorf("got %q", e[0].text())
			}
		})
	}
	guest := webtest.Caller{Addr: n.At().Web}
	for i := range 8 {
		guest.Must(t, "POST /users", map[string]any{"user": fmt.Sprint("new", i), "password": "long enough a word"})
	}
	ann := webtest.Login(t, n.At().Web, "ann", "x")
	for i := range 8 {
		ann.Must(t, "PUT /me/contacts/{user}", map[string]any{"user": fmt.Sprint("new", i)})
	}
	if status, text := ann.Send(t, "POST /rooms/by-http/messages", strings.Repeat("x", 1<<20), "Content-Type: text/plain"); status != http.StatusCreated {
		t.Errorf("a message by HTTP: %d %s", status, text)
	}
}
