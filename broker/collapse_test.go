package broker_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// Of messages with one collapse_key who was there gets all, who comes back the newest alone, and is told how many were left
// out. A page of chat and a search have the newest alone, the log has all.
func TestCollapseKey(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		rider := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "rider", ClientID: as.String()})
		rider.Say(room, "first")
		away := mqtttest.Options{Flavour: as, User: "away", ClientID: as.String(), Keep: true}
		c := mqtttest.Dial(t, n.At(), away)
		c.Subscribe(msgs(room), "chat/me/sync")
		c.Disconnect()
		live := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "live", ClientID: as.String()})
		live.Subscribe(msgs(room))
		for i := range 5 {
			rider.Publish(mqtttest.Message(send(room), fmt.Sprintf(`{"data":{"text":"at %d"},"collapse_key":"where"}`, i), 1)) // 2 to 6
		}
		rider.Say(room, "arrived") // 7
		collect(t, live, room, 2, 6)

		c = mqtttest.Dial(t, n.At(), away)
		for _, seq := range []uint64{6, 7} {
			if e := parse(t, c.Next()); e.Seq != seq {
				t.Errorf("seq %d, want %d", e.Seq, seq)
			}
		}
		var s struct {
			Skipped map[string]int
			Gap     bool
		}
		if err := json.Unmarshal(c.Next().Payload, &s); err != nil || s.Gap || s.Skipped["collapsed"] != 4 {
			t.Errorf("told %+v, %v", s, err)
		}
		asks := caller(t, n, as, "live")
		for what, want := range map[string]int{
			`history {"room":"` + room + `"}`:               3,
			`history {"room":"` + room + `","view":"log"}`:  7,
			`history {"room":"` + room + `","around":4}`:    3,
			`search {"room":"` + room + `","q":"at"}`:       1,
			`search {"room":"` + room + `","from":"rider"}`: 3,
		} {
			method, params, _ := strings.Cut(what, " ")
			mqtttest.Eventually(t, what, func() bool { // what is searched follows a moment later
				var page struct{ Messages []struct{ Seq uint64 } }
				return json.Unmarshal(call(t, asks, method, params), &page) == nil && len(page.Messages) == want
			})
		}
		var sync struct {
			Rooms []struct{ Messages []struct{ Seq uint64 } }
		}
		if err := json.Unmarshal(call(t, caller(t, n, as, "live"), "sync", `{"rooms":{"`+room+`":1}}`), &sync); err != nil || len(sync.Rooms[0].Messages) != 2 {
			t.Errorf("sync: %+v, %v", sync, err)
		}
	})
}
