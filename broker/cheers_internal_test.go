package broker

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/madang-chat/madang/storage"
)

var cheered = storage.RoomKey{NS: "chat", Room: "r"}

// Whatever is cheered on two nodes, and whichever of their messages a slow link replaces by newer ones: both report every
// cheer once.
func TestCheersAreCountedOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := [2]*cheers{{}, {}}
		sent, reported := map[string]uint64{}, [2]map[string]uint64{{}, {}}
		under := [2]*cheerCount{} // way to the other one: the newest only
		tick := func(i int, deliver bool) {
			for _, tl := range nodes[i].take() {
				for name, n := range tl.cheer {
					reported[i][name] += n
				}
				if tl.tell != nil {
					under[i] = tl.tell
				}
			}
			if deliver && under[i] != nil {
				got, ok := decodeCheers(under[i].appendTo(nil))
				if !ok {
					t.Fatal("the count cannot be read back")
				}
				nodes[1-i].heard(cheered, "other", got)
				under[i] = nil
			}
		}
		for _, c := range nodes { // both have readers, and have heard of each other
			if bad := c.add(cheered, "hello"); bad != nil {
				t.Fatal(bad)
			}
			sent["hello"]++
		}
		tick(0, true)
		tick(1, true)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			i := rapid.IntRange(0, 1).Draw(t, "node")
			for range rapid.IntRange(0, 3).Draw(t, "cheers") {
				name := rapid.SampledFrom([]string{"heart", "star"}).Draw(t, "name")
				if bad := nodes[i].add(cheered, name); bad != nil {
					t.Fatal(bad)
				}
				sent[name]++
			}
			tick(i, rapid.Bool().Draw(t, "delivered"))
		}
		for range 2 {
			tick(0, true)
			tick(1, true)
		}
		for i := range nodes {
			tick(i, false)
			for name, n := range sent {
				if reported[i][name] != n {
					t.Fatalf("node %d reported %d of %d %s", i, reported[i][name], n, name)
				}
			}
		}
	})
}

func TestCheersAreBounded(t *testing.T) {
	var c cheers
	for i := range cheerNames {
		if bad := c.add(cheered, string(rune('a'+i/26))+string(rune('a'+i%26))); bad != nil {
			t.Fatal(bad)
		}
	}
	if bad := c.add(cheered, "one.more"); bad != nil || len(c.rooms[cheered].own.names) != cheerNames {
		t.Errorf("one more name: %v, %d are counted", bad, len(c.rooms[cheered].own.names))
	}
	for i := range cheerRooms {
		c.room(storage.RoomKey{NS: "chat", Room: string(rune(i + 256))})
	}
	if bad := c.add(storage.RoomKey{NS: "chat", Room: "another"}, "heart"); bad == nil {
		t.Error("any number of rooms is counted")
	}
	for range cheerQuiet + 2 {
		c.take()
	}
	if len(c.rooms) != 0 {
		t.Errorf("%d quiet rooms are still known", len(c.rooms))
	}
}

// A node that begins to read a room does not report what came before as new.
func TestOldCheersAreNoNews(t *testing.T) {
	var c cheers
	c.heard(cheered, "b", cheerCount{began: 1, age: 100, names: map[string]uint64{"heart": 50}})
	c.heard(cheered, "b", cheerCount{began: 1, age: 101, names: map[string]uint64{"heart": 52}})
	c.heard(cheered, "b", cheerCount{began: 2, age: 1, names: map[string]uint64{"heart": 3}})
	c.heard(cheered, "b", cheerCount{began: 3, age: 9, names: map[string]uint64{"heart": 70}})
	c.heard(cheered, "c", cheerCount{began: 4, age: 1, kept: true, names: map[string]uint64{"heart": 80}})
	if got := c.take(); len(got) != 1 || got[0].cheer["heart"] != 5 {
		t.Errorf("%+v", got)
	}
}

func FuzzDecodeCheers(f *testing.F) {
	n := cheerCount{began: 1, age: 2, names: map[string]uint64{"heart": 3}}
	f.Add(n.appendTo(nil))
	f.Fuzz(func(_ *testing.T, b []byte) { decodeCheers(b) })
}
