package broker

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/storage"
)

// Readers who come and go while a room is swept slice by slice: everybody who stays gets every entry, once, in order.
func TestReadersComeAndGoDuringASweep(t *testing.T) {
	for _, qos := range []byte{0, 1} {
		t.Run(fmt.Sprint("qos", qos), func(t *testing.T) {
			r := newRig(t)
			w := r.b.workers[0]
			w.call(func() { w.perSlice = 3 })
			alice := r.enter(t, mqtttest.V311, "alice", "", 0)
			send := func(text string) { say(t, alice, text) }
			k := storage.RoomKey{NS: "chat", Room: "r"}
			send("0") // the room is there
			head := func() uint64 {
				st, err := r.b.cfg.Store.Room(k)
				if err != nil || st == nil {
					t.Fatal(st, err)
				}
				return st.Head.Seq
			}
			type member struct {
				conn net.Conn
				from uint64 // first seq it must get
			}
			rng := rand.New(rand.NewPCG(5, uint64(qos)))
			var members []member
			for n := range 150 {
				from := head() + 1
				_, conn := r.connect(t, mqtttest.V311, fmt.Sprint("reader", n), "chat/rooms/r/msg/#", qos)
				members = append(members, member{conn, from})
				for range rng.IntN(4) {
					send(fmt.Sprint("message of ", n))
				}
				if rng.IntN(3) == 0 && len(members) > 4 {
					i := rng.IntN(len(members))
					_ = members[i].conn.Close()
					members = append(members[:i], members[i+1:]...)
				}
			}
			send("last")
			last := head()
			for i, m := range members {
				seen := uint64(0)
				for seen < last {
					pk, err := mqtttest.ReadPacket(m.conn, mqtttest.V311)
					if err != nil {
						t.Fatalf("reader %d: %v", i, err)
					}
					if pk.FixedHeader.Type != packets.Publish {
						continue
					}
					var e struct{ Seq uint64 }
					if err := json.Unmarshal(pk.Payload, &e); err != nil {
						t.Fatal(err)
					}
					if want := max(m.from, seen+1); e.Seq != want {
						t.Fatalf("reader %d got seq %d, want %d", i, e.Seq, want)
					}
					seen = e.Seq
				}
			}
		})
	}
}

// A reader who leaves in the middle of a sweep makes another take its place in the list: that one must not be forgotten,
// even if no message follows.
func TestReaderMovedDuringASweep(t *testing.T) {
	r := newRig(t)
	w := r.b.workers[0]
	alice := r.enter(t, mqtttest.V311, "alice", "", 0)
	pk := mqtttest.Message("chat/rooms/r/send", "hello", 0)
	pk.ProtocolVersion = mqtttest.V311
	raw, err := mqtttest.Encode(&pk)
	if err == nil {
		err = alice.packet(raw[0], raw[2:]) // makes the room
	}
	if err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	for n := range 10 {
		_, conn := r.connect(t, mqtttest.V311, fmt.Sprint("reader", n), "chat/rooms/r/msg/#", 0)
		conns = append(conns, conn)
	}
	w.call(func() {
		w.perSlice = 3
		if err := alice.packet(raw[0], raw[2:]); err != nil {
			t.Error(err)
			return
		}
		room := w.rooms[storage.RoomKey{NS: "chat", Room: "r"}]
		w.begin(room)
		w.sweep() // readers 0 to 2
		if room.at != 3 || !room.sweeping {
			t.Errorf("the sweep is at %d, want 3", room.at)
		}
		w.drop(room.cursors[0]) // reader 9 takes its place
	})
	for n, conn := range conns {
		pk, err := mqtttest.ReadPacket(conn, mqtttest.V311)
		if err != nil || pk.FixedHeader.Type != packets.Publish {
			t.Errorf("reader %d: %v, %v", n, pk.FixedHeader.Type, err)
		}
	}
}
