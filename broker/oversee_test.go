package broker_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// overseer is an admin's connection with the filters, and what else a test of $all needs.
func overseer(t *testing.T, n *testcluster.Node, as mqtttest.Flavour, keep bool, filters ...string) *mqtttest.Client {
	t.Helper()
	c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "admin", ClientID: "eye", Keep: keep})
	c.Subscribe(filters...)
	return c
}

// Who may use $all reads rooms that they are not in: those that exist, those that are made later, private and direct ones.
func TestEveryRoom(t *testing.T) {
	t.Parallel()
	for _, as := range mqtttest.Flavours {
		t.Run(as.String(), func(t *testing.T) {
			t.Parallel()
			n := testcluster.Start(t, testcluster.Options{})
			ann := caller(t, n, as, "ann")
			call(t, ann, "room.create", `{"room":"old","kind":"private"}`)
			ann.Say("old", "before")
			admin := overseer(t, n, as, false, "$all/chat/rooms/+/msg/text")
			ann.Say("old", "1")
			call(t, ann, "room.create", `{"room":"new","kind":"private"}`)
			ann.Say("new", "2")
			ann.Publish(mqtttest.Message("chat/users/bob/send", "3", 1))
			var got []string
			for range 3 {
				pk := admin.Next()
				if pk.FixedHeader.Qos != 0 {
					t.Errorf("%s at QoS %d", pk.TopicName, pk.FixedHeader.Qos)
				}
				e := parse(t, pk)
				got = append(got, e.Room+" "+e.text())
			}
			slices.Sort(got)
			if want := []string{"dm~ann~bob 3", "new 2", "old 1"}; !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			admin.Unsubscribe("$all/chat/rooms/+/msg/text")
			ann.Say("old", "4")
			quiet(t, admin)
			// A filter that names its room, beside one without the right.
			admin.Subscribe(msgs("old"), "$all/"+msgs("old"))
			ann.Say("old", "5")
			if e := parse(t, admin.Next()); e.text() != "5" {
				t.Errorf("got %+v", e)
			}
			admin.Unsubscribe("$all/" + msgs("old"))
			ann.Say("old", "6")
			quiet(t, admin)
		})
	}
}

// A stored session with $all goes on with what comes after its return, and values are shown too.
func TestEveryRoomAfterReturn(t *testing.T) {
	t.Parallel()
	for _, as := range mqtttest.Flavours {
		t.Run(as.String(), func(t *testing.T) {
			t.Parallel()
			n := testcluster.Start(t, testcluster.Options{})
			ann := caller(t, n, as, "ann")
			call(t, ann, "room.create", `{"room":"old","kind":"private"}`)
			overseer(t, n, as, true, "$all/chat/rooms/+/msg/text", "$all/chat/rooms/+/live/#").Disconnect()
			ann.Say("old", "missed")
			n.Restart()
			ann = caller(t, n, as, "ann")
			admin := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "admin", ClientID: "eye", Keep: true})
			said := 0
			mqtttest.Eventually(t, "the rooms are read", func() bool { // they are looked up after CONNACK
				ann.Say("old", "now")
				said++
				return admin.Waiting() > 0
			})
			first := parse(t, admin.Next())
			if first.text() != "now" {
				t.Errorf("got %+v first", first)
			}
			for last := first.Seq; last < uint64(said)+1; last++ {
				if e := parse(t, admin.Next()); e.Seq != last+1 {
					t.Errorf("%d after %d", e.Seq, last)
				}
			}
			ann.Publish(mqtttest.Message("chat/rooms/old/live/typing/ann", "x", 0))
			if pk := admin.Next(); pk.TopicName != "chat/rooms/old/live/typing/ann" {
				t.Errorf("got %s", pk.TopicName)
			}
		})
	}
}

// $all ends with the role, and is refused to others.
func TestEveryRoomNeedsTheRole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hash, err := auth.HashPassword([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "users")
	if err := os.WriteFile(file, []byte("ann:"+hash+"\nadmin:"+hash+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := testcluster.Start(t, testcluster.Options{Prod: true, Set: []string{"auth.users_file=" + file, "auth.auditors=admin"}})
	for _, as := range mqtttest.Flavours {
		ann := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "ann", ClientID: as.String()})
		for _, f := range []string{"$all/#", "$all/chat/rooms/r/#"} {
			code := ann.SubscribeAs(nil, mqtttest.Filter{Filter: f}).ReasonCodes[0]
			if code < 0x80 {
				t.Errorf("%v: %s is granted to a user: %#x", as, f, code)
			}
		}
		auditor := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "admin", ClientID: as.String()})
		if code := auditor.SubscribeAs(nil, mqtttest.Filter{Filter: "$all/#", Qos: 1}).ReasonCodes[0]; code != 0 {
			t.Errorf("%v: $all/# is answered %#x to an auditor", as, code)
		}
	}
}
