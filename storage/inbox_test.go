package storage

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// carry applies everything that waits in the outbox.
func (l *testLog) carry() {
	l.t.Helper()
	for {
		items, err := l.s.Outbox(1)
		if err != nil {
			l.t.Fatalf("outbox: %v", err)
		}
		if len(items) == 0 {
			return
		}
		l.done(&FollowUp{ID: items[0].ID})
	}
}

// inbox returns type and data of everything in a user's inbox, in the form {"type":...,"data":...}.
func (l *testLog) inbox(user string) (out []string) {
	l.t.Helper()
	es, err := l.s.Entries(InboxLog("chat", user), 0, 1<<60, 1<<20, 1<<30)
	if err != nil {
		l.t.Fatalf("inbox of %s: %v", user, err)
	}
	for i, e := range es {
		want := fmt.Sprintf(`{"user":%q,"seq":%d,"n":%d,"ts":%d,"type":%q,"data":`, user, e.Seq, e.N, e.TS, e.Type)
		data, ok := strings.CutPrefix(string(e.JSON), want)
		if !ok || i > 0 && e.Seq != es[i-1].Seq+1 {
			l.t.Fatalf("inbox of %s has %s, want it to begin with %s", user, e.JSON, want)
		}
		out = append(out, e.Type+" "+strings.TrimSuffix(data, "}"))
	}
	return out
}

func (l *testLog) wantInbox(user string, want ...string) {
	l.t.Helper()
	l.carry()
	if diff := cmp.Diff(want, l.inbox(user)); diff != "" {
		l.t.Fatalf("inbox of %s: %s", user, diff)
	}
}

// What becomes of somebody in a room is in their inbox, once, and in the order in which it happened.
func TestInboxTells(t *testing.T) {
	l := newTestLog(t)
	olga := Actor{User: "olga", Name: `O"l`}
	l.done(&RoomCreate{Room: room("r"), By: olga, Kind: Private})
	l.done(&Moderate{Room: room("r"), By: olga, Act: ActInvite, User: "mia", Reason: "hi"})
	l.done(&Moderate{Room: room("r"), By: olga, Act: ActInvite, User: "mia"}) // is a member already
	l.done(&Moderate{Room: room("r"), By: olga, Act: ActRole, User: "mia", Role: RoleOperator})
	l.done(&Moderate{Room: room("r"), By: olga, Act: ActKick, User: "mia", Reason: "bye"})
	l.done(&Moderate{Room: room("r"), By: olga, Act: ActInvite, User: "mia"})
	l.done(&Moderate{Room: room("r"), By: olga, Act: ActBan, User: "mia", Seconds: 60, Reason: "loud"})
	l.done(&Moderate{Room: room("r"), By: olga, Act: ActUnban, User: "mia"})
	l.done(&Contact{NS: "chat", User: "eve", Other: "zoe", On: true})
	l.done(&Moderate{Room: room("r"), By: olga, Act: ActBan, User: "eve"})     // no member, and kept out
	l.done(&Moderate{Room: room("r"), By: olga, Act: ActBan, User: "made-up"}) // of whom nothing is known
	l.done(&Moderate{Room: room("r"), By: olga, Act: ActBan, User: "guest~1"}) // has no inbox
	l.done(&Moderate{Room: room("r"), By: olga, Act: ActInvite, User: "mia"})
	l.done(&RoomDelete{Room: room("r"), By: olga})
	by := `"by":{"user":"olga","name":"O\"l"}`
	l.wantInbox("mia",
		`invited {"room":"r",`+by+`,"at":1,"reason":"hi"}`,
		`role {"room":"r",`+by+`,"at":2,"role":"operator"}`,
		`removed {"room":"r",`+by+`,"at":3,"event":"removed","reason":"bye"}`,
		`invited {"room":"r",`+by+`,"at":4}`,
		`removed {"room":"r",`+by+`,"at":5,"event":"banned","until":1060000,"reason":"loud"}`,
		`invited {"room":"r",`+by+`,"at":10}`,
		`removed {"room":"r",`+by+`,"at":10,"event":"deleted"}`,
	)
	l.wantInbox("eve", `contact {"user":"zoe","event":"added","status":"pending"}`, `removed {"room":"r",`+by+`,"at":7,"event":"banned"}`)
	l.wantInbox("olga")
	for _, u := range []string{"guest~1", "olga", "made-up"} {
		if r, err := l.s.Room(InboxLog("chat", u)); r != nil || err != nil {
			t.Errorf("%s has an inbox: %+v %v", u, r, err)
		}
	}
}

// Of one whom they have blocked, users hear what has become of their own membership, without a word of theirs, and no more.
func TestInboxTellsFactsInSpiteOfABlock(t *testing.T) {
	l := newTestLog(t)
	l.done(&RoomCreate{Room: room("r"), By: from("olga"), Kind: Private})
	l.done(&Moderate{Room: room("r"), By: from("olga"), Act: ActInvite, User: "mia"})
	l.block("mia", "olga", true)
	said := say("r", "olga", "x")
	said.Mentions = []string{"mia"}
	l.done(said)
	l.done(&Moderate{Room: room("r"), By: from("olga"), Act: ActRole, User: "mia", Role: RoleOperator, Reason: "hear"})
	l.done(&Moderate{Room: room("r"), By: from("olga"), Act: ActKick, User: "mia", Reason: "hear"})
	l.wantInbox("mia",
		`invited {"room":"r","by":{"user":"olga"},"at":1}`,
		`contact {"user":"olga","event":"blocked","status":"blocked"}`,
		`role {"room":"r","by":{"user":"olga"},"at":3,"role":"operator"}`,
		`removed {"room":"r","by":{"user":"olga"},"at":4,"event":"removed"}`,
	)
}

// Mentions reach members, each once, the writer left out; not what an edit says, and no more than fifty.
func TestMentions(t *testing.T) {
	l := newTestLog(t)
	l.done(&RoomCreate{Room: room("r"), By: from("olga"), Kind: Public})
	var many []string
	for i := range maxMentions + 5 {
		many = append(many, fmt.Sprint("u", i))
		l.done(&Join{Room: room("r"), By: from(many[i])})
	}
	l.done(&Join{Room: room("r"), By: from("mia")})
	head := l.head("r").Seq
	mention := func(typ string, target uint64, users ...string) *Append {
		c := say("r", "olga", fmt.Sprint(users, typ))
		c.Type, c.Target, c.Mentions = typ, target, users
		return c
	}
	l.done(mention("text", 0, "mia", "eve", "olga", "mia"))
	again := mention("text", 0, "mia")
	again.CID = "c"
	l.done(again)
	l.done(again)
	l.done(mention(TypeEdit, head+1, "mia", "u0"))
	l.done(mention("text", 0, many...))
	l.wantInbox("mia",
		fmt.Sprintf(`mentioned {"room":"r","by":{"user":"olga"},"at":%d}`, head+1),
		fmt.Sprintf(`mentioned {"room":"r","by":{"user":"olga"},"at":%d}`, head+2),
	)
	l.wantInbox("eve")
	l.wantInbox("olga")
	for i, u := range many {
		want := 1
		if i >= maxMentions {
			want = 0
		}
		if got := l.inbox(u); len(got) != want {
			t.Errorf("%s was told %q", u, got)
		}
	}
}

// Mentions are left out while too much waits; the message is there.
func TestMentionsAreBounded(t *testing.T) {
	l := newTestLog(t)
	l.done(&RoomCreate{Room: room("r"), By: from("olga"), Kind: Public})
	l.done(&Join{Room: room("r"), By: from("mia")})
	l.carry()
	c := say("r", "olga", "x")
	c.Mentions = []string{"mia"}
	batch := make([]Command, 5000)
	for i := range batch {
		batch[i] = c
	}
	for range maxWaiting/len(batch) + 1 {
		l.as("a", batch...)
	}
	if n := l.s.current().Outbox - l.s.current().FollowedUp; n != maxWaiting {
		t.Errorf("%d items wait", n)
	}
}

// An inbox keeps its newest entries.
func TestInboxIsBounded(t *testing.T) {
	l := newTestLog(t)
	l.done(&RoomCreate{Room: room("r"), By: from("olga"), Kind: Public})
	l.done(&Join{Room: room("r"), By: from("mia")})
	c := say("r", "olga", "x")
	c.Mentions = []string{"mia"}
	const n = inboxKept + 3*inboxStep + 7
	for range n {
		l.done(c)
	}
	l.carry()
	r, err := l.s.Room(InboxLog("chat", "mia"))
	if err != nil || r.Head.Seq != n || r.Head.Kept() < inboxKept || r.Head.Kept() > inboxKept+inboxStep {
		t.Fatalf("inbox %+v, %v", r, err)
	}
	l.done(&InboxRead{NS: "chat", User: "mia", Seq: n - 2})
	if m, err := l.s.InboxMark("chat", "mia"); err != nil || m.Read != n-2 || r.Head.N-m.N != 2 {
		t.Errorf("mark %+v of %+v, %v", m, r.Head, err)
	}
}

// The read mark of an inbox goes forward, and what one does oneself is read when everything before it is.
func TestInboxMark(t *testing.T) {
	l := newTestLog(t)
	unread := func() uint64 {
		t.Helper()
		l.carry()
		r, err := l.s.Room(InboxLog("chat", "mia"))
		m, err2 := l.s.InboxMark("chat", "mia")
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		return r.Head.N - m.N
	}
	if r := l.done(&InboxRead{NS: "chat", User: "mia", Seq: 1}); !r.Present {
		t.Errorf("an inbox that is empty was read: %+v", r)
	}
	l.done(&Contact{NS: "chat", User: "mia", Other: "max", On: true})
	if n := unread(); n != 0 {
		t.Errorf("%d unread after what was one's own doing", n)
	}
	l.done(&Contact{NS: "chat", User: "eve", Other: "mia", On: true})
	l.done(&Contact{NS: "chat", User: "bob", Other: "mia", On: true})
	l.carry()
	l.done(&Contact{NS: "chat", User: "mia", Other: "zoe", On: true})
	if n := unread(); n != 3 {
		t.Errorf("%d unread, want 3", n)
	}
	for _, tc := range []struct{ seq, read, unread uint64 }{{2, 2, 2}, {1, 2, 2}, {99, 4, 0}} {
		if r := l.done(&InboxRead{NS: "chat", User: "mia", Seq: tc.seq}); r.Seq != tc.read || unread() != tc.unread {
			t.Errorf("after reading %d: %+v, %d unread", tc.seq, r, unread())
		}
	}
}

// No command of a client touches one of the broker's own logs as if it was a room.
func TestOwnLogsAreNoRooms(t *testing.T) {
	l := newTestLog(t)
	l.done(&Contact{NS: "chat", User: "mia", Other: "max", On: true})
	l.done(&Append{Room: BroadcastLog("chat"), From: from("root"), Type: "text", Tail: []byte(`,"data":{}`), AutoCreate: Broadcast})
	root := Actor{User: "mia", Admin: true}
	kind := Public
	for _, k := range []RoomKey{InboxLog("chat", "mia"), InboxLog("chat", "zoe"), BroadcastLog("chat")} {
		before, err := l.s.head(k)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []Command{
			&Append{Room: k, From: root, Type: "text", Tail: []byte(`,"data":{}`)},
			&Append{Room: k, From: root, Type: "text", Tail: []byte(`,"data":{}`), AutoCreate: Public},
			&Append{Room: k, From: root, Type: TypeDelete, Target: 1, Tail: []byte(`,"data":{}`), AutoCreate: Broadcast},
			&RoomCreate{Room: k, By: root, Kind: Public},
			&RoomSet{Room: k, By: root, Kind: &kind},
			&RoomDelete{Room: k, By: root},
			&Join{Room: k, By: root},
			&Leave{Room: k, By: root},
			&Moderate{Room: k, By: root, Act: ActFreeze},
			&Moderate{Room: k, By: root, Act: ActInvite, User: "max"},
			&SetState{Room: k, From: root, Key: "x", Data: []byte("1")},
			&Marks{Marks: []MarkOf{{Room: k, User: "mia", Read: 1}}},
		} {
			if r := l.do(c); r.Outcome == Done {
				t.Errorf("%T on %s: %+v", c, k.Room, r)
			}
		}
		if after, err := l.s.head(k); err != nil || !cmp.Equal(before, after) {
			t.Errorf("%s went from %+v to %+v, %v", k.Room, before, after, err)
		}
	}
	r, err := l.s.PublicRooms("chat", "", 100, func(string, string) bool { return true }, 100)
	if err != nil || len(r.Rooms) > 0 {
		t.Errorf("listed %v, %v", r, err)
	}
	if err := l.s.RoomKeys(func(k RoomKey) bool { t.Errorf("%v is a room", k); return true }); err != nil {
		t.Error(err)
	}
}

// A broadcast is appended where the broker allows it, once per cid.
func TestBroadcasts(t *testing.T) {
	l := newTestLog(t)
	c := &Append{
		Room: BroadcastLog("chat"), From: from("root"), Type: "notice", Tail: []byte(`,"data":{"text":"hear"}`), CID: "1", Hash: hashOf("1"),
		AutoCreate: Broadcast,
	}
	if r := l.done(c); r.Seq != 1 || !r.Created {
		t.Errorf("first: %+v", r)
	}
	if r := l.done(c); r.Seq != 1 || !r.Duplicate {
		t.Errorf("again: %+v", r)
	}
	c.CID = ""
	if r := l.done(c); r.Seq != 2 || r.Created {
		t.Errorf("second: %+v", r)
	}
	es, err := l.s.Entries(c.Room, 1, 1, 1, 1)
	if want := `{"seq":1,"n":1,"ts":1000000,"type":"notice","from":{"user":"root"},"data":{"text":"hear"}}`; err != nil || string(es[0].JSON) != want {
		t.Errorf("%s, %v", es[0].JSON, err)
	}
}
