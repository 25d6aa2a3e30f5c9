package webhook

import (
	"encoding/json"
	"testing"

	"github.com/madang-chat/madang/storage"
)

func TestEvents(t *testing.T) {
	room := storage.RoomKey{NS: "chat", Room: "general"}
	entry := func(typ, json string) *storage.Entry { return &storage.Entry{Seq: 42, Type: typ, JSON: []byte(json)} }
	system := func(event string) *storage.Entry {
		return entry("system", `{"seq":42,"data":{"event":"`+event+`","user":"bob"}}`)
	}
	for _, tt := range []struct {
		item    storage.FeedItem
		e       *storage.Entry
		typ, id string
		data    string
	}{
		{storage.FeedItem{Seq: 42}, entry("text", `{"seq":42}`), "message.created", "chat/general/42", `{"seq":42}`},
		{storage.FeedItem{Seq: 42}, entry("image", `{"seq":42}`), "message.created", "chat/general/42", `{"seq":42}`},
		{storage.FeedItem{Seq: 42}, entry("edit", `{}`), "message.edited", "chat/general/42", `{}`},
		{storage.FeedItem{Seq: 42}, entry("delete", `{}`), "message.deleted", "chat/general/42", `{}`},
		{storage.FeedItem{Seq: 42}, entry("reaction", `{}`), "message.reaction", "chat/general/42", `{}`},
		{storage.FeedItem{Seq: 42}, system("joined"), "member.joined", "chat/general/42", ""},
		{storage.FeedItem{Seq: 42}, system("removed"), "member.removed", "chat/general/42", ""},
		{storage.FeedItem{Seq: 42}, system("role"), "member.role", "chat/general/42", ""},
		{storage.FeedItem{Seq: 42}, system("frozen"), "room.frozen", "chat/general/42", ""},
		{storage.FeedItem{Seq: 42}, system("restored"), "room.restored", "chat/general/42", ""},
		{storage.FeedItem{Seq: 42}, nil, "feed.gap", "chat/general/42", `{"room":"general","seq":42,"reason":"removed"}`},
		{storage.FeedItem{ID: 9, Event: "created", Data: []byte(`{"a":1}`)}, nil, "room.created", "chat/general/created-9", `{"a":1}`},
		{storage.FeedItem{ID: 12, Was: 9, Event: "deleted", Data: []byte(`{}`)}, nil, "room.deleted", "chat/general/deleted-9", `{}`},
	} {
		tt.item.Room, tt.item.At = room, 1_795_430_000_123
		ev := eventOf(&tt.item, tt.e)
		if ev.Type != tt.typ || ev.ID != tt.id || tt.data != "" && string(ev.Data) != tt.data {
			t.Errorf("%+v is %s %s %s", tt, ev.Type, ev.ID, ev.Data)
		}
		if !json.Valid(ev.Body()) {
			t.Errorf("%s is no JSON", ev.Body())
		}
	}
	ev := Event{Type: "message.created", At: 1_795_430_000_123, Namespace: "chat", Data: []byte(`{"seq":1}`)}
	want := `{"type":"message.created","timestamp":"2026-11-23T10:33:20.123Z","namespace":"chat","data":{"seq":1}}`
	if got := string(ev.Body()); got != want {
		t.Errorf("body %s\nwant %s", got, want)
	}
}

func TestFilter(t *testing.T) {
	f := Filter{Events: []string{"message.*", "room.created"}, Namespaces: []string{"chat"}, Rooms: []string{"support.*", "dm~*"}}
	for _, tt := range []struct {
		typ, ns, room string
		want          bool
	}{
		{"message.created", "chat", "support.1", true},
		{"room.created", "chat", "dm~a~b", true},
		{"room.deleted", "chat", "support.1", false},
		{"message.created", "other", "support.1", false},
		{"message.created", "chat", "general", false},
		{"feed.gap", "", "", true},
		{"feed.gap", "chat", "general", false},
		{"message.offline", "chat", "", true},
	} {
		if got := f.Wants(&Event{Type: tt.typ, Namespace: tt.ns, Room: tt.room}); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
	if all := (Filter{}); !all.Wants(&Event{Type: "x", Namespace: "y", Room: "z"}) {
		t.Error("an empty filter leaves something out")
	}
}
