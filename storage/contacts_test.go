package storage

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func (l *testLog) contact(user, other string, on bool) Result {
	l.t.Helper()
	r := l.do(&Contact{NS: "chat", User: user, Other: other, On: on, Max: 3})
	l.carry()
	return r
}

func (l *testLog) block(user, other string, on bool) Result {
	l.t.Helper()
	return l.done(&Block{NS: "chat", User: user, Other: other, On: on})
}

// contacts are those on a user's list, each with its status.
func (l *testLog) contacts(user string) string {
	l.t.Helper()
	list, err := l.s.Contacts("chat", user, "", 100)
	if err != nil {
		l.t.Fatalf("contacts of %s: %v", user, err)
	}
	var out []string
	for _, c := range list {
		if c.Since == 0 {
			l.t.Fatalf("contact %+v", c)
		}
		out = append(out, c.User+" "+string(c.Status))
	}
	return strings.Join(out, ", ")
}

func TestContacts(t *testing.T) {
	l := newTestLog(t)
	for i, tc := range []struct {
		user, other string
		on          bool
		outcome     Outcome
		ann, bob    string
	}{
		{"ann", "ann", true, Conflict, "", ""},
		{"ann", "bob", true, Done, "bob pending", "ann requested"},
		{"ann", "bob", true, Done, "bob pending", "ann requested"},
		{"bob", "ann", true, Done, "bob mutual", "ann mutual"},
		{"bob", "ann", false, Done, "bob pending", ""},
		{"bob", "ann", true, Done, "bob mutual", "ann mutual"},
		{"ann", "bob", false, Done, "", "ann pending"},
		{"ann", "bob", false, Done, "", "ann pending"},
		{"bob", "ann", false, Done, "", ""},
		{"ann", "bob", true, Done, "bob pending", "ann requested"},
		{"bob", "ann", false, Done, "bob pending", ""}, // turned down
		{"ann", "bob", false, Done, "", ""},
	} {
		if r := l.contact(tc.user, tc.other, tc.on); r.Outcome != tc.outcome {
			t.Fatalf("%d: %+v", i, r)
		}
		if a, b := l.contacts("ann"), l.contacts("bob"); a != tc.ann || b != tc.bob {
			t.Fatalf("%d: ann has %q, bob has %q", i, a, b)
		}
		mutual, err := l.s.MutualContacts("chat", "bob", "ann")
		if want := strings.Contains(tc.ann, "mutual"); err != nil || mutual != want {
			t.Fatalf("%d: mutual %v, %v", i, mutual, err)
		}
	}
	l.wantInbox("bob",
		`contact {"user":"ann","event":"requested","status":"requested"}`,
		`contact {"user":"ann","event":"added","status":"mutual"}`,
		`contact {"user":"ann","event":"removed","status":"none"}`,
		`contact {"user":"ann","event":"added","status":"pending"}`,
		`contact {"user":"ann","event":"accepted","status":"mutual"}`,
		`contact {"user":"ann","event":"withdrawn","status":"pending"}`,
		`contact {"user":"ann","event":"removed","status":"none"}`,
		`contact {"user":"ann","event":"requested","status":"requested"}`,
		`contact {"user":"ann","event":"removed","status":"none"}`,
	)
}

func TestContactsAreBounded(t *testing.T) {
	l := newTestLog(t)
	for i, want := range []Outcome{Done, Done, Limit} {
		c := &Contact{NS: "chat", User: "often", Other: fmt.Sprint("u", i), On: true, PerDay: 2}
		if r := l.do(c); r.Outcome != want {
			t.Errorf("contact %d of a day: %+v", i, r)
		}
		if i < 2 { // taken off again, it counts all the same
			l.done(&Contact{NS: "chat", User: "often", Other: c.Other})
		}
	}
	l.now += msPerDay
	l.done(&Contact{NS: "chat", User: "often", Other: "u9", On: true, PerDay: 2})
	for i := range 4 {
		want := Done
		if i == 3 {
			want = Limit
		}
		if r := l.contact("ann", fmt.Sprint("u", i), true); r.Outcome != want {
			t.Errorf("contact %d: %+v", i, r)
		}
	}
	for i := range maxAsked + 5 {
		l.do(&Contact{NS: "chat", User: fmt.Sprint("v", i), Other: "ann", On: true})
	}
	l.carry()
	p, err := l.s.person("chat", "ann")
	if err != nil || p.Contacts != 3 || p.Asked != maxAsked {
		t.Errorf("%+v, %v", p, err)
	}
	list, err := l.s.Contacts("chat", "ann", "u1", 2)
	if want := []string{"u2", "v0"}; err != nil || len(list) != 2 || list[0].User != want[0] || list[1].User != want[1] {
		t.Errorf("page %+v, %v", list, err)
	}
}

// What a block forbids, from its place in the log on: whether the room exists or not, and the other way round too.
func TestBlock(t *testing.T) {
	for _, exists := range []bool{false, true} {
		t.Run(fmt.Sprint("room exists ", exists), func(t *testing.T) {
			l := newTestLog(t)
			dm := func(user string) *Append {
				c := say("dm~ann~bob", user, "x")
				c.AutoCreate = Direct
				return c
			}
			if exists {
				l.done(dm("bob"))
				old := dm("bob")
				old.CID = "old"
				l.done(old)
				l.block("ann", "bob", true)
				if r := l.done(old); !r.Duplicate {
					t.Errorf("what was appended before: %+v", r)
				}
			} else {
				l.block("ann", "bob", true)
			}
			before := l.s.Pos()
			state := &SetState{Room: room("dm~ann~bob"), From: from("bob"), Key: "k", Data: []byte("1")}
			edit := dm("bob")
			edit.Type, edit.Target = TypeEdit, 1
			for _, c := range []Command{dm("bob"), dm("ann"), state, edit} {
				want := Forbidden
				if c == Command(state) && !exists {
					want = NotFound
				}
				if r := l.do(c); r.Outcome != want || strings.Contains(r.Detail, "block") && c.(*Append).From.User == "bob" {
					t.Errorf("%T: %+v", c, r)
				}
			}
			if l.s.Pos() != before {
				t.Errorf("something was appended")
			}
			if r, err := l.s.Room(room("dm~ann~bob")); err != nil || (r != nil) != exists {
				t.Errorf("room %+v, %v", r, err)
			}
			if exists {
				taken := dm("bob")
				taken.Type, taken.Target, taken.Reason, taken.Device, taken.Collapse = TypeDelete, 1, "listen", "listen", "listen"
				taken.Tail = []byte(`,"target":1,"cid":"listen","meta":{"x":"listen"},"data":{"text":"listen"}`)
				seq := l.done(taken).Seq
				es, err := l.s.Entries(room("dm~ann~bob"), seq, seq, 1, 1)
				if err != nil || len(es) != 1 {
					t.Fatalf("%v, %v", es, err)
				}
				if s := string(es[0].JSON); strings.Contains(s, "listen") || !strings.HasSuffix(s, `,"target":1,"data":{}}`) {
					t.Errorf("what tells of the deletion: %s", s)
				}
			}
			l.done(&RoomCreate{Room: room("r"), By: from("bob"), Kind: Private})
			if r := l.do(&Moderate{Room: room("r"), By: from("bob"), Act: ActInvite, User: "ann"}); r.Outcome != Forbidden {
				t.Errorf("invitation: %+v", r)
			}
			l.done(&Join{Room: room("r"), By: Actor{User: "ann", Admin: true}})
			said := say("r", "bob", "you")
			said.Mentions = []string{"ann"}
			l.done(said)
			l.contact("bob", "ann", true)
			l.wantInbox("ann", `contact {"user":"bob","event":"blocked","status":"blocked"}`)
			if r := l.do(&Contact{NS: "chat", User: "ann", Other: "bob", On: true}); r.Outcome != Conflict {
				t.Errorf("contact of one who is blocked: %+v", r)
			}
			if b, err := l.s.Blocked("chat", "ann", "bob"); !b || err != nil {
				t.Errorf("blocked %v, %v", b, err)
			}
			if b, err := l.s.Blocked("chat", "bob", "ann"); b || err != nil {
				t.Errorf("the other way round: %v, %v", b, err)
			}
			list, err := l.s.Blocks("chat", "ann", "", 5)
			if diff := cmp.Diff([]BlockOf{{User: "bob", Since: l.now}}, list); diff != "" || err != nil {
				t.Errorf("list: %s %v", diff, err)
			}
			l.block("ann", "bob", false)
			l.done(dm("bob"))
			l.contact("bob", "ann", true) // asks again
			if got := l.contacts("ann"); got != "bob requested" {
				t.Errorf("after the block: %q", got)
			}
		})
	}
}

// A request that answers one's own is kept behind a block, without a word: both lists say the same when it is lifted.
func TestRequestBehindABlock(t *testing.T) {
	l := newTestLog(t)
	l.contact("bob", "ann", true)
	l.contact("ann", "bob", false) // turned down
	l.block("bob", "ann", true)
	l.carry()
	before := len(l.inbox("bob"))
	l.contact("ann", "bob", true)
	if got := l.inbox("bob"); len(got) != before || l.contacts("bob") != "" {
		t.Errorf("bob, who has blocked ann, was told %q and has %q", got[before:], l.contacts("bob"))
	}
	l.block("bob", "ann", false)
	l.carry()
	if a, b := l.contacts("ann"), l.contacts("bob"); a != "bob mutual" || b != "ann mutual" {
		t.Errorf("ann has %q, bob has %q", a, b)
	}
	l.wantInbox("bob",
		`contact {"user":"ann","event":"added","status":"pending"}`,
		`contact {"user":"ann","event":"blocked","status":"blocked"}`,
		`contact {"user":"ann","event":"unblocked","status":"mutual"}`,
	)
}

// Lists agree with what was done, whatever the order of commands and follow-ups, and messages of a pair are appended only
// while neither has blocked the other.
func TestPeopleAgreeWithAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLog(t, openOn(t, vfs.NewMem()))
		defer func() { _ = l.s.Close() }()
		type way struct{ from, to string }
		added, blocked := map[way]bool{}, map[way]bool{}
		users := []string{"a", "b", "c"}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			w := way{rapid.SampledFrom(users).Draw(t, "user"), rapid.SampledFrom(users).Draw(t, "other")}
			if w.from == w.to {
				continue
			}
			on := rapid.Bool().Draw(t, "on")
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0, 1:
				if r := l.do(&Contact{NS: "chat", User: w.from, Other: w.to, On: on}); r.Outcome == Done {
					added[w] = on
				}
			case 2:
				l.done(&Block{NS: "chat", User: w.from, Other: w.to, On: on})
				blocked[w] = on
			case 3:
				c := say(directRoom(w.from, w.to), w.from, "x")
				c.AutoCreate = Direct
				want := Done
				if blocked[w] || blocked[way{w.to, w.from}] {
					want = Forbidden
				}
				if r := l.do(c); r.Outcome != want {
					t.Fatalf("%v writes: %+v", w, r)
				}
			case 4:
				items, err := l.s.Outbox(1)
				if err != nil {
					t.Fatal(err)
				}
				if len(items) > 0 {
					l.done(&FollowUp{ID: items[0].ID})
				}
			}
		}
		l.carry()
		for _, u := range users {
			for _, o := range users {
				w, back := way{u, o}, way{o, u}
				if u == o {
					continue
				}
				if is, err := l.s.Blocked("chat", u, o); is != blocked[w] || err != nil {
					t.Fatalf("%v blocked: %v, %v", w, is, err)
				}
				if is, err := l.s.MutualContacts("chat", u, o); is != (added[w] && added[back]) || err != nil {
					t.Fatalf("%v mutual: %v, %v", w, is, err)
				}
				tx := l.s.begin()
				r := tx.relation("chat", u, o)
				tx.close()
				if (r.Added != 0) != added[w] || (r.Blocked != 0) != blocked[w] || r.Asked != 0 && !added[back] {
					t.Fatalf("%v: %+v", w, r)
				}
				if added[w] && added[back] && !blocked[w] && r.status() != ContactMutual {
					t.Fatalf("%v have each other on their lists, and one has %+v", w, r)
				}
			}
		}
	})
}
