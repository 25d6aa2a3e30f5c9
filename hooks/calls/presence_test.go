package calls

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/calls/callstest"
	"github.com/madang-chat/madang/storage"
)

// circle is people who know each other, and who has blocked whom.
type circle struct {
	contacts [][2]string
	blocks   [][2]string
}

func (c *circle) MutualContacts(_, a, b string) (bool, error) {
	return slices.Contains(c.contacts, [2]string{a, b}) || slices.Contains(c.contacts, [2]string{b, a}), nil
}

func (c *circle) Blocked(_, owner, other string) (bool, error) {
	return slices.Contains(c.blocks, [2]string{owner, other}), nil
}

func (c *circle) EachContact(_, user string, f func(string) bool) error {
	for _, p := range c.contacts {
		if p[0] == user && !f(p[1]) || p[1] == user && !f(p[0]) {
			return nil
		}
	}
	return nil
}

// The presence of a user is for contacts and for who shares a room that is not public; a block hides it both ways.
func TestWhoSeesWhom(t *testing.T) {
	log := callstest.NewLog(t, storage.Options{Dir: "data", FS: vfs.NewMem()})
	people := &circle{
		contacts: [][2]string{{"ann", "bob"}, {"ann", "eve"}, {"fay", "ann"}},
		blocks:   [][2]string{{"ann", "eve"}, {"gus", "ann"}},
	}
	c := New(Config{Log: log, Store: log.Store, Auth: &callstest.Tokens{}, Relations: people})
	room := func(name string, kind storage.RoomKind, members ...string) {
		k := storage.RoomKey{NS: "chat", Room: name}
		log.Apply(&storage.RoomCreate{Room: k, By: storage.Actor{User: members[0]}, Kind: kind})
		for _, m := range members[1:] {
			log.Apply(&storage.Join{Room: k, By: storage.Actor{User: m, Admin: true}})
		}
	}
	for i := range 3 * sharedPage { // rooms of one of the two each
		room(fmt.Sprintf("m%d", i), storage.Private, []string{"ann", "cat"}[i%2])
	}
	room("pub", storage.Public, "ann", "dan", "cat")
	room("p", storage.Private, "ann", "cat", "gus")
	room("q", storage.Private, "cat", "dan")
	log.Apply(&storage.Append{
		Room: storage.RoomKey{NS: "chat", Room: "dm~ann~hal"}, From: storage.Actor{User: "hal"}, Type: "text", Tail: []byte(`,"data":{}`),
		AutoCreate: storage.Direct,
	})
	for who, want := range map[string]bool{
		"ann": true, "bob": true, "fay": true, "cat": true, "hal": true, // oneself, contacts, a private room, a direct one
		"dan": false, "eve": false, "gus": false, "ida": false, // a public room; blocked; has blocked; nothing
	} {
		if got, err := c.SeesUser(auth.Identity{Namespace: "chat", User: who}, "ann"); err != nil || got != want {
			t.Errorf("%s sees ann: %v, %v", who, got, err)
		}
		if got, err := c.SeesUser(auth.Identity{Namespace: "chat", User: "ann"}, who); err != nil || got != want {
			t.Errorf("ann sees %s: %v, %v", who, got, err)
		}
	}
	for _, id := range []auth.Identity{{Namespace: "chat", User: "ida", Admin: true}, {Namespace: "chat", User: "ida", Auditor: true}} {
		if got, err := c.SeesUser(id, "ann"); err != nil || !got {
			t.Errorf("%+v: %v, %v", id, got, err)
		}
	}
	for _, id := range []auth.Identity{{Namespace: "chat", User: "guest~1", Guest: true}, {Namespace: "other", User: "cat"}} {
		if got, err := c.SeesUser(id, "ann"); err != nil || got {
			t.Errorf("%+v: %v, %v", id, got, err)
		}
	}
	for user, want := range map[string][]string{"ann": {"ann", "bob", "fay"}, "eve": {"eve"}, "bob": {"bob", "ann"}} {
		if got, err := c.Knows("chat", user); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s knows %v, %v", user, got, err)
		}
	}
	log.Apply(&storage.Leave{Room: storage.RoomKey{NS: "chat", Room: "p"}, By: storage.Actor{User: "cat"}})
	if got, err := c.SeesUser(auth.Identity{Namespace: "chat", User: "cat"}, "ann"); err != nil || got {
		t.Errorf("one who left sees ann: %v, %v", got, err)
	}
}
