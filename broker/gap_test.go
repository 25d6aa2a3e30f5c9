package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/broker"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// position is a message on me/sync.
type position struct {
	Room           string
	From, To       uint64
	Gap, Live      bool
	First          uint64
	SkippedExpired uint64
}

func positionOf(t testing.TB, pk packets.Packet) position {
	t.Helper()
	var p struct {
		position
		Skipped struct{ Expired uint64 }
	}
	if err := json.Unmarshal(pk.Payload, &p); err != nil || pk.TopicName != "chat/me/sync" {
		t.Fatalf("%s %s: %v", pk.TopicName, pk.Payload, err)
	}
	p.SkippedExpired = p.Skipped.Expired
	return p.position
}

// reads takes entries and positions until entry last has come, and checks that whatever is missing was declared before.
func reads(t testing.TB, c *mqtttest.Client, from, last uint64) (gaps []position) {
	t.Helper()
	for next := from; next <= last; {
		pk := c.Next()
		if pk.TopicName == "chat/me/sync" {
			if p := positionOf(t, pk); p.Gap {
				if p.From != next || p.To < p.From {
					t.Fatalf("a gap from %d to %d, and %d is next", p.From, p.To, next)
				}
				gaps, next = append(gaps, p), p.To+1
			}
			continue
		}
		if e := parse(t, pk); e.Seq != next {
			t.Fatalf("entry %d without a gap declared, want %d", e.Seq, next)
		}
		next++
	}
	return gaps
}

// away leaves a session on the room and on me/sync, and returns how its device connects, and somebody who talks meanwhile.
func away(t testing.TB, n *testcluster.Node, as mqtttest.Flavour, room string, more ...string) (o mqtttest.Options, alice *mqtttest.Client) {
	t.Helper()
	o = mqtttest.Options{Flavour: as, User: "bob", ClientID: as.String(), Keep: true}
	c := mqtttest.Dial(t, n.At(), o)
	c.Subscribe(append(more, msgs(room), "chat/me/sync")...)
	c.Disconnect()
	return o, mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "alice", ClientID: "a-" + as.String()})
}

// A QoS 0 reader that is too far behind skips to the head, and says so.
func TestQoS0ReaderSkipsWithADeclaredGap(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{Set: []string{"limits.qos0_lag=100", "limits.message=32KiB", "limits.connection_bytes=64KiB"}})
	for _, as := range mqtttest.Flavours {
		t.Run(as.String(), func(t *testing.T) {
			room := roomOf(t)
			slow := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "slow", ClientID: as.String(), ReadBuffer: 128 << 10})
			slow.SubscribeAs(nil, mqtttest.Filter{Filter: msgs(room)}, mqtttest.Filter{Filter: "chat/me/sync"})
			slow.Pause()
			alice := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "alice", ClientID: as.String()})
			text := strings.Repeat("x", 16<<10)
			const total = 600
			for range total {
				alice.Say(room, text)
			}
			slow.Unpause()
			alice.Say(room, "the last")
			if gaps := reads(t, slow, 1, total+1); len(gaps) == 0 {
				t.Error("nothing was skipped")
			}
			quiet(t, slow)
		})
	}
}

// A client that wants a short backlog skips what is older, at QoS 1 too.
func TestBacklog(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		o, alice := away(t, n, as, room, "chat/me/reply")
		fill(t, alice, room, 0, 100)
		if as.Version == mqtttest.V5 {
			o.Properties = func(p *packets.Properties) { p.User = []packets.UserProperty{{Key: "backlog", Val: "10"}} }
			c := mqtttest.Dial(t, n.At(), o)
			if gaps := reads(t, c, 1, 100); len(gaps) != 1 || gaps[0].To != 90 {
				t.Errorf("gaps %+v", gaps)
			}
			return
		}
		c := mqtttest.Dial(t, n.At(), o)
		reads(t, c, 1, 100)
		c.Publish(mqtttest.Message("chat/me/rpc/session.set", `{"id":1,"params":{"backlog":10}}`, 1))
		for c.Next().TopicName != "chat/me/reply" {
		}
		c.Publish(mqtttest.Message("chat/me/rpc/replay", `{"id":2,"params":{"room":"`+room+`","last":5}}`, 1))
		for want := uint64(96); want <= 100; { // what was asked for is given whatever the backlog is
			if pk := c.Next(); strings.HasPrefix(pk.TopicName, "chat/rooms/") {
				if e := parse(t, pk); e.Seq != want {
					t.Fatalf("entry %d, want %d", e.Seq, want)
				}
				want++
			}
		}
	})
}

// duties runs the leader's duties of the node at a pace of the test's own.
func duties(t testing.TB, n *testcluster.Node, keep broker.Retention) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	d := &broker.Duties{
		Store: n.Store(), Log: broker.Commands{Node: n.Node()}, Leader: n.Node(), Retention: keep, Every: 10 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler),
	}
	var running sync.WaitGroup
	running.Go(func() { d.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
}

// Retention removes the oldest entries; a device that comes back later is told of the gap first.
func TestRetentionLeavesADeclaredGap(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		o, alice := away(t, n, as, room)
		fill(t, alice, room, 0, 100)
		duties(t, n, broker.Retention{Count: 10})
		mqtttest.Eventually(t, "the oldest entries are gone", func() bool {
			r, err := n.Store().Room(roomKey(room))
			return err == nil && r.Head.First == 91
		})
		c := mqtttest.Dial(t, n.At(), o)
		if gaps := reads(t, c, 1, 100); len(gaps) != 1 || gaps[0].To != 90 || gaps[0].First != 91 {
			t.Errorf("gaps %+v", gaps)
		}
	})
}

// A session is gone when it was away for longer than its expiry.
func TestSessionExpires(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	duties(t, n, broker.Retention{})
	for _, as := range mqtttest.Flavours {
		if as.Version != mqtttest.V5 {
			continue // v3.1.1 has no expiry of its own
		}
		o := mqtttest.Options{Flavour: as, User: "bob", ClientID: as.String(), Expiry: 1, Resume: true}
		mqtttest.Dial(t, n.At(), o).Disconnect()
		mqtttest.Eventually(t, "the session is gone", func() bool {
			s, err := n.Store().Session(sessionID("bob", as.String()))
			return err == nil && s == nil
		})
		if c := mqtttest.Dial(t, n.At(), o); c.Connack.SessionPresent {
			t.Error("an expired session is present")
		}
	}
}

// A message whose ttl has passed is left out for those who were away, and counted; v5 readers of one that has not are
// told how long it stays.
func TestMessageExpiry(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		o, alice := away(t, n, as, room)
		for _, ttl := range []int{1, 3600} {
			alice.Say(room, fmt.Sprintf(`{"ttl":%d,"data":{"text":"for a while"}}`, ttl))
		}
		_, sent := n.Store().Applied()
		mqtttest.Eventually(t, "the first has expired", func() bool { return n.Store().Now() > sent+1000 })
		c := mqtttest.Dial(t, n.At(), o)
		pk := c.Next()
		if e := parse(t, pk); e.Seq != 2 {
			t.Fatalf("got entry %d", e.Seq)
		}
		if left := pk.Properties.MessageExpiryInterval; as.Version == mqtttest.V5 && (left == 0 || left >= 3600) {
			t.Errorf("Message Expiry Interval %d", left)
		}
		if p := positionOf(t, c.Next()); p.SkippedExpired != 1 || p.Gap || !p.Live || p.To != 2 {
			t.Errorf("me/sync %+v", p)
		}
	})
}
