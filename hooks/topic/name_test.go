package topic

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// userGen and nameGen draw names that are valid by the contract's own expressions.
var (
	userGen = rapid.StringMatching(`[A-Za-z0-9._:@|=-]{1,60}`)
	nameGen = rapid.StringMatching(`[A-Za-z0-9._:-]{1,128}`)
	nsGen   = rapid.StringMatching(`[A-Za-z0-9._:-]{1,60}`)
)

func TestNames(t *testing.T) {
	for _, c := range []struct {
		s                       string
		user, room, typ, nspace bool
	}{
		{"alice", true, true, true, true},
		{"Al.ice_1:x-y", true, true, true, true},
		{"a@b.c|d=e", true, false, false, false},
		{"", false, false, false, false},
		{"a b", false, false, false, false},
		{"a/b", false, false, false, false},
		{"guest~x", false, false, false, false},
		{"dm~a~b", false, false, false, false},
		{"방", false, false, false, false},
		{"a+", false, false, false, false},
		{"a#", false, false, false, false},
		{"$SYS", false, false, false, false},
		{"a\x00", false, false, false, false},
		{strings.Repeat("a", 60), true, true, true, true},
		{strings.Repeat("a", 61), false, true, true, false},
		{strings.Repeat("a", 128), false, true, true, false},
		{strings.Repeat("a", 129), false, false, false, false},
	} {
		if ValidUser(c.s) != c.user || ValidRoom(c.s) != c.room || ValidType(c.s) != c.typ || ValidNamespace(c.s) != c.nspace {
			t.Errorf("%q: user %v room %v type %v namespace %v", c.s,
				ValidUser(c.s), ValidRoom(c.s), ValidType(c.s), ValidNamespace(c.s))
		}
	}
}

func TestClientID(t *testing.T) {
	for s, want := range map[string]bool{
		"": true, "web-1": true, "휴대폰 #1/+": true, strings.Repeat("a", 128): true, strings.Repeat("a", 129): false,
		"a\xff": false, "a\x00b": false,
	} {
		if ValidClientID(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}

func TestSenders(t *testing.T) {
	for s, want := range map[string]bool{
		"alice": true, "guest~x": true, "svc~bot": true, "guest~": false, "svc~a~b": false, "dm~a~b": false, "x~y": false, "": false,
	} {
		if IsSender(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
	if !IsGuest("guest~x") || IsGuest("guest") || !IsService("svc~x") || IsService("svc") {
		t.Error("guests and keys")
	}
}

func TestDirect(t *testing.T) {
	for s, want := range map[string]bool{
		"dm~a~b": true, "dm~b~a": false, "dm~a~a": false, "dm~a": false, "dm~a~": false, "dm~~b": false, "dm~a~b~c": false,
		"dm~B~a": true, "a": false, "": false, "dm~guest~x~z": false,
	} {
		if IsDirect(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
	if !InDirect("dm~a~b", "b") || InDirect("dm~a~b", "c") || InDirect("a", "a") {
		t.Error("InDirect")
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := userGen.Draw(t, "a"), userGen.Draw(t, "b")
		room := DirectRoom(a, b)
		if room != DirectRoom(b, a) {
			t.Fatalf("%s is not the same from both sides", room)
		}
		x, y, ok := SplitDirect(room)
		if ok != (a != b) || (ok && (x != min(a, b) || y != max(a, b))) {
			t.Fatalf("%s: %q %q %v", room, x, y, ok)
		}
		if ok && (!IsRoom(room) || ValidRoom(room)) {
			t.Fatalf("%s is a room, but not one people may make", room)
		}
	})
}

func TestGenerators(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		if u := userGen.Draw(t, "user"); !ValidUser(u) {
			t.Fatalf("%q", u)
		}
		if n := nameGen.Draw(t, "name"); !ValidRoom(n) || !ValidType(n) {
			t.Fatalf("%q", n)
		}
		if n := nsGen.Draw(t, "namespace"); !ValidNamespace(n) {
			t.Fatalf("%q", n)
		}
	})
}

func TestSplitLogin(t *testing.T) {
	for in, want := range map[string][2]string{
		"alice": {"chat", "alice"}, "acme/alice": {"acme", "alice"}, "-": {"chat", "-"}, "acme/-": {"acme", "-"}, "": {"chat", ""},
	} {
		if ns, user := SplitLogin(in); ns != want[0] || user != want[1] {
			t.Errorf("%q: %q %q", in, ns, user)
		}
	}
}

func TestMayName(t *testing.T) {
	for name, want := range map[string]bool{".": false, "..": false, "": false, "a b": false, "...": true, ".a": true, "a": true, "dm~a~b": false} {
		if got := MayName(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
	if !IsRoom(".") || !IsRoom("..") {
		t.Error("a room that has such a name is none any more")
	}
}
