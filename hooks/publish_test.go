package hooks_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/madang-chat/madang/hooks"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

// decided names what a publish came to: append, live, call, or the code of its refusal.
func decided(t testing.TB, a hooks.Action, bad *problem.Problem) string {
	t.Helper()
	var is []string
	if a.Append != nil {
		is = append(is, "append")
	}
	if a.Live != nil {
		is = append(is, "live")
	}
	if a.Call != nil {
		is = append(is, "call")
	}
	if a.Cheer != nil {
		is = append(is, "cheer")
	}
	if a.State != nil {
		is = append(is, "state")
	}
	if a.Mark != nil {
		is = append(is, "mark")
	}
	if bad != nil {
		is = append(is, string(bad.Code))
	}
	if len(is) != 1 {
		t.Fatalf("a publish came to %v", is)
	}
	return is[0]
}

// Who publishes is a column, what to is a row. ME is the publisher. What the log decides (members, frozen rooms, rooms
// that do not exist) is an append here; what is never in the log is decided here.
//
// owner alice, member bob (of the private rooms), operator oscar (not of pub and open), carol is nobody, guest~0 has no
// token and guest~1 has one, other/alice is in another namespace.
const decisions = `
topic                                alice        bob          oscar        carol        admin        guest~0          guest~1          other/alice
chat/rooms/pub/send                  append       append       append       append       append       guest_read_only  guest_read_only  forbidden
chat/rooms/pub/send/note             append       append       append       append       append       guest_read_only  guest_read_only  forbidden
chat/rooms/open/send                 append       append       append       append       append       guest_read_only  append           forbidden
chat/rooms/shut/send                 append       append       append       append       append       guest_read_only  guest_read_only  forbidden
chat/rooms/priv/send                 append       append       append       append       append       guest_read_only  guest_read_only  forbidden
chat/rooms/dm~alice~bob/send         append       append       append       append       append       guest_read_only  guest_read_only  forbidden
chat/rooms/none/send                 append       append       append       append       append       guest_read_only  guest_read_only  forbidden
chat/rooms/fpub/send                 append       append       append       append       append       guest_read_only  guest_read_only  forbidden
chat/rooms/fopen/send                append       append       append       append       append       guest_read_only  append           forbidden
chat/rooms/fpriv/send                append       append       append       append       append       guest_read_only  guest_read_only  forbidden
chat/rooms/pub/send/system           forbidden    forbidden    forbidden    forbidden    forbidden    guest_read_only  guest_read_only  forbidden
chat/rooms/open/send/system          forbidden    forbidden    forbidden    forbidden    forbidden    guest_read_only  forbidden        forbidden
chat/rooms/pub/send/edit             append       append       append       append       append       guest_read_only  guest_read_only  forbidden
chat/rooms/pub/send/delete           append       append       append       append       append       guest_read_only  guest_read_only  forbidden
chat/rooms/pub/live/typing/ME        live         live         live         live         live         guest_read_only  guest_read_only  forbidden
chat/rooms/open/live/typing/ME       live         live         live         live         live         guest_read_only  live             forbidden
chat/rooms/shut/live/typing/ME       live         live         live         live         live         guest_read_only  guest_read_only  forbidden
chat/rooms/priv/live/typing/ME       live         live         live         not_member   live         guest_read_only  guest_read_only  forbidden
chat/rooms/dm~alice~bob/live/x/ME    live         live         not_member   not_member   live         guest_read_only  guest_read_only  forbidden
chat/rooms/none/live/typing/ME       not_found    not_found    not_found    not_found    not_found    guest_read_only  guest_read_only  forbidden
chat/rooms/fpub/live/typing/ME       live         room_frozen  live         room_frozen  live         guest_read_only  guest_read_only  forbidden
chat/rooms/fopen/live/typing/ME      live         room_frozen  room_frozen  room_frozen  live         guest_read_only  room_frozen      forbidden
chat/rooms/fpriv/live/typing/ME      live         room_frozen  live         not_member   live         guest_read_only  guest_read_only  forbidden
chat/rooms/pub/live/typing/dave      forbidden    forbidden    forbidden    forbidden    forbidden    guest_read_only  guest_read_only  forbidden
chat/rooms/open/live/typing/dave     forbidden    forbidden    forbidden    forbidden    forbidden    guest_read_only  forbidden        forbidden
chat/rooms/pub/state/topic           state        state        state        state        state        guest_read_only  guest_read_only  forbidden
chat/rooms/pub/read                  mark         not_member   not_member   not_member   not_member   guest_read_only  guest_read_only  forbidden
chat/rooms/open/cheer/heart          cheer        cheer        cheer        cheer        cheer        guest_read_only  cheer            forbidden
chat/users/bob/send                  append       bad_payload  append       append       append       guest_read_only  guest_read_only  forbidden
chat/broadcast/text                  forbidden    forbidden    forbidden    forbidden    append       guest_read_only  guest_read_only  forbidden
chat/me/rpc/whoami                   call         call         call         call         call         call             call             forbidden
chat/me/reply                        forbidden    forbidden    forbidden    forbidden    forbidden    guest_read_only  guest_read_only  forbidden
chat/rooms/pub/msg/text              forbidden    forbidden    forbidden    forbidden    forbidden    guest_read_only  guest_read_only  forbidden
chat/rooms/pub/meta                  forbidden    forbidden    forbidden    forbidden    forbidden    guest_read_only  guest_read_only  forbidden
chat/rooms/pub/head                  forbidden    forbidden    forbidden    forbidden    forbidden    guest_read_only  guest_read_only  forbidden
chat/rooms/pub/tally                 forbidden    forbidden    forbidden    forbidden    forbidden    guest_read_only  guest_read_only  forbidden
chat/users/ME/inbox                  forbidden    forbidden    forbidden    forbidden    forbidden    guest_read_only  guest_read_only  forbidden
$SYS/broker/uptime                   forbidden    forbidden    forbidden    forbidden    forbidden    guest_read_only  guest_read_only  forbidden
sensors/kitchen                      unsupported  unsupported  unsupported  unsupported  unsupported  guest_read_only  guest_read_only  unsupported
$share/g/chat/rooms/pub/send         unsupported  unsupported  unsupported  unsupported  unsupported  guest_read_only  guest_read_only  unsupported
chat/rooms/é/send                    not_found    not_found    not_found    not_found    not_found    guest_read_only  guest_read_only  not_found
chat/rooms/dm~bob~alice/send         not_found    not_found    not_found    not_found    not_found    guest_read_only  guest_read_only  not_found
chat/rooms/pub/send/é                not_found    not_found    not_found    not_found    not_found    guest_read_only  guest_read_only  not_found
chat/rooms/pub/nothing               not_found    not_found    not_found    not_found    not_found    guest_read_only  guest_read_only  not_found
chat/rooms/+/send                    bad_payload  bad_payload  bad_payload  bad_payload  bad_payload  guest_read_only  guest_read_only  bad_payload
`

func TestDecide(t *testing.T) {
	rules, _ := newRules(t)
	rows := strings.Split(strings.TrimSpace(decisions), "\n")
	who := strings.Fields(rows[0])[1:]
	for _, row := range rows[1:] {
		cells := strings.Fields(row)
		if len(cells) != len(who)+1 {
			t.Fatalf("%d cells in %q", len(cells), row)
		}
		for i, name := range who {
			token := name
			if name == "guest~0" {
				token = ""
			}
			id := as(token)
			topic := strings.Replace(cells[0], "ME", id.User, 1)
			payload := `{"data":{"text":"x"},"target":1}`
			if strings.Contains(topic, "/state/") {
				payload = `{"data":{"text":"x"},"if_ver":1}`
			}
			if strings.HasSuffix(topic, "/read") {
				payload = `{"seq":1}`
			}
			a, bad := rules.Decide(&hooks.Publish{From: id, Topic: topic, Payload: []byte(payload)})
			if got := decided(t, a, bad); got != cells[i+1] {
				t.Errorf("%s to %s: %s, want %s (%v)", name, topic, got, cells[i+1], bad)
			}
		}
	}
}

func TestDecideMakesTheCommand(t *testing.T) {
	rules, _ := newRules(t)
	level := int64(3)
	id := as("alice")
	id.Name, id.Level = "Alice", &level
	a, bad := rules.Decide(&hooks.Publish{
		From: id, Device: "web-1", Topic: "chat/rooms/pub/send/note", Payload: []byte(`{"data":[1],"ttl":90,"reply_to":4}`),
		CID: "c-1", Expiry: 60, Dup: true, PacketID: 7, Epoch: 9,
	})
	if bad != nil {
		t.Fatal(bad)
	}
	got := *a.Append
	if got.Hash == [16]byte{} {
		t.Error("no hash")
	}
	got.Hash = [16]byte{}
	want := storage.Append{
		Room: key("pub"), From: storage.Actor{User: "alice", Name: "Alice", Level: &level}, Device: "web-1", Type: "note",
		CID: "c-1", ReplyTo: 4, TTL: 60, Dup: true, PacketID: 7, Epoch: 9, Tail: []byte(`,"cid":"c-1","reply_to":4,"ttl":60,"data":[1]`),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	a, bad = rules.Decide(&hooks.Publish{From: id, Topic: "chat/rooms/pub/live/typing/alice", Payload: []byte("\xff")})
	if bad != nil {
		t.Fatal(bad)
	}
	if diff := cmp.Diff(hooks.Live{Room: key("pub"), Name: "typing", User: "alice", Payload: []byte("\xff")}, *a.Live); diff != "" {
		t.Error(diff)
	}
	a, bad = rules.Decide(&hooks.Publish{From: id, Topic: "chat/me/rpc/room.get", Payload: []byte(`{}`)})
	if bad != nil {
		t.Fatal(bad)
	}
	if diff := cmp.Diff(hooks.Call{Method: "room.get", Payload: []byte(`{}`)}, *a.Call); diff != "" {
		t.Error(diff)
	}
}

// A publish meets the rules about its writer before those about its bytes.
func TestDecideRefusesPayloads(t *testing.T) {
	rules, _ := newRules(t)
	large := strings.Repeat("x", 256<<10+1)
	for _, c := range []struct {
		token, topic, payload, cid string
		want                       string
	}{
		{"alice", "chat/rooms/pub/send", strings.Repeat("x", 256<<10), "", "append"},
		{"alice", "chat/rooms/pub/send", large, "", "too_large"},
		{"guest~1", "chat/rooms/open/send", large, "", "too_large"},
		{"guest~1", "chat/rooms/pub/send", large, "", "guest_read_only"},
		{"alice", "chat/rooms/pub/send", `{"data":1,"cid":"c","x":1}`, "", "bad_payload"},
		{"guest~1", "chat/rooms/open/send", `{"data":1,"cid":"c","x":1}`, "", "bad_payload"},
		{"guest~1", "chat/rooms/pub/send", `{"data":1,"cid":"c","x":1}`, "", "guest_read_only"},
		{"alice", "chat/rooms/pub/send", `{"data":1,"cid":"a"}`, "b", "bad_payload"},
		{"alice", "chat/rooms/pub/send", `{"data":1,"cid":"a"}`, "a", "append"},
		{"alice", "chat/rooms/pub/send", `x`, strings.Repeat("c", 65), "bad_payload"},
		{"alice", "chat/rooms/pub/send", ``, "", "append"},
		{"alice", "chat/rooms/pub/send/edit", `{"data":{"text":"x"}}`, "", "bad_payload"},
		{"alice", "chat/rooms/pub/live/typing/alice", strings.Repeat("x", 4096), "", "live"},
		{"alice", "chat/rooms/pub/live/typing/alice", strings.Repeat("x", 4097), "", "too_large"},
		{"carol", "chat/rooms/priv/live/typing/carol", strings.Repeat("x", 4097), "", "not_member"},
	} {
		a, bad := rules.Decide(&hooks.Publish{From: as(c.token), Topic: c.topic, Payload: []byte(c.payload), CID: c.cid})
		if got := decided(t, a, bad); got != c.want {
			t.Errorf("%s to %s %.40q: %s, want %s (%v)", c.token, c.topic, c.payload, got, c.want, bad)
		}
	}
}

// A store that cannot be read is a fault of the broker, and never "no leader": that is no answer to a publish.
func TestDecideWithoutAStore(t *testing.T) {
	rules, store := newRules(t)
	members := &hooks.Publishing{Access: hooks.Access{Rooms: memberFails{store}}, Posting: rules.Posting}
	if _, bad := members.Decide(&hooks.Publish{From: as("bob"), Topic: "chat/rooms/priv/live/x/bob"}); bad == nil || bad.Code != problem.Internal {
		t.Errorf("members cannot be read: %v", bad)
	}
	store.err = errors.New("disk on fire")
	for _, c := range []struct{ token, topic string }{
		{"bob", "chat/rooms/pub/live/x/bob"}, {"guest~1", "chat/rooms/open/live/x/guest~1"}, {"guest~1", "chat/rooms/open/send"},
	} {
		a, bad := rules.Decide(&hooks.Publish{From: as(c.token), Topic: c.topic})
		if got := decided(t, a, bad); got != "internal" || strings.Contains(bad.Sentence(), "fire") {
			t.Errorf("%s to %s: %v", c.token, c.topic, bad)
		}
	}
	// What does not need the store goes on: users' messages are judged by the log.
	if a, bad := rules.Decide(&hooks.Publish{From: as("bob"), Topic: "chat/rooms/pub/send"}); decided(t, a, bad) != "append" {
		t.Error(bad)
	}
}
