package limit_test

import (
	"testing"

	"github.com/madang-chat/madang/hooks/limit"
)

func TestKeys(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range limit.Keys() {
		name := k.String()
		if len(name) <= len("limits.") || seen[name] {
			t.Errorf("limit %d is called %q", k, name)
		}
		seen[name] = true
		if got := limit.In("too much of it (" + name + ")"); got != k {
			t.Errorf("in a text %s is %q", name, got)
		}
	}
	if limit.None.String() != "" || limit.Key(255).String() != "" {
		t.Error("no limit has a name")
	}
	for _, text := range []string{"", "(", ")", "(limits.contacts", "limits.contacts)", "(limits.nothing)", "(limits.contacts).", "x (y) z"} {
		if got := limit.In(text); got != limit.None {
			t.Errorf("in %q: %v", text, got)
		}
	}
}

func TestRefusals(t *testing.T) {
	var none *limit.Refusals
	none.Add(limit.Packet)
	if none.Of(limit.Packet) != 0 {
		t.Error("nil counts")
	}
	r := new(limit.Refusals)
	r.Add(limit.Packet)
	r.Add(limit.Packet)
	r.Add(limit.None)
	r.Add(limit.Key(255))
	if r.Of(limit.Packet) != 2 || r.Of(limit.None) != 0 || r.Of(limit.Message) != 0 || r.Of(limit.Key(255)) != 0 {
		t.Error("it counts wrongly")
	}
}
