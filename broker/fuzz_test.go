package broker_test

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// What a node that says anything asks: claims are answered always; other questions, which begin with a 0, when this
// version knows them.
func FuzzClaims(f *testing.F) {
	f.Add([]byte("\x04chat\x05alice\x05phone\x07"))
	f.Add([]byte("\x00d{\"ns\":\"chat\",\"user\":\"alice\"}"))
	f.Add([]byte("\x00k{\"ns\":\"chat\",\"user\":\"alice\",\"device\":\"phone\"}"))
	f.Add([]byte("\x00p\x01\x02"))
	n := testcluster.Start(f, testcluster.Options{Memory: true})
	mqtttest.Dial(f, n.At(), mqtttest.Options{User: "alice", ClientID: "phone"}).Subscribe(msgs("lobby"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var answered atomic.Bool
		n.Broker().Asked(b, func([]byte) { answered.Store(true) })
		if claims := len(b) == 0 || b[0] != 0; claims && !bytes.Contains(b, []byte("alice")) && !answered.Load() {
			t.Fatal("no answer")
		}
	})
}

// What another node tells: live values and counts of cheers, of any room, name and user. Readers of the room get what is
// well formed, and are served after it.
func FuzzTold(f *testing.F) {
	f.Add("chat\x00lobby", "typing\x00ann", []byte("\xa0\x9c\x01{}"))
	f.Add("chat\x00lobby", "typing\x00ann", []byte("\x00"))
	f.Add("chat\x00lobby", "\x00n2", []byte("\x01\x02\x05heart\x03"))
	f.Add("chat", "", []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	n := testcluster.Start(f, testcluster.Options{Memory: true})
	dial := func(tb testing.TB) *mqtttest.Client {
		reader := mqtttest.Dial(tb, n.At(), mqtttest.Options{User: "reader", ClientID: "r"})
		reader.Subscribe("chat/rooms/lobby/live/#", "chat/rooms/lobby/tally")
		return reader
	}
	lasting := dial(f)
	f.Fuzz(func(t *testing.T, key, slot string, data []byte) {
		reader := lasting
		if reader == nil {
			reader = dial(t)
		}
		fatal := func(err error) {
			lasting = nil // the inputs that follow, smaller ones of this among them, fail for what they are
			t.Fatalf("%q %q %q: %v", key, slot, data, err)
		}
		n.Broker().Told(key, slot, data)
		n.Broker().Kept(key, func(string, []byte) {})
		if err := reader.Ping(); err != nil {
			fatal(err)
		}
		for reader.Waiting() > 0 {
			if _, err := reader.TryNext(); err != nil {
				fatal(err)
			}
		}
	})
}

// Any bytes on a connection of our own, from its first byte on or after a CONNECT that was right: the connection is closed
// once its client has ended it, others are served, and nobody is left.
func FuzzConnection(f *testing.F) {
	connect := map[byte][]byte{}
	encode := func(pk packets.Packet, version byte) []byte {
		pk.ProtocolVersion = version
		b, err := mqtttest.Encode(&pk)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	for _, v := range []byte{mqtttest.V311, mqtttest.V5} {
		connect[v] = encode(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}, Connect: packets.ConnectParams{
			ProtocolName: []byte("MQTT"), ClientIdentifier: "m", Username: []byte("mallory"), UsernameFlag: true,
			Password: []byte("x"), PasswordFlag: true, Clean: true,
			WillFlag: true, WillTopic: send("lobby"), WillPayload: []byte("bye"), WillQos: 1,
		}}, v)
		f.Add(v == mqtttest.V5, false, connect[v])
		say := mqtttest.Message(send("lobby"), `{"cid":"c","data":{"text":"hi"}}`, 2)
		say.PacketID = 5
		rpc := mqtttest.Message("chat/me/rpc/whoami", `{"id":"1"}`, 1)
		rpc.PacketID = 6
		header := func(typ byte) packets.Packet {
			return packets.Packet{FixedHeader: packets.FixedHeader{Type: typ}, PacketID: 5}
		}
		sub := header(packets.Subscribe)
		sub.Filters = packets.Subscriptions{{Filter: "$last/5/" + msgs("lobby"), Qos: 1}, {Filter: "#"}, {Filter: "chat/me/#"}}
		all := encode(sub, v)
		for _, pk := range []packets.Packet{say, header(packets.Pubrel), rpc, header(packets.Puback), header(packets.Pingreq), header(packets.Disconnect)} {
			all = append(all, encode(pk, v)...)
		}
		f.Add(v == mqtttest.V5, true, all)
	}
	n := testcluster.Start(f, testcluster.Options{Memory: true})
	witness := mqtttest.Dial(f, n.At(), mqtttest.Options{User: "witness", ClientID: "w"})
	f.Fuzz(func(t *testing.T, v5, known bool, b []byte) {
		conn, err := mqtttest.Open(n.At(), mqtttest.Flavour{})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(mqtttest.Patience))
		version := byte(mqtttest.V311)
		if v5 {
			version = mqtttest.V5
		}
		if known {
			b = append(bytes.Clone(connect[version]), b...)
		}
		_, _ = conn.Write(b) // the broker may have closed it already
		_ = conn.(*net.TCPConn).CloseWrite()
		if _, err := io.Copy(io.Discard, conn); err != nil {
			if late, ok := err.(net.Error); ok && late.Timeout() { //nolint:errorlint // as it comes from the socket
				t.Fatalf("%q: the connection stays", b)
			}
		}
		if err := witness.Ping(); err != nil {
			t.Fatalf("%q: another connection: %v", b, err)
		}
		mqtttest.Eventually(t, "nobody is left", func() bool { return n.Broker().Connections() == 1 })
	})
}
