package broker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// Strangers' direct rooms do not keep a user out of other rooms, nor push them out of a filter on the joined rooms; rooms
// that a user makes by sending count as any other.
func TestDirectRoomsTakeNoPlace(t *testing.T) {
	t.Parallel()
	n := testcluster.Start(t, testcluster.Options{Set: []string{"limits.rooms_per_user=3"}})
	ann := caller(t, n, mqtttest.Flavours[1], "ann")
	for i := range 7 { // in byte order between the rooms below
		c := mqtttest.Dial(t, n.At(), mqtttest.Options{User: fmt.Sprintf("x%d", i), ClientID: "x"})
		c.Publish(mqtttest.Message("chat/users/ann/send", "hello", 1))
	}
	owner := caller(t, n, mqtttest.Flavours[1], "owner")
	for _, room := range []string{"a", "z"} {
		call(t, owner, "room.create", `{"room":"`+room+`","kind":"public"}`)
		call(t, owner, "room.invite", `{"room":"`+room+`","user":"ann"}`)
	}
	call(t, owner, "room.create", `{"room":"more","kind":"public"}`)
	ann.Say("made", "1")
	mqtttest.Eventually(t, "ann's list has all of them", func() bool {
		rooms, err := n.Store().UserRooms("chat", "ann", "", 99)
		return err == nil && len(rooms) == 10
	})
	if r := tryCall(t, owner, "room.invite", `{"room":"more","user":"ann"}`); r.Error.Code != "limit" {
		t.Errorf("a fourth room: %+v", r)
	}
	for i, as := range mqtttest.Flavours {
		c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "ann", ClientID: as.String()})
		c.Subscribe("chat/me/error", "chat/rooms/+/msg/#")
		pk := mqtttest.Message(send("other"), "refused", 1)
		if ack := c.Publish(pk); as.Version == mqtttest.V5 && ack.ReasonCode < 0x80 {
			t.Errorf("%s: %#x", as, ack.ReasonCode)
		}
		if pk := c.Next(); !strings.Contains(string(pk.Payload), `"code":"limit"`) {
			t.Errorf("%s: %s %s", as, pk.TopicName, pk.Payload)
		}
		c.Say("made", fmt.Sprint(i)) // a room that is there is written to
		c.Next()
		for _, room := range []string{"a", "z"} {
			owner.Say(room, "to the members")
			if pk := c.Next(); !strings.Contains(pk.TopicName, "/rooms/"+room+"/") {
				t.Errorf("%s: %s", as, pk.TopicName)
			}
		}
	}
}
