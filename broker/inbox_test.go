package broker_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/storage"
)

// told is an entry of an inbox.
type told struct {
	User string
	Seq  uint64
	Type string
	Data struct {
		Room, Event, User, Role, Reason string
		At                              uint64
		By                              struct{ User string }
	}
}

// beside reports whether a message is one that comes whenever it likes: me/sync, and who is online.
func beside(pk packets.Packet) bool {
	return pk.TopicName == "chat/me/sync" || strings.HasPrefix(pk.TopicName, "chat/users/") && strings.HasSuffix(pk.TopicName, "/presence")
}

// nextTold takes the next message but for those beside, which must be entry seq of the user's inbox.
func nextTold(t testing.TB, c *mqtttest.Client, user string, seq uint64) (e told) {
	t.Helper()
	pk := c.Next()
	for beside(pk) {
		pk = c.Next()
	}
	if err := json.Unmarshal(pk.Payload, &e); err != nil || pk.TopicName != "chat/users/"+user+"/inbox" || e.User != user || e.Seq != seq {
		t.Fatalf("%s carries %s, want entry %d of %s's inbox (%v)", pk.TopicName, pk.Payload, seq, user, err)
	}
	return e
}

// noMore checks that nothing but what stands beside has come, and returns what me/sync says.
func noMore(t testing.TB, c *mqtttest.Client) (syncs string) {
	t.Helper()
	if err := c.Ping(); err != nil {
		t.Fatal(err)
	}
	for c.Waiting() > 0 {
		pk := c.Next()
		if !beside(pk) {
			t.Fatalf("%s carries %s, and nothing was to come", pk.TopicName, pk.Payload)
		}
		if pk.TopicName == "chat/me/sync" {
			syncs += string(pk.Payload)
		}
	}
	return syncs
}

func inboxOf(user string) storage.RoomKey { return storage.InboxLog("chat", user) }

// What concerns somebody who is away reaches them on return, at another node, in order, whichever of the filters that take
// an inbox they have; and me/sync says when that is all.
func TestInboxOfOneWhoIsAway(t *testing.T) {
	t.Parallel()
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{})
	for i, as := range mqtttest.Flavours {
		t.Run(as.String(), func(t *testing.T) {
			room, user := roomOf(t), "bob-"+as.String()
			filter := []string{"chat/users/" + user + "/inbox", "#", "chat/users/+/inbox", "chat/#"}[i]
			o := mqtttest.Options{Flavour: as, User: user, ClientID: "phone", Keep: true}
			phone := mqtttest.Dial(t, c.Nodes[0].At(), o)
			phone.Subscribe(filter)
			phone.Disconnect()
			owner := caller(t, c.Nodes[1], as, "owner-"+as.String())
			call(t, owner, "room.create", `{"room":"`+room+`","kind":"private"}`)
			call(t, owner, "room.invite", `{"room":"`+room+`","user":"`+user+`","reason":"join us"}`)
			owner.Publish(mqtttest.Message(send(room), `{"data":{"text":"hello @both"},"mentions":["`+user+`","eve","`+user+`"]}`, 1))
			call(t, owner, "mod.role", `{"room":"`+room+`","user":"`+user+`","role":"operator"}`)
			call(t, owner, "mod.kick", `{"room":"`+room+`","user":"`+user+`","reason":"enough"}`)
			call(t, owner, "contacts.add", `{"user":"`+user+`"}`)

			phone = mqtttest.Dial(t, c.Nodes[2].At(), o)
			if !phone.Connack.SessionPresent {
				t.Fatal("no session")
			}
			for k, want := range []struct{ typ, event string }{{"invited", ""}, {"mentioned", ""}, {"role", ""}, {"removed", "removed"}, {"contact", "requested"}} {
				e := nextTold(t, phone, user, uint64(k+1))
				if e.Type != want.typ || e.Data.Event != want.event || k < 4 && (e.Data.Room != room || e.Data.By.User != "owner-"+as.String() || e.Data.At != uint64(k+1)) {
					t.Errorf("%d: %+v", k, e)
				}
			}
			if s := noMore(t, phone); strings.Contains(filter, "#") != strings.Contains(s, `{"room":"inbox~`+user+`","from":1,"to":5,`) {
				t.Errorf("me/sync says %s", s)
			}
			phone.Disconnect()

			// All of it was acknowledged: what comes next is what is new.
			call(t, owner, "contacts.remove", `{"user":"`+user+`"}`)
			phone = mqtttest.Dial(t, c.Nodes[1].At(), o)
			if e := nextTold(t, phone, user, 6); e.Data.Event != "withdrawn" {
				t.Errorf("%+v", e)
			}
			if got := head(t, c.Nodes[0], "inbox~eve"); got != 0 {
				t.Errorf("who is no member was told: %d", got)
			}
			c.SameDigest(inboxOf(user), 6)
		})
	}
}

// An inbox is read again from any place, as a room is.
func TestInboxReplay(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		for _, keep := range []bool{false, true} {
			user := fmt.Sprintf("bob-%v-%v", as, keep)
			own := "chat/users/" + user + "/inbox"
			asking := caller(t, n, as, user)
			for i := range 5 {
				call(t, asking, "contacts.add", fmt.Sprintf(`{"user":"c%d"}`, i))
			}
			late := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: user, ClientID: "late", Keep: keep})
			late.Subscribe(own, "chat/me/sync")
			quiet(t, late) // the past is there for who asks
			for _, f := range []string{"$last/2/" + own, "$since/3/" + own, "$last/2/#", "$since/3/chat/users/+/inbox"} {
				late.Subscribe(f)
				for seq := uint64(4); seq <= 5; seq++ {
					nextTold(t, late, user, seq)
				}
				if s := noMore(t, late); !strings.Contains(s, `{"room":"inbox~`+user+`","from":4,"to":5,`) {
					t.Errorf("%s: me/sync says %s", f, s)
				}
				if strings.Contains(f, "#") {
					late.Unsubscribe(f)
				}
			}
			late.Publish(mqtttest.Message("chat/me/rpc/replay", `{"params":{"room":"inbox~`+user+`","since":4}}`, 1))
			nextTold(t, late, user, 5)
			noMore(t, late)
			late.Unsubscribe(own, "chat/users/+/inbox")
			call(t, asking, "contacts.remove", `{"user":"c0"}`)
			noMore(t, late)
		}
	})
}

// What is asked of an inbox is asked of no room, and the larger of two replays counts, whichever comes first.
func TestReplaysOfOneSubscribe(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room, user := roomOf(t), "bob-"+as.String()
		asking := caller(t, n, as, user)
		call(t, asking, "room.create", `{"room":"`+room+`","kind":"public"}`)
		for i := range 5 {
			call(t, asking, "contacts.add", fmt.Sprintf(`{"user":"c%d"}`, i))
		}
		fill(t, asking, room, 0, 5)
		inbox, rooms := "chat/users/"+user+"/inbox", "chat/rooms/+/msg/#"
		for i, tc := range []struct {
			filters     []string
			told, heard int
		}{
			{[]string{rooms, "$last/2/" + inbox}, 2, 0},
			{[]string{"$last/2/" + inbox, rooms}, 2, 0},
			{[]string{"$last/3/" + rooms, "$last/1/" + inbox}, 1, 3},
			{[]string{"$last/1/" + inbox, "$last/3/" + rooms}, 1, 3},
			{[]string{"$last/3/" + rooms, "$last/1/chat/rooms/#"}, 0, 3},
			{[]string{rooms, "$last/4/chat/broadcast/#"}, 0, 0},
			{[]string{"$last/2/#"}, 2, 2},
		} {
			c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: user, ClientID: fmt.Sprint("c", i), Keep: i%2 == 0})
			c.Subscribe(tc.filters...)
			end := fmt.Sprint("end ", i)
			told, heard, ended := 0, 0, false
			count := func() {
				switch pk := c.Next(); pk.TopicName {
				case inbox:
					told++
				case "chat/rooms/" + room + "/msg/text":
					e := parse(t, pk)
					if ended = e.text() == end; !ended {
						heard++
					}
				}
			}
			for told < tc.told || heard < tc.heard { // the rooms of a user are found after the SUBACK
				count()
			}
			asking.Say(room, end)
			for !ended {
				count()
			}
			if err := c.Ping(); err != nil {
				t.Fatal(err)
			}
			for c.Waiting() > 0 {
				count()
			}
			if told != tc.told || heard != tc.heard {
				t.Errorf("%q replays %d entries of the inbox and %d of the room, want %d and %d", tc.filters, told, heard, tc.told, tc.heard)
			}
		}
	})
}

// An inbox has no gaps and no repeats over a restart of its node, and over the death of the leader.
func TestInboxOverAFailover(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			var all []*testcluster.Node
			var fail func()
			if nodes == 1 {
				n := testcluster.Start(t, testcluster.Options{})
				all, fail = []*testcluster.Node{n}, n.Restart
			} else {
				c := testcluster.StartCluster(t, 3, 0, testcluster.Options{})
				leader := c.Leader()
				all = c.Followers()
				fail = func() { leader.Stop(); c.LeaderOf(leader) }
			}
			away, last := all[0], all[len(all)-1]
			o := mqtttest.Options{User: "bob", ClientID: "phone", Keep: true}
			phone := mqtttest.Dial(t, away.At(), o)
			phone.Subscribe("chat/users/bob/inbox")
			phone.Disconnect()
			setUp := caller(t, last, mqtttest.Flavours[0], "owner")
			call(t, setUp, "room.create", `{"room":"club","kind":"private"}`)
			call(t, setUp, "room.invite", `{"room":"club","user":"bob"}`)
			setUp.Disconnect()
			const mentions = 40
			mention := func(c *mqtttest.Client, i int) {
				c.Publish(mqtttest.Message(send("club"), fmt.Sprintf(`{"data":{"text":"%d"},"mentions":["bob"],"cid":"c%d"}`, i, i), 1))
			}
			owner := mqtttest.Dial(t, last.At(), mqtttest.Options{User: "owner", ClientID: "o"})
			for i := range mentions / 2 {
				mention(owner, i)
			}
			fail()
			owner = mqtttest.Dial(t, last.At(), mqtttest.Options{User: "owner", ClientID: "o"})
			for i := mentions / 2; i < mentions; i++ {
				mention(owner, i)
			}
			phone = mqtttest.Dial(t, last.At(), o)
			if e := nextTold(t, phone, "bob", 1); e.Type != "invited" {
				t.Errorf("%+v", e)
			}
			for i := range uint64(mentions) {
				if e := nextTold(t, phone, "bob", i+2); e.Type != "mentioned" || e.Data.At != i+2 {
					t.Fatalf("%d: %+v", i, e)
				}
			}
			quiet(t, phone)
			if got := head(t, last, "inbox~bob"); got != mentions+1 {
				t.Errorf("head %d", got)
			}
		})
	}
}

// Nobody reads or writes the inbox of another, by any way there is, and nobody is told of its entries.
func TestInboxOfAnother(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		victim := "ann-" + as.String()
		ann := caller(t, n, as, victim)
		call(t, ann, "contacts.add", `{"user":"friend"}`)
		topic, log := "chat/users/"+victim+"/inbox", "inbox~"+victim
		before := head(t, n, log)
		for _, user := range []string{"eve", "admin", ""} {
			will := mqtttest.Message(topic, "from a will", 1)
			o := mqtttest.Options{Flavour: as, User: user, ClientID: "x-" + as.String(), Will: &will}
			c := mqtttest.Dial(t, n.At(), o)
			for _, f := range []string{topic, "$last/5/" + topic, "$since/0/" + topic, "chat/rooms/" + log + "/msg/#", "$all/" + topic, "other/users/" + victim + "/inbox"} {
				if ack := c.SubscribeAs(nil, mqtttest.Filter{Filter: f, Qos: 1}); ack.ReasonCodes[0] < 0x80 && !strings.HasPrefix(f, "$all/") {
					t.Errorf("%q subscribes to %s: %#x", user, f, ack.ReasonCodes[0])
				}
			}
			wild := []string{"#", "chat/#", "chat/users/+/inbox", "+/users/+/inbox"}
			if user == "" { // of these a guest may have what is under me
				wild = wild[:2]
			}
			for _, f := range wild {
				c.SubscribeAs(nil, mqtttest.Filter{Filter: f, Qos: 1})
			}
			for qos := range byte(3) {
				for _, retain := range []bool{false, true} {
					for _, to := range []string{topic, "chat/rooms/" + log + "/send", "chat/rooms/" + log + "/state/x", "chat/rooms/" + log + "/live/x/" + user, "chat/rooms/" + log + "/read", "chat/rooms/" + log + "/cheer/x"} {
						pk := mqtttest.Message(to, `{"seq":1}`, qos)
						pk.FixedHeader.Retain = retain
						if ack := c.Publish(pk); qos > 0 && as.Version == mqtttest.V5 && ack.ReasonCode < 0x80 {
							t.Errorf("%q writes to %s: %#x", user, to, ack.ReasonCode)
						}
					}
				}
			}
			for method, params := range map[string]string{
				"replay": `{"room":"` + log + `","last":5}`, "history": `{"room":"` + log + `"}`, "read": `{"room":"` + log + `","seq":1}`,
			} {
				c.Publish(mqtttest.Message("chat/me/rpc/"+method, `{"params":`+params+`}`, 1))
			}
			c.Publish(mqtttest.Message("chat/me/rpc/sync", `{"params":{"rooms":{"`+log+`":0}}}`, 1))
			call(t, ann, "contacts.remove", `{"user":"friend"}`)
			call(t, ann, "contacts.add", `{"user":"friend"}`)
			before += 2
			if err := c.Ping(); err != nil {
				t.Fatal(err)
			}
			for c.Waiting() > 0 {
				pk := c.Next()
				if s := string(pk.Payload); strings.Contains(s, `"added"`) || strings.Contains(s, `"ok":true`) && !strings.Contains(s, `"error"`) {
					t.Errorf("%q gets %s %s", user, pk.TopicName, s)
				}
			}
			c.Cut()
		}
		if m, err := n.Store().InboxMark("chat", victim); err != nil || m.Read != before {
			t.Errorf("%+v, %v: all of it was the doing of %s", m, err, victim)
		}
		if got := head(t, n, log); got != before {
			t.Errorf("the inbox has %d entries, want %d", got, before)
		}
	})
}

// What several filters take comes once, and an inbox is no room: filters on rooms do not take it.
func TestInboxAndFilters(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		user := "bob-" + as.String()
		rooms := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: user, ClientID: "rooms"})
		rooms.Subscribe("chat/rooms/#", "chat/rooms/+/msg/#", "chat/rooms/+/meta", "chat/users/+/presence")
		c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: user, ClientID: "all"})
		c.Subscribe("#", "chat/#", "chat/users/+/inbox", "chat/users/"+user+"/#")
		other := caller(t, n, as, "other-"+as.String())
		call(t, other, "contacts.add", `{"user":"`+user+`"}`)
		nextTold(t, c, user, 1)
		noMore(t, c)
		noMore(t, rooms)
		c.Unsubscribe("#", "chat/#")
		call(t, other, "contacts.remove", `{"user":"`+user+`"}`)
		nextTold(t, c, user, 2)
		c.Unsubscribe("chat/users/+/inbox", "chat/users/"+user+"/#")
		call(t, other, "contacts.add", `{"user":"`+user+`"}`)
		noMore(t, c)
		if as.Version == mqtttest.V5 {
			c.SubscribeAs(func(p *packets.Properties) {
				p.SubscriptionIdentifier = []int{7}
				p.User = []packets.UserProperty{{Key: "since", Val: "2"}}
			}, mqtttest.Filter{Filter: "chat/users/+/inbox", Qos: 1})
			pk := c.Next()
			if ids := pk.Properties.SubscriptionIdentifier; len(ids) != 1 || ids[0] != 7 || userProperty(pk, "seq") != "3" {
				t.Errorf("%v %v %s", ids, pk.Properties.User, pk.Payload)
			}
		}
	})
}
