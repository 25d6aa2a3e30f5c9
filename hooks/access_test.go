package hooks_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/madang-chat/madang/hooks"
	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
)

func TestMayRead(t *testing.T) {
	rules, store := newRules(t)
	for _, c := range []struct {
		room   string
		may    string // who of everybody below
		joined string
	}{
		{"pub", "alice bob carol admin auditor guest~0 guest~1", "alice"},
		{"open", "alice bob carol admin auditor guest~0 guest~1", "alice"},
		{"shut", "alice bob carol admin auditor", "alice"},
		{"priv", "alice bob", "alice bob"}, // admins and auditors by $all/ and HTTP, audited
		{"dm~alice~bob", "alice bob", "alice bob"},
		{"fpub", "alice bob carol admin auditor guest~0 guest~1", "alice"},
		{"none", "", ""},
		{"inbox~alice", "alice", ""},
		{"inbox~guest~1", "", ""},
		{"broadcast~", "alice bob carol admin auditor", ""},
	} {
		for _, who := range []string{"alice", "bob", "carol", "admin", "auditor", "guest~0", "guest~1"} {
			id := as(strings.TrimSuffix(who, "guest~0"))
			may, err := rules.Access.MayRead(id, key(c.room))
			if want := slices.Contains(strings.Fields(c.may), who); err != nil || may != want {
				t.Errorf("%s reads %s: %v %v, want %v", who, c.room, may, err, want)
			}
			joined, err := rules.Access.Joined(id, key(c.room))
			if want := slices.Contains(strings.Fields(c.joined), who); err != nil || joined != want {
				t.Errorf("%s is in %s: %v %v, want %v", who, c.room, joined, err, want)
			}
		}
	}
	for scopes, want := range map[auth.Scope]bool{auth.ScopeSendAs | auth.ScopeRooms: false, auth.ScopeRead: true, auth.ScopeAdmin: true} {
		key1 := auth.Identity{Namespace: "chat", User: "svc~x", Service: true, Scopes: scopes}
		for _, room := range []string{"pub", "broadcast~"} {
			if may, err := rules.Access.MayRead(key1, key(room)); err != nil || may != want {
				t.Errorf("a key with %v reads %s: %v %v, want %v", scopes, room, may, err, want)
			}
		}
		f, err := topic.ParseFilter("chat/broadcast/#")
		if err != nil {
			t.Fatal(err)
		}
		if p := rules.Access.Grant(key1, f); (p == nil) != want {
			t.Errorf("a key with %v is granted broadcasts: %v, want %v", scopes, p, want)
		}
	}
	store.err = errors.New("disk on fire")
	if may, err := rules.Access.MayRead(as("alice"), key("pub")); may || err == nil {
		t.Errorf("without a store: %v %v", may, err)
	}
	if may, err := (hooks.Access{Rooms: memberFails{store}}).Joined(as("alice"), key("pub")); may || err == nil {
		t.Errorf("without members: %v %v", may, err)
	}
}

func TestGrant(t *testing.T) {
	rules, store := newRules(t)
	for _, c := range []struct {
		token, filter string
		code          problem.Code // "" = granted
	}{
		{"alice", "chat/rooms/pub/#", ""},
		{"alice", "chat/rooms/none/msg/+", ""}, // it may come to be
		{"carol", "chat/rooms/priv/#", ""},     // asleep until carol joins
		{"carol", "chat/rooms/dm~alice~bob/#", problem.Forbidden},
		{"bob", "chat/rooms/dm~alice~bob/#", ""},
		{"alice", "chat/rooms/+/msg/#", ""},
		{"alice", "chat/#", ""},
		{"alice", "#", ""},
		{"alice", "chat/me/#", ""},
		{"alice", "chat/users/alice/inbox", ""},
		{"alice", "chat/users/bob/inbox", problem.Forbidden},
		{"alice", "chat/broadcast/#", ""},
		{"alice", "chat/rooms/pub/send", problem.Forbidden},
		{"alice", "other/rooms/pub/#", problem.Forbidden},
		{"other/alice", "chat/rooms/pub/#", problem.Forbidden},
		{"other/alice", "other/rooms/pub/#", ""},
		{"alice", "$all/#", problem.Forbidden},
		{"admin", "$all/#", ""},
		{"auditor", "$all/chat/rooms/priv/#", ""},
		{"alice", "$SYS/#", problem.Forbidden},
		{"auditor", "$SYS/#", problem.Forbidden},
		{"admin", "$SYS/#", ""},
		{"other/admin", "$SYS/#", problem.Forbidden},
		{"alice", "sensors/#", problem.Forbidden}, // another namespace, like any first level
		{"alice", "sensors/kitchen", problem.Unsupported},
		{"alice", "$last/10/chat/rooms/pub/#", ""},

		{"", "chat/rooms/pub/#", ""},
		{"", "chat/rooms/open/msg/text", ""},
		{"", "+/rooms/pub/#", ""},
		{"", "chat/me/error", ""},
		{"", "chat/me/#", ""},
		{"", "chat/#", ""}, // only what is under me: a guest has joined nothing
		{"", "chat/rooms/+/#", problem.Forbidden},
		{"", "chat/rooms/none/#", problem.Forbidden},
		{"", "chat/rooms/shut/#", problem.Forbidden},
		{"guest~1", "chat/rooms/priv/#", problem.Forbidden},
		{"guest~1", "chat/rooms/open/#", ""},
		{"guest~1", "chat/rooms/dm~alice~bob/#", problem.Forbidden},
		{"guest~1", "chat/rooms/open/receipts", problem.Forbidden},
		{"guest~1", "chat/users/guest~1/inbox", problem.Forbidden},
		{"guest~1", "chat/broadcast/#", problem.Forbidden},
		{"guest~1", "$all/#", problem.Forbidden},
		{"guest~1", "$SYS/#", problem.Forbidden},
		{"guest~1", "$since/0/chat/rooms/pub/#", ""},
	} {
		f, bad := topic.ParseFilter(c.filter)
		if bad != nil {
			t.Fatalf("%s: %v", c.filter, bad)
		}
		got := problem.Code("")
		if p := rules.Access.Grant(as(c.token), f); p != nil {
			got = p.Code
		}
		if got != c.code {
			t.Errorf("%q subscribes to %s: %q, want %q", c.token, c.filter, got, c.code)
		}
	}
	store.err = errors.New("disk on fire")
	f, bad := topic.ParseFilter("chat/rooms/pub/#")
	if bad != nil {
		t.Fatal(bad)
	}
	if p := rules.Access.Grant(as(""), f); p == nil || p.Code != problem.Internal {
		t.Errorf("without a store: %v", p)
	}
	if p := rules.Access.Grant(as("alice"), f); p != nil {
		t.Errorf("a user's grant needs no store: %v", p)
	}
}
