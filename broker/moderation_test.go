package broker_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/storage"
)

// Whoever is banned, removed or frozen out loses a live subscription with the call, and a stored session too; a refusal is
// explained on every route, and the connection stays.
func TestModeration(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		owner := caller(t, n, as, "owner-"+as.String())
		call(t, owner, "room.create", `{"room":"`+room+`","kind":"private"}`)
		for _, u := range []string{"ann", "bob", "cat"} {
			call(t, owner, "room.invite", `{"room":"`+room+`","user":"`+u+`"}`)
		}
		ann := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "ann", ClientID: as.String()})
		ann.Subscribe(msgs(room), "chat/me/error")
		stored := mqtttest.Options{Flavour: as, User: "bob", ClientID: as.String(), Keep: true}
		bob := mqtttest.Dial(t, n.At(), stored)
		bob.Subscribe(msgs(room))
		bob.Disconnect()
		will := mqtttest.Message(send(room), "the will of one who is banned", 1)
		cat := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "cat", ClientID: as.String(), Keep: true, Will: &will})

		refusal := func(what, code string) {
			t.Helper()
			ack := ann.Publish(mqtttest.Message(send(room), "no", 1))
			if v5 := as.Version == mqtttest.V5; v5 && ack.ReasonCode < 0x80 {
				t.Errorf("%s: acknowledged with %#x", what, ack.ReasonCode)
			}
			pk := ann.Next()
			if e := string(pk.Payload); pk.TopicName != "chat/me/error" || !strings.Contains(e, `"code":"`+code+`"`) {
				t.Errorf("%s: %s %s", what, pk.TopicName, e)
			}
		}
		event := func(name string) {
			t.Helper()
			if e := parse(t, ann.Next()); e.Type != "system" || !strings.Contains(string(e.Data), `"event":"`+name+`"`) {
				t.Errorf("%s: %+v %s", name, e, e.Data)
			}
		}
		call(t, owner, "mod.mute", `{"room":"`+room+`","user":"ann","seconds":600}`)
		event("muted")
		refusal("muted", "muted")
		call(t, owner, "mod.unmute", `{"room":"`+room+`","user":"ann"}`)
		event("unmuted")
		call(t, owner, "mod.slow", `{"room":"`+room+`","seconds":600}`)
		event("slow")
		ann.Say(room, "one")
		collect(t, ann, room, head(t, n, room), 1)
		refusal("slow mode", "slow_mode")
		call(t, owner, "mod.freeze", `{"room":"`+room+`"}`)
		event("frozen")
		refusal("frozen", "room_frozen")
		call(t, owner, "mod.unfreeze", `{"room":"`+room+`"}`)
		event("unfrozen")

		before := head(t, n, room)
		for _, u := range []string{"ann", "bob", "cat"} {
			call(t, owner, "mod.ban", `{"room":"`+room+`","user":"`+u+`"}`)
		}
		cat.Cut() // its will is due
		owner.Say(room, "not for the banned")
		refusal("banned", "banned")
		back := mqtttest.Dial(t, n.At(), stored)
		if !back.Connack.SessionPresent {
			t.Error("the stored session is gone")
		}
		owner.Say(room, "nor this")
		quiet(t, back)
		quiet(t, ann)
		if got := head(t, n, room); got != before+5 { // three bans, two messages
			t.Errorf("%d entries were appended", got-before)
		}
		if r := tryCall(t, caller(t, n, as, "bob"), "history", `{"room":"`+room+`"}`); r.Error.Code != "banned" {
			t.Errorf("history: %+v", r)
		}

		// Who may read again gets what comes from then on.
		call(t, owner, "mod.unban", `{"room":"`+room+`","user":"ann"}`)
		call(t, owner, "room.invite", `{"room":"`+room+`","user":"ann"}`)
		event("invited")
		owner.Say(room, "welcome back")
		if e := parse(t, ann.Next()); e.text() != "welcome back" {
			t.Errorf("%+v", e)
		}
		if !ann.Alive() || !back.Alive() {
			t.Error("a connection ended")
		}
	})
}

// A deleted message is a stub for everybody who reads it later; who listens is told.
func TestDeletedMessages(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		ann := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "ann", ClientID: as.String()})
		ann.Say(room, "a secret")
		reader := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "reader", ClientID: as.String()})
		reader.Subscribe("$since/0/" + msgs(room))
		collect(t, reader, room, 1, 1)
		ann.Publish(mqtttest.Message("chat/rooms/"+room+"/send/delete", `{"target":1,"data":{}}`, 1))
		if pk := reader.Next(); !strings.Contains(string(pk.Payload), `"type":"delete"`) || !strings.Contains(string(pk.Payload), `"target":1`) {
			t.Errorf("told %s", pk.Payload)
		}
		reader.Subscribe("$since/0/" + msgs(room))
		pk := reader.Next()
		if s := string(pk.Payload); strings.Contains(s, "secret") || !strings.Contains(s, `"deleted":true`) || !strings.Contains(s, `"seq":1`) {
			t.Errorf("later: %s", s)
		}
	})
}

// users/{user}/send makes the room of the two, for both.
func TestDirectRoom(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		a, b := "a-"+as.String(), "b-"+as.String()
		bob := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: b, ClientID: "1"})
		bob.Subscribe("chat/rooms/+/msg/#")
		ann := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: a, ClientID: "1"})
		ann.Subscribe("chat/rooms/+/msg/#")
		ann.Publish(mqtttest.Message("chat/users/"+b+"/send", "hello", 1))
		room := "dm~" + a + "~" + b
		for _, c := range []*mqtttest.Client{ann, bob} {
			if e := parse(t, c.Next()); e.Room != room || e.Seq != 1 || e.text() != "hello" || e.From.Role != "member" {
				t.Errorf("%+v", e)
			}
		}
		bob.Publish(mqtttest.Message("chat/users/"+a+"/send/note", "and you", 1))
		if e := parse(t, ann.Next()); e.Room != room || e.Seq != 2 || e.Type != "note" {
			t.Errorf("%+v", e)
		}
		eve := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "eve", ClientID: "1"})
		for _, topic := range []string{send(room), "chat/rooms/dm~" + b + "~x/send"} {
			if ack := eve.Publish(mqtttest.Message(topic, "psst", 1)); as.Version == mqtttest.V5 && ack.ReasonCode < 0x80 {
				t.Errorf("%s: %#x", topic, ack.ReasonCode)
			}
		}
		if got := head(t, n, room); got != 2 {
			t.Errorf("head %d", got)
		}
	})
}

// entriesOf returns the entries of a room from one on.
func entriesOf(t testing.TB, n *testcluster.Node, room string, from uint64) (out []entry) {
	t.Helper()
	es, err := n.Store().Entries(storage.RoomKey{NS: "chat", Room: room}, from, 1<<60, 1<<20, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		var x entry
		if err := json.Unmarshal(e.JSON, &x); err != nil {
			t.Fatal(err)
		}
		out = append(out, x)
	}
	return out
}

// A live will of one who was banned after it was given is not passed on.
func TestLiveWillOfABannedUser(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		owner := caller(t, n, as, "owner-"+as.String())
		call(t, owner, "room.create", `{"room":"`+room+`","kind":"public"}`)
		reader := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "reader", ClientID: as.String()})
		reader.Subscribe("chat/rooms/" + room + "/live/#")
		for _, u := range []string{"bob", "cat"} {
			will := mqtttest.Message("chat/rooms/"+room+"/live/note/"+u, "the last word of "+u, 1)
			c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: u, ClientID: as.String(), Will: &will})
			if u == "bob" {
				call(t, owner, "mod.ban", `{"room":"`+room+`","user":"bob"}`)
			}
			c.Cut()
			if u == "cat" {
				if pk := reader.Next(); string(pk.Payload) != "the last word of cat" {
					t.Errorf("%s", pk.Payload)
				}
			}
		}
		quiet(t, reader)
	})
}
