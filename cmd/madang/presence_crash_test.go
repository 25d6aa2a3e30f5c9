package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
)

// A node that is killed with two thousand users, each with a stored session or none, takes exactly them offline: those of
// other nodes are not heard of, nor those who have a device elsewhere too.
func TestKilledNodeTakesItsUsersOffline(t *testing.T) {
	const lost, kept, both = 2000, 300, 100
	c := startCrowd(t)
	leader := c.leader()
	victim := (leader + 1) % 3
	other := (leader + 2) % 3
	at := func(node int, user string, i int) {
		d := mqtttest.Dial(t, c.nodes[node].at(), mqtttest.Options{
			Flavour: mqtttest.Flavours[i%4], User: user, ClientID: fmt.Sprint("on", node), Keep: i%10 == 0,
		})
		d.Subscribe("chat/rooms/r/msg/#")
	}
	watcher := mqtttest.Dial(t, c.nodes[leader].at(), mqtttest.Options{User: "admin", ClientID: "watcher", Hears: 2 * patience})
	watcher.Say("r", "this is a room")
	watcher.Subscribe("$all/chat/users/+/presence")
	for i := range lost {
		at(victim, fmt.Sprint("lost", i), i)
	}
	for i := range kept {
		at([]int{leader, other}[i%2], fmt.Sprint("kept", i), i)
	}
	for i := range both {
		at(victim, fmt.Sprint("both", i), i)
		at(other, fmt.Sprint("both", i), i)
	}

	devices := map[string]int{}
	hear := func() {
		pk := watcher.Next()
		var p struct {
			User, Status string
			Devices      int
		}
		if err := json.Unmarshal(pk.Payload, &p); err != nil || (p.Devices > 0) != (p.Status == "online") {
			t.Fatalf("%s: %s, %v", pk.TopicName, pk.Payload, err)
		}
		user := strings.Split(pk.TopicName, "/")[2]
		if p.User != "" && p.User != user {
			t.Fatalf("%s: %s", pk.TopicName, pk.Payload)
		}
		devices[user] = p.Devices
	}
	online := func(name string, want int) (n int) {
		for user, d := range devices {
			if strings.HasPrefix(user, name) && d == want {
				n++
			}
		}
		return n
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("heard of %d users online, %d with two devices, %d offline", online("", 1), online("", 2), online("", 0))
		}
	})
	for online("lost", 1) < lost || online("kept", 1) < kept || online("both", 2) < both {
		hear()
	}
	c.nodes[victim].kill()
	c.nodes[victim] = nil
	for online("lost", 0) < lost || online("both", 1) < both {
		hear()
		if n := online("kept", 1); n < kept {
			t.Fatalf("of %d users of the other nodes %d are online", kept, n)
		}
		if n := online("both", 0); n > 0 {
			t.Fatalf("%d users are offline who have a device elsewhere", n)
		}
	}
	// And what came after: their number, from the room.
	mark := mqtttest.Dial(t, c.nodes[leader].at(), mqtttest.Options{User: "mark", ClientID: "m"})
	for devices["mark"] == 0 {
		hear()
	}
	mark.Disconnect()
	if n, m := online("kept", 1), online("both", 1); n != kept || m != both {
		t.Errorf("%d and %d users are online, not %d and %d", n, m, kept, both)
	}
	reader := mqtttest.Dial(t, c.nodes[other].at(), mqtttest.Options{User: "reader", ClientID: "r"})
	reader.Subscribe("chat/rooms/r/occupancy")
	want := fmt.Sprintf(`{"users":%d,"connections":%d}`, kept+both, kept+both)
	for string(reader.Next().Payload) != want {
	}
}
