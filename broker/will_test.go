package broker_test

import (
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// A will is published when the connection ends without a DISCONNECT, by the rules a message meets, from clean and stored
// sessions alike.
func TestWills(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		watcher := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "alice", ClientID: "w-" + as.String()})
		watcher.Say(room, "here")
		watcher.Subscribe(msgs(room))
		will := mqtttest.Message(send(room), "gone", 1)
		for _, keep := range []bool{false, true} {
			o := mqtttest.Options{Flavour: as, User: "bob", ClientID: as.String(), Keep: keep, Will: &will}
			mqtttest.Dial(t, n.At(), o).Disconnect() // a goodbye takes it along
			mqtttest.Dial(t, n.At(), o).Cut()
			if e := parse(t, watcher.Next()); e.text() != "gone" || e.From.User != "bob" || e.From.Device != as.String() {
				t.Errorf("keep %v: %+v", keep, e)
			}
			if as.Version == mqtttest.V5 {
				mqtttest.Dial(t, n.At(), o).DisconnectAs(0x04, nil) // disconnect with will message
				if e := parse(t, watcher.Next()); e.text() != "gone" {
					t.Errorf("keep %v: %+v", keep, e)
				}
			}
		}
		quiet(t, watcher)
	})
}

// A will is no way around the rules: it cannot speak in another's name, nor in a room of others.
func TestWillsObeyTheRules(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	alice := token(t, n, "alice")
	var room map[string]any
	if status := post(t, n, "/rooms", alice, `{"room":"private","kind":"private"}`, &room); status != 201 {
		t.Fatalf("%d %v", status, room)
	}
	for _, topic := range []string{
		"chat/rooms/private/send", "chat/rooms/private/msg/text", "chat/rooms/lobby/live/typing/alice", "chat/me/rpc/room.create", "other/rooms/x/send",
	} {
		for _, keep := range []bool{false, true} {
			will := mqtttest.Message(topic, "x", 1)
			c := mqtttest.Dial(t, n.At(), mqtttest.Options{
				Flavour: mqtttest.Flavour{Version: mqtttest.V5}, User: "bob", ClientID: "b", Keep: keep, Will: &will,
			})
			decidedHere := topic != "chat/rooms/private/send" // membership is the log's to decide, when the time comes
			if got := c.Connack.Properties.ReasonString != ""; got != decidedHere {
				t.Errorf("will to %s: CONNACK says %q", topic, c.Connack.Properties.ReasonString)
			}
			c.Cut()
		}
	}
	mqtttest.Dial(t, n.At(), mqtttest.Options{User: "bob", ClientID: "b"}).Disconnect()
	for _, r := range []string{"private", "lobby"} {
		if got := head(t, n, r); got != 0 {
			t.Errorf("room %s has %d entries", r, got)
		}
	}
}

// v5: a will waits for its delay, and a connection that comes back before that keeps it from being published.
func TestWillDelay(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	watcher := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "alice", ClientID: "w"})
	watcher.Subscribe(msgs("lobby"))
	will := mqtttest.Message(send("lobby"), "gone", 1)
	will.Properties.WillDelayInterval = 1
	o := mqtttest.Options{Flavour: mqtttest.Flavour{Version: mqtttest.V5}, User: "bob", ClientID: "b", Keep: true, Will: &will}
	mqtttest.Dial(t, n.At(), o).Cut()
	c := mqtttest.Dial(t, n.At(), o) // back in time
	c.Say("lobby", "back")
	if e := parse(t, watcher.Next()); e.text() != "back" {
		t.Errorf("got %q, though the will's delay had not passed", e.text())
	}
	c.Cut()
	if e := parse(t, watcher.Next()); e.text() != "gone" {
		t.Errorf("got %q, want the will after its delay", e.text())
	}
}

// A client's DISCONNECT may change how long its session is kept, but not bring one about.
func TestSessionExpiryAtDisconnect(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	v5 := mqtttest.Flavour{Version: mqtttest.V5}
	expiry := func(seconds uint32) func(*packets.Properties) {
		return func(p *packets.Properties) { p.SessionExpiryIntervalFlag, p.SessionExpiryInterval = true, seconds }
	}
	o := mqtttest.Options{Flavour: v5, User: "bob", ClientID: "b", Keep: true}
	mqtttest.Dial(t, n.At(), o).DisconnectAs(0, expiry(0))
	if c := mqtttest.Dial(t, n.At(), o); c.Connack.SessionPresent {
		t.Error("the session was to end at once")
	}
	clean := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: v5, User: "bob", ClientID: "c"})
	clean.DisconnectAs(0, expiry(60))
	if got := clean.Ended(); got != 0x82 {
		t.Errorf("ended with %#x, want a protocol error", got)
	}
	// After its expiry a session is forgotten, whether the leader came to say so or not.
	o.Keep, o.Expiry = false, 1
	o.Resume = true
	o.ClientID = "short"
	mqtttest.Dial(t, n.At(), o).Disconnect()
	mqtttest.Eventually(t, "the session has expired", func() bool {
		c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: v5, User: "probe", ClientID: "p"})
		defer c.Disconnect()
		c.Say("clock", "tick") // moves log time
		s, err := n.Store().Session(sessionID("bob", "short"))
		_, now := n.Store().Applied()
		return err == nil && (s == nil || s.EndedAt != 0 && now > s.EndedAt+1000)
	})
	if c := mqtttest.Dial(t, n.At(), o); c.Connack.SessionPresent {
		t.Error("the session had expired")
	}
}
