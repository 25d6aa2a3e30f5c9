package broker_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// quietStep is how far these tests move the clock: log time follows so much at once (rules.md 2).
const quietStep = 9 * time.Second

// forward moves the clock on by steps, each of which every node sees, so that log time follows. What was written before comes
// to every node before: an entry says what time it was.
func forward(t *testing.T, nodes []*testcluster.Node, from, to time.Duration) {
	t.Helper()
	mqtttest.Eventually(t, "all nodes have applied the same", func() bool {
		first, _ := nodes[0].Store().Applied()
		return !slices.ContainsFunc(nodes, func(n *testcluster.Node) bool { i, _ := n.Store().Applied(); return i != first })
	})
	for at := from + quietStep; ; at += quietStep {
		clock.SetOffset(min(at, to))
		for _, n := range nodes {
			wall := clock.UnixMilli()
			mqtttest.Eventually(t, "log time follows", func() bool { return n.Store().Now() >= wall })
		}
		if at >= to {
			return
		}
	}
}

// When the time of a message has passed nobody is given it any more, though nothing was written since, on any node and by any
// way: pages, searches, replays, streams, room lists, sessions that come back. (Not parallel: it moves the clock.)
func TestTTLPassesWhileNothingIsWritten(t *testing.T) {
	oneAndThree(t, testcluster.Options{}, func(t *testing.T, nodes []*testcluster.Node) {
		t.Cleanup(clock.SetOffset(0))
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

		forward(t, nodes, 0, quietStep)
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

// A ban ends by the clock, on every node, though nothing is written: for calls at once, with a retry_after that counts down, for
// a subscription within a second, with all that it takes, and for one who subscribes or replays again without that second.
// (Not parallel: it moves the clock.)
func TestBanEndsWhileNothingIsWritten(t *testing.T) {
	oneAndThree(t, testcluster.Options{}, func(t *testing.T, nodes []*testcluster.Node) {
		t.Cleanup(clock.SetOffset(0))
		owner := openRoom(t, nodes, "r")
		owner.Say("r", "before") // seq 1
		type reader struct {
			user      string
			node      *testcluster.Node
			as        mqtttest.Flavour
			token     string
			c, again  *mqtttest.Client
			replaying *mqtttest.Client
		}
		var readers []reader
		for i, as := range mqtttest.Flavours {
			r := reader{user: fmt.Sprint("cat", i), node: nodes[i%len(nodes)], as: as}
			r.token = token(t, r.node, r.user)
			dial := func(device string, filters ...string) *mqtttest.Client {
				c := mqtttest.Dial(t, r.node.At(), mqtttest.Options{Flavour: as, User: r.user, ClientID: device})
				c.Subscribe(filters...)
				return c
			}
			r.c = dial("values", "chat/rooms/r/meta", "chat/rooms/r/state/#", "chat/rooms/r/live/#", msgs("r"))
			if pk := r.c.Next(); pk.TopicName != "chat/rooms/r/meta" {
				t.Fatalf("%s %s", pk.TopicName, pk.Payload)
			}
			r.again = dial("again", msgs("r"))
			r.replaying = dial("replaying", msgs("r"))
			readers = append(readers, r)
		}
		for _, r := range readers {
			call(t, owner, "mod.ban", `{"room":"r","user":"`+r.user+`","seconds":30}`)
		}
		last := head(t, nodes[0], "r")
		retry := func(r reader) (status int, seconds int64) {
			t.Helper()
			got := by(t, r.node, r.token, "GET /rooms/r/messages", "")
			var p struct {
				RetryAfter int64 `json:"retry_after"`
			}
			_ = json.Unmarshal([]byte(got.body), &p) // a page has none
			return got.status, p.RetryAfter
		}
		drain := func(c *mqtttest.Client) { // what the others' bans told them before their own
			t.Helper()
			if err := c.Ping(); err != nil {
				t.Fatal(err)
			}
			for c.Waiting() > 0 {
				c.Next()
			}
		}
		for _, r := range readers {
			mqtttest.Eventually(t, "the ban is known", func() bool { return head(t, r.node, "r") == last })
			if status, s := retry(r); status != 403 || s < 10 {
				t.Errorf("%v: banned: %d, retry after %d", r.as, status, s)
			}
		}
		call(t, owner, "mod.pin", `{"room":"r","seq":1}`)
		forward(t, nodes, 0, 2*quietStep)
		for _, r := range readers {
			if status, s := retry(r); status != 403 || s < 1 || s > 12 {
				t.Errorf("%v: 18 s later: %d, retry after %d", r.as, status, s)
			}
			for _, c := range []*mqtttest.Client{r.c, r.again, r.replaying} {
				drain(c)
			}
		}

		last = head(t, nodes[0], "r")
		forward(t, nodes, 2*quietStep, 4*quietStep)
		for i, r := range readers {
			if status, _ := retry(r); status != 200 {
				t.Errorf("%v: the ban has ended: %d", r.as, status)
			}
			r.again.Subscribe("$since/0/" + msgs("r"))
			collect(t, r.again, "r", 1, int(last))
			r.replaying.Publish(mqtttest.Message("chat/me/rpc/replay", `{"params":{"room":"r","since":0}}`, 1))
			collect(t, r.replaying, "r", 1, int(last))

			// It is awake when the room's own value comes; then it hears all that is no entry.
			until := func(topic, holds string) {
				t.Helper()
				for {
					pk := r.c.Next()
					if pk.TopicName == topic {
						if !strings.Contains(string(pk.Payload), holds) {
							t.Errorf("%v: %s %s", r.as, topic, pk.Payload)
						}
						return
					}
					if !strings.Contains(pk.TopicName, "/state/") && !strings.Contains(pk.TopicName, "/live/") { // the others'
						t.Errorf("%v: %s %s in place of %s", r.as, pk.TopicName, pk.Payload, topic)
					}
				}
			}
			until("chat/rooms/r/meta", `"pinned":[1]`)
			for _, topic := range []string{fmt.Sprint("chat/rooms/r/state/k", i), fmt.Sprint("chat/rooms/r/live/pos", i, "/owner")} {
				owner.Publish(mqtttest.Message(topic, "1", 1))
				until(topic, "1")
			}
			if got := head(t, nodes[0], "r"); got != last {
				t.Fatalf("something was written: %d, %d", got, last)
			}
		}
	})
}
