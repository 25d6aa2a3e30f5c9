package broker_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// call makes an rpc and returns its result; a refusal fails the test.
func call(t testing.TB, c *mqtttest.Client, method, params string) json.RawMessage {
	t.Helper()
	r := tryCall(t, c, method, params)
	if !r.OK {
		t.Fatalf("%s %s: %s", method, params, r.Error.Code)
	}
	return r.Result
}

type answer struct {
	OK     bool
	Result json.RawMessage
	Error  struct {
		Code       string
		Status     int
		Detail     string
		RetryAfter int64 `json:"retry_after"`
	}
}

// tryCall is call whose refusal is an answer too. The client must have subscribed to me/reply and wait for nothing else.
func tryCall(t testing.TB, c *mqtttest.Client, method, params string) (r answer) {
	t.Helper()
	c.Publish(mqtttest.Message("chat/me/rpc/"+method, `{"params":`+params+`}`, 1))
	pk := c.Next()
	if pk.TopicName != "chat/me/reply" {
		t.Fatalf("%s %s in place of an answer", pk.TopicName, pk.Payload)
	}
	if err := json.Unmarshal(pk.Payload, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// caller is a client that makes calls and hears their answers alone.
func caller(t testing.TB, n *testcluster.Node, as mqtttest.Flavour, user string) *mqtttest.Client {
	t.Helper()
	c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: user, ClientID: "caller-" + as.String()})
	c.Subscribe("chat/me/reply")
	return c
}

// A new subscriber gets meta and head, retained; afterwards meta with each change, and head as the log goes on.
func TestMetaAndHead(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		owner := caller(t, n, as, "owner-"+as.String())
		call(t, owner, "room.create", `{"room":"`+room+`","kind":"public","name":"A \"room\""}`)
		reader := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "reader", ClientID: as.String()})
		reader.Subscribe("chat/rooms/"+room+"/meta", "chat/rooms/"+room+"/head")
		want := func(name, payload string, retain bool) {
			t.Helper()
			pk := reader.Next()
			if pk.TopicName != "chat/rooms/"+room+"/"+name || pk.FixedHeader.Retain != retain {
				t.Fatalf("%s (retain %v) %s, want %s", pk.TopicName, pk.FixedHeader.Retain, pk.Payload, name)
			}
			if payload != "" && string(pk.Payload) != payload {
				t.Errorf("%s is %s, want %s", name, pk.Payload, payload)
			}
		}
		meta := func(change string) string {
			s := `{"room":"` + room + `","name":"A \"room\"","kind":"public","frozen":false,"slow_mode":0,"guest":"read","state":"members",` +
				`"limits":{"message":262144,"members":100000},"pinned":[]}`
			if change != "" {
				was, is, _ := strings.Cut(change, " ")
				s = strings.Replace(s, was, is, 1)
			}
			return s
		}
		want("meta", meta(""), true)
		quiet(t, reader) // a room without entries has no head
		owner.Say(room, "hello")
		want("head", "", false)
		call(t, owner, "mod.freeze", `{"room":"`+room+`"}`)
		want("meta", meta(`"frozen":false "frozen":true`), false)
		call(t, owner, "mod.unfreeze", `{"room":"`+room+`"}`)
		want("meta", meta(""), false)
		want("head", "", false) // a second later, of all that came meanwhile

		late := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "late", ClientID: as.String()})
		long := strings.Repeat("안", 100)
		owner.Say(room, long)
		late.Subscribe("chat/rooms/" + room + "/head")
		pk := late.Next()
		var h struct {
			Seq, N uint64
			TS     int64
			From   struct{ User string }
			Text   string
		}
		if err := json.Unmarshal(pk.Payload, &h); err != nil {
			t.Fatal(err)
		}
		if !pk.FixedHeader.Retain || h.Seq != 4 || h.N != 2 || h.TS == 0 || h.From.User != "owner-"+as.String() || h.Text != long[:80*3] {
			t.Errorf("head %s, retain %v", pk.Payload, pk.FixedHeader.Retain)
		}
	})
}

// A flood moves head once a second, and the last one is of the room's end.
func TestHeadOncePerSecond(t *testing.T) {
	t.Parallel()
	n := testcluster.Start(t, testcluster.Options{})
	as := mqtttest.Flavours[1]
	owner := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "owner", ClientID: "o"})
	owner.Say("flood", "0")
	reader := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "reader", ClientID: "r"})
	reader.Subscribe("chat/rooms/flood/head")
	reader.Next()
	const last = 2000
	for i := 1; i < last; i++ {
		owner.Publish(mqtttest.Message("chat/rooms/flood/send", fmt.Sprint(i), 0))
	}
	heads := 0
	for seq := uint64(0); seq != last; heads++ {
		var h struct{ Seq uint64 }
		if err := json.Unmarshal(reader.Next().Payload, &h); err != nil || h.Seq <= seq {
			t.Fatalf("head %d after %d, %v", h.Seq, seq, err)
		}
		seq = h.Seq
	}
	if heads > 10 {
		t.Errorf("%d heads for %d messages at once", heads, last)
	}
}

// A client that reads nothing while its rooms change has the newest values when it reads on, of 300 rooms.
func TestValuesWaitForASlowReader(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	as := mqtttest.Flavours[1]
	owner := caller(t, n, as, "owner")
	const rooms = 300
	for i := range rooms {
		call(t, owner, "room.create", fmt.Sprintf(`{"room":"r%d","kind":"public"}`, i))
	}
	reader := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "owner", ClientID: "reader"})
	reader.Subscribe("chat/rooms/+/meta")
	reader.Pause()
	for i := range rooms {
		call(t, owner, "room.set", fmt.Sprintf(`{"room":"r%d","name":"named %d"}`, i, i))
	}
	reader.Unpause()
	names := map[string]string{}
	mqtttest.Eventually(t, "every room has its new name", func() bool {
		for reader.Waiting() > 0 {
			var m struct{ Room, Name string }
			if err := json.Unmarshal(reader.Next().Payload, &m); err != nil {
				t.Fatal(err)
			}
			names[m.Room] = m.Name
		}
		for i := range rooms {
			if names[fmt.Sprint("r", i)] != fmt.Sprint("named ", i) {
				return false
			}
		}
		return true
	})
}

// A room made again under the name of one that was deleted shows nothing of it, and who waited for it gets its meta.
func TestValuesOfARoomMadeAgain(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	as := mqtttest.Flavours[1]
	early := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "eve", ClientID: "early"})
	early.Subscribe("chat/rooms/hr/meta", "chat/rooms/hr/head") // before there is one
	owner := caller(t, n, as, "owner")
	call(t, owner, "room.create", `{"room":"hr","kind":"private"}`)
	owner.Say("hr", "a secret")
	inside := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "owner", ClientID: "inside"})
	inside.Subscribe("chat/rooms/hr/head")
	if pk := inside.Next(); !strings.Contains(string(pk.Payload), "a secret") {
		t.Errorf("%s", pk.Payload)
	}
	call(t, owner, "room.delete", `{"room":"hr"}`)
	eve := caller(t, n, as, "eve")
	call(t, eve, "room.create", `{"room":"hr","kind":"public"}`)
	late := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "late", ClientID: "late"})
	late.Subscribe("chat/rooms/hr/head")
	if pk := late.Next(); strings.Contains(string(pk.Payload), "secret") || !strings.Contains(string(pk.Payload), `"seq":1`) {
		t.Errorf("head of the new room: %s", pk.Payload)
	}
	for _, want := range []string{"meta", "head"} {
		if pk := early.Next(); pk.TopicName != "chat/rooms/hr/"+want || strings.Contains(string(pk.Payload), "secret") {
			t.Errorf("%s %s", pk.TopicName, pk.Payload)
		}
	}
	call(t, eve, "mod.freeze", `{"room":"hr"}`)
	if pk := early.Next(); !strings.Contains(string(pk.Payload), `"frozen":true`) {
		t.Errorf("%s %s", pk.TopicName, pk.Payload)
	}
}

// A head shows the newest message as it is now: edited, and none that is deleted or has expired.
func TestHeadShowsThePresentForm(t *testing.T) {
	t.Parallel()
	n := testcluster.Start(t, testcluster.Options{})
	as := mqtttest.Flavours[1]
	ann := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "ann", ClientID: "a"})
	ann.Say("r", "helo")
	shows := func(text string) {
		t.Helper()
		mqtttest.Eventually(t, "head shows "+text, func() bool {
			c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "reader", ClientID: "r"})
			defer c.Disconnect()
			c.Subscribe("chat/rooms/r/head")
			var h struct{ Text string }
			return json.Unmarshal(c.Next().Payload, &h) == nil && h.Text == text
		})
	}
	ann.Publish(mqtttest.Message("chat/rooms/r/send/edit", `{"target":1,"data":{"text":"hello"}}`, 1))
	shows("hello")
	ann.Publish(mqtttest.Message("chat/rooms/r/send", `{"data":{"text":"gone soon"},"ttl":1}`, 1))
	shows("gone soon")
	mqtttest.Eventually(t, "the message expires", func() bool {
		c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "reader", ClientID: "r"})
		defer c.Disconnect()
		c.Subscribe("chat/rooms/r/head")
		return strings.Contains(string(c.Next().Payload), `"text":"hello"`)
	})
	ann.Publish(mqtttest.Message("chat/rooms/r/send/delete", `{"target":1,"data":{}}`, 1))
	shows("")
}
