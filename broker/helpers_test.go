package broker_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"go.uber.org/goleak"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/storage"
)

func TestMain(m *testing.M) {
	if order := os.Getenv(readersEnv); order != "" {
		if err := readersMain(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// entry is a delivered message.
type entry struct {
	Room string `json:"room"`
	Seq  uint64 `json:"seq"`
	N    uint64 `json:"n"`
	TS   int64  `json:"ts"`
	Type string `json:"type"`
	From struct {
		User   string `json:"user"`
		Role   string `json:"role"`
		Device string `json:"device"`
	} `json:"from"`
	CID  string          `json:"cid"`
	Data json.RawMessage `json:"data"`
}

// text returns the text of a message of type text.
func (e *entry) text() string {
	var d struct {
		Text string `json:"text"`
	}
	if json.Unmarshal(e.Data, &d) != nil {
		return ""
	}
	return d.Text
}

func parse(t testing.TB, pk packets.Packet) entry {
	t.Helper()
	var e entry
	if err := json.Unmarshal(pk.Payload, &e); err != nil {
		t.Fatalf("%s carries %q: %v", pk.TopicName, pk.Payload, err)
	}
	if want := "chat/rooms/" + e.Room + "/msg/" + e.Type; pk.TopicName != want {
		t.Fatalf("topic %s of %s", pk.TopicName, pk.Payload)
	}
	return e
}

// each runs f for every flavour of connection, on one node.
func each(t *testing.T, f func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour)) {
	n := testcluster.Start(t, testcluster.Options{})
	for _, as := range mqtttest.Flavours {
		t.Run(as.String(), func(t *testing.T) { f(t, n, as) })
	}
}

// roomOf names a room of the test's own.
func roomOf(t testing.TB) string {
	return "r." + strings.NewReplacer("/", ".", " ", "_").Replace(t.Name())
}

func send(room string) string { return "chat/rooms/" + room + "/send" }

func msgs(room string) string { return "chat/rooms/" + room + "/msg/#" }

func userProperty(pk packets.Packet, name string) string {
	for _, p := range pk.Properties.User {
		if p.Key == name {
			return p.Val
		}
	}
	return ""
}

// collect takes n messages and checks that they are the entries from..from+n-1 of the room, each once, in order.
func collect(t testing.TB, c *mqtttest.Client, room string, from uint64, n int) []entry {
	t.Helper()
	var out []entry
	for i := range n {
		e := parse(t, c.Next())
		if e.Room != room || e.Seq != from+uint64(i) {
			t.Fatalf("message %d is %s/%d, want %s/%d", i, e.Room, e.Seq, room, from+uint64(i))
		}
		out = append(out, e)
	}
	return out
}

// quiet checks that nothing more has come once everything sent before has.
func quiet(t testing.TB, c *mqtttest.Client) {
	t.Helper()
	if err := c.Ping(); err != nil {
		t.Fatal(err)
	}
	if n := c.Waiting(); n > 0 {
		t.Fatalf("%d messages too many, the first is %s", n, c.Next().Payload)
	}
}

func fill(t testing.TB, c *mqtttest.Client, room string, from, n int) {
	t.Helper()
	ids := make([]uint16, n)
	for i := range ids {
		id, err := c.Send(mqtttest.Message(send(room), fmt.Sprint("m", from+i), 1))
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = id
	}
	for _, id := range ids {
		ack, err := c.Outcome(id, 1)
		if err != nil || ack.ReasonCode >= 0x80 {
			t.Fatalf("publish: %v %#x %s", err, ack.ReasonCode, ack.Properties.ReasonString)
		}
	}
}

func roomKey(room string) storage.RoomKey { return storage.RoomKey{NS: "chat", Room: room} }

func sessionID(user, client string) storage.SessionID {
	return storage.SessionID{NS: "chat", User: user, Client: client}
}
