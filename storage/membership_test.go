package storage

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// settle carries everything in the outbox, as a leader does.
func (l *testLog) settle() {
	l.t.Helper()
	for {
		items, err := l.s.Outbox(3)
		if err != nil {
			l.t.Fatalf("outbox: %v", err)
		}
		if len(items) == 0 {
			return
		}
		for _, it := range items {
			l.done(&FollowUp{ID: it.ID})
		}
	}
}

func (l *testLog) rooms(user string) []UserRoom {
	l.t.Helper()
	out, err := l.s.UserRooms("chat", user, "", 100)
	if err != nil {
		l.t.Fatalf("rooms of %s: %v", user, err)
	}
	return out
}

func TestWhoMayJoin(t *testing.T) {
	for name, tc := range map[string]struct {
		kind RoomKind
		by   Actor
		want Outcome
	}{
		"public":           {Public, from("ann"), Done},
		"private":          {Private, from("ann"), Forbidden},
		"private, admin":   {Private, Actor{User: "root", Admin: true}, Done},
		"direct":           {Direct, from("ann"), Forbidden},
		"public, as guest": {Public, Actor{User: "guest~1", Guest: true}, GuestReadOnly},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t)
			l.done(&RoomCreate{Room: room("r"), By: from("olga"), Kind: tc.kind})
			r := l.do(&Join{Room: room("r"), By: tc.by})
			m, err := l.s.Member(room("r"), tc.by.User)
			if err != nil || r.Outcome != tc.want || (m.Role == RoleMember) != (tc.want == Done) {
				t.Fatalf("%+v, member %+v, %v, want %v", r, m, err, tc.want)
			}
			got, err := l.s.Room(room("r"))
			if want := 1 + uint64(r.Seq); err != nil || got.Members != want {
				t.Fatalf("%d members, %v, want %d", got.Members, err, want)
			}
		})
	}
}

func TestJoinAndLeaveAreInTheLog(t *testing.T) {
	l := newTestLog(t)
	l.done(say("r", "olga", "hi"))
	join := l.done(&Join{Room: room("r"), By: Actor{User: "ann", Name: "Ann"}})
	again := l.done(&Join{Room: room("r"), By: from("ann")})
	if join.Seq != 2 || join.Outbox == 0 || !again.Present || again.Seq != 2 || again.Outbox != 0 {
		t.Fatalf("join %+v, again %+v", join, again)
	}
	l.now += 5
	leave := l.done(&Leave{Room: room("r"), By: from("ann")})
	idle := l.done(&Leave{Room: room("r"), By: from("ann")})
	if leave.Seq != 3 || !leave.Present || leave.Outbox == 0 || idle.Present || idle.Outbox != 0 {
		t.Fatalf("leave %+v, again %+v", leave, idle)
	}
	type event struct {
		Type string
		N    uint64
		From struct{ User, Name, Role string }
		Data struct{ Event, User string }
	}
	for seq, want := range map[uint64]string{2: "joined", 3: "left"} {
		var e event
		l.json("r", seq, &e)
		if e.Type != TypeSystem || e.N != 1 || e.From.User != "ann" || e.From.Role != "member" || e.Data.Event != want || e.Data.User != "ann" {
			t.Fatalf("entry %d: %+v", seq, e)
		}
	}
	if h := l.head("r"); h.Seq != 3 || h.N != 1 {
		t.Fatalf("head %+v", h)
	}
	if m, err := l.s.Member(room("r"), "ann"); err != nil || m.Role != "" {
		t.Fatalf("member %+v, %v", m, err)
	}
}

func TestAJoinMakesAMemberWithinTheSameEntry(t *testing.T) {
	l := newTestLog(t)
	got := l.as("a",
		&RoomCreate{Room: room("r"), By: from("olga"), Kind: Public}, &Join{Room: room("r"), By: from("ann")},
		&RoomSet{Room: room("r"), By: from("olga"), Kind: new(Private)},
		say("r", "ann", "may"), &Leave{Room: room("r"), By: from("ann")}, say("r", "ann", "may not"))
	if got[3].Outcome != Done || got[5].Outcome != NotMember {
		t.Fatalf("%+v", got)
	}
}

func TestFollowUpsCarryTheOutboxInOrder(t *testing.T) {
	l := newTestLog(t)
	l.done(&RoomCreate{Room: room("r"), By: from("olga"), Kind: Public})
	l.done(&Join{Room: room("r"), By: from("ann")})
	last := l.done(&Leave{Room: room("r"), By: from("ann")})
	items, err := l.s.Outbox(10)
	if err != nil {
		t.Fatal(err)
	}
	want := []OutboxItem{{1, room("r"), "olga"}, {2, room("r"), "ann"}, {3, room("r"), "ann"}}
	if d := cmp.Diff(want, items); d != "" || last.Outbox != 3 {
		t.Fatalf("last %+v, outbox (-want +got):\n%s", last, d)
	}
	for _, step := range []struct {
		id   uint64
		want Outcome
		dup  bool
		next uint64 // of the outbox afterwards, 0 = none
		ann  int    // rooms
	}{
		{2, Conflict, false, 1, 0},
		{0, Done, true, 1, 0},
		{1, Done, false, 2, 0},
		{1, Done, true, 2, 0},
		{3, Conflict, false, 2, 0},
		{2, Done, false, 3, 1},
		{3, Done, false, 0, 0},
		{4, Conflict, false, 0, 0},
		{3, Done, true, 0, 0},
	} {
		r := l.do(&FollowUp{ID: step.id})
		items, err := l.s.Outbox(1)
		var next uint64
		if len(items) > 0 {
			next = items[0].ID
		}
		if err != nil || r.Outcome != step.want || r.Duplicate != step.dup || next != step.next || len(l.rooms("ann")) != step.ann {
			t.Fatalf("%+v: %+v, next %d, %v, rooms %v", step, r, next, err, l.rooms("ann"))
		}
		if done, err := l.s.Delivered(step.id); err != nil || done != (step.want == Done) {
			t.Fatalf("%+v: delivered %v, %v", step, done, err)
		}
	}
	if d := cmp.Diff([]UserRoom{{Room: "r", Role: RoleOwner}}, l.rooms("olga")); d != "" {
		t.Fatal(d)
	}
}

func TestListsGoOnAfterAName(t *testing.T) {
	l := newTestLog(t)
	for _, r := range []string{"a", "aa", "ab", "b"} {
		l.done(&RoomCreate{Room: room(r), By: from("olga"), Kind: Public})
		for _, u := range []string{"x", "xx", "y"} {
			l.done(&Join{Room: room(r), By: from(u)})
		}
	}
	l.settle()
	var rooms, members []string
	for after := ""; ; {
		page, err := l.s.UserRooms("chat", "x", after, 1)
		if err != nil || len(page) == 0 {
			break
		}
		after = page[0].Room
		rooms = append(rooms, after)
	}
	for after := ""; ; {
		page, err := l.s.Members(room("a"), after, 2)
		if err != nil || len(page) == 0 {
			break
		}
		for _, m := range page {
			after = m.User
			members = append(members, after)
		}
	}
	if d := cmp.Diff([]string{"a", "aa", "ab", "b"}, rooms); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"olga", "x", "xx", "y"}, members); d != "" {
		t.Error(d)
	}
}
