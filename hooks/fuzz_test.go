package hooks_test

import (
	"encoding/json"
	"testing"

	"github.com/madang-chat/madang/hooks"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

// FuzzDecide checks what no publish may ever do: panic, write as somebody else or elsewhere, or, as a guest, write to a
// room that does not let guests write.
func FuzzDecide(f *testing.F) {
	for _, t := range []string{
		"chat/rooms/pub/send", "chat/rooms/open/send/note", "chat/rooms/fopen/live/typing/guest~1", "chat/rooms/open/live/x/alice",
		"chat/me/rpc/whoami", "other/rooms/open/send", "chat/users/bob/send", "$SYS/x", "chat/rooms/dm~alice~bob/send", "",
	} {
		f.Add(t, []byte(`{"data":{"text":"x"},"cid":"c","ttl":5}`), "", uint32(0), uint8(0))
		f.Add(t, []byte("\xff"), "c", uint32(7), uint8(5))
		f.Add(t, []byte(`"{\"data\":1}"`), "c\n", uint32(7), uint8(6))
	}
	rules, store := newRules(f)
	who := []string{"alice", "bob", "carol", "admin", "other/alice", "", "guest~1", "oscar"}
	f.Fuzz(func(t *testing.T, topic string, payload []byte, cid string, expiry uint32, n uint8) {
		id := as(who[int(n)%len(who)])
		a, bad := rules.Decide(&hooks.Publish{From: id, Topic: topic, Payload: payload, CID: cid, Expiry: expiry})
		switch decided(t, a, bad) {
		case "append":
			c := a.Append
			if c.Room.NS != id.Namespace || c.From.User != id.User || c.From.Guest != id.Guest || c.From.Admin != id.Admin || c.Type == "system" {
				t.Fatalf("%+v", c)
			}
			if !json.Valid(append(append([]byte(`{"seq":1`), c.Tail...), '}')) {
				t.Fatalf("tail %q", c.Tail)
			}
			guestMayWrite(t, store, id.Guest, c.Room)
		case "live":
			if l := a.Live; l.Room.NS != id.Namespace || l.User != id.User || len(l.Payload) > hooks.MaxLive {
				t.Fatalf("%+v", l)
			}
			guestMayWrite(t, store, id.Guest, a.Live.Room)
		case "call":
			if a.Call.Method == "" {
				t.Fatal("no method")
			}
		default:
			if !bad.Code.Known() || bad.Sentence() == "" || bad.Code == problem.NoQuorum {
				t.Fatalf("%+v", bad)
			}
		}
	})
}

func guestMayWrite(t *testing.T, store *rooms, guest bool, k storage.RoomKey) {
	t.Helper()
	if !guest {
		return
	}
	r, err := store.Room(k)
	if err != nil || r == nil || r.Guest != storage.GuestWrite {
		t.Fatalf("a guest writes to %v: %+v %v", k, r, err)
	}
}
