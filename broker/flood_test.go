package broker_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// raw logs in over a connection that the test drives itself.
func raw(t testing.TB, n *testcluster.Node, o mqtttest.Options) (net.Conn, packets.Packet) {
	t.Helper()
	conn := opened(t, n, o.Flavour)
	_ = conn.SetDeadline(clock.Now().Add(mqtttest.Patience)) // it fails on what is closed only
	b, err := mqtttest.Encode(mqtttest.ConnectPacket(o))
	if err == nil {
		_, err = conn.Write(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	connack, err := mqtttest.ReadPacket(conn, o.Version)
	if err != nil {
		t.Fatal(err)
	}
	return conn, connack
}

// attack is a client that sends one packet for ever.
type attack struct {
	name   string
	packet packets.Packet
	answer byte // what each is answered with
	stored int  // messages at most; -1 = as many as the quota lets through
}

func floods(room string) []attack {
	id := func(pk packets.Packet, dup bool) packets.Packet {
		pk.PacketID, pk.FixedHeader.Dup = 7, dup
		return pk
	}
	twice := id(mqtttest.Message(send(room), "again", 2), true)
	sub := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 8,
		Filters: packets.Subscriptions{{Filter: msgs(room)}},
	}
	return []attack{
		{name: "same cid", packet: id(mqtttest.Message(send(room), `{"cid":"c","data":{"text":"x"}}`, 1), false), answer: packets.Puback, stored: 1},
		{name: "must be refused", packet: id(mqtttest.Message("chat/broadcast/text", "buy", 1), false), answer: packets.Puback},
		{name: "DUP", packet: id(mqtttest.Message(send(room), "again", 1), true), answer: packets.Puback, stored: -1},
		{name: "nothing to tell by", packet: id(mqtttest.Message(send(room), "again", 1), false), answer: packets.Puback, stored: -1},
		{name: "QoS 2 without PUBREL", packet: twice, answer: packets.Pubrec, stored: 1},
		{name: "too large", packet: id(mqtttest.Message(send(room), strings.Repeat("x", 400<<10), 1), false), answer: packets.Puback},
		{name: "SUBSCRIBE", packet: sub, answer: packets.Suback},
	}
}

// logged counts the lines of a node's log.
type logged struct{ lines atomic.Int64 }

func (l *logged) Write(b []byte) (int, error) {
	l.lines.Add(int64(bytes.Count(b, []byte{'\n'})))
	return len(b), nil
}

// A client that sends the same packet for ever, as fast as it can and without waiting for an answer, is answered each
// time, read more slowly, and sent away with a reason; it comes back at once and is not let in, and its user's other
// devices are. One message at most is there when it can be told, and the log has a few lines.
func TestFloodWithoutEnd(t *testing.T) {
	var log logged
	n := testcluster.Start(t, testcluster.Options{Log: &log, Set: []string{
		"limits.messages_per_second=5", fmt.Sprint("limits.flood_refusals=", floodRefusals), "limits.filters_per_session=20",
	}})
	before := log.lines.Load()
	all := 0
	t.Run("each", func(t *testing.T) {
		for _, as := range mqtttest.Flavours {
			for i, a := range floods("") {
				all++
				t.Run(as.String()+"/"+a.name, func(t *testing.T) {
					t.Parallel()
					floodUntilSentAway(t, n, as, i)
				})
			}
		}
	})
	if lines := log.lines.Load() - before; lines > 60 {
		t.Errorf("%d lines in the log", lines)
	}
	if got := n.Metric("madang_flood_closed_total"); got != float64(all) {
		t.Errorf("%v connections were sent away for flooding, not %d", got, all)
	}
}

const floodRefusals = 15

// flooded is what became of a flood.
type flooded struct {
	sent, answers int
	bye           *packets.Packet
	err           error // how it ended
}

// floodWith sends a packet a million times, and reads what comes until the connection ends.
func floodWith(t testing.TB, conn net.Conn, version byte, a *attack) (f flooded) {
	t.Helper()
	a.packet.ProtocolVersion = version
	b, err := mqtttest.Encode(&a.packet)
	if err != nil {
		t.Fatal(err)
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		for f.sent < 1_000_000 {
			f.sent++
			if _, err := conn.Write(b); err != nil {
				return
			}
		}
	})
	defer sending.Wait()
	defer func() { _ = conn.Close() }()
	for {
		pk, err := mqtttest.ReadPacket(conn, version)
		if err != nil {
			f.err = err
			return f
		}
		switch pk.FixedHeader.Type {
		case packets.Disconnect:
			f.bye = &pk
		case a.answer:
			f.answers++
		default:
			t.Errorf("an answer of type %d", pk.FixedHeader.Type)
		}
	}
}

func floodUntilSentAway(t *testing.T, n *testcluster.Node, as mqtttest.Flavour, i int) {
	room := roomOf(t)
	a := floods(room)[i]
	o := mqtttest.Options{Flavour: as, User: "flooder-" + as.String() + fmt.Sprint(i), ClientID: "a"}
	other := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "bob-" + o.User, ClientID: "b"})
	fill(t, other, room, 1, 1)

	conn, connack := raw(t, n, o)
	if connack.ReasonCode != 0 {
		t.Fatalf("CONNACK %#x", connack.ReasonCode)
	}
	f := floodWith(t, conn, as.Version, &a)
	if errors.Is(f.err, os.ErrDeadlineExceeded) {
		t.Fatalf("still connected after %d answers", f.answers)
	}
	if as.Version == mqtttest.V5 && (f.bye == nil || f.bye.ReasonCode != 0x96) {
		t.Errorf("DISCONNECT %+v, %v", f.bye, f.err)
	}
	got := int(head(t, n, room)) - 1
	if a.stored >= 0 && got > a.stored || a.stored < 0 && got > f.answers || f.answers < floodRefusals {
		t.Errorf("%d sent, %d answered, %d messages are there", f.sent, f.answers, got)
	}

	if _, connack = raw(t, n, o); connack.ReasonCode != 0x9f && (as.Version == mqtttest.V5 || connack.ReasonCode != 3) {
		t.Errorf("back at once: CONNACK %#x", connack.ReasonCode)
	}
	if why := connack.Properties.ReasonString; as.Version == mqtttest.V5 && !strings.Contains(why, "(limits.flood_refusals)") {
		t.Errorf("back at once: CONNACK says %q", why)
	}
	o.ClientID = "another"
	if _, connack = raw(t, n, o); connack.ReasonCode != 0 {
		t.Errorf("another device: CONNACK %#x", connack.ReasonCode)
	}
	if !other.Alive() {
		t.Error("another user is gone")
	}
}
