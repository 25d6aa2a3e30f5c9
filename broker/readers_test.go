package broker_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/mqtttest"
)

// readersEnv makes this test binary a process of many readers: with 10,000 connections both ends do not fit in the
// descriptors one process may have.
const readersEnv = "MADANG_TEST_READERS"

// readersOrder is what such a process is to do: connect that many devices with stored sessions to a room, say "ready",
// take that many messages each and say "done"; the connections stay until its input ends.
type readersOrder struct {
	At, Room        string
	Count, Messages int
}

// readers is such a process.
type readers struct {
	t     testing.TB
	lines *bufio.Scanner
}

func startReaders(t testing.TB, o readersOrder) *readers {
	t.Helper()
	order, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), readersEnv+"="+string(order))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	return &readers{t, bufio.NewScanner(out)}
}

// expect waits for what the process says next.
func (r *readers) expect(want string) {
	r.t.Helper()
	if !r.lines.Scan() || r.lines.Text() != want {
		r.t.Fatalf("the readers say %q, want %q", r.lines.Text(), want)
	}
}

func readersMain(order string) error {
	var o readersOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil {
		return err
	}
	var connecting, reading sync.WaitGroup
	errs, conns := make([]error, o.Count), make([]net.Conn, o.Count)
	slots := make(chan struct{}, 200)
	for i := range o.Count {
		slots <- struct{}{}
		connecting.Add(1)
		reading.Go(func() {
			conn, err := enterRoom(o, i)
			connecting.Done()
			<-slots
			conns[i] = conn // an unreferenced one is closed by the garbage collector
			if errs[i] = err; err == nil {
				errs[i] = takeMessages(conn, o.Messages)
			}
		})
	}
	connecting.Wait()
	fmt.Println("ready")
	reading.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Println("done")
	_, err := io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(conns)
	return err
}

func enterRoom(o readersOrder, i int) (net.Conn, error) {
	conn, err := net.Dial("tcp", o.At)
	if err != nil {
		return nil, err
	}
	var hello bytes.Buffer
	for _, pk := range []packets.Packet{
		{FixedHeader: packets.FixedHeader{Type: packets.Connect}, Connect: packets.ConnectParams{
			ProtocolName: []byte("MQTT"), ClientIdentifier: "phone", Username: fmt.Append(nil, "reader", i), UsernameFlag: true,
			Password: []byte("x"), PasswordFlag: true,
		}},
		{
			FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 1,
			Filters: packets.Subscriptions{{Filter: msgs(o.Room), Qos: 1}},
		},
	} {
		pk.ProtocolVersion = mqtttest.V311
		b, err := mqtttest.Encode(&pk)
		if err != nil {
			return nil, err
		}
		hello.Write(b)
	}
	if _, err := conn.Write(hello.Bytes()); err != nil {
		return nil, err
	}
	for _, want := range []byte{packets.Connack, packets.Suback} {
		pk, err := mqtttest.ReadPacket(conn, mqtttest.V311)
		if err != nil || pk.FixedHeader.Type != want {
			return nil, fmt.Errorf("reader %d: packet type %d, want %d: %w", i, pk.FixedHeader.Type, want, err)
		}
	}
	return conn, nil
}

// takeMessages acknowledges messages of a room that must come each once and in order.
func takeMessages(conn net.Conn, n int) error {
	in := bufio.NewReader(conn)
	for seq := uint64(1); seq <= uint64(n); seq++ {
		pk, err := mqtttest.ReadPacket(in, mqtttest.V311)
		if err != nil {
			return err
		}
		var e entry
		if err := json.Unmarshal(pk.Payload, &e); err != nil || e.Seq != seq {
			return fmt.Errorf("seq %d, want %d: %w", e.Seq, seq, err)
		}
		if _, err := conn.Write([]byte{packets.Puback << 4, 2, byte(pk.PacketID >> 8), byte(pk.PacketID)}); err != nil {
			return err
		}
	}
	return nil
}
