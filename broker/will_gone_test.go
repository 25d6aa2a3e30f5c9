package broker_test

import (
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// The connection of a user who is deleted ends without a DISCONNECT, and says nothing more all the same: no message and no live
// value, with a stored session or without.
func TestADeletedUserHasNoWill(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		admin := token(t, n, "admin")
		room := roomOf(t)
		watcher := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "alice", ClientID: "w-" + as.String()})
		watcher.Say(room, "here")
		watcher.Subscribe("chat/rooms/"+room+"/msg/#", "chat/rooms/"+room+"/live/#")
		for _, mode := range []string{"anonymise", "erase"} {
			for _, keep := range []bool{false, true} {
				for _, live := range []bool{false, true} {
					user := "gone-" + mode[:1]
					if keep {
						user += "-kept"
					}
					topic := send(room)
					if live {
						user += "-live"
						topic = "chat/rooms/" + room + "/live/mood/"
					}
					user += "-" + as.String()
					if live {
						topic += user
					}
					will := mqtttest.Message(topic, "my will", 1)
					c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: user, ClientID: "d", Keep: keep, Will: &will})
					must(t, n, admin, "DELETE /users/"+user+"?mode="+mode, "")
					c.Ended()
				}
			}
		}
		quiet(t, watcher)
		if got := head(t, n, room); got != 1 {
			t.Errorf("the room has %d entries", got)
		}
	})
}
