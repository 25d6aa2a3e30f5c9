package interop

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/madang-chat/madang/internal/testcluster"
)

// What one says, the others get; the same cid twice is one message, whoever asks.
func TestPahoTalk(t *testing.T) {
	each(t, plain, func(t *testing.T, n *testcluster.Node, lib library, url, room string) {
		alice := lib.open(t, url, who{user: "alice", id: "phone"})
		bob := lib.open(t, url, who{user: "bob", id: "web"})
		if err := bob.subscribe(msgs(room)); err != nil {
			t.Fatal(err)
		}
		if err := alice.subscribe("chat/me/ack"); err != nil {
			t.Fatal(err)
		}
		type told struct {
			CID, Room string
			MID       uint16
			Seq       uint64
			TS        int64
			Duplicate bool
		}
		var first told
		for i, duplicate := range []bool{false, true} {
			o := alice.publish(send(room), "안녕", "c1").must(t)
			if lib.version == 5 && o.seq != "1" {
				t.Errorf("publish %d is acknowledged with seq %q", i, o.seq)
			}
			var ack told
			if err := json.Unmarshal([]byte(alice.on(t, "chat/me/ack")), &ack); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = ack
			}
			want := told{CID: "c1", Room: room, MID: ack.MID, Seq: 1, TS: first.TS, Duplicate: duplicate}
			if ack != want || ack.MID == 0 || ack.TS == 0 {
				t.Errorf("publish %d: me/ack says %+v, want %+v", i, ack, want)
			}
		}
		alice.publish(send(room), "밥 먹었어?", "").must(t)
		got := bob.entries(t, room, 1, 2)
		if e := got[0]; e.N != 1 || e.TS != first.TS || e.From.User != "alice" || e.From.Role != "owner" ||
			e.From.Device != "phone" || e.CID != "c1" || e.Data.Text != "안녕" {
			t.Errorf("got %+v", e)
		}
		if e := got[1]; e.N != 2 || e.CID != "" || e.Data.Text != "밥 먹었어?" {
			t.Errorf("got %+v", e)
		}
	})
}

// A refusal is explained, on me/error for every version and in the answer of v5, is sent once, and harms nobody.
func TestPahoRefused(t *testing.T) {
	each(t, plain, func(t *testing.T, n *testcluster.Node, lib library, url, _ string) {
		guest := lib.open(t, url, who{id: "phone"})
		alice := lib.open(t, url, who{user: "alice", id: "phone"})
		alice.publish(send("lobby"), "hello", "c1").must(t)
		for _, d := range []*device{guest, alice} {
			if err := d.subscribe("chat/me/error"); err != nil {
				t.Fatal(err)
			}
		}
		before := n.Metric("madang_publishes_received_total")
		for _, c := range []struct {
			who              *device
			topic, text, cid string
			code             string
			reason           byte // 0 = any
		}{
			{guest, send("lobby"), "x", "", "guest_read_only", 0x87},
			{guest, send("nowhere"), "x", "", "guest_read_only", 0x87},
			{alice, send("lobby"), "other words", "c1", "cid_conflict", 0},
			{alice, "chat/rooms/lobby/msg/text", "x", "", "forbidden", 0x87},
			{alice, send("lobby") + "/system", "x", "", "forbidden", 0x87},
			{alice, "some/plain/topic", "x", "", "unsupported", 0},
		} {
			o := c.who.publish(c.topic, c.text, c.cid)
			var e struct {
				Op, Topic, CID, Code, Title string
				MID                         uint16
				Status                      int
			}
			if err := json.Unmarshal([]byte(c.who.on(t, "chat/me/error")), &e); err != nil {
				t.Fatal(err)
			}
			if e.Op != "publish" || e.Topic != c.topic || e.CID != c.cid || e.Code != c.code || e.Title == "" || e.MID == 0 ||
				e.Status < 400 || e.Status > 499 {
				t.Errorf("%s: me/error says %+v, want %s", c.topic, e, c.code)
			}
			switch {
			case lib.version == 4 && o.err != nil:
				t.Errorf("%s: %v", c.topic, o.err)
			case lib.version == 5 && (o.err == nil || o.reason == "" || o.code < 0x80 || c.reason != 0 && o.code != c.reason):
				t.Errorf("%s: reason %#x %q, %v", c.topic, o.code, o.reason, o.err)
			}
		}
		if err := guest.subscribe("chat/rooms/nowhere/msg/#"); err == nil {
			t.Error("a guest was granted a room that is not there")
		} else if lib.version == 5 && !strings.Contains(err.Error(), ": ") {
			t.Errorf("no reason: %v", err)
		}
		guest.on(t, "chat/me/error")
		if got := n.Metric("madang_publishes_received_total") - before; got != 6 {
			t.Errorf("6 publishes were received %v times", got)
		}
		alice.publish(send("lobby"), "bye", "").must(t)
		if err := guest.subscribe(msgs("lobby")); err != nil { // both connections are alive
			t.Fatal(err)
		}
		alice.publish(send("lobby"), "really", "").must(t)
		guest.entries(t, "lobby", 3, 3)
	})
}

// Replay by call, which goes with libraries that route by filter: everything comes under its own topic to the handler
// that was subscribed, and is acknowledged, or a window of one would be stuck at the first.
func TestPahoReplay(t *testing.T) {
	each(t, bound, func(t *testing.T, n *testcluster.Node, lib library, url, room string) {
		fill(t, n, room, 1, 100)
		bob := lib.open(t, url, who{user: "bob", id: "web"})
		for _, filter := range []string{"chat/me/reply", msgs(room)} {
			if err := bob.subscribe(filter); err != nil {
				t.Fatal(err)
			}
		}
		for id, c := range []struct {
			params string
			from   uint64
		}{
			{`{"room":"room","since":40}`, 41},
			{`{"room":"room","last":20}`, 81},
			{`{"room":"room","last":1000}`, 1},
		} {
			bob.publish("chat/me/rpc/replay", fmt.Sprintf(`{"id":%d,"params":%s}`, id, c.params), "").must(t)
			var seqs []uint64
			var reply string
			for len(seqs) < int(100-c.from+1) || reply == "" { // the answer comes when there is room for it
				m := bob.next(t)
				if m.topic == "chat/me/reply" {
					reply = m.payload
					continue
				}
				var e entry
				if err := json.Unmarshal([]byte(m.payload), &e); err != nil {
					t.Fatalf("%s %s: %v", m.topic, m.payload, err)
				}
				seqs = append(seqs, e.Seq)
			}
			for i, seq := range seqs {
				if seq != c.from+uint64(i) {
					t.Fatalf("%s: message %d has seq %d", c.params, i, seq)
				}
			}
			var r struct {
				ID     int
				OK     bool
				Result struct{ From, Head uint64 }
			}
			if err := json.Unmarshal([]byte(reply), &r); err != nil || r.ID != id || !r.OK || r.Result.From != c.from || r.Result.Head != 100 {
				t.Errorf("%s is answered by %s", c.params, reply)
			}
		}
		fill(t, n, room, 101, 103)
		bob.entries(t, room, 101, 103)
	})
}

// paho.mqtt.golang keeps what matches none of its filters, never acknowledged; AddRoute makes it understand $last.
func TestPahoAddRoute(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{Set: []string{"limits.window=1"}})
	fill(t, n, "lobby", 1, 30)
	d, c := open3(t, address(n, "mqtt"), who{})
	c.AddRoute(msgs("lobby"), d.take)
	if err := d.subscribe("$last/20/" + msgs("lobby")); err != nil {
		t.Fatal(err)
	}
	d.entries(t, "lobby", 11, 30)
	fill(t, n, "lobby", 31, 33)
	d.entries(t, "lobby", 31, 33)
}

// The node restarts, the library connects again by itself, and its session has what was said in between: once, in order.
func TestPahoRestart(t *testing.T) {
	each(t, bound, func(t *testing.T, n *testcluster.Node, lib library, url, room string) {
		var gate sync.Mutex
		bob := lib.open(t, url, who{user: "bob", id: "web", keep: true, gate: &gate})
		<-bob.up
		for _, filter := range []string{msgs(room), "chat/me/reply"} {
			if err := bob.subscribe(filter); err != nil {
				t.Fatal(err)
			}
		}
		for from := uint64(1); from < 30; from += 10 {
			fill(t, n, room, from, from+4)
			bob.entries(t, room, from, from+4)
			bob.call(t, "whoami", "{}") // what came is acknowledged
			gate.Lock()
			n.Restart()
			fill(t, n, room, from+5, from+9)
			gate.Unlock()
			bob.entries(t, room, from+5, from+9)
			<-bob.up
		}
		bob.call(t, "whoami", `{}`)
		bob.close()
		fill(t, n, room, 31, 33)
		// Another process of the same device, which must know its filters before the session says what it missed.
		bob = lib.open(t, url, who{user: "bob", id: "web", keep: true, route: msgs(room)})
		bob.entries(t, room, 31, 33)
	})
}
