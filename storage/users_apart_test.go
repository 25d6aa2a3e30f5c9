package storage

import "testing"

// Nobody writes to a user who was deleted, in the room of the two that is there no more than in one to be made. What one has
// said oneself one may take back, and all of it stays readable.
func TestADeletedUserIsNotWrittenTo(t *testing.T) {
	for _, mode := range []DeleteMode{Anonymise, Erase} {
		l := newTestLog(t)
		dm := func(a, b, by string) *Append {
			c := say("dm~"+a+"~"+b, by, "hello")
			c.AutoCreate = Direct
			return c
		}
		l.done(dm("ann", "bob", "ann"))
		l.done(dm("ann", "bob", "bob"))
		again := dm("ann", "bob", "bob")
		again.CID = "c1"
		l.done(again)
		l.done(&SetState{Room: room("dm~ann~bob"), From: from("ann"), Key: "k", Data: []byte("1")})
		l.done(&DeleteUser{Key: someone("ann"), By: from("ann"), Mode: mode})
		bob := Actor{User: "bob", Admin: true}
		for i, c := range []Command{
			dm("ann", "bob", "bob"), dm("ann", "eve", "eve"),
			&Append{Room: room("dm~ann~bob"), From: bob, Type: TypeEdit, Target: 2, Tail: []byte(`,"target":2,"data":{"text":"x"}`)},
			&Append{Room: room("dm~ann~bob"), From: from("bob"), Type: TypeReaction, Target: 1, Emoji: "x", Tail: []byte(`,"target":1,"data":{"emoji":"x"}`)},
			&SetState{Room: room("dm~ann~bob"), From: from("bob"), Key: "l", Data: []byte("1")},
		} {
			if r := l.do(c); r.Outcome != NotFound || r.Detail == "" {
				t.Errorf("%s, %d: %+v", mode, i, r)
			}
		}
		if r := l.done(again); !r.Duplicate {
			t.Errorf("what was said before: %+v", r)
		}
		l.done(&DeletePage{Key: someone("ann"), Run: 1, Leave: []string{"dm~ann~bob"}, To: DeletedTo{Room: "dm~ann~bob"}})
		l.done(&DeletePage{
			Key: someone("ann"), Run: 1, Room: "dm~ann~bob", Entries: []uint64{1}, States: []string{"k"}, To: DeletedTo{Room: "dm~ann~bob"}, Done: true,
		})
		l.done(&Append{Room: room("dm~ann~bob"), From: from("bob"), Type: TypeDelete, Target: 2, Tail: []byte(`,"target":2,"data":{}`)})
		if all, err := l.s.Entries(room("dm~ann~bob"), 1, 9, 9, 1<<20); err != nil || len(all) != 4 || all[0].User != DeletedUser {
			t.Errorf("%s: %d entries, %v", mode, len(all), err)
		}
		if v, err := l.s.State(room("dm~ann~bob"), "k"); err != nil || v != nil && v.By("ann") {
			t.Errorf("%s: the name is on a state key: %+v, %v", mode, v, err)
		}
		l.done(&PutUser{Key: someone("ann"), By: Actor{User: "root", Admin: true}, Register: true, Again: true})
		l.done(dm("ann", "eve", "eve")) // the name is somebody's again
		checkStore(t, l.s)
	}
}
