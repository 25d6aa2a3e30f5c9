package topic

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/madang-chat/madang/hooks/problem"
)

func mustFilter(t testing.TB, s string) Filter {
	t.Helper()
	f, p := ParseFilter(s)
	if p != nil {
		t.Fatalf("%q: %v", s, p)
	}
	return f
}

func TestParseFilter(t *testing.T) {
	for _, c := range []struct {
		in, raw   string
		replay    Replay
		all       bool
		ns, room  string
		joined    bool
		everyRoom bool
	}{
		{in: "chat/rooms/general/#", ns: "chat", room: "general"},
		{in: "chat/rooms/general/msg/text", ns: "chat", room: "general"},
		{in: "chat/rooms/general/msg/+", ns: "chat", room: "general"},
		{in: "+/rooms/general/#", room: "general"},
		{in: "chat/+/general/meta", ns: "chat", room: "general"},
		{in: "chat/rooms/dm~a~b/#", ns: "chat", room: "dm~a~b"},
		{in: "chat/rooms/+/msg/#", ns: "chat", joined: true},
		{in: "chat/rooms/#", ns: "chat", joined: true},
		{in: "chat/#", ns: "chat", joined: true},
		{in: "#", joined: true},
		{in: "+/#", joined: true},
		{in: "+/+/+/meta", joined: true},
		{in: "chat/rooms/general/send", ns: "chat"},
		{in: "chat/rooms/+/send", ns: "chat"},
		{in: "chat/users/+/presence", ns: "chat"},
		{in: "chat/users/alice/inbox", ns: "chat"},
		{in: "chat/me/#", ns: "chat"},
		{in: "chat/broadcast/+", ns: "chat"},
		{in: "$SYS/#", ns: "$SYS"},
		{in: "a/b/c", ns: "a"},
		{in: "/", ns: ""},
		{
			in: "$last/50/chat/rooms/general/#", raw: "chat/rooms/general/#", replay: Replay{Mode: ReplayLast, Last: 50},
			ns: "chat", room: "general",
		},
		{in: "$last/1000/chat/rooms/+/#", raw: "chat/rooms/+/#", replay: Replay{Mode: ReplayLast, Last: 1000}, ns: "chat", joined: true},
		{in: "$last/1/#", raw: "#", replay: Replay{Mode: ReplayLast, Last: 1}, joined: true},
		{
			in: "$since/42/chat/rooms/general/msg/#", raw: "chat/rooms/general/msg/#",
			replay: Replay{Mode: ReplaySince, Since: 42}, ns: "chat", room: "general",
		},
		{
			in: "$since/0/chat/rooms/a/#", raw: "chat/rooms/a/#", replay: Replay{Mode: ReplaySince}, ns: "chat", room: "a",
		},
		{in: "$all/#", all: true, everyRoom: true},
		{in: "$all/chat/rooms/general/#", all: true, ns: "chat", room: "general"},
		{in: "$all/chat/users/+/inbox", all: true, ns: "chat"},
	} {
		f, p := ParseFilter(c.in)
		if p != nil {
			t.Errorf("%s: %v", c.in, p)
			continue
		}
		if c.raw == "" {
			c.raw = c.in
		}
		room, named := f.Room()
		if f.Raw != c.raw || f.Replay != c.replay || f.All != c.all || f.Namespace != c.ns || room != c.room ||
			named != (c.room != "") || f.JoinedRooms() != c.joined || f.AllRooms() != c.everyRoom {
			t.Errorf("%s: %+v room %q %v joined %v all %v", c.in, f, room, named, f.JoinedRooms(), f.AllRooms())
		}
		if id := Identity(c.in); id != c.raw {
			t.Errorf("%s: identity %q, want %q", c.in, id, c.raw)
		}
	}
}

func TestParseFilterRefuses(t *testing.T) {
	for _, c := range []struct {
		in     string
		code   problem.Code
		suback byte
	}{
		{"", problem.BadPayload, 0x8F},
		{"chat/rooms/gen+/#", problem.BadPayload, 0x8F},
		{"chat/rooms#", problem.BadPayload, 0x8F},
		{"#/chat", problem.BadPayload, 0x8F},
		{"##", problem.BadPayload, 0x8F},
		{"a\x00", problem.BadPayload, 0x8F},
		{"a\xff", problem.BadPayload, 0x8F},
		{strings.Repeat("a", 65536), problem.BadPayload, 0x8F},
		{strings.Repeat("a/", 40), problem.Limit, 0x97},
		{"$share/g/chat/rooms/a/#", problem.Unsupported, 0x9E},
		{"$SHARE/g/#", problem.Unsupported, 0x9E},
		{"$Share", problem.Unsupported, 0x9E},
		{"$last/5/$share/g/#", problem.Unsupported, 0x9E},
		{"$all/$sHaRe/g/#", problem.Unsupported, 0x9E},
		{"$queue/a", problem.Unsupported, 0x8F},
		{"$LAST/5/#", problem.Unsupported, 0x8F},
		{"$all/$last/5/#", problem.Unsupported, 0x8F},
		{"$last/5/$all/#", problem.Unsupported, 0x8F},
		{"$last/5/$since/5/chat/rooms/a/#", problem.Unsupported, 0x8F},
		{"$last/0/#", problem.BadPayload, 0x8F},
		{"$last/1001/#", problem.BadPayload, 0x8F},
		{"$last/-1/#", problem.BadPayload, 0x8F},
		{"$last/+/#", problem.BadPayload, 0x8F},
		{"$last/5", problem.BadPayload, 0x8F},
		{"$last/5/", problem.BadPayload, 0x8F},
		{"$last//#", problem.BadPayload, 0x8F},
		{"$all/", problem.BadPayload, 0x8F},
		{"$since/1/chat/rooms/+/#", problem.BadPayload, 0x8F},
		{"$since/1/#", problem.BadPayload, 0x8F},
		{"$since/1/chat/me/#", problem.BadPayload, 0x8F},
		{"$since/1/chat/users/+/presence", problem.BadPayload, 0x8F},
		{"$since/9007199254740992/chat/rooms/a/#", problem.BadPayload, 0x8F},
		{"$since/99999999999999999999/chat/rooms/a/#", problem.BadPayload, 0x8F},
		{"$since/1x/chat/rooms/a/#", problem.BadPayload, 0x8F},
	} {
		_, p := ParseFilter(c.in)
		if p == nil || p.Code != c.code || p.SubackReason() != c.suback {
			t.Errorf("%.50q: %v, want %s 0x%02x", c.in, p, c.code, c.suback)
		}
	}
	mustFilter(t, "$since/9007199254740991/chat/rooms/a/#")
	for _, f := range []string{"chat/users/ann/inbox", "chat/users/ann/#", "chat/users/+/inbox", "+/users/ann/inbox", "chat/broadcast/#", "chat/broadcast/text", "+/broadcast/+"} {
		mustFilter(t, "$since/1/"+f)
	}
}

func TestIdentityOfBadReplay(t *testing.T) {
	for in, want := range map[string]string{
		"$last/5000/chat/#": "chat/#", "$since/x/a/b": "a/b", "$last/5": "$last/5", "$last/5/": "$last/5/",
		"$all/#": "$all/#", "a/b": "a/b", "$lastly/1/a": "$lastly/1/a",
	} {
		if got := Identity(in); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestWithReplay(t *testing.T) {
	last, p := ParseReplay("last", "20")
	if p != nil {
		t.Fatal(p)
	}
	since, p := ParseReplay("since", "7")
	if p != nil {
		t.Fatal(p)
	}
	if _, p = ParseReplay("until", "7"); p == nil {
		t.Fatal("until was accepted")
	}
	for _, c := range []struct {
		filter string
		replay Replay
		want   Replay
		ok     bool
	}{
		{"chat/rooms/a/#", last, last, true},
		{"chat/rooms/a/#", since, since, true},
		{"chat/rooms/+/#", last, last, true},
		{"chat/rooms/+/#", since, Replay{}, false},
		{"$last/20/chat/rooms/a/#", last, last, true},
		{"$last/21/chat/rooms/a/#", last, Replay{}, false},
		{"$last/20/chat/rooms/a/#", Replay{}, last, true},
		{"$all/#", last, Replay{}, false},
		{"$all/#", Replay{}, Replay{}, true},
	} {
		f, p := mustFilter(t, c.filter).WithReplay(c.replay)
		if (p == nil) != c.ok || (c.ok && f.Replay != c.want) {
			t.Errorf("%s with %+v: %+v %v", c.filter, c.replay, f.Replay, p)
		}
	}
}

func TestGrant(t *testing.T) {
	alice := Reader{Namespace: "chat", User: "alice"}
	guest := Reader{Namespace: "chat", User: "guest~1", Guest: true}
	admin := Reader{Namespace: "chat", User: "admin", Audit: true, SYS: true}
	auditor := Reader{Namespace: "chat", User: "eve", Audit: true}
	acme := Reader{Namespace: "acme", User: "alice"}
	for _, c := range []struct {
		filter string
		r      Reader
		code   problem.Code // empty = granted
	}{
		{"chat/rooms/general/#", alice, ""},
		{"chat/rooms/not.yet.there/msg/text", alice, ""},
		{"chat/rooms/general/receipts", alice, ""},
		{"chat/rooms/general", alice, problem.NotFound},
		{"chat/rooms/general/#", acme, problem.Forbidden},
		{"+/rooms/general/#", acme, ""},
		{"#", alice, ""},
		{"chat/#", alice, ""},
		{"acme/#", alice, problem.Forbidden},
		{"+/rooms/+/meta", alice, ""},
		{"chat/rooms/dm~alice~bob/#", alice, ""},
		{"chat/rooms/dm~bob~carol/#", alice, problem.Forbidden},
		{"$all/chat/rooms/dm~bob~carol/#", auditor, ""},
		{"chat/rooms/dm~bob~alice/#", alice, problem.NotFound},
		{"chat/rooms/general/send", alice, problem.Forbidden},
		{"chat/rooms/general/send/#", alice, problem.Forbidden},
		{"chat/rooms/+/read", alice, problem.Forbidden},
		{"chat/rooms/general/nothing", alice, problem.NotFound},
		{"chat/rooms/general/msg/text/more", alice, problem.NotFound},
		{"chat/rooms/general/msg/text/#", alice, ""},
		{"chat/rooms/bad room/#", alice, problem.NotFound},
		{"chat/users/alice/inbox", alice, ""},
		{"chat/users/bob/inbox", alice, problem.Forbidden},
		{"chat/users/+/inbox", alice, ""},
		{"chat/users/bob/#", alice, ""},
		{"chat/users/bob/presence", alice, ""},
		{"chat/users/+/presence", alice, ""},
		{"chat/users/alice/send", alice, problem.Forbidden},
		{"chat/users/alice/x", alice, problem.NotFound},
		{"chat/broadcast/#", alice, ""},
		{"chat/broadcast", alice, problem.NotFound},
		{"chat/me/reply", alice, ""},
		{"chat/me/+", alice, ""},
		{"chat/me/rpc/x", alice, problem.NotFound},
		{"me/reply", alice, problem.Unsupported},
		{"sensors/#", alice, problem.Forbidden},
		{"sensors/kitchen", alice, problem.Unsupported},
		{"$SYS/#", alice, problem.Forbidden},
		{"$SYS/#", auditor, problem.Forbidden},
		{"$SYS/broker/uptime", admin, ""},
		{"$all/#", alice, problem.Forbidden},
		{"$all/#", admin, ""},
		{"$all/#", auditor, ""},
		{"$all/acme/#", admin, problem.Forbidden},
		{"$all/chat/rooms/a/send", admin, problem.Forbidden},
		{"chat/rooms/lobby/#", guest, ""},
		{"chat/rooms/lobby/receipts", guest, problem.Forbidden},
		{"chat/rooms/+/msg/#", guest, problem.Forbidden},
		{"#", guest, ""}, // me
		{"chat/me/#", guest, ""},
		{"chat/broadcast/#", guest, problem.Forbidden},
		{"chat/users/+/presence", guest, problem.Forbidden},
		{"chat/users/guest~1/inbox", guest, problem.Forbidden},
		{"$all/#", guest, problem.Forbidden},
	} {
		f := mustFilter(t, c.filter)
		p := f.Grant(c.r)
		if (p == nil) != (c.code == "") || (p != nil && p.Code != c.code) || f.CanMatch(c.r) != (p == nil) {
			t.Errorf("%s for %s/%s: %v, want %q", c.filter, c.r.Namespace, c.r.User, p, c.code)
		}
	}
}

// A filter is granted to a user exactly if some readable topic matches it.
func TestGrantAgreesWithMatch(t *testing.T) {
	r := Reader{Namespace: "chat", User: "bob"}
	rapid.Check(t, func(t *rapid.T) {
		f, p := ParseFilter(filterGen.Draw(t, "filter"))
		if p != nil || f.All || strings.HasPrefix(f.Raw, "$") {
			return
		}
		matches := false
		for _, room := range []string{"a", "b", "rooms", "msg", "bob", "general", "x"} {
			for _, typ := range []string{"a", "b", "rooms", "msg", "live", "bob", "general", "me", "meta", "reply", "x"} {
				matches = matches || f.Match(MsgTopic("chat", room, typ)) || f.Match(StateTopic("chat", room, typ)) ||
					f.Match(BroadcastTopic("chat", typ)) || f.Match(UserTopic("chat", typ, Presence))
				for _, user := range []string{"a", "b", "bob", "me", "msg", "rooms", "live", "general", "x", "meta", "reply"} {
					matches = matches || f.Match(LiveTopic("chat", room, typ, user))
				}
			}
			for _, room := range []string{"live", "me", "meta", "reply", room} {
				for _, typ := range []string{"a", "msg", "x"} {
					matches = matches || f.Match(MsgTopic("chat", room, typ)) || f.Match(StateTopic("chat", room, typ))
				}
				for _, name := range []string{Meta, Head, Presence, Receipts, Occupancy, Tally} {
					matches = matches || f.Match(RoomTopic("chat", room, name))
				}
			}
		}
		for _, name := range []string{MeReply, MeAck, MeError, MeSync, MeRead} {
			matches = matches || f.Match(MeTopic("chat", name))
		}
		matches = matches || f.Match(UserTopic("chat", "bob", Inbox))
		if matches && !f.CanMatch(r) {
			t.Fatalf("%s matches something readable and is refused: %v", f.Raw, f.Grant(r))
		}
		if f.CanMatch(r) && !matches && !hasOddLevel(f.Raw) {
			t.Fatalf("%s is granted and matches nothing", f.Raw)
		}
	})
}

// hasOddLevel reports whether a level is outside the small alphabet that the enumeration above covers for every place.
func hasOddLevel(filter string) bool {
	for i, l := range strings.Split(filter, "/") {
		switch l {
		case "a", "x", "+", "#", "bob", "b", "msg", "rooms", "general":
		default:
			if i > 1 && !(i == 3 && len(l) > 0) {
				return true
			}
		}
	}
	return false
}

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{
		"chat/rooms/general/#", "$last/5/chat/rooms/+/msg/+", "$since/7/chat/rooms/a/#", "$all/#", "$share/g/#", "+/+/+", "$SYS/#", "//",
	} {
		f.Add(s, "chat/rooms/general/msg/text")
	}
	f.Fuzz(func(t *testing.T, s, topic string) {
		got, p := ParseFilter(s)
		if p != nil {
			if p.Status < 400 || p.Sentence() == "" {
				t.Fatalf("%q: %+v", s, p)
			}
			return
		}
		again, p := ParseFilter(got.Raw)
		if p != nil || again.Replay.Mode != ReplayNone || again.Raw != got.Raw {
			t.Fatalf("%q: identity %q parses as %+v, %v", s, got.Raw, again, p)
		}
		if Identity(s) != got.Raw {
			t.Fatalf("%q: identity %q, raw %q", s, Identity(s), got.Raw)
		}
		if strings.Contains(topic, "\x00") {
			return
		}
		if got.Match(topic) != naiveMatch(strings.TrimPrefix(got.Raw, "$all/"), topic) {
			t.Fatalf("%q matches %q: %v", s, topic, got.Match(topic))
		}
		for _, r := range []Reader{{Namespace: "chat", User: "a"}, {Namespace: "chat", User: "guest~1", Guest: true}} {
			if got.CanMatch(r) != (got.Grant(r) == nil) {
				t.Fatalf("%q: CanMatch and Grant differ", s)
			}
		}
	})
}
