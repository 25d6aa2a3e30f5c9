package broker_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"pgregory.net/rapid"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// The ways to ask for what was before.
var replays = []struct {
	name string
	last bool
	ask  func(t testing.TB, c *mqtttest.Client, version byte, room string, n uint64)
}{
	{"last", true, func(t testing.TB, c *mqtttest.Client, _ byte, room string, n uint64) {
		c.Subscribe(fmt.Sprintf("$last/%d/%s", n, msgs(room)))
	}},
	{"since", false, func(t testing.TB, c *mqtttest.Client, _ byte, room string, n uint64) {
		c.Subscribe(fmt.Sprintf("$since/%d/%s", n, msgs(room)))
	}},
	{"user property", false, func(t testing.TB, c *mqtttest.Client, version byte, room string, n uint64) {
		if version != mqtttest.V5 {
			c.Subscribe(fmt.Sprintf("$since/%d/%s", n, msgs(room)))
			return
		}
		ack := c.SubscribeAs(func(p *packets.Properties) {
			p.User = []packets.UserProperty{{Key: "since", Val: strconv.FormatUint(n, 10)}}
		}, mqtttest.Filter{Filter: msgs(room), Qos: 1})
		if ack.ReasonCodes[0] != 1 {
			t.Fatalf("refused: %#x %s", ack.ReasonCodes[0], ack.Properties.ReasonString)
		}
	}},
	{"rpc", false, func(t testing.TB, c *mqtttest.Client, _ byte, room string, n uint64) {
		c.Subscribe(msgs(room))
		c.Publish(mqtttest.Message("chat/me/rpc/replay", fmt.Sprintf(`{"params":{"room":%q,"since":%d}}`, room, n), 1))
	}},
}

// Under a stream of messages a replay and what follows it live have no gap and no repeat at the seam, whichever way it
// is asked for.
func TestReplaySeam(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		t.Parallel()
		room := roomOf(t)
		talker := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "alice", ClientID: as.String()})
		fill(t, talker, room, 0, 300)
		stop := make(chan struct{})
		var talking sync.WaitGroup
		talking.Go(func() {
			for i := 0; ; i++ {
				if _, err := talker.TryPublish(mqtttest.Message(send(room), "live", 1)); err != nil {
					t.Error(err)
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
		defer talking.Wait()
		defer close(stop)
		round := 0
		rapid.Check(t, func(rt *rapid.T) {
			round++
			how := rapid.SampledFrom(replays).Draw(rt, "how")
			kept := rapid.Bool().Draw(rt, "kept session")
			c := mqtttest.Dial(t, n.At(), mqtttest.Options{
				Flavour: as, User: "bob", ClientID: fmt.Sprint(as, round), Keep: kept,
			})
			defer c.Disconnect()
			var from uint64
			if how.last {
				how.ask(t, c, as.Version, room, rapid.Uint64Range(1, 250).Draw(rt, "n"))
			} else {
				from = rapid.Uint64Range(1, 299).Draw(rt, "seq")
				how.ask(t, c, as.Version, room, from)
				from++
			}
			first := parse(t, c.Next())
			for how.name == "rpc" && first.Seq != from { // entries of the subscription that came before the replay
				first = parse(t, c.Next())
			}
			if from != 0 && first.Seq != from {
				rt.Fatalf("begins with %d, want %d", first.Seq, from)
			}
			collect(t, c, room, first.Seq+1, 400)
		})
	})
}

// $last gives exactly the last n.
func TestReplayLastCounts(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		alice := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "alice", ClientID: "a"})
		fill(t, alice, room, 0, 30)
		c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "bob", ClientID: "b"})
		c.Subscribe("$last/20/" + msgs(room))
		collect(t, c, room, 11, 20)
		quiet(t, c)
		c.Subscribe("$since/25/" + msgs(room)) // the same subscription, set back again
		collect(t, c, room, 26, 5)
		alice.Say(room, "live")
		collect(t, c, room, 31, 1)
		c.Unsubscribe("$last/3/" + msgs(room)) // any form ends it
		alice.Say(room, "unheard")
		quiet(t, c)
		c.Subscribe(msgs(room)) // no instruction: from now on
		alice.Say(room, "heard")
		collect(t, c, room, 33, 1)
	})
}

// me/sync says where a cursor has come to, in order with the entries, and me/reply answers calls.
func TestSyncAndReplies(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		alice := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "alice", ClientID: "a"})
		fill(t, alice, room, 0, 10)
		c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "bob", ClientID: "b"})
		c.Subscribe("chat/me/sync", "chat/me/reply")
		c.Subscribe("$since/6/" + msgs(room))
		collect(t, c, room, 7, 4)
		sync := c.Next()
		var s struct {
			Room     string `json:"room"`
			From, To uint64
			Gap      bool
			First    uint64
			Live     bool
			Skipped  map[string]int
		}
		if err := json.Unmarshal(sync.Payload, &s); err != nil || sync.TopicName != "chat/me/sync" {
			t.Fatalf("%s %s: %v", sync.TopicName, sync.Payload, err)
		}
		if s.Room != room || s.From != 7 || s.To != 10 || s.Gap || !s.Live || s.First != 1 || s.Skipped["expired"] != 0 {
			t.Errorf("me/sync %s", sync.Payload)
		}
		for i, call := range []struct{ method, payload, want string }{
			{"replay", `{"id":1,"params":{"room":"` + room + `","last":2}}`, `{"id":1,"ok":true,"result":{"from":9,"head":10,"room":"` + room + `"}}`},
			{"replay", `{"id":"2","params":{"room":"` + room + `"}}`, `{"id":"2","ok":false,`},
			{"replay", `{"id":"3","params":{"room":"nowhere","since":1}}`, `{"id":"3","ok":false,`},
			{"session.set", `{"id":4,"params":{"backlog":5,"focus":["general"]}}`, `{"id":4,"ok":true,"result":{"backlog":5,"focus":["general"]}}`},
			{"no.such", `{"id":5}`, `{"id":5,"ok":false,`},
			{"whoami", `{"id":6}`, `{"id":6,"ok":true,"result":{"user":"bob",`},
			{"whoami", `not json`, `{"ok":false,`},
		} {
			c.Publish(mqtttest.Message("chat/me/rpc/"+call.method, call.payload, 1))
			for {
				pk := c.Next()
				if pk.TopicName != "chat/me/reply" { // what the replay brings
					continue
				}
				if got := string(pk.Payload); len(got) < len(call.want) || got[:len(call.want)] != call.want {
					t.Errorf("call %d: got %s, want %s", i, got, call.want)
				}
				break
			}
		}
	})
}

// v5: the Correlation Data of a call comes back, a repeated id gets the same answer and no second effect.
func TestReplyCorrelation(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: mqtttest.Flavour{Version: mqtttest.V5}, User: "bob", ClientID: "b"})
	c.Subscribe("chat/me/reply")
	call := mqtttest.Message("chat/me/rpc/room.create", `{"id":"x","params":{"room":"mine","kind":"private"}}`, 1)
	call.Properties.CorrelationData, call.Properties.ResponseTopic = []byte{0, 1, 2}, "elsewhere"
	c.Publish(call)
	first := c.Next()
	c.Publish(call)
	second := c.Next()
	if string(first.Payload) != string(second.Payload) || first.TopicName != "chat/me/reply" {
		t.Errorf("two answers to one call:\n%s\n%s", first.Payload, second.Payload)
	}
	if string(second.Properties.CorrelationData) != "\x00\x01\x02" {
		t.Errorf("correlation data %v", second.Properties.CorrelationData)
	}
}
