package broker_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// oneAndThree runs f on one node and on three, with settings.
func oneAndThree(t *testing.T, o testcluster.Options, f func(t *testing.T, nodes []*testcluster.Node)) {
	t.Helper()
	t.Run("1", func(t *testing.T) { f(t, []*testcluster.Node{testcluster.Start(t, o)}) })
	t.Run("3", func(t *testing.T) { f(t, testcluster.StartCluster(t, 3, 0, o).Nodes) })
}

// openRoom makes a public room that every node knows.
func openRoom(t testing.TB, nodes []*testcluster.Node, room string) *mqtttest.Client {
	t.Helper()
	owner := caller(t, nodes[0], mqtttest.Flavours[1], "owner")
	call(t, owner, "room.create", `{"room":"`+room+`","kind":"public"}`)
	for _, n := range nodes {
		mqtttest.Eventually(t, "the room is there", func() bool { r, err := n.Store().Room(roomKey(room)); return err == nil && r != nil })
	}
	return owner
}

// next takes a message that must be this one.
func next(t testing.TB, c *mqtttest.Client, topic, payload string, retain bool) {
	t.Helper()
	if pk := c.Next(); pk.TopicName != topic || string(pk.Payload) != payload || pk.FixedHeader.Retain != retain {
		t.Fatalf("got %s %s (retain %v), want %s %s", pk.TopicName, pk.Payload, pk.FixedHeader.Retain, topic, payload)
	}
}

// A new reader of a room's presence gets the roster, retained; afterwards who joins, who leaves, and whose devices are
// others, from all nodes, in every flavour.
func TestRoster(t *testing.T) {
	t.Parallel()
	oneAndThree(t, testcluster.Options{}, func(t *testing.T, nodes []*testcluster.Node) {
		const topic = "chat/rooms/r/presence"
		openRoom(t, nodes, "r")
		watcher := mqtttest.Dial(t, nodes[0].At(), mqtttest.Options{Flavour: mqtttest.Flavours[1], User: "watcher", ClientID: "w"})
		watcher.Subscribe(topic)
		next(t, watcher, topic, `{"mode":"full","v":0,"online":[]}`, true)
		v := 0
		for i, as := range mqtttest.Flavours {
			n := nodes[i%len(nodes)]
			dial := func(device string) *mqtttest.Client {
				return mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "ann", ClientID: device})
			}
			event := func(what, more string) {
				t.Helper()
				v++
				next(t, watcher, topic, fmt.Sprintf(`{"v":%d,"event":"%s","user":"ann"%s}`, v, what, more), false)
			}
			phone, laptop := dial("phone"), dial("laptop")
			phone.Subscribe("chat/rooms/r/msg/#")
			event("join", "")
			laptop.Subscribe("chat/rooms/r/msg/text", "chat/rooms/r/live/#")
			event("update", `,"devices":2`)
			laptop.Unsubscribe("chat/rooms/r/msg/text")
			laptop.Subscribe("chat/rooms/r/meta") // one who looks on is not there
			late := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "late", ClientID: "l"})
			late.Subscribe(topic)
			var roster struct {
				Mode   string
				Online []struct {
					User    string
					Devices int
				}
			}
			if pk := late.Next(); json.Unmarshal(pk.Payload, &roster) != nil || !pk.FixedHeader.Retain || len(roster.Online) != 1 || roster.Online[0].Devices != 2 {
				t.Errorf("who comes late gets %s", pk.Payload)
			}
			late.Disconnect()
			laptop.Unsubscribe("chat/rooms/r/live/#")
			event("update", `,"devices":1`)
			phone.Disconnect()
			event("leave", "")
			laptop.Disconnect()
		}
		quiet(t, watcher)
	})
}

// While a phone is in a tunnel for 20 s nobody hears of it, be it back on its node or on another. (Not parallel: it moves
// the clock.)
func TestNobodyHearsOfATunnel(t *testing.T) {
	oneAndThree(t, testcluster.Options{}, func(t *testing.T, nodes []*testcluster.Node) {
		owner := openRoom(t, nodes, "r")
		call(t, owner, "room.create", `{"room":"p","kind":"private"}`)
		for _, user := range []string{"ann", "friend"} {
			call(t, owner, "room.invite", `{"room":"p","user":"`+user+`"}`)
		}
		const topic, person = "chat/rooms/r/presence", "chat/users/ann/presence"
		last := len(nodes) - 1
		var watchers []*mqtttest.Client
		for _, i := range []int{0, last} {
			as := mqtttest.Flavours[i%4]
			mqtttest.Eventually(t, "the friend shares the room", func() bool {
				m, err := nodes[i].Store().Member(roomKey("p"), "friend")
				return err == nil && m.Role != ""
			})
			c := mqtttest.Dial(t, nodes[i].At(), mqtttest.Options{Flavour: as, User: "friend", ClientID: fmt.Sprint("w", i, len(watchers))})
			c.Subscribe(topic)
			next(t, c, topic, `{"mode":"full","v":0,"online":[]}`, true)
			watchers = append(watchers, c)
		}
		v := 0
		event := func(what, user string) {
			t.Helper()
			v++
			for _, c := range watchers {
				next(t, c, topic, fmt.Sprintf(`{"v":%d,"event":"%s","user":"%s"}`, v, what, user), false)
			}
		}
		for k, as := range mqtttest.Flavours {
			for _, keep := range []bool{false, true} {
				o := mqtttest.Options{Flavour: as, User: "ann", ClientID: fmt.Sprint("phone", k, keep), Keep: keep}
				phone := mqtttest.Dial(t, nodes[0].At(), o)
				phone.Subscribe("chat/rooms/r/msg/#")
				event("join", "ann")
				for _, c := range watchers {
					c.Subscribe(person)
					if pk := c.Next(); pk.TopicName != person || !pk.FixedHeader.Retain {
						t.Fatalf("%s %s", pk.TopicName, pk.Payload)
					}
				}
				phone.Cut()
				mqtttest.Eventually(t, "the node sees the end", func() bool { return len(connected(t, nodes, "ann")) == 0 })
				restore := clock.SetOffset(20 * time.Second)
				other := mqtttest.Dial(t, nodes[0].At(), mqtttest.Options{Flavour: as, User: "other", ClientID: "o"})
				other.Subscribe("chat/rooms/r/live/#")
				event("join", "other") // and nothing before it
				phone = mqtttest.Dial(t, nodes[last].At(), o)
				if !keep {
					phone.Subscribe("chat/rooms/r/msg/#")
				}
				restore()
				mark := mqtttest.Dial(t, nodes[last].At(), mqtttest.Options{Flavour: as, User: "mark", ClientID: "m"})
				mark.Subscribe("chat/rooms/r/live/#")
				event("join", "mark") // so all have heard of the phone, too
				restore = clock.SetOffset(5 * time.Minute)
				other.Disconnect()
				event("leave", "other")
				mark.Disconnect()
				event("leave", "mark")
				for _, c := range watchers {
					c.Unsubscribe(person)
				}
				phone.Disconnect()
				event("leave", "ann")
				restore()
			}
		}
		for _, c := range watchers {
			quiet(t, c)
		}
	})
}

// connected are the connections of a user to all nodes.
func connected(t testing.TB, nodes []*testcluster.Node, user string) []string {
	t.Helper()
	all, missing := nodes[0].Broker().Connected(t.Context(), "chat", user)
	if len(missing) > 0 {
		t.Logf("%v do not answer", missing)
		return nil
	}
	var out []string
	for _, c := range all {
		out = append(out, c.Node+"/"+c.Device)
	}
	return out
}

// Connections of clean sessions cost the log nothing but when their users were active, many in one command; and that is
// known after a restart.
func TestConnectionsCostTheLogNothing(t *testing.T) {
	t.Parallel()
	n := testcluster.Start(t, testcluster.Options{})
	openRoom(t, []*testcluster.Node{n}, "r")
	before := n.Node().Stats().Commands
	const many = 300
	for i := range many {
		c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: mqtttest.Flavours[i%4], User: fmt.Sprint("u", i), ClientID: "c"})
		c.Subscribe("chat/rooms/r/#")
		c.Disconnect()
	}
	mqtttest.Eventually(t, "the log knows all", func() bool {
		for i := range many {
			if at, err := n.Store().LastActive("chat", fmt.Sprint("u", i)); err != nil || at == 0 {
				return false
			}
		}
		return true
	})
	if got := n.Node().Stats().Commands - before; got > 20 {
		t.Errorf("%d commands for %d connections", got, many)
	}
	at, _ := n.Store().LastActive("chat", "u0")
	n.Restart()
	owner := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "admin", ClientID: "c"})
	owner.Subscribe("chat/me/reply")
	var p struct {
		User         string
		Status       string
		Devices      int
		LastActiveAt int64 `json:"last_active_at"`
	}
	if err := json.Unmarshal(call(t, owner, "presence.get", `{"user":"u0"}`), &p); err != nil || p.Status != "offline" || p.LastActiveAt < at {
		t.Errorf("%+v, %v; it was %d", p, err, at)
	}
}

// The presence of a user is for those who share a room that is not public, and for nobody else; it wakes and sleeps with
// their membership.
func TestWhoSeesAUser(t *testing.T) {
	t.Parallel()
	oneAndThree(t, testcluster.Options{}, func(t *testing.T, nodes []*testcluster.Node) {
		const topic = "chat/users/ann/presence"
		owner := openRoom(t, nodes, "pub")
		call(t, owner, "room.create", `{"room":"priv","kind":"private"}`)
		for _, user := range []string{"ann", "friend"} {
			call(t, owner, "room.invite", `{"room":"pub","user":"`+user+`"}`)
			call(t, owner, "room.invite", `{"room":"priv","user":"`+user+`"}`)
		}
		last := nodes[len(nodes)-1]
		mqtttest.Eventually(t, "the friend shares the room", func() bool {
			m, err := last.Store().Member(roomKey("priv"), "friend")
			return err == nil && m.Role != ""
		})
		call(t, owner, "room.invite", `{"room":"pub","user":"stranger"}`)
		dial := func(user, device string) *mqtttest.Client {
			return mqtttest.Dial(t, last.At(), mqtttest.Options{Flavour: mqtttest.Flavours[3], User: user, ClientID: device})
		}
		friend, stranger, self, wild := dial("friend", "f"), dial("stranger", "s"), dial("ann", "watch"), dial("friend", "wild")
		for _, c := range []*mqtttest.Client{friend, stranger, self} {
			c.Subscribe(topic)
		}
		wild.Subscribe("chat/users/+/presence")
		status := func(c *mqtttest.Client, user, status string, devices int, retain bool) {
			t.Helper()
			pk := c.Next()
			var p struct {
				Status       string
				Devices      int
				LastActiveAt int64 `json:"last_active_at"`
			}
			if err := json.Unmarshal(pk.Payload, &p); err != nil || pk.TopicName != "chat/users/"+user+"/presence" ||
				p.Status != status || p.Devices != devices || p.LastActiveAt == 0 || pk.FixedHeader.Retain != retain {
				t.Fatalf("%s %s (retain %v), want %s with %d devices of %s", pk.TopicName, pk.Payload, pk.FixedHeader.Retain, status, devices, user)
			}
		}
		status(friend, "ann", "online", 1, true)
		status(self, "ann", "online", 1, true)
		status(wild, "friend", "online", 2, true) // oneself; others are contacts
		phone := mqtttest.Dial(t, nodes[0].At(), mqtttest.Options{User: "ann", ClientID: "phone"})
		for _, c := range []*mqtttest.Client{friend, self} {
			status(c, "ann", "online", 2, false)
		}
		call(t, owner, "mod.kick", `{"room":"priv","user":"friend"}`)
		mqtttest.Eventually(t, "the friend is out", func() bool {
			return tryCallHTTP(t, last, "friend", "ann") == 403
		})
		if pk := friend.Next(); pk.TopicName != topic || string(pk.Payload) != `{"status":"offline","devices":0}` {
			t.Errorf("one who may not see her any more got %s %s", pk.TopicName, pk.Payload)
		}
		phone.Disconnect()
		status(self, "ann", "online", 1, false)
		quiet(t, friend)
		call(t, owner, "room.invite", `{"room":"priv","user":"friend"}`)
		status(friend, "ann", "online", 1, true)
		stranger.Publish(mqtttest.Message("chat/users/ann/send", "hello", 1)) // now they share a direct room
		status(stranger, "ann", "online", 1, true)
		self.Disconnect()
		for _, c := range []*mqtttest.Client{friend, stranger} {
			status(c, "ann", "offline", 0, false)
		}
		for wild.Waiting() > 0 {
			if pk := wild.Next(); pk.TopicName != "chat/users/friend/presence" {
				t.Errorf("one without contacts got %s %s", pk.TopicName, pk.Payload)
			}
		}
		guest := mqtttest.Dial(t, last.At(), mqtttest.Options{})
		if ack := guest.SubscribeAs(nil, mqtttest.Filter{Filter: topic}); ack.ReasonCodes[0] < 0x80 {
			t.Errorf("a guest was granted %s: %v", topic, ack.ReasonCodes)
		}
	})
}

// tryCallHTTP asks for the presence of a user as another and returns the status.
func tryCallHTTP(t testing.TB, n *testcluster.Node, as, user string) int {
	t.Helper()
	c := mqtttest.Dial(t, n.At(), mqtttest.Options{User: as, ClientID: "asks"})
	c.Subscribe("chat/me/reply")
	defer c.Disconnect()
	if r := tryCall(t, c, "presence.get", `{"user":"`+user+`"}`); !r.OK {
		return map[string]int{"forbidden": 403, "not_found": 404}[r.Error.Code]
	}
	return 200
}

// Thousands who leave a room at once cost its readers one word a second, on every node; and how many there are is right.
func TestMassLeavingIsToldOnceASecond(t *testing.T) {
	t.Parallel()
	oneAndThree(t, testcluster.Options{}, func(t *testing.T, nodes []*testcluster.Node) {
		const topic = "chat/rooms/r/occupancy"
		many := 5000
		if testing.Short() { // the race detector makes ten times as much of each
			many = 1000
		}
		openRoom(t, nodes, "r")
		var watchers []*mqtttest.Client
		for i, n := range nodes {
			c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: mqtttest.Flavours[i], User: "watcher", ClientID: fmt.Sprint(i)})
			c.Subscribe(topic, "chat/rooms/r/presence")
			next(t, c, "chat/rooms/r/presence", `{"mode":"full","v":0,"online":[]}`, true)
			next(t, c, topic, `{"users":0,"connections":0}`, true)
			watchers = append(watchers, c)
		}
		clients := make([]*mqtttest.Client, many)
		for i := range clients {
			o := mqtttest.Options{Flavour: mqtttest.Flavours[i%2], User: fmt.Sprint("u", i/2), ClientID: fmt.Sprint("d", i%2)}
			if i%10 == 9 {
				o = mqtttest.Options{} // a guest
			}
			clients[i] = mqtttest.Dial(t, nodes[i/2%len(nodes)].At(), o) // both devices of a user on one node
			clients[i].Subscribe("chat/rooms/r/msg/#")
		}
		users := many/10 + many/2 // guests, and users, each with a device at least
		until := func(users, connections int) (told int) {
			t.Helper()
			want := fmt.Sprintf(`{"users":%d,"connections":%d}`, users, connections)
			for _, c := range watchers {
				n, counts := 0, 0
				for {
					pk := c.Next()
					if pk.TopicName == topic {
						n++
					} else if string(pk.Payload) == `{"mode":"count"}` {
						counts++
					}
					if pk.TopicName == topic && string(pk.Payload) == want {
						break
					}
				}
				told = max(told, n)
				if counts > 1 {
					t.Errorf("%d times a count in place of a roster", counts)
				}
			}
			return told
		}
		until(users, many)
		began := clock.Now()
		for _, c := range clients {
			go c.Disconnect()
		}
		told := until(0, 0)
		if most := int(clock.Since(began)/time.Second) + 2; told > most {
			t.Errorf("occupancy was told %d times, and %d are enough", told, most)
		}
	})
}
