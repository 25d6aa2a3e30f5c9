package topic

import (
	"testing"

	"github.com/madang-chat/madang/hooks/problem"
)

func TestHeld(t *testing.T) {
	h, most := NewHeld("chat/rooms/a/#"), 3
	add := func(s string) problem.Code {
		t.Helper()
		f, p := ParseFilter(s)
		if p != nil {
			t.Fatal(p)
		}
		if p := h.Add(f, most); p != nil {
			return p.Code
		}
		return ""
	}
	for _, c := range []struct {
		filter string
		want   problem.Code
	}{
		{"chat/rooms/a/#", ""},             // held from before
		{"$last/5/chat/rooms/a/#", ""},     // the same subscription
		{"chat/rooms/b/#", ""},             // second
		{"chat/rooms/+/msg/+", ""},         // third
		{"chat/rooms/c/#", problem.Limit},  // several new ones of one SUBSCRIBE
		{"chat/rooms/d/#", problem.Limit},  // count against each other
		{"$since/7/chat/rooms/b/#", ""},    // also at the limit
		{"chat/rooms/b/msg/#", "limit"},    // another filter
		{"$last/1/chat/rooms/+/msg/+", ""}, // again
	} {
		if got := add(c.filter); got != c.want {
			t.Errorf("%s: %q, want %q", c.filter, got, c.want)
		}
	}
	h.Remove("$since/9/chat/rooms/b/#")
	h.Remove("chat/rooms/never/#")
	if h.Len() != 2 || add("chat/rooms/c/#") != "" || add("chat/rooms/d/#") != problem.Limit {
		t.Errorf("%d are held", h.Len())
	}
	h, most = NewHeld(), 0
	for _, f := range []string{"chat/rooms/a/#", "chat/rooms/b/#", "chat/rooms/c/#"} {
		if add(f) != "" {
			t.Error("there is a limit")
		}
	}
}
