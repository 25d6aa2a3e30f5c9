package broker_test

import (
	"net"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// A room in which most readers are slow: some never read, some read a byte for each message there is, some never
// acknowledge. The others get every message, what waits for the slow ones is bounded, and each gets everything, in order
// and from the first, when it comes back with its session.
func TestSlowCrowd(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{Set: []string{"limits.connection_bytes=256KiB"}})
	const each, total = 2, 250 // of each kind and flavour; 250 messages of 8 KiB are more than a socket and its queue hold
	room := roomOf(t)
	var slow []mqtttest.Options
	var bytewise []net.Conn
	for _, as := range mqtttest.Flavours {
		for i := range 3 * each {
			kind := []string{"deaf", "byte", "mute"}[i%3]
			o := mqtttest.Options{
				Flavour: as, User: strings.Join([]string{kind, as.String(), string(rune('a' + i))}, "-"), ClientID: "phone", Keep: true,
				ReadBuffer: 128 << 10, Manual: true,
			}
			slow = append(slow, o)
			switch kind {
			case "byte":
				conn, _ := raw(t, n, o)
				sub := packets.Packet{
					ProtocolVersion: as.Version, FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 1,
					Filters: packets.Subscriptions{{Filter: msgs(room), Qos: 1}},
				}
				b, err := mqtttest.Encode(&sub)
				if err == nil {
					_, err = conn.Write(b)
				}
				if err == nil {
					_, err = mqtttest.ReadPacket(conn, as.Version)
				}
				if err != nil {
					t.Fatal(err)
				}
				bytewise = append(bytewise, conn)
			default:
				c := mqtttest.Dial(t, n.At(), o)
				c.Subscribe(msgs(room))
				if kind == "deaf" {
					c.Pause()
				}
			}
		}
	}
	var good []*mqtttest.Client
	for _, as := range mqtttest.Flavours {
		c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "good", ClientID: as.String()})
		c.Subscribe(msgs(room))
		good = append(good, c)
	}
	alice := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "alice", ClientID: "a"})
	text := strings.Repeat("x", 8<<10)
	before := heap()
	var one [1]byte
	for i := range total {
		alice.Say(room, text)
		for _, c := range good {
			if e := parse(t, c.Next()); e.Seq != uint64(i)+1 {
				t.Fatalf("a reader who is not slow got %d, want %d", e.Seq, i+1)
			}
		}
		for _, conn := range bytewise {
			if _, err := conn.Read(one[:]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if out, most := n.Metric("madang_outbound_bytes"), float64(len(slow)*2*256<<10); out > most {
		t.Errorf("%.0f bytes wait for sockets, at most %.0f may", out, most)
	}
	if grown := int64(heap()) - int64(before); grown > 128<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	for _, o := range slow {
		o.Manual, o.ReadBuffer = false, 0
		c := mqtttest.Dial(t, n.At(), o)
		if !c.Connack.SessionPresent {
			t.Errorf("%s: the session is gone", o.User)
		}
		collect(t, c, room, 1, total)
		c.Cut()
	}
}

// What comes for a reader whose socket has taken nothing for a second stays in the log, however much might wait in memory; when
// it reads again it gets everything.
func TestStalledReaderWaitsInTheLog(t *testing.T) {
	t.Parallel()
	n := testcluster.Start(t, testcluster.Options{Set: []string{"limits.connection_bytes=64MiB", "limits.window=10000"}})
	for _, as := range mqtttest.Flavours {
		t.Run(as.String(), func(t *testing.T) {
			room := roomOf(t)
			alice := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "alice", ClientID: as.String()})
			alice.Say(room, "first")
			deaf := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "deaf", ClientID: as.String(), ReadBuffer: 128 << 10})
			deaf.Subscribe(msgs(room))
			deaf.Pause()
			text, said := strings.Repeat("x", 32<<10), 1
			mqtttest.Eventually(t, "nothing more is queued", func() bool {
				before := n.Metric("madang_outbound_bytes")
				for range 5 {
					alice.Say(room, text)
					said++
				}
				return before > 0 && n.Metric("madang_outbound_bytes") == before
			})
			deaf.Unpause()
			collect(t, deaf, room, 2, said-1) // in order, and each once
			deaf.Cut()
		})
	}
}
