package broker_test

import (
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// A session that was away for 10,000 messages gets them all, in order, once, with session present 1; also over a restart
// of the node.
func TestAwayForTenThousand(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	const total = 10_000
	room := "away"
	options := func(as mqtttest.Flavour) mqtttest.Options {
		return mqtttest.Options{Flavour: as, User: "bob", ClientID: "dev-" + as.String(), Keep: true}
	}
	for _, as := range mqtttest.Flavours {
		c := mqtttest.Dial(t, n.At(), options(as))
		if c.Connack.SessionPresent {
			t.Errorf("%v: session present at the first connection", as)
		}
		c.Subscribe(msgs(room))
		c.Disconnect()
	}
	alice := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "alice", ClientID: "a"})
	before := n.Store().Stats()
	for i := 0; i < total; i += 500 {
		if i == total/2 {
			n.Restart()
			alice = mqtttest.Dial(t, n.At(), mqtttest.Options{User: "alice", ClientID: "a"})
			before = n.Store().Stats()
		}
		fill(t, alice, room, i, 500)
	}
	after := n.Store().Stats()
	if perMessage := float64(after.BatchKeys-before.BatchKeys) / (total / 2); perMessage > 4 {
		t.Errorf("%.1f keys are written per message with four absent sessions", perMessage)
	}
	for _, as := range mqtttest.Flavours {
		t.Run(as.String(), func(t *testing.T) {
			c := mqtttest.Dial(t, n.At(), options(as))
			if !c.Connack.SessionPresent {
				t.Error("no session present")
			}
			for i, e := range collect(t, c, room, 1, total) {
				if want := fmt.Sprint("m", i); e.text() != want {
					t.Fatalf("entry %d is %q, want %q", e.Seq, e.text(), want)
				}
			}
			quiet(t, c)
			c.Disconnect()
			c = mqtttest.Dial(t, n.At(), options(as))
			quiet(t, c) // all of it was acknowledged
		})
	}
}

// What was delivered and not acknowledged comes again with DUP, what was not delivered comes without.
func TestUnacknowledgedComesAgain(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		o := mqtttest.Options{Flavour: as, User: "bob", ClientID: as.String(), Keep: true, Manual: true}
		c := mqtttest.Dial(t, n.At(), o)
		c.Subscribe(msgs(room))
		alice := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "alice", ClientID: "a-" + as.String()})
		fill(t, alice, room, 0, 10)
		for i := range 10 {
			pk := c.Next()
			if i != 3 && i != 7 { // acknowledged out of order, with holes
				if err := c.Ack(pk.PacketID); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := c.Ping(); err != nil {
			t.Fatal(err)
		}
		c.Cut()
		mqtttest.Eventually(t, "the broker sees the end", func() bool {
			s, err := n.Store().Session(sessionID("bob", as.String()))
			return err == nil && s != nil && !s.Connected
		})
		fill(t, alice, room, 10, 5)
		o.Manual = false
		c = mqtttest.Dial(t, n.At(), o)
		if !c.Connack.SessionPresent {
			t.Fatal("no session present")
		}
		// The place is the lowest entry that was not acknowledged: from there all come again.
		for seq := uint64(4); seq <= 15; seq++ {
			pk := c.Next()
			if e := parse(t, pk); e.Seq != seq {
				t.Fatalf("seq %d, want %d", e.Seq, seq)
			}
			if pk.FixedHeader.Dup != (seq <= 10) {
				t.Errorf("seq %d: DUP %v", seq, pk.FixedHeader.Dup)
			}
		}
		quiet(t, c)
	})
}

// What was acknowledged right before the end does not come again.
func TestAcknowledgedAtTheEnd(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		o := mqtttest.Options{Flavour: as, User: "bob", ClientID: as.String(), Keep: true, Manual: true}
		alice := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "alice", ClientID: "a-" + as.String()})
		mqtttest.Dial(t, n.At(), o).Subscribe(msgs(room))
		for round := range 20 {
			c := mqtttest.Dial(t, n.At(), o)
			alice.Say(room, "hello")
			pk := c.Next()
			if e := parse(t, pk); e.Seq != uint64(round)+1 {
				t.Fatalf("round %d: entry %d", round, e.Seq)
			}
			end := []byte{packets.Puback << 4, 2, byte(pk.PacketID >> 8), byte(pk.PacketID), packets.Disconnect << 4, 0}
			if err := c.Raw(end); err != nil {
				t.Fatal(err)
			}
			c.Ended()
		}
	})
}

// The client's Receive Maximum bounds what is in flight, and a client that acknowledges slowly loses nothing.
func TestReceiveMaximum(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	const window, total = 5, 200
	c := mqtttest.Dial(t, n.At(), mqtttest.Options{
		Flavour: mqtttest.Flavour{Version: mqtttest.V5}, User: "bob", ClientID: "b", Manual: true, ReceiveMaximum: window,
	})
	c.Subscribe(msgs("r"))
	alice := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "alice", ClientID: "a"})
	fill(t, alice, "r", 0, total)
	var unacked []uint16
	for seq := uint64(1); seq <= total; {
		if err := c.Ping(); err != nil {
			t.Fatal(err)
		}
		for c.Waiting() > 0 {
			pk := c.Next()
			if e := parse(t, pk); e.Seq != seq {
				t.Fatalf("seq %d, want %d", e.Seq, seq)
			}
			seq++
			unacked = append(unacked, pk.PacketID)
		}
		if len(unacked) > window {
			t.Fatalf("%d in flight, Receive Maximum %d", len(unacked), window)
		}
		if seq <= total && len(unacked) == 0 {
			continue
		}
		last := unacked[len(unacked)-1] // the newest first: any order is allowed
		unacked = unacked[:len(unacked)-1]
		if err := c.Ack(last); err != nil {
			t.Fatal(err)
		}
	}
}

// rooms/+ are the rooms of the user, now and later, on live and on stored sessions.
func TestJoinedRooms(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		user := "u-" + as.String()
		o := mqtttest.Options{Flavour: as, User: user, ClientID: "d", Keep: true}
		c := mqtttest.Dial(t, n.At(), o)
		c.Subscribe("chat/rooms/+/msg/#", "chat/me/reply")
		alice := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "alice", ClientID: "a-" + as.String()})
		alice.Say(room, "before the join")
		quiet(t, c)
		call := func(method string) {
			t.Helper()
			c.Publish(mqtttest.Message("chat/me/rpc/"+method, `{"id":1,"params":{"room":"`+room+`"}}`, 1))
			for {
				if pk := c.Next(); pk.TopicName == "chat/me/reply" {
					if string(pk.Payload[:16]) != `{"id":1,"ok":tru` {
						t.Fatalf("%s: %s", method, pk.Payload)
					}
					return
				}
			}
		}
		call("room.join") // seq 2, which is the first that belongs to the member
		alice.Say(room, "after")
		e := parse(t, c.Next())
		if e.Seq == 2 { // the system entry may come before or after the answer
			e = parse(t, c.Next())
		}
		if e.Seq != 3 || e.text() != "after" {
			t.Fatalf("got %+v", e)
		}
		quiet(t, c)
		c.Disconnect()
		fill(t, alice, room, 0, 50)
		c = mqtttest.Dial(t, n.At(), o)
		collect(t, c, room, 4, 50)
		call("room.leave") // seq 54
		alice.Say(room, "unheard")
		quiet(t, c)
	})
}
