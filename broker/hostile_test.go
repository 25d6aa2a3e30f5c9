package broker_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// served checks that others are served.
func served(t testing.TB, n *testcluster.Node, as mqtttest.Flavour) {
	t.Helper()
	c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "witness", ClientID: "w"})
	defer c.Disconnect()
	c.Subscribe(msgs("witness"))
	c.Say("witness", "alive")
	if e := parse(t, c.Next()); e.text() != "alive" {
		t.Fatalf("got %q", e.text())
	}
}

// closed waits until the broker has closed the connection.
func closed(t testing.TB, conn net.Conn) {
	t.Helper()
	timer := time.AfterFunc(mqtttest.Patience, func() { _ = conn.Close() })
	_, _ = io.Copy(io.Discard, conn)
	if !timer.Stop() {
		t.Fatal("the connection was not closed")
	}
	_ = conn.Close()
}

// opened is a connection on which nothing has been said.
func opened(t testing.TB, n *testcluster.Node, as mqtttest.Flavour) net.Conn {
	t.Helper()
	conn, err := mqtttest.Open(n.At(), as)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// heap returns the bytes in use after a collection.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A v5 SUBSCRIBE that ends before its options, which crashes codecs that trust it, ends its connection alone.
func TestTruncatedSubscribe(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "mallory", ClientID: "m"})
		body := []byte{0, 1}
		if as.Version == mqtttest.V5 {
			body = append(body, 0)
		}
		body = append(body, 0, 1, 'a') // a filter without its option byte
		if err := c.Raw(append([]byte{8<<4 | 2, byte(len(body))}, body...)); err != nil {
			t.Fatal(err)
		}
		want := byte(0)
		if as.Version == mqtttest.V5 {
			want = 0x81
		}
		if got := c.Ended(); got != want {
			t.Errorf("ended with %#x", got)
		}
		served(t, n, as)
		mqtttest.Eventually(t, "no ghost is left", func() bool { return n.Broker().Connections() == 0 })
	})
}

// A length of 256 MB that is claimed and never sent costs no memory, before login or after it.
func TestClaimedLength(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	before := heap()
	var conns []net.Conn
	for range 50 {
		conn := opened(t, n, mqtttest.Flavour{})
		if _, err := conn.Write([]byte{1 << 4, 0xff, 0xff, 0xff, 0x7f, 0, 4, 'M', 'Q', 'T', 'T'}); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		closed(t, conn)
	}
	for _, as := range mqtttest.Flavours {
		c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "mallory", ClientID: "m"})
		if err := c.Raw([]byte{3 << 4, 0xff, 0xff, 0xff, 0x7f, 0, 4}); err != nil {
			t.Fatal(err)
		}
		want := byte(0)
		if as.Version == mqtttest.V5 {
			want = 0x95
		}
		if got := c.Ended(); got != want {
			t.Errorf("%v: ended with %#x, want %#x", as, got, want)
		}
	}
	if after := heap(); after > before+32<<20 {
		t.Errorf("the heap grew from %d to %d MiB", before>>20, after>>20)
	}
	served(t, n, mqtttest.Flavours[0])
}

// A message above limits.message, in a packet up to limits.packet, is read, thrown away and refused; the connection stays.
func TestOversizeMessage(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "alice", ClientID: as.String()})
		c.Subscribe("chat/me/error")
		for _, size := range []int{256<<10 + 1, 1 << 20, 15 << 20} {
			for qos := range byte(3) {
				pk := mqtttest.Message(send("lobby"), strings.Repeat("x", size), qos)
				if as.Version == mqtttest.V5 {
					pk.Properties.User = []packets.UserProperty{{Key: "cid", Val: "c"}}
				}
				ack := c.Publish(pk)
				if as.Version == mqtttest.V5 && qos > 0 && ack.ReasonCode != 0x97 {
					t.Errorf("%d bytes at QoS %d: %#x", size, qos, ack.ReasonCode)
				}
				if said := string(c.Next().Payload); !strings.Contains(said, `"code":"too_large"`) || !strings.Contains(said, `"status":413`) {
					t.Errorf("me/error %s", said)
				}
			}
		}
		before := head(t, n, "lobby")
		c.Say("lobby", strings.Repeat("x", 255<<10))
		if got := head(t, n, "lobby"); got != before+1 {
			t.Errorf("%d entries", got-before)
		}
	})
}

// PINGREQs without end are answered, or not read, and cost the node no memory.
func TestPingFlood(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	flood := bytes.Repeat([]byte{0xc0, 0}, 100_000)
	before := heap()
	for _, as := range mqtttest.Flavours {
		connect := append([]byte{0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', as.Version, 0x82, 0, 0}, 0, 1, 'm', 0, 7)
		if as.Version == mqtttest.V5 {
			connect = append([]byte{0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', as.Version, 0x82, 0, 0, 0}, 0, 1, 'm', 0, 7)
		}
		connect = append(connect, "mallory"...)
		connect[1] = byte(len(connect) - 2)
		var running sync.WaitGroup
		for _, deaf := range []bool{false, true} {
			conn, err := mqtttest.Open(n.At(), as)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write(connect); err != nil {
				t.Fatal(err)
			}
			running.Go(func() {
				for range 5 {
					if _, err := conn.Write(flood); err != nil {
						return // its turn to be cut
					}
				}
			})
			if !deaf {
				running.Go(func() { _, _ = io.Copy(io.Discard, conn) })
			}
			t.Cleanup(func() { _ = conn.Close() })
			if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		served(t, n, as)
		running.Wait()
		served(t, n, as)
		if after := heap(); after > before+32<<20 {
			t.Errorf("%v: the heap grew from %d to %d MiB", as, before>>20, after>>20)
		}
	}
}

// Connections that say nothing are closed after a time, and others are served meanwhile.
func TestIdleConnections(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{Set: []string{"limits.connect_timeout=2s"}})
	var conns []net.Conn
	for range 1000 {
		conns = append(conns, opened(t, n, mqtttest.Flavour{}))
	}
	for _, as := range mqtttest.Flavours {
		served(t, n, as)
	}
	for _, conn := range conns {
		closed(t, conn)
	}
}

// A reader that never reads, with no keep alive, costs others nothing and the node a bounded amount; when it reads again
// it gets everything.
func TestReaderThatNeverReads(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		slow := mqtttest.Dial(t, n.At(), mqtttest.Options{
			Flavour: as, User: "slow", ClientID: as.String(), Keep: true, ReadBuffer: 128 << 10,
		})
		slow.Subscribe(msgs(room))
		slow.Pause()
		good := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "good", ClientID: as.String()})
		good.Subscribe(msgs(room))
		alice := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "alice", ClientID: as.String()})
		text := strings.Repeat("x", 16<<10)
		before := heap()
		const total = 1000 // 16 MB: more than socket buffers and the connection's queue hold
		for i := range total {
			alice.Say(room, text)
			if e := parse(t, good.Next()); e.Seq != uint64(i)+1 {
				t.Fatalf("the other reader got %d, want %d", e.Seq, i+1)
			}
		}
		if out := n.Metric("madang_outbound_bytes"); out > 2<<20 {
			t.Errorf("%.0f bytes wait for one socket", out)
		}
		if grown := int64(heap()) - int64(before); grown > 96<<20 { // the tail, the frames and memtables have budgets of their own
			t.Errorf("the heap grew by %d MiB", grown>>20)
		}
		slow.Unpause()
		collect(t, slow, room, 1, total)
		quiet(t, slow)
	})
}

// Packets with flipped, missing and added bytes end connections and nothing else.
func TestMutatedPackets(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	total := 100_000
	if testing.Short() {
		total = 5000
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	before := heap()
	for sent := 0; sent < total; {
		as := mqtttest.Flavours[rng.IntN(2)] // TCP: frames of WebSocket are the transport's to doubt
		conn, err := mqtttest.Open(n.At(), as)
		if err != nil {
			t.Fatal(err)
		}
		var stream bytes.Buffer
		for _, pk := range sampleSession(as.Version, rng) {
			b, err := mqtttest.Encode(&pk)
			if err != nil {
				t.Fatal(err)
			}
			if pk.FixedHeader.Type != packets.Connect || rng.IntN(4) == 0 {
				b = mutate(rng, b)
			}
			stream.Write(b)
			sent++
		}
		_, _ = conn.Write(stream.Bytes()) // the broker may have closed it already
		if rng.IntN(2) == 0 {
			_ = conn.(*net.TCPConn).CloseWrite()
			closed(t, conn)
		}
		_ = conn.Close()
	}
	for _, as := range mqtttest.Flavours {
		served(t, n, as)
	}
	mqtttest.Eventually(t, "no ghosts are left", func() bool { return n.Broker().Connections() == 0 })
	if after := heap(); after > before+64<<20 {
		t.Errorf("the heap grew from %d to %d MiB", before>>20, after>>20)
	}
}

// sampleSession is what a client might say.
func sampleSession(version byte, rng *rand.Rand) []packets.Packet {
	header := func(typ byte) packets.Packet {
		return packets.Packet{ProtocolVersion: version, FixedHeader: packets.FixedHeader{Type: typ}}
	}
	connect := header(packets.Connect)
	connect.Connect = packets.ConnectParams{
		ProtocolName: []byte("MQTT"), ClientIdentifier: "m", Username: []byte("mallory"), UsernameFlag: true,
		Password: []byte("x"), PasswordFlag: true, Clean: rng.IntN(2) == 0, Keepalive: 60,
		WillFlag: true, WillTopic: send("lobby"), WillPayload: []byte("bye"), WillQos: 1,
	}
	all := []packets.Packet{connect}
	for range 1 + rng.IntN(30) {
		id := uint16(1 + rng.IntN(5))
		pk := header(packets.Publish)
		switch rng.IntN(8) {
		case 0:
			pk = header(packets.Subscribe)
			pk.FixedHeader.Qos, pk.PacketID = 1, id
			pk.Filters = packets.Subscriptions{{Filter: "$last/5/" + msgs("lobby"), Qos: 1}, {Filter: "chat/rooms/+/#"}}
		case 1:
			pk = header(packets.Unsubscribe)
			pk.FixedHeader.Qos, pk.PacketID, pk.Filters = 1, id, packets.Subscriptions{{Filter: msgs("lobby")}}
		case 2:
			pk = header(packets.Pubrel)
			pk.PacketID = id
		case 3:
			pk = header(packets.Puback)
			pk.PacketID = id
		case 4:
			pk = header(packets.Pingreq)
		case 5:
			pk.TopicName, pk.Payload = "chat/me/rpc/history", []byte(`{"id":1,"params":{"room":"lobby","limit":5}}`)
		default:
			pk.TopicName, pk.Payload = send("lobby"), []byte(`{"cid":"c","data":{"text":"x"}}`)
			if pk.FixedHeader.Qos = byte(rng.IntN(3)); pk.FixedHeader.Qos > 0 {
				pk.PacketID = id
			}
			if version == mqtttest.V5 {
				pk.Properties.TopicAliasFlag, pk.Properties.TopicAlias = true, uint16(rng.IntN(18))
				pk.Properties.User = []packets.UserProperty{{Key: "cid", Val: "c"}}
			}
		}
		all = append(all, pk)
	}
	return all
}

func mutate(rng *rand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	for range 1 + rng.IntN(3) {
		if len(b) == 0 {
			return b
		}
		at := rng.IntN(len(b))
		switch rng.IntN(4) {
		case 0:
			b[at] ^= 1 << rng.IntN(8)
		case 1:
			b[at] = byte(rng.IntN(256))
		case 2:
			b = append(b[:at], b[at+1:]...)
		case 3:
			b = append(b[:at], append([]byte{byte(rng.IntN(256))}, b[at:]...)...)
		}
	}
	return b
}
