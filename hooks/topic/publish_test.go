package topic

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/madang-chat/madang/hooks/problem"
)

func TestParsePublish(t *testing.T) {
	for in, want := range map[string]Publish{
		"chat/rooms/general/send":             {Kind: Send, Namespace: "chat", Room: "general", Type: "text"},
		"chat/rooms/general/send/edit":        {Kind: Send, Namespace: "chat", Room: "general", Type: "edit"},
		"chat/rooms/dm~alice~bob/send":        {Kind: Send, Namespace: "chat", Room: "dm~alice~bob", Type: "text"},
		"acme/rooms/rooms/send/send":          {Kind: Send, Namespace: "acme", Room: "rooms", Type: "send"},
		"chat/rooms/general/live/typing/bob":  {Kind: Live, Namespace: "chat", Room: "general", Name: "typing", User: "bob"},
		"chat/rooms/a/live/typing/guest~7":    {Kind: Live, Namespace: "chat", Room: "a", Name: "typing", User: "guest~7"},
		"chat/rooms/general/state/topic":      {Kind: State, Namespace: "chat", Room: "general", Key: "topic"},
		"chat/rooms/general/read":             {Kind: Read, Namespace: "chat", Room: "general"},
		"chat/rooms/general/cheer/heart":      {Kind: Cheer, Namespace: "chat", Room: "general", Name: "heart"},
		"chat/users/a@b.c/send":               {Kind: UserSend, Namespace: "chat", User: "a@b.c", Type: "text"},
		"chat/users/bob/send/image":           {Kind: UserSend, Namespace: "chat", User: "bob", Type: "image"},
		"chat/broadcast/notice":               {Kind: Broadcast, Namespace: "chat", Type: "notice"},
		"chat/me/rpc/room.get":                {Kind: RPC, Namespace: "chat", Method: "room.get"},
		"chat/rooms/general/send/audio.opus1": {Kind: Send, Namespace: "chat", Room: "general", Type: "audio.opus1"},
	} {
		got, p := ParsePublish(in)
		if p != nil {
			t.Errorf("%s: %v", in, p)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", in, diff)
		}
	}
}

func TestParsePublishRefuses(t *testing.T) {
	for _, c := range []struct {
		topic string
		code  problem.Code
		says  string // a part of the sentence
	}{
		{"chat/rooms/general/msg/text", problem.Forbidden, "chat/rooms/general/send/{type}"},
		{"chat/rooms/general/msg", problem.Forbidden, "chat/rooms/general/send"},
		{"chat/rooms/general/meta", problem.Forbidden, "room.set"},
		{"chat/rooms/general/head", problem.Forbidden, "chat/rooms/general/send"},
		{"chat/rooms/general/presence", problem.Forbidden, "live/"},
		{"chat/rooms/general/receipts", problem.Forbidden, "chat/rooms/general/read"},
		{"chat/rooms/general/occupancy", problem.Forbidden, "send"},
		{"chat/rooms/general/tally", problem.Forbidden, "cheer"},
		{"chat/users/bob/inbox", problem.Forbidden, "chat/users/bob/send"},
		{"chat/users/bob/presence", problem.Forbidden, "connections"},
		{"chat/me/reply", problem.Forbidden, "me/rpc"},
		{"chat/me/ack", problem.Forbidden, "me/rpc"},
		{"chat/me/read", problem.Forbidden, "/read"},
		{"$SYS/broker/uptime", problem.Forbidden, "$SYS"},
		{"$SYS", problem.Forbidden, "$SYS"},
		{"$share/g/chat/rooms/a/send", problem.Unsupported, "$"},
		{"$last/5/chat/rooms/a/send", problem.Unsupported, "$"},
		{"sensors/kitchen", problem.Unsupported, "reserved"},
		{"chat", problem.Unsupported, "reserved"},
		{"/", problem.Unsupported, "reserved"},
		{"chat/ROOMS/general/send", problem.Unsupported, "reserved"},
		{"chat/rooms", problem.NotFound, "room"},
		{"chat/rooms/", problem.NotFound, "room"},
		{"chat/rooms/general", problem.NotFound, "send"},
		{"chat/rooms/gen eral/send", problem.NotFound, "gen eral"},
		{"chat/rooms/dm~bob~alice/send", problem.NotFound, "dm~alice~bob"},
		{"chat/rooms/dm~bob~bob/send", problem.NotFound, "different"},
		{"chat/rooms/general/send/a/b", problem.NotFound, "message type"},
		{"chat/rooms/general/send/", problem.NotFound, "message type"},
		{"chat/rooms/general/live/typing", problem.NotFound, "live/{name}/{user}"},
		{"chat/rooms/general/live/ty ping/bob", problem.NotFound, "live name"},
		{"chat/rooms/general/live/typing/b~b", problem.NotFound, "user"},
		{"chat/rooms/general/live/typing/bob/x", problem.NotFound, "user"},
		{"chat/rooms/general/read/x", problem.NotFound, "no such topic"},
		{"chat/rooms/general/state", problem.NotFound, "state key"},
		{"chat/rooms/general/cheer/👍", problem.NotFound, "cheer"},
		{"chat/users/bob", problem.NotFound, "send"},
		{"chat/users/guest~1/send", problem.NotFound, "guest"},
		{"chat/users/b b/send", problem.NotFound, "user"},
		{"chat/broadcast", problem.NotFound, "type"},
		{"chat/me/rpc", problem.NotFound, "method"},
		{"chat/me/x", problem.NotFound, "me/rpc"},
		{"my chat/rooms/general/send", problem.NotFound, "namespace"},
		{"", problem.BadPayload, "empty"},
		{"chat/rooms/+/send", problem.BadPayload, "one room"},
		{"chat/rooms/a/send/\x00", problem.BadPayload, "NUL"},
		{"chat/rooms/a\xff/send", problem.BadPayload, "UTF-8"},
		{strings.Repeat("a", 70000), problem.BadPayload, "longer"},
	} {
		_, p := ParsePublish(c.topic)
		if p == nil || p.Code != c.code || !strings.Contains(p.Sentence(), c.says) {
			t.Errorf("%.60q: got %v, want %s saying %q", c.topic, p, c.code, c.says)
		}
	}
}

func TestParsePublishKindOfRefusal(t *testing.T) {
	for in, want := range map[string]Kind{
		"chat/rooms/a/meta": Reserved, "$SYS/x": Reserved, "a/b": Plain, "chat/rooms/a/x": Unknown,
	} {
		if got, p := ParsePublish(in); p == nil || got.Kind != want {
			t.Errorf("%s: %v %v", in, got.Kind, p)
		}
	}
	if Send.String() != "send" || RPC.String() != "rpc" || Plain.String() != "plain" || Kind(99).String() != "unknown" {
		t.Error("names of kinds")
	}
}

func TestPublishRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ns, room, typ, user := nsGen.Draw(t, "ns"), nameGen.Draw(t, "room"), nameGen.Draw(t, "type"), userGen.Draw(t, "user")
		for topic, want := range map[string]Publish{
			SendTopic(ns, room, typ):        {Kind: Send, Namespace: ns, Room: room, Type: typ},
			LiveTopic(ns, room, typ, user):  {Kind: Live, Namespace: ns, Room: room, Name: typ, User: user},
			StateTopic(ns, room, typ):       {Kind: State, Namespace: ns, Room: room, Key: typ},
			BroadcastTopic(ns, typ):         {Kind: Broadcast, Namespace: ns, Type: typ},
			UserTopic(ns, user, "send"):     {Kind: UserSend, Namespace: ns, User: user, Type: "text"},
			RoomTopic(ns, room, "read"):     {Kind: Read, Namespace: ns, Room: room},
			MeTopic(ns, "rpc") + "/" + typ:  {Kind: RPC, Namespace: ns, Method: typ},
			RoomTopic(ns, room, "send"):     {Kind: Send, Namespace: ns, Room: room, Type: "text"},
			RoomTopic(ns, room, "cheer/+1"): {},
		} {
			got, p := ParsePublish(topic)
			if want.Kind == Unknown {
				if p == nil {
					t.Fatalf("%s was accepted", topic)
				}
			} else if p != nil || got != want {
				t.Fatalf("%s: %+v %v", topic, got, p)
			}
		}
	})
}

func TestParsePublishAllocatesNothing(t *testing.T) {
	n := testing.AllocsPerRun(100, func() {
		for _, s := range []string{"chat/rooms/general/send", "chat/rooms/dm~a~b/live/typing/bob", "chat/me/rpc/x", "chat/broadcast/x"} {
			if _, p := ParsePublish(s); p != nil {
				t.Fatal(p)
			}
		}
	})
	if n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func FuzzParsePublish(f *testing.F) {
	for _, s := range []string{"chat/rooms/general/send/text", "chat/rooms/dm~a~b/live/typing/a", "$SYS/x", "a/me/rpc/x", "//", "é/rooms/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, p := ParsePublish(s)
		if p != nil {
			if p.Status < 400 || p.Sentence() == "" {
				t.Fatalf("%q: %+v", s, p)
			}
			return
		}
		// Every accepted topic is made of its parts again.
		var again string
		ns := got.Namespace
		switch got.Kind {
		case Send:
			again = SendTopic(ns, got.Room, got.Type)
			if strings.Count(s, "/") == 3 {
				again = strings.TrimSuffix(again, "/"+DefaultType)
			}
		case Live:
			again = LiveTopic(ns, got.Room, got.Name, got.User)
		case State:
			again = StateTopic(ns, got.Room, got.Key)
		case Read:
			again = RoomTopic(ns, got.Room, "read")
		case Cheer:
			again = RoomTopic(ns, got.Room, "cheer/"+got.Name)
		case UserSend:
			again = UserTopic(ns, got.User, "send") + "/" + got.Type
			if strings.Count(s, "/") == 3 {
				again = strings.TrimSuffix(again, "/"+DefaultType)
			}
		case Broadcast:
			again = BroadcastTopic(ns, got.Type)
		case RPC:
			again = MeTopic(ns, "rpc/"+got.Method)
		default:
			t.Fatalf("%q was accepted as %s", s, got.Kind)
		}
		if again != s {
			t.Fatalf("%q came back as %q", s, again)
		}
	})
}

func BenchmarkParsePublish(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, p := ParsePublish("chat/rooms/general/send/text"); p != nil {
			b.Fatal(p)
		}
	}
}
