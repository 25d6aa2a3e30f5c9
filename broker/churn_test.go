package broker_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// churner is a device that comes and goes.
type churner struct {
	o     mqtttest.Options
	c     *mqtttest.Client
	rooms map[string]bool
}

// follower knows a room's roster by what it hears.
type follower struct {
	c      *mqtttest.Client
	room   string
	v      uint64
	online map[string]bool
	counts string
}

// hear takes what has come.
func (f *follower) hear(t testing.TB) {
	t.Helper()
	for f.c.Waiting() > 0 {
		f.take(t, f.c.Next())
	}
}

func (f *follower) take(t testing.TB, pk packets.Packet) {
	t.Helper()
	if pk.TopicName == "chat/rooms/"+f.room+"/occupancy" {
		f.counts = string(pk.Payload)
		return
	}
	var m struct {
		Mode, Event, User string
		V                 uint64
		Online            []struct{ User string }
	}
	if err := json.Unmarshal(pk.Payload, &m); err != nil {
		t.Fatalf("%s: %v", pk.Payload, err)
	}
	switch {
	case m.Mode != "":
		f.online = map[string]bool{}
		for _, o := range m.Online {
			f.online[o.User] = true
		}
	case m.V != f.v+1:
		t.Fatalf("v %d after %d", m.V, f.v)
	case m.Event == "leave":
		delete(f.online, m.User)
	default:
		f.online[m.User] = true
	}
	f.v = m.V
}

// Devices connect, are cut, say goodbye, subscribe and unsubscribe, move from node to node, and links between the nodes are
// cut: when it is quiet, every node says what the sockets say, and so does what readers have heard.
func TestPresenceIsWhatTheSocketsSay(t *testing.T) {
	t.Parallel()
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{Set: []string{"rooms.presence_grace=50ms"}})
	churn(t, c, 5, func() {}, func() {})
}

// The same in an hour of the wall clock, with the grace as it comes: most of those who are cut come back within it, others
// after it. (Not parallel: it moves the clock.)
func TestPresenceAfterAnHourOfChurn(t *testing.T) {
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{Set: []string{"limits.keepalive_max=18h", "limits.ack_wait=18h"}})
	t.Cleanup(clock.SetOffset(0))
	rng := rand.New(rand.NewPCG(3, 4))
	var passed time.Duration
	pass := func(d time.Duration) {
		passed += d
		clock.SetOffset(passed)
	}
	churn(t, c, 8, func() { pass(time.Duration(rng.IntN(17_000)) * time.Millisecond) }, func() { pass(time.Minute) })
	if passed < time.Hour {
		t.Errorf("it took only %v", passed)
	}
}

// churn goes on for as many rounds, calls then after each thing that happens, and quiet before it looks.
func churn(t *testing.T, c *testcluster.Cluster, rounds int, then, quiet func()) {
	t.Helper()
	rooms := []string{"r", "s"}
	for _, room := range rooms {
		openRoom(t, c.Nodes, room)
	}
	var followers []*follower
	for i, n := range c.Nodes {
		for _, room := range rooms {
			f := &follower{room: room, c: mqtttest.Dial(t, n.At(), mqtttest.Options{
				Flavour: mqtttest.Flavours[i], User: "watcher", ClientID: fmt.Sprint(room, i),
			})}
			f.c.Subscribe("chat/rooms/"+room+"/presence", "chat/rooms/"+room+"/occupancy")
			followers = append(followers, f)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var all []*churner
	for i := range 24 {
		o := mqtttest.Options{
			Flavour: mqtttest.Flavours[i%4], User: fmt.Sprint("u", i/2), ClientID: fmt.Sprint("d", i%2), Keep: i%3 == 0,
		}
		if i%8 == 7 {
			o = mqtttest.Options{Flavour: o.Flavour}
		}
		all = append(all, &churner{o: o, rooms: map[string]bool{}})
	}
	subscribe := func(x *churner) {
		room := rooms[rng.IntN(2)]
		if f := "chat/rooms/" + room + "/msg/#"; x.rooms[room] {
			x.c.Unsubscribe(f)
			delete(x.rooms, room)
		} else {
			x.c.Subscribe(f)
			x.rooms[room] = true
		}
	}
	for range rounds {
		for range 60 {
			then()
			x := all[rng.IntN(len(all))]
			switch k := rng.IntN(10); {
			case x.c == nil, k < 2: // also where it is connected: the older connection ends
				again := x.c != nil && x.o.User != ""
				if x.c != nil && !again {
					continue // a guest's connection is nobody else's
				}
				now := mqtttest.Dial(t, c.Nodes[rng.IntN(3)].At(), x.o)
				if again {
					x.c.Ended()
				}
				if x.c = now; !now.Connack.SessionPresent {
					clear(x.rooms)
				}
			case k < 4:
				x.c.Cut()
				x.c = nil
				if !x.o.Keep {
					clear(x.rooms)
				}
			case k < 6:
				x.c.Disconnect()
				x.c = nil
			default:
				subscribe(x)
			}
		}
		followers := c.Followers()
		c.Cut(followers[0], followers[1]) // the log goes on without this link
		for range 20 {                    // what the nodes cannot tell each other meanwhile they tell when they meet
			if x := all[rng.IntN(len(all))]; x.c != nil {
				subscribe(x)
			}
		}
		c.Heal()
		c.Meet()
	}
	quiet()
	agree(t, c.Nodes, followers, all)
	for _, x := range all {
		if x.c != nil {
			x.c.Disconnect()
			x.c = nil
		}
	}
	agree(t, c.Nodes, followers, all)
}

// agree waits until all nodes and all followers say what the devices are.
func agree(t testing.TB, nodes []*testcluster.Node, followers []*follower, all []*churner) {
	t.Helper()
	users := map[string]int{}
	for _, x := range all {
		if x.c != nil && x.o.User != "" {
			users[x.o.User]++
		}
	}
	var why string
	for _, room := range []string{"r", "s"} {
		who, total, guests := map[string]int{}, 0, 0
		for _, x := range all {
			if x.c == nil || !x.rooms[room] {
				continue
			}
			total++
			if x.o.User == "" {
				guests++
			} else {
				who[x.o.User]++
			}
		}
		same := func() bool {
			for _, n := range nodes {
				p := n.Broker().RoomPresence(roomKey(room))
				got := map[string]int{}
				for _, o := range p.Online {
					got[o.User] = o.Devices
				}
				why = fmt.Sprintf("%s says %+v; there are %v, %d guests", n.Name(), p, who, guests)
				if !maps.Equal(got, who) || p.Connections != uint64(total) || p.Users != uint64(len(who)+guests) {
					return false
				}
				for u := range 12 {
					name := fmt.Sprint("u", u)
					want := calls.NewUserPresence(users[name], 0)
					if p := n.Broker().UserPresence("chat", name); p.Devices != want.Devices || p.Status != want.Status {
						why = fmt.Sprintf("%s says %+v of %s, who has %d", n.Name(), p, name, users[name])
						return false
					}
				}
			}
			for _, f := range followers {
				if f.hear(t); f.room != room {
					continue
				}
				why = fmt.Sprintf("a reader knows %v and %s; there are %v", f.online, f.counts, who)
				counts := fmt.Sprintf(`{"users":%d,"connections":%d}`, len(who)+guests, total)
				if len(f.online) != len(who) || f.counts != counts {
					return false
				}
				for user := range who {
					if !f.online[user] {
						return false
					}
				}
			}
			return true
		}
		t.Cleanup(func() {
			if t.Failed() {
				t.Log(why)
			}
		})
		mqtttest.Eventually(t, "all say what there is in "+room, same)
	}
}

// A node that is gone takes exactly its users with it, when the log says that it is lost; once it is back, so are they.
func TestALostNodesUsersGoOffline(t *testing.T) {
	t.Parallel()
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{})
	openRoom(t, c.Nodes, "r")
	gone, stay := c.Followers()[0], c.Leader()
	const each = 150
	for i := range 2 * each {
		n := gone
		if i%2 == 1 {
			n = stay
		}
		d := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: mqtttest.Flavours[i/2%4], User: fmt.Sprint("u", i), ClientID: "d", Keep: i%6 < 2})
		d.Subscribe("chat/rooms/r/#")
	}
	online := func(n *testcluster.Node) (of [2]int) {
		for i := range 2 * each {
			if n.Broker().UserPresence("chat", fmt.Sprint("u", i)).Devices > 0 {
				of[i%2]++
			}
		}
		return of
	}
	lost := func() bool {
		nodes, err := stay.Store().Nodes()
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			if n.Name == gone.Name() {
				return !n.Up
			}
		}
		return false
	}
	mqtttest.Eventually(t, "all are online", func() bool { return online(stay) == [2]int{each, each} && online(gone) == [2]int{each, each} })
	c.Isolate(gone)
	for !lost() {
		if of := online(stay); of != [2]int{each, each} && !lost() {
			t.Fatalf("before the log says that the node is lost, %v are online", of)
		}
	}
	mqtttest.Eventually(t, "its users are offline, and no others", func() bool { return online(stay) == [2]int{0, each} })
	mqtttest.Eventually(t, "the room knows it", func() bool {
		return stay.Broker().RoomPresence(roomKey("r")).Connections == each
	})
	if of := online(gone); of != [2]int{each, each} {
		t.Errorf("the node that is cut off says %v", of)
	}
	c.Heal()
	mqtttest.Eventually(t, "its users are back", func() bool { return online(stay) == [2]int{each, each} && online(gone) == [2]int{each, each} })
}
