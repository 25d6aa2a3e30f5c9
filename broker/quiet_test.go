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

// quietStep is how far these tests move the clock: log time follows so much at once (rules.md 2).
const quietStep = 9 * time.Second

// When the time of a message has passed nobody is given it any more, though nothing was written since, on any node and by any
// way: pages, searches, replays, streams, room lists, sessions that come back. (Not parallel: it moves the clock.)
func TestTTLPassesWhileNothingIsWritten(t *testing.T) {
	oneAndThree(t, testcluster.Options{}, func(t *testing.T, nodes []*testcluster.Node) {
		owner := openRoom(t, nodes, "r")
		call(t, owner, "room.invite", `{"room":"r","user":"finder"}`) // seq 1
		type reader struct {
			node    *testcluster.Node
			as      mqtttest.Flavour
			token   string
			calls   *mqtttest.Client
			late    *mqtttest.Client
			session mqtttest.Options
		}
		var readers []reader
		for i, as := range mqtttest.Flavours {
			n := nodes[i%len(nodes)]
			r := reader{node: n, as: as, token: token(t, n, "finder"), calls: caller(t, n, as, "finder")}
			r.late = mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "late", ClientID: as.String()})
			r.session = mqtttest.Options{Flavour: as, User: "away", ClientID: as.String(), Keep: true}
			away := mqtttest.Dial(t, n.At(), r.session)
			away.Subscribe(msgs("r"), "chat/me/sync")
			away.Disconnect()
			readers = append(readers, r)
		}
		owner.Say("r", "this stays")
		owner.Say("r", `{"data":{"text":"this goes"},"ttl":5}`)
		for _, n := range nodes {
			mqtttest.Eventually(t, "it is there", func() bool { return head(t, n, "r") == 3 })
		}
		given := func(r reader) map[string]string {
			got := map[string]string{}
			for what, params := range map[string]string{
				"history": `{"room":"r"}`, "sync": `{"rooms":{"r":0}}`, "search": `{"q":"this"}`, "rooms.list": `{}`,
			} {
				got[what] = string(call(t, r.calls, what, params))
			}
			for _, line := range []string{
				"/rooms/r/messages", "/rooms/r/messages?view=log", "/rooms/r/messages?around=3", "/rooms/r/events?after=0&wait=0", "/search?q=this", "/rooms",
			} {
				got[line] = must(t, r.node, r.token, "GET "+line, "")
			}
			return got
		}
		for _, r := range readers {
			for what, s := range given(r) {
				if !strings.Contains(s, "this goes") {
					t.Errorf("%v: before its time has passed %s is without it: %s", r.as, what, s)
				}
			}
		}

		defer clock.SetOffset(quietStep)()
		for i, r := range readers {
			for what, s := range given(r) {
				if strings.Contains(s, "this goes") || !strings.Contains(s, "this stays") {
					t.Errorf("node %d, %v: %s is %s", i%len(nodes), r.as, what, s)
				}
			}
			r.late.Subscribe("$last/2/"+msgs("r"), "chat/rooms/r/head")
			for range 2 { // head may come first
				if got := r.late.Next(); !strings.Contains(string(got.Payload), "this stays") {
					t.Errorf("%v: given %s %s", r.as, got.TopicName, got.Payload)
				}
			}
			quiet(t, r.late)
			r.late.Subscribe("$since/2/" + msgs("r"))
			quiet(t, r.late)
		}
		for _, r := range readers { // a session that is taken is written
			c := mqtttest.Dial(t, r.node.At(), r.session)
			if e := parse(t, c.Next()); e.Seq != 2 {
				t.Errorf("%v: a session is given %s", r.as, fmt.Sprint(e))
			}
			if p := positionOf(t, c.Next()); p.SkippedExpired != 1 || !p.Live {
				t.Errorf("%v: me/sync %+v", r.as, p)
			}
			quiet(t, c)
		}
	})
}
