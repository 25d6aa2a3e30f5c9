package broker_test

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// With one CONNECT worked on at a time, a hundred that come in half keep nobody waiting, and each is let in when the other half
// has come, also byte by byte and with packets behind it; those whose other half never comes are closed after a time.
func TestConnectInPieces(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{Set: []string{"limits.connecting=1", "limits.connect_timeout=3s"}})
	whole := func(version byte, id string) []byte {
		b, err := mqtttest.Encode(mqtttest.ConnectPacket(mqtttest.Options{
			Flavour: mqtttest.Flavour{Version: version}, User: "pieces", ClientID: id,
		}))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	open := func() net.Conn { return opened(t, n, mqtttest.Flavour{}) }
	write := func(conn net.Conn, b []byte) {
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	var halves []net.Conn
	for i := range 100 {
		b := whole(mqtttest.V311, string(rune('a'+i%26)))
		conn := open()
		write(conn, b[:1+i%(len(b)-1)])
		halves = append(halves, conn)
	}
	for _, as := range mqtttest.Flavours {
		served(t, n, as)
	}
	for _, version := range []byte{mqtttest.V311, mqtttest.V5} {
		conn := open()
		b := append(whole(version, "late"), 0xc0, 0x00) // and a PINGREQ
		for i := range b {
			write(conn, b[i:i+1])
		}
		answer := make([]byte, 2)
		expect(t, conn, answer)
		if answer[0] != packets.Connack<<4 {
			t.Fatalf("answered with %x", answer)
		}
		expect(t, conn, make([]byte, answer[1]))
		if expect(t, conn, answer); !bytes.Equal(answer, []byte{0xd0, 0x00}) {
			t.Errorf("the PINGREQ behind it was answered with %x", answer)
		}
	}
	for _, conn := range halves {
		closed(t, conn)
	}
}

// expect fills b with what comes.
func expect(t *testing.T, conn net.Conn, b []byte) {
	t.Helper()
	if _, err := io.ReadFull(conn, b); err != nil {
		t.Fatal(err)
	}
}
