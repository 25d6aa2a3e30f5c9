package broker_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// The same device reconnecting quickly under load loses no subscription and no message, and each older connection ends.
func TestReconnecting200Times(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	const room, times = "take", 200
	talker := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "alice", ClientID: "talker"})
	talker.Say(room, "first")
	stop := make(chan struct{})
	var talking sync.WaitGroup
	talking.Go(func() {
		for {
			if _, err := talker.TryPublish(mqtttest.Message(send(room), "live", 1)); err != nil {
				t.Error(err)
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	var conns []*mqtttest.Client
	for i := range times {
		c := mqtttest.Dial(t, n.At(), mqtttest.Options{
			Flavour: mqtttest.Flavours[i%len(mqtttest.Flavours)], User: "bob", ClientID: "phone", Keep: true,
		})
		if c.Connack.SessionPresent != (i > 0) {
			t.Fatalf("connection %d: session present %v", i, c.Connack.SessionPresent)
		}
		if i == 0 {
			c.Subscribe(msgs(room))
		}
		conns = append(conns, c)
	}
	close(stop)
	talking.Wait()
	last := conns[times-1]
	top := head(t, n, room)
	got := map[uint64]bool{}
	newest := uint64(0)
	for i, c := range conns[:times-1] {
		want := byte(0)
		if mqtttest.Flavours[i%len(mqtttest.Flavours)].Version == mqtttest.V5 {
			want = 0x8e
		}
		if reason := c.Ended(); reason != want {
			t.Fatalf("connection %d ended with %#x, want %#x", i, reason, want)
		}
	}
	for i, c := range conns {
		prev := uint64(0)
		for c != last || newest < top {
			if c != last && c.Waiting() == 0 {
				break
			}
			e := parse(t, c.Next())
			if prev != 0 && e.Seq != prev+1 {
				t.Fatalf("connection %d: %d after %d", i, e.Seq, prev)
			}
			prev = e.Seq
			got[e.Seq] = true
			newest = max(newest, e.Seq)
		}
	}
	for seq := slices.Min(slices.Collect(maps.Keys(got))); seq <= top; seq++ {
		if !got[seq] {
			t.Fatalf("entry %d of %d reached no connection", seq, top)
		}
	}
	mqtttest.Eventually(t, "one connection is left", func() bool { return n.Broker().Connections() == 2 })
}

// A client id belongs to its user: another user with the same one has a session of its own.
func TestClientIDsAreScopedToUsers(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		var all []*mqtttest.Client
		for i := range 3 {
			c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: fmt.Sprintf("u%d-%v", i, as), ClientID: "same", Keep: true})
			if c.Connack.SessionPresent {
				t.Errorf("user %d has somebody else's session", i)
			}
			c.Subscribe(msgs(room))
			all = append(all, c)
		}
		all[0].Say(room, "hello")
		for _, c := range all {
			collect(t, c, room, 1, 1)
			if !c.Alive() {
				t.Error("a connection was taken over by another user")
			}
		}
	})
}

// A session ends with its connection, after its expiry, or with a clean start; session present says which.
func TestSessionPresent(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	room := "r"
	for _, as := range mqtttest.Flavours {
		t.Run(as.String(), func(t *testing.T) {
			o := mqtttest.Options{Flavour: as, User: "bob", ClientID: as.String(), Keep: true}
			dial := func(present bool) *mqtttest.Client {
				t.Helper()
				c := mqtttest.Dial(t, n.At(), o)
				if c.Connack.SessionPresent != present {
					t.Errorf("session present %v, want %v", c.Connack.SessionPresent, present)
				}
				return c
			}
			c := dial(false)
			c.Subscribe(msgs(room))
			c.Disconnect()
			dial(true).Cut()
			dial(true).Disconnect()
			o.Keep = false // a clean session forgets the stored one
			dial(false).Disconnect()
			o.Keep = true
			dial(false).Disconnect()
			dial(true).Disconnect()
			if as.Version != mqtttest.V5 {
				return
			}
			// Clean Start 0 with expiry 0 goes on with what there is, for the last time.
			o.Keep, o.Resume = false, true
			dial(true).Disconnect()
			dial(false).Disconnect()
		})
	}
}
