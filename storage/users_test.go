package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func someone(user string) UserKey { return UserKey{NS: "chat", User: user} }

// drawOfUser makes a command about a user.
func drawOfUser(t *rapid.T, room string, by Actor) Command {
	small := func(name string, most uint64) uint64 { return rapid.Uint64Range(0, most).Draw(t, name) }
	k := someone(rapid.SampledFrom(testUsers).Draw(t, "of user"))
	if rapid.Bool().Draw(t, "by themselves") {
		by = from(k.User)
	}
	switch rapid.IntRange(0, 5).Draw(t, "about a user") {
	case 0:
		return &DeleteUser{Key: k, By: by, Mode: rapid.SampledFrom([]DeleteMode{Anonymise, Erase}).Draw(t, "mode")}
	case 1, 2:
		c := &DeletePage{
			Key: k, Run: small("run", 5), Leave: []string{room}, Room: room, Entries: []uint64{small("entry", 9), small("entry", 9)},
			States: []string{rapid.SampledFrom([]string{"k", "l"}).Draw(t, "state")},
			To:     DeletedTo{Room: room, Seq: small("to", 9)}, Done: rapid.Bool().Draw(t, "done"),
		}
		return c
	case 3:
		c := &Logout{Key: k, Keep: int64(small("keep", 3000))}
		switch small("of", 2) {
		case 0:
			c.All = true
		case 1:
			c.Device = rapid.SampledFrom([]string{"", "x", "x\x00y"}).Draw(t, "device")
		case 2:
			c.Token = "t"
		}
		return c
	}
	c := &PutUser{Key: k, By: by, Register: rapid.Bool().Draw(t, "register"), Again: rapid.Bool().Draw(t, "again")}
	if rapid.Bool().Draw(t, "with a name") {
		name := rapid.SampledFrom([]string{"", "Abe", "}\"", k.User}).Draw(t, "name")
		c.Name, c.Fold = &name, strings.ReplaceAll(strings.ToLower(name), `"`, "")
	}
	if rapid.Bool().Draw(t, "with attributes") {
		c.Set = []Attribute{{Name: AttributeLevel, Value: fmt.Append(nil, small("level", 3))}, {Name: "a"}, {Name: "b", Value: []byte("1")}}
	}
	if rapid.Bool().Draw(t, "with a password") {
		c.Hash = new(fmt.Sprint(small("hash", 2)))
	}
	if rapid.IntRange(0, 5).Draw(t, "disable") == 0 {
		c.Disabled = new(rapid.Bool().Draw(t, "disabled"))
	}
	return c
}

// newest returns the delivered form of a room's newest entry.
func newest(t *testing.T, l *testLog, r string) string {
	t.Helper()
	all, err := l.s.EntriesBefore(room(r), 1<<60, 1, 1<<20)
	if err != nil || len(all) != 1 {
		t.Fatalf("%d entries, %v", len(all), err)
	}
	return string(all[0].JSON)
}

// What is recorded of a user is on their next message, and on a state key, whatever their token says.
func TestMessagesAreStampedFromTheRecord(t *testing.T) {
	l := newTestLog(t)
	service := Actor{User: "svc~game", Admin: true}
	claims := func() *Append {
		a := say("r", "ann", "hi")
		a.From.Name, a.From.Level = "Token", new(int64(1))
		return a
	}
	l.done(claims())
	if got := newest(t, l, "r"); !strings.Contains(got, `"name":"Token","role":"owner","level":1}`) {
		t.Errorf("without a record: %s", got)
	}
	l.done(&PutUser{Key: someone("ann"), By: service, Set: []Attribute{{Name: AttributeLevel, Value: []byte("7")}}})
	l.done(claims())
	if got := newest(t, l, "r"); !strings.Contains(got, `"name":"Token","role":"owner","level":7}`) {
		t.Errorf("with a level: %s", got)
	}
	l.done(&PutUser{Key: someone("ann"), By: from("ann"), Name: new("Ann"), Fold: "ann"})
	l.done(claims())
	if got := newest(t, l, "r"); !strings.Contains(got, `"name":"Ann","role":"owner","level":7}`) {
		t.Errorf("with a name: %s", got)
	}
	l.done(&SetState{Room: room("r"), From: from("ann"), Key: "k", Data: []byte("1")})
	if v, err := l.s.State(room("r"), "k"); err != nil || !strings.Contains(string(v.JSON), `"name":"Ann","role":"owner","level":7}`) {
		t.Errorf("state: %s, %v", v.JSON, err)
	}
	l.done(&PutUser{Key: someone("ann"), By: service, Set: []Attribute{{Name: AttributeLevel}}})
	l.done(claims())
	if got := newest(t, l, "r"); !strings.Contains(got, `"level":1}`) {
		t.Errorf("without the level again: %s", got)
	}
}

// A name is registered once; who may change whom, and how much is kept, is bounded.
func TestPutUser(t *testing.T) {
	l := newTestLog(t)
	admin := Actor{User: "root", Admin: true}
	many := func(n, size int) (out []Attribute) {
		for i := range n {
			out = append(out, Attribute{Name: fmt.Sprintf("a%d", i), Value: []byte(strings.Repeat("1", size))})
		}
		return out
	}
	for _, tc := range []struct {
		what string
		c    Command
		want Outcome
	}{
		{"register", &PutUser{Key: someone("ann"), By: from("ann"), Register: true, Hash: new("h1")}, Done},
		{"register again", &PutUser{Key: someone("ann"), By: from("ann"), Register: true}, Conflict},
		{"an admin registers again", &PutUser{Key: someone("ann"), By: admin, Register: true, Again: true}, Conflict},
		{"another user", &PutUser{Key: someone("ann"), By: from("bob")}, Forbidden},
		{"a guest of the name", &PutUser{Key: someone("ann"), By: Actor{User: "ann", Guest: true}}, Forbidden},
		{"with the old password", &PutUser{Key: someone("ann"), By: from("ann"), IfHash: new("h1"), Hash: new("h2")}, Done},
		{"with an older one", &PutUser{Key: someone("ann"), By: from("ann"), IfHash: new("h1"), Hash: new("h3")}, Conflict},
		{"as many attributes as fit", &PutUser{Key: someone("ann"), By: admin, Set: many(MaxAttributes, 100)}, Done},
		{"one more", &PutUser{Key: someone("ann"), By: admin, Set: []Attribute{{"x", []byte("1")}}}, Limit},
		{"larger ones", &PutUser{Key: someone("ann"), By: admin, Set: many(2, 2100)}, Limit},
		{"one fewer", &PutUser{Key: someone("ann"), By: admin, Set: []Attribute{{"a0", nil}}}, Done},
		{"a name no key can hold", &PutUser{Key: someone("a\x00n"), By: admin}, Forbidden},
		{"a fold no key can hold", &PutUser{Key: someone("ann"), By: admin, Name: new("x"), Fold: "\x00"}, Forbidden},
		{"an attribute no key can hold", &PutUser{Key: someone("ann"), By: admin, Set: []Attribute{{"a\"", []byte("1")}}}, Forbidden},
		{"disable", &PutUser{Key: someone("ann"), By: admin, Disabled: new(true)}, Done},
		{"a disabled user", &PutUser{Key: someone("ann"), By: from("ann"), Name: new("A"), Fold: "a"}, Forbidden},
		{"a message of one", say("r", "ann", "x"), Forbidden},
		{"a room of one", &RoomCreate{Room: room("x"), By: from("ann"), Kind: Public}, Forbidden},
		{"a session of one", taking(SessionID{NS: "chat", User: "ann", Client: "c"}, 60), Forbidden},
		{"enable", &PutUser{Key: someone("ann"), By: admin, Disabled: new(false)}, Done},
		{"a message again", say("r", "ann", "x"), Done},
		{"deletion by another", &DeleteUser{Key: someone("ann"), By: from("bob"), Mode: Erase}, Forbidden},
		{"deletion of no kind", &DeleteUser{Key: someone("ann"), By: from("ann"), Mode: "x"}, Conflict},
		{"deletion", &DeleteUser{Key: someone("ann"), By: from("ann"), Mode: Anonymise}, Done},
		{"a message of a deleted user", say("r", "ann", "x"), Forbidden},
		{"the name again", &PutUser{Key: someone("ann"), By: from("ann"), Register: true}, Conflict},
		{"while the deletion runs", &PutUser{Key: someone("ann"), By: admin, Register: true, Again: true}, Conflict},
		{"a page of another deletion", &DeletePage{Key: someone("ann"), Run: 99, Done: true}, Conflict},
		{"its last page", &DeletePage{Key: someone("ann"), Run: 1, Leave: []string{"r"}, Room: "r", Entries: []uint64{1, 2}, Done: true}, Done},
		{"a page after it", &DeletePage{Key: someone("ann"), Run: 1, Done: true}, Conflict},
		{"the name again, by anybody", &PutUser{Key: someone("ann"), By: from("ann"), Register: true, Again: true}, Conflict},
		{"the name again, by an admin", &PutUser{Key: someone("ann"), By: admin, Register: true, Again: true}, Done},
		{"a message of the new one", say("r", "ann", "x"), Done},
		{"an invitation of a deleted user", &DeleteUser{Key: someone("bob"), By: admin, Mode: Erase}, Done},
		{"", &Moderate{Room: room("r"), By: admin, Act: ActInvite, User: "bob"}, NotFound},
		{"a direct room with one", &Append{Room: room("dm~ann~bob"), From: from("ann"), Type: "text", Tail: []byte(`,"data":1`), AutoCreate: Direct}, NotFound},
	} {
		if r := l.do(tc.c); r.Outcome != tc.want {
			t.Errorf("%s: %v (%s), want %v", tc.what, r.Outcome, r.Detail, tc.want)
		}
	}
	if r := l.done(&PutUser{Key: someone("ann"), By: admin, Disabled: new(false)}); !r.Present {
		t.Error("what changes nothing is no change")
	}
}

func foundIDs(found FoundUsers) (out []string) {
	for _, u := range found.Users {
		out = append(out, u.Key.User)
	}
	return out
}

// Users are found by the beginning of their id or name, each once, page by page, and not when they are gone.
func TestFindUsers(t *testing.T) {
	l := newTestLog(t)
	for user, name := range map[string]string{"ann": "Zed", "Anna": "anna", "bob": "Ann/Bob", "z": "", "kim": "김철수"} {
		l.done(&PutUser{Key: someone(user), By: from(user), Register: true, Name: &name, Fold: strings.ToLower(name)})
	}
	l.done(&PutUser{Key: UserKey{NS: "other", User: "ann"}, By: from("ann"), Register: true})
	for q, want := range map[string][]string{
		"": {"Anna", "ann", "bob", "kim", "z"}, "ann": {"Anna", "ann", "bob"}, "z": {"ann", "z"}, "김": {"kim"}, "ann/": {"bob"}, "x": nil,
	} {
		var got []string
		for after := ""; ; {
			page, err := l.s.FindUsers("chat", q, after, 1)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, foundIDs(page)...)
			if after = page.Next; after == "" {
				break
			}
		}
		slices.Sort(got)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q: %s", q, d)
		}
	}
	l.done(&PutUser{Key: someone("bob"), By: from("bob"), Name: new("Rob"), Fold: "rob"})
	l.done(&DeleteUser{Key: someone("ann"), By: from("ann"), Mode: Anonymise})
	if got, err := l.s.FindUsers("chat", "ann", "", 9); err != nil || !slices.Equal(foundIDs(got), []string{"Anna"}) {
		t.Errorf("after changes: %v, %v", foundIDs(got), err)
	}
	if got, err := l.s.FindUsers("chat", "rob", "", 9); err != nil || !slices.Equal(foundIDs(got), []string{"bob"}) {
		t.Errorf("by a new name: %v, %v", foundIDs(got), err)
	}
}

// A logout ends the session of its device, or all; what one says of tokens is kept as long as they live.
func TestLogout(t *testing.T) {
	l := newTestLog(t)
	for _, c := range []string{"a", "b", "c"} {
		l.done(taking(SessionID{NS: "chat", User: "ann", Client: c}, 60))
	}
	sessions := func() []string {
		out, err := l.s.ClientsOf("chat", "ann", 9)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	l.done(&Logout{Key: someone("ann"), Device: "b", Keep: 1000})
	if got := sessions(); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("left: %v", got)
	}
	l.done(&Logout{Key: someone("ann"), Token: "t", Keep: 1000})
	u, err := l.s.User("chat", "ann")
	if err != nil || u.There || len(u.Endings) != 2 || u.Logouts != 2 || u.EndedAll != 0 {
		t.Errorf("%+v, %v", u, err)
	}
	for i := range maxEndings {
		r := l.do(&Logout{Key: someone("ann"), Token: fmt.Sprint(i), Keep: 1000})
		if want := i >= maxEndings-2; (r.Outcome == Limit) != want {
			t.Fatalf("logout %d: %v", i, r.Outcome)
		}
	}
	l.now += 1001
	l.done(&Logout{Key: someone("ann"), Token: "new", Keep: 1000})
	if u, _ = l.s.User("chat", "ann"); len(u.Endings) != 1 {
		t.Errorf("what has run out is kept: %+v", u.Endings)
	}
	l.done(&Logout{Key: someone("ann"), All: true})
	u, _ = l.s.User("chat", "ann")
	if got := sessions(); len(got) != 0 || u.EndedAll != u.Logouts || u.NotBefore != l.now {
		t.Errorf("after a logout of everything: %v, %+v", got, u)
	}
	if l.do(&Logout{Key: someone("ann")}).Outcome != Conflict {
		t.Error("a logout of nothing")
	}
}

// Sessions beyond those that a logout of everything removes are of no use either.
func TestLogoutOfMoreSessionsThanOneCommandEnds(t *testing.T) {
	l := newTestLog(t)
	for i := range sessionsPerEnd + 2 {
		l.done(taking(SessionID{NS: "chat", User: "ann", Client: fmt.Sprintf("%04d", i)}, 60))
	}
	l.done(&Logout{Key: someone("ann"), All: true})
	left, err := l.s.ClientsOf("chat", "ann", 9)
	if err != nil || len(left) != 2 {
		t.Fatalf("%v, %v", left, err)
	}
	if r := l.done(taking(SessionID{NS: "chat", User: "ann", Client: left[0]}, 60)); r.Present {
		t.Error("a session outlived a logout of everything")
	}
	if r := l.done(taking(SessionID{NS: "chat", User: "ann", Client: left[0]}, 60)); !r.Present {
		t.Error("a session made after the logout is gone")
	}
}

// A deletion takes the name off everything in a room; erase takes what was said as well. Numbers and places stay.
func TestDeletion(t *testing.T) {
	for _, mode := range []DeleteMode{Anonymise, Erase} {
		t.Run(string(mode), func(t *testing.T) {
			fs := vfs.NewMem()
			l := newLog(t, openOn(t, fs))
			l.done(say("r", "olga", "hello ann"))                                                       // 1
			l.done(&Join{Room: room("r"), By: from("ann")})                                             // 2
			first := say("r", "ann", `br}ace "quoted"`)                                                 //
			first.From.Name, first.Device, first.Collapse, first.CID = `A "}" nn`, "phone", "key", "c1" //
			l.done(first)                                                                               // 3
			l.done(&Append{
				Room: room("r"), From: from("ann"), Type: TypeEdit, Target: 3, Tail: []byte(`,"target":3,"data":{"text":"edited"}`),
			}) // 4
			l.done(&Append{
				Room: room("r"), From: from("ann"), Type: TypeReaction, Target: 1, Emoji: "x", Tail: []byte(`,"target":1,"data":{"emoji":"x"}`),
			}) // 5
			for _, key := range []string{"set", "gone"} {
				l.done(&SetState{Room: room("r"), From: from("ann"), Key: key, Data: []byte(`{"from":{"user":"ann"}}`)})
			}
			l.done(&SetState{Room: room("r"), From: from("ann"), Key: "gone"})
			l.done(&SetState{Room: room("r"), From: from("olga"), Key: "other", Data: []byte(`{"from":{"user":"ann"}}`)})
			l.done(&Moderate{Room: room("r"), By: from("olga"), Act: ActMute, User: "ann", Seconds: 1, Reason: `"user":"ann"`}) // 6
			l.done(&Moderate{Room: room("r"), By: from("olga"), Act: ActAnnounce, Data: []byte(`{"user":"ann"}`)})              // 7
			l.done(&DeleteUser{Key: someone("ann"), By: from("ann"), Mode: mode})
			all, err := l.s.Deletions(9)
			if err != nil || len(all) != 1 || all[0].Mode != mode || all[0].Run != 1 {
				t.Fatalf("%+v, %v", all, err)
			}
			l.done(&DeletePage{Key: someone("ann"), Run: 1, Leave: []string{"r", "none"}, To: DeletedTo{Room: "q"}}) // 8: left
			page := &DeletePage{
				Key: someone("ann"), Run: 1, Room: "r", Entries: []uint64{1, 2, 3, 4, 5, 6, 7, 8, 99}, To: DeletedTo{Room: "r", Seq: 9},
				States: []string{"set", "gone", "other", "none"},
			}
			l.done(page)
			l.done(page) // by another leader
			if all, _ := l.s.Deletions(9); len(all) != 1 || all[0].To != page.To {
				t.Errorf("how far it is: %+v", all)
			}
			l.done(&DeletePage{Key: someone("ann"), Run: 1, Done: true})
			del := l.do(&Append{Room: room("r"), From: from("olga"), Type: TypeDelete, Target: 3, Tail: []byte(`,"target":3,"data":{}`)})
			if (del.Outcome == Conflict) != (mode == Erase) {
				t.Errorf("a message of one who is gone is deleted: %v", del.Outcome)
			}
			check := func() {
				t.Helper()
				entries, err := l.s.Entries(room("r"), 1, 8, 99, 1<<20)
				if err != nil || len(entries) != 8 {
					t.Fatalf("%d, %v", len(entries), err)
				}
				for _, e := range entries {
					named := strings.Contains(string(e.JSON), `"ann"`) || strings.Contains(string(e.JSON), `\" nn`)
					if quoted := e.Seq == 7; e.User == "ann" || named != quoted && e.Seq != 1 {
						t.Errorf("%d still has the name: %s", e.Seq, e.JSON)
					}
				}
				if got := string(entries[1].JSON); !strings.HasSuffix(got, `"from":{"user":"deleted~","deleted":true},"data":{"event":"joined","user":"deleted~"}}`) {
					t.Error(got)
				}
				if mode == Anonymise {
					if got := string(entries[3].JSON); !strings.Contains(got, "target") {
						t.Error(got)
					}
				} else if got := string(entries[3].JSON); !strings.HasSuffix(got, `,"target":3,"data":{},"deleted":true}`) {
					t.Error(got)
				}
				for key, want := range map[string]string{
					"set":   map[DeleteMode]string{Anonymise: `"ver":1,"seq":5,"ts":1000000,"from":{"user":"deleted~","deleted":true},"data":{"from":{"user":"ann"}}}`, Erase: `"ver":2,"seq":8,"ts":1000000,"from":{"user":"deleted~","deleted":true},"deleted":true}`}[mode],
					"gone":  `"ver":2,"seq":5,"ts":1000000,"from":{"user":"deleted~","deleted":true},"deleted":true}`,
					"other": `"ver":1,"seq":5,"ts":1000000,"from":{"user":"olga","role":"owner"},"data":{"from":{"user":"ann"}}}`,
				} {
					if v, err := l.s.State(room("r"), key); err != nil || !strings.HasSuffix(string(v.JSON), want) {
						t.Errorf("state %s is %s, %v, want %s", key, v.JSON, err, want)
					}
				}
				if f, err := l.s.Fold(room("r"), 1); err != nil || len(f.Reactions) > 0 {
					t.Errorf("a reaction is left: %+v, %v", f, err)
				}
				if ms, err := l.s.Members(room("r"), "", 9); err != nil || len(ms) != 1 {
					t.Errorf("members: %v, %v", ms, err)
				}
			}
			check()
			if err := l.s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, found := faults(t, fs); len(found) > 0 {
				t.Error(errors.Join(found...))
			}
			l.s = openOn(t, fs)
			check()
			if err := l.s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A deleted user is nobody's contact any more, has no inbox, and is told nothing.
func TestADeletedUserIsNobodysContact(t *testing.T) {
	l := newTestLog(t)
	ann, bob := someone("ann"), someone("bob")
	for _, k := range []UserKey{ann, bob} {
		l.done(&PutUser{Key: k, By: from(k.User), Register: true, Name: new(k.User), Fold: k.User})
	}
	for _, c := range []*Contact{{NS: ann.NS, User: "ann", Other: "bob", On: true}, {NS: ann.NS, User: "bob", Other: "ann", On: true}} {
		l.done(c)
		l.carry()
	}
	l.done(&Block{NS: ann.NS, User: "ann", Other: "eve", On: true})
	l.done(&Contact{NS: ann.NS, User: "cat", Name: "Cat", Other: "ann", On: true}) // asks, and is not answered
	l.done(&Contact{NS: ann.NS, User: "ann", Name: "Ann", Other: "dan", On: true})
	l.carry()
	l.done(&DeleteUser{Key: ann, By: from("ann"), Mode: Erase})
	l.carry()
	if mutual, err := l.s.MutualContacts(ann.NS, "ann", "bob"); err != nil || mutual {
		t.Errorf("still contacts: %v", err)
	}
	for _, other := range []string{"bob", "cat", "dan"} {
		if st, err := l.s.ContactStatus(ann.NS, other, "ann"); err != nil || st != ContactNone {
			t.Errorf("%s and the deleted one: %s, %v", other, st, err)
		}
		k := InboxLog(ann.NS, other)
		r, err := l.s.Room(k)
		if err != nil {
			t.Fatal(err)
		}
		page := &DeletePage{Key: ann, Run: 1, Room: k.Room, To: DeletedTo{Room: k.Room, Seq: r.Head.Seq}}
		for seq := r.Head.First; seq <= r.Head.Seq; seq++ {
			page.Entries = append(page.Entries, seq)
		}
		l.done(page)
		l.done(page)
		all, err := l.s.Entries(k, 1, r.Head.Seq, 99, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			gone := e.Seq == r.Head.Seq
			if named := strings.Contains(string(e.JSON), `"user":"ann"`); named != gone || strings.Contains(string(e.JSON), "Ann") || !json.Valid(e.JSON) {
				t.Errorf("%s is told: %s", other, e.JSON)
			}
			if want := `"data":{"user":"ann","event":"withdrawn","status":"none"}`; gone && !strings.Contains(string(e.JSON), want) {
				t.Errorf("%s is told at last: %s", other, e.JSON)
			}
		}
	}
	if r := l.do(&DeleteUser{Key: ann, By: from("ann"), Mode: Anonymise}); !r.Present {
		t.Errorf("anonymise after erase: %+v", r)
	}
	l.done(&DeleteUser{Key: bob, By: from("bob"), Mode: Anonymise})
	if r := l.do(&DeleteUser{Key: bob, By: from("bob"), Mode: Erase}); r.Outcome != Conflict || !strings.Contains(r.Detail, "anonymise") {
		t.Errorf("erase after anonymise: %+v", r)
	}
	if blocked, err := l.s.Blocked(ann.NS, "ann", "eve"); err != nil || blocked {
		t.Errorf("still blocks: %v", err)
	}
	if r, err := l.s.Room(InboxLog(ann.NS, "ann")); err != nil || r != nil {
		t.Errorf("the inbox is there: %+v, %v", r, err)
	}
	if r := l.do(&Contact{NS: ann.NS, User: "ann", Other: "bob", On: true}); r.Outcome != Forbidden {
		t.Errorf("a deleted user adds a contact: %+v", r)
	}
	l.done(&Contact{NS: ann.NS, User: "cat", Other: "ann"})
	l.done(&Contact{NS: ann.NS, User: "cat", Other: "ann", On: true})
	l.carry()
	if r, err := l.s.Room(InboxLog(ann.NS, "ann")); err != nil || r != nil {
		t.Errorf("a deleted user is told: %+v, %v", r, err)
	}
}
