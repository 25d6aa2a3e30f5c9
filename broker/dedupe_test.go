package broker_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"pgregory.net/rapid"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/internal/webtest"
	"github.com/madang-chat/madang/storage"
)

// token logs user in over HTTP.
func token(t testing.TB, n *testcluster.Node, user string) string {
	t.Helper()
	var answer struct{ Token string }
	status := post(t, n, "/auth/login", "", fmt.Sprintf(`{"user":%q,"password":"x"}`, user), &answer)
	if status != http.StatusOK || answer.Token == "" {
		t.Fatalf("login: %d", status)
	}
	return answer.Token
}

func post(t testing.TB, n *testcluster.Node, path, token, body string, into any) int {
	t.Helper()
	status, b := webtest.Caller{Addr: n.Addr("web"), Token: token}.Send(t, "POST "+path, body)
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %d %s", path, status, b)
	}
	return status
}

func head(t testing.TB, n *testcluster.Node, room string) uint64 {
	t.Helper()
	r, err := n.Store().Room(storage.RoomKey{NS: "chat", Room: room})
	if err != nil {
		t.Fatal(err)
	}
	if r == nil {
		return 0
	}
	return r.Head.Seq
}

// The same cid is one message: over MQTT and HTTP, after a reconnect, after a restart. Each answer carries the first seq.
func TestSameCIDIsOneMessage(t *testing.T) {
	each(t, func(t *testing.T, n *testcluster.Node, as mqtttest.Flavour) {
		room := roomOf(t)
		o := mqtttest.Options{Flavour: as, User: "alice", ClientID: as.String()}
		alice := mqtttest.Dial(t, n.At(), o)
		alice.Subscribe("chat/me/ack")
		const body = `{"cid":"c-1","data":{"text":"once"}}`
		var seq uint64
		check := func(when string, duplicate bool) {
			t.Helper()
			ack := alice.Publish(mqtttest.Message(send(room), body, 1))
			var told struct {
				Seq       uint64
				CID       string
				MID       uint16
				Duplicate bool
			}
			if err := json.Unmarshal(alice.Next().Payload, &told); err != nil {
				t.Fatal(err)
			}
			if seq == 0 {
				seq = told.Seq
			}
			if told.Seq != seq || told.CID != "c-1" || told.Duplicate != duplicate || told.MID != ack.PacketID {
				t.Errorf("%s: me/ack %+v, want seq %d", when, told, seq)
			}
			if as.Version == mqtttest.V5 && userProperty(ack, "seq") != fmt.Sprint(seq) {
				t.Errorf("%s: PUBACK with seq %s", when, userProperty(ack, "seq"))
			}
		}
		alice.Say(room, "something before")
		alice.Next()
		check("first", false)
		check("again", true)
		alice.Cut()
		alice = mqtttest.Dial(t, n.At(), o)
		alice.Subscribe("chat/me/ack")
		check("after a reconnect", true)
		var posted struct {
			Seq       uint64
			Duplicate bool
		}
		if status := post(t, n, "/rooms/"+room+"/messages", token(t, n, "alice"), body, &posted); status != http.StatusCreated || posted.Seq != seq || !posted.Duplicate {
			t.Errorf("HTTP: %d %+v", status, posted)
		}
		n.Restart()
		alice = mqtttest.Dial(t, n.At(), o)
		alice.Subscribe("chat/me/ack")
		check("after a restart", true)
		if got := head(t, n, room); got != 2 {
			t.Errorf("%d entries in the log", got)
		}
		// Another user's cid is another message; other content under a used one is refused.
		bob := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "bob", ClientID: "b-" + as.String()})
		bob.Publish(mqtttest.Message(send(room), body, 1))
		if got := head(t, n, room); got != 3 {
			t.Errorf("%d entries after another user's message", got)
		}
		bob.Subscribe("chat/me/error")
		ack := bob.Publish(mqtttest.Message(send(room), `{"cid":"c-1","data":{"text":"other"}}`, 1))
		var bad struct {
			Op, Code, CID string
			Status        int
			MID           uint16
		}
		if err := json.Unmarshal(bob.Next().Payload, &bad); err != nil {
			t.Fatal(err)
		}
		if bad.Code != "cid_conflict" || bad.Status != 409 || bad.Op != "publish" || bad.MID != ack.PacketID || bad.CID != "c-1" {
			t.Errorf("me/error %+v", bad)
		}
		if got := head(t, n, room); got != 3 {
			t.Errorf("%d entries after a conflict", got)
		}
	})
}

// The property of rules.md 3: whatever packets and acknowledgements are lost with their connections, nothing that was
// acknowledged is missing, and a client that re-sends what was not (as libraries do: same id, DUP set, in order) has each
// of its messages at least once. At QoS 2 it is once where the broker saw each repetition: until its PUBREL the id is
// certain. At QoS 1 a PUBACK that was handed to the socket may have arrived, and the id may stand for another message by
// now: in doubt the message is there twice.
func TestLossesNeverLoseTheAcknowledged(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		as := rapid.SampledFrom(mqtttest.Flavours).Draw(rt, "flavour")
		qos := rapid.ByteRange(1, 2).Draw(rt, "qos")
		room := fmt.Sprint("loss", run)
		o := mqtttest.Options{Flavour: as, User: "alice", ClientID: fmt.Sprint("c", run), Keep: true}
		type message struct {
			pk       packets.Packet
			sent     bool
			received bool // PUBREC came: what follows is PUBREL
		}
		var unacked []message
		acked := map[string]bool{}
		next, seen := 0, true
		for range rapid.IntRange(1, 4).Draw(rt, "connections") {
			c := mqtttest.Dial(t, n.At(), o)
			for range rapid.IntRange(0, 6).Draw(rt, "new messages") {
				next++
				pk := mqtttest.Message(send(room), fmt.Sprint("m", next), qos)
				pk.PacketID = uint16(next)
				unacked = append(unacked, message{pk: pk})
			}
			lost := rapid.IntRange(0, len(unacked)).Draw(rt, "answers that arrive")
			for i := range unacked {
				m := &unacked[i]
				if m.received {
					continue
				}
				m.pk.FixedHeader.Dup = m.sent
				m.sent = true
				if _, err := c.Send(m.pk); err != nil {
					rt.Fatal(err)
				}
			}
			for range lost {
				m := unacked[0]
				if qos == 1 || !m.received {
					typ := byte(packets.Puback)
					if qos == 2 {
						typ = packets.Pubrec
					}
					if _, err := c.Answer(typ, m.pk.PacketID); err != nil {
						rt.Fatal(err)
					}
					acked[string(m.pk.Payload)] = true
				}
				if qos == 2 {
					if rapid.Bool().Draw(rt, "cut before PUBREL") {
						unacked[0].received = true
						break
					}
					if ack := c.Release(m.pk.PacketID); ack.ReasonCode != 0 && ack.ReasonCode != 0x92 { // MQTT 5, 3.7.2.1: 0x92 is no error when a connection was lost
						rt.Fatalf("PUBCOMP %#x", ack.ReasonCode)
					}
				}
				unacked = unacked[1:]
			}
			if rapid.Bool().Draw(rt, "all of it arrived") {
				if err := c.Ping(); err != nil {
					rt.Fatal(err)
				}
			} else {
				seen = false
			}
			c.Cut()
		}
		// The last connection finishes everything.
		c := mqtttest.Dial(t, n.At(), o)
		for _, m := range unacked {
			if m.received {
				c.Release(m.pk.PacketID)
				continue
			}
			m.pk.FixedHeader.Dup = m.sent
			if _, err := c.TryPublish(m.pk); err != nil {
				rt.Fatal(err)
			}
		}
		c.Disconnect()
		times := map[string]int{}
		entries, err := n.Store().Entries(storage.RoomKey{NS: "chat", Room: room}, 1, 1<<50, 1000, 1<<20)
		if err != nil {
			rt.Fatal(err)
		}
		for _, e := range entries {
			var m entry
			if err := json.Unmarshal(e.JSON, &m); err != nil {
				rt.Fatal(err)
			}
			times[m.text()]++
		}
		for i := 1; i <= next; i++ {
			text := fmt.Sprint("m", i)
			switch {
			case times[text] == 0 && acked[text]:
				rt.Fatalf("%s was acknowledged and is missing", text)
			case times[text] == 0:
				rt.Fatalf("%s was sent until it was acknowledged and is missing", text)
			case times[text] > 1 && qos == 2 && seen:
				rt.Fatalf("%s is there %d times, though the broker saw every repetition and no PUBREL", text, times[text])
			}
		}
	})
}
