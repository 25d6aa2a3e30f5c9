package storage

import (
	"fmt"
	"slices"
	"testing"
)

// A page of public rooms passes over inboxes, and names no other room to go on from.
func TestPublicRoomsPassOverOthers(t *testing.T) {
	l := newTestLog(t)
	for _, r := range []string{"a", "iz", "z"} {
		l.done(&RoomCreate{Room: room(r), By: from("olga"), Kind: Public})
	}
	for i := range 5 {
		l.done(&RoomCreate{Room: room(fmt.Sprint("hidden", i)), By: from("olga"), Kind: Private})
		l.done(&Contact{NS: "chat", User: "olga", Other: fmt.Sprint("u", i), On: true})
	}
	l.carry()
	var got []string
	after := ""
	for range 10 {
		page, err := l.s.PublicRooms("chat", after, 2, func(string, string) bool { return true }, 10)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, page.Rooms...)
		if after = page.Next; after == "" {
			break
		}
		if !slices.Contains([]string{"a", "iz", "z"}, after) {
			t.Errorf("the page goes on from %q", after)
		}
	}
	if !slices.Equal(got, []string{"a", "iz", "z"}) {
		t.Errorf("got %v", got)
	}
}
