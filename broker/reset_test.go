package broker

import (
	"encoding/json"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/storage"
)

// After a snapshot everything is looked at again: nobody gets an entry twice or misses one, and who is in a room no more,
// though no news of that came, loses it.
func TestReset(t *testing.T) {
	r := newRig(t)
	w := r.b.workers[0]
	apply := func(cmd storage.Command) {
		t.Helper()
		r.log.Propose(cmd, func(res storage.Result, err error) {
			if err != nil || res.Outcome != storage.Done {
				t.Errorf("%T: %+v, %v", cmd, res, err)
			}
		})
	}
	k := storage.RoomKey{NS: "chat", Room: "r"}
	say := func() {
		t.Helper()
		apply(&storage.Append{Room: k, From: storage.Actor{User: "olga"}, Type: "text", Tail: []byte(`,"data":{"text":"x"}`)})
	}
	apply(&storage.RoomCreate{Room: k, By: storage.Actor{User: "olga"}, Kind: storage.Public})
	users := []string{"ann", "bob", "cat"}
	for _, u := range users { // entries 1 to 3
		apply(&storage.Join{Room: k, By: storage.Actor{User: u}})
	}
	for i := range len(users) + 1 { // into the lists of the owner and of the others
		apply(&storage.FollowUp{ID: uint64(i) + 1})
	}
	for _, u := range users {
		_, conn := r.connect(t, mqtttest.V311, u, "chat/rooms/+/msg/#", 1)
		defer func() { _ = conn.Close() }()
	}
	named, conn := r.connect(t, mqtttest.V311, "named", "chat/rooms/r/msg/#", 1)
	say() // 4
	before := len(w.rooms)
	w.call(func() {
		for _, c := range w.clients { // as if it had left in what the snapshot brought
			if c.sid.User == "ann" {
				c.subs = nil
			}
		}
		w.reset()
	})
	say() // 5
	for want := uint64(4); want <= 5; {
		pk, err := mqtttest.ReadPacket(conn, mqtttest.V311)
		if err != nil {
			t.Fatal(err)
		}
		if pk.FixedHeader.Type != packets.Publish {
			continue
		}
		var e struct{ Seq uint64 }
		if err := json.Unmarshal(pk.Payload, &e); err != nil || e.Seq != want {
			t.Fatalf("entry %d, want %d (%v)", e.Seq, want, err)
		}
		want++
	}
	w.call(func() {
		left := map[string]bool{}
		for _, cur := range w.rooms[k].cursors {
			left[cur.client.sid.User] = true
		}
		if len(w.rooms) != before || left["ann"] || !left["named"] || named.gone {
			t.Errorf("%d rooms, cursors of %v", len(w.rooms), left)
		}
	})
}
