package hooks_test

import (
	"errors"
	"testing"

	"github.com/madang-chat/madang/hooks"
	"github.com/madang-chat/madang/storage"
)

// later is a store some time after its newest entry.
type later struct {
	*rooms
	by int64
}

func (l later) Now() int64 { return l.rooms.Now() + l.by }

// Who is banned may not read until the ban has ended by the clock, and when that is can be asked.
func TestBanEnds(t *testing.T) {
	rules, store := newRules(t)
	access := rules.Access
	if end, err := access.BanEnds(as("carol"), key("pub"), 0); end != 0 || err != nil {
		t.Errorf("nobody is banned: %d, %v", end, err)
	}
	for user, seconds := range map[string]int64{"carol": 60, "dave": 0} {
		c := &storage.Moderate{Room: key("pub"), By: storage.Actor{User: "alice"}, Act: storage.ActBan, User: user, Seconds: seconds}
		if r := store.log.Apply(c); r.Outcome != storage.Done {
			t.Fatalf("%+v", r)
		}
	}
	m, err := store.Member(key("pub"), "carol")
	if err != nil || m.Banned == 0 {
		t.Fatalf("%+v, %v", m, err)
	}
	for user, want := range map[string]int64{"carol": m.Banned, "dave": 0, "bob": 0} {
		if end, err := access.BanEnds(as(user), key("pub"), m.Banned-1); end != want || err != nil {
			t.Errorf("the ban of %s ends at %d, %v; want %d", user, end, err, want)
		}
		if end, err := access.BanEnds(as(user), key("pub"), m.Banned); end != 0 || err != nil {
			t.Errorf("a ban of %s that has ended ends at %d, %v", user, end, err)
		}
		for _, by := range []int64{0, 50_000, 60_000} {
			may, err := hooks.Access{Rooms: later{store, by}}.MayRead(as(user), key("pub"))
			if want := user == "bob" || user == "carol" && by == 60_000; may != want || err != nil {
				t.Errorf("%s reads %d ms later: %v, %v", user, by, may, err)
			}
		}
	}
	for _, k := range []storage.RoomKey{key("none"), key("inbox~carol"), key("broadcast~")} {
		if end, err := access.BanEnds(as("carol"), k, 0); end != 0 || err != nil {
			t.Errorf("%v: %d, %v", k, end, err)
		}
	}
	if _, err := (hooks.Access{Rooms: memberFails{store}}).BanEnds(as("carol"), key("pub"), 0); err == nil {
		t.Error("without members there is no error")
	}
	store.err = errors.New("disk on fire")
	if _, err := access.BanEnds(as("carol"), key("pub"), 0); err == nil {
		t.Error("without a store there is no error")
	}
}
