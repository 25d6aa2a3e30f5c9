package topic

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// naiveMatch is MQTT's matching as a regular expression, for comparison.
func naiveMatch(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") && (strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")) {
		return false
	}
	if filter == "#" {
		return true
	}
	below := false
	if rest, ok := strings.CutSuffix(filter, "/#"); ok {
		filter, below = rest, true
	}
	var parts []string
	for l := range strings.SplitSeq(filter, "/") {
		if l == "+" {
			parts = append(parts, "[^/]*")
		} else {
			parts = append(parts, regexp.QuoteMeta(l))
		}
	}
	re := `(?s)\A` + strings.Join(parts, "/")
	if below {
		re += `(/.*)?`
	}
	return regexp.MustCompile(re + `\z`).MatchString(topic)
}

var (
	levelGen = rapid.SampledFrom([]string{
		"chat", "acme", "rooms", "users", "me", "broadcast", "msg", "live", "state", "meta", "a", "b", "bob", "general", "x", "reply",
		"inbox", "presence", "", "$SYS", "$x",
	})
	wildGen   = rapid.OneOf(levelGen, rapid.SampledFrom([]string{"+", "+", "chat", "rooms", "msg"}))
	topicGen  = rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(levelGen, 1, 7).Draw(t, "l"), "/") })
	filterGen = rapid.Custom(func(t *rapid.T) string {
		levels := rapid.SliceOfN(wildGen, 0, 6).Draw(t, "l")
		if len(levels) == 0 || rapid.Bool().Draw(t, "below") {
			levels = append(levels, "#")
		}
		return strings.Join(levels, "/")
	})
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"#", "a", true},
		{"#", "$SYS/x", false},
		{"+/x", "$SYS/x", false},
		{"+", "$SYS", false},
		{"$SYS/#", "$SYS/x", true},
		{"$SYS/#", "$SYS", true},
		{"chat/#", "chat/$x", true},
		{"chat/#", "chat", true},
		{"chat/+", "chat", false},
		{"chat/+", "chat/", true},
		{"chat/+/#", "chat", false},
		{"+/+", "/a", true},
		{"+", "/a", false},
		{"a/b", "a/b/", false},
		{"a/b/", "a/b", false},
		{"$all/#", "chat/x", true},
		{"$last/4/chat/#", "chat/x", true},
	} {
		if got := mustFilter(t, c.filter).Match(c.topic); got != c.want {
			t.Errorf("%s matches %s: %v", c.filter, c.topic, got)
		}
	}
}

func TestMatchAgreesWithNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, topic := filterGen.Draw(t, "filter"), topicGen.Draw(t, "topic")
		f, p := ParseFilter(s)
		if p != nil {
			return
		}
		if got, want := f.Match(topic), naiveMatch(s, topic); got != want {
			t.Fatalf("%q matches %q: got %v, want %v", s, topic, got, want)
		}
	})
}

// related draws a filter near the topic, so that about half of them match.
func related(t *rapid.T, topic string) string {
	levels := strings.Split(topic, "/")
	for i := range levels {
		switch rapid.IntRange(0, 7).Draw(t, "change") {
		case 0, 1, 2:
			levels[i] = "+"
		case 3:
			levels[i] = "other"
		case 4:
			return strings.Join(append(levels[:i], "#"), "/")
		}
	}
	return strings.Join(levels, "/")
}

func TestMatchersAgreeWithMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ns, room, typ, user := nsGen.Draw(t, "ns"), nameGen.Draw(t, "room"), nameGen.Draw(t, "type"), userGen.Draw(t, "user")
		me := rapid.SampledFrom([]string{MeReply, MeAck, MeError, MeSync, MeRead}).Draw(t, "me")
		value := rapid.SampledFrom([]string{Meta, Head, Presence, Receipts, Occupancy, Tally}).Draw(t, "value")
		mine := rapid.SampledFrom([]string{Inbox, Presence}).Draw(t, "mine")
		topics := []string{
			MsgTopic(ns, room, typ), LiveTopic(ns, room, typ, user), StateTopic(ns, room, typ), RoomTopic(ns, room, value),
			UserTopic(ns, user, mine), BroadcastTopic(ns, typ), MeTopic(ns, me),
		}
		s := related(t, rapid.SampledFrom(topics).Draw(t, "near"))
		f, p := ParseFilter(s)
		if p != nil {
			t.Fatalf("%q: %v", s, p)
		}
		for i, got := range []bool{
			f.MatchMsg(ns, room, typ), f.MatchLive(ns, room, typ, user), f.MatchState(ns, room, typ), f.MatchRoom(ns, room, value),
			f.MatchUser(ns, user, mine), f.MatchBroadcast(ns, typ),
		} {
			if want := f.Match(topics[i]); got != want {
				t.Fatalf("%q and %q: got %v, want %v", s, topics[i], got, want)
			}
		}
		if f.InNamespace(ns) {
			if got, want := f.MatchMe(me), f.Match(MeTopic(ns, me)); got != want {
				t.Fatalf("%q and me/%s: got %v, want %v", s, me, got, want)
			}
		}
		if f.MatchMsg(ns, room, typ) && !f.HasMessages() {
			t.Fatalf("%q matches a message and says it cannot", s)
		}
	})
}

func TestMatchAllocatesNothing(t *testing.T) {
	f := mustFilter(t, "chat/rooms/+/msg/#")
	n := testing.AllocsPerRun(100, func() {
		if !f.MatchMsg("chat", "general", "text") || f.MatchLive("chat", "general", "typing", "bob") || f.Match("chat/rooms/a/meta") {
			t.Fatal("wrong match")
		}
	})
	if n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkMatchMsg(b *testing.B) {
	f := mustFilter(b, "chat/rooms/+/msg/+")
	b.ReportAllocs()
	for b.Loop() {
		if !f.MatchMsg("chat", "general", "text") {
			b.Fatal("no match")
		}
	}
}

func BenchmarkParseFilter(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, p := ParseFilter("$last/50/chat/rooms/general/#"); p != nil {
			b.Fatal(p)
		}
	}
}
