package storage

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/madang-chat/madang/internal/logentry"
)

func TestRoomCreate(t *testing.T) {
	for name, tc := range map[string]struct {
		c    RoomCreate
		want Outcome
	}{
		"private":          {RoomCreate{By: from("olga"), Kind: Private, Name: "The Room"}, Done},
		"guests write":     {RoomCreate{By: from("olga"), Kind: Public, Guest: GuestWrite}, Done},
		"without an owner": {RoomCreate{Kind: Public}, Done},
		"by a guest":       {RoomCreate{By: Actor{User: "guest~1", Guest: true}, Kind: Public}, GuestReadOnly},
		"no kind":          {RoomCreate{By: from("olga")}, Conflict},
		"no such kind":     {RoomCreate{By: from("olga"), Kind: 4}, Conflict},
		"no such access":   {RoomCreate{By: from("olga"), Kind: Public, Guest: 4}, Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t)
			tc.c.Room = room("r")
			r := l.do(&tc.c)
			got, err := l.s.Room(room("r"))
			if err != nil || r.Outcome != tc.want {
				t.Fatalf("%+v, %v, want %v", r, err, tc.want)
			}
			if tc.want != Done {
				if got != nil || l.s.current().Outbox != 0 {
					t.Fatalf("refused, yet there is %+v", got)
				}
				return
			}
			want := &Room{
				Key: room("r"), Kind: tc.c.Kind, Name: tc.c.Name, Guest: tc.c.Guest, Owner: tc.c.By.User, Made: l.now,
				Head: Head{First: 1},
			}
			if tc.c.By.User != "" {
				want.Members = 1
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Fatalf("room (-want +got):\n%s", d)
			}
			if again := l.do(&tc.c); again.Outcome != Conflict {
				t.Fatalf("made twice: %+v", again)
			}
		})
	}
}

func TestRoomSet(t *testing.T) {
	kind := func(k RoomKind) *RoomKind { return &k }
	access := func(g GuestAccess) *GuestAccess { return &g }
	name := "New"
	for title, tc := range map[string]struct {
		made RoomKind
		c    RoomSet
		want Outcome
	}{
		"all by the owner":  {Private, RoomSet{By: from("olga"), Name: &name, Guest: access(GuestNone), Kind: kind(Public)}, Done},
		"by an admin":       {Private, RoomSet{By: Actor{User: "root", Admin: true}, Name: &name}, Done},
		"nothing":           {Private, RoomSet{By: from("olga")}, Done},
		"by anybody":        {Public, RoomSet{By: from("eve"), Name: &name}, Forbidden},
		"by a guest":        {Public, RoomSet{By: Actor{User: "olga", Guest: true}, Name: &name}, Forbidden},
		"no such kind":      {Public, RoomSet{By: from("olga"), Kind: kind(7)}, Conflict},
		"kind 0":            {Public, RoomSet{By: from("olga"), Kind: kind(0)}, Conflict},
		"no such access":    {Public, RoomSet{By: from("olga"), Guest: access(7)}, Conflict},
		"becomes direct":    {Public, RoomSet{By: from("olga"), Kind: kind(Direct)}, Conflict},
		"direct to public":  {Direct, RoomSet{By: from("olga"), Kind: kind(Public)}, Conflict},
		"direct stays":      {Direct, RoomSet{By: from("olga"), Kind: kind(Direct), Name: &name}, Done},
		"partly impossible": {Public, RoomSet{By: from("olga"), Name: &name, Kind: kind(7)}, Conflict},
	} {
		t.Run(title, func(t *testing.T) {
			l := newTestLog(t)
			l.done(&RoomCreate{Room: room("r"), By: from("olga"), Kind: tc.made, Name: "Old"})
			before, err := l.s.Room(room("r"))
			if err != nil {
				t.Fatal(err)
			}
			want := *before
			if tc.want == Done {
				if tc.c.Name != nil {
					want.Name = *tc.c.Name
				}
				if tc.c.Guest != nil {
					want.Guest = *tc.c.Guest
				}
				if tc.c.Kind != nil {
					want.Kind = *tc.c.Kind
				}
			}
			tc.c.Room = room("r")
			if r := l.do(&tc.c); r.Outcome != tc.want {
				t.Fatalf("%+v, want %v", r, tc.want)
			}
			got, err := l.s.Room(room("r"))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(&want, got); d != "" {
				t.Fatalf("room (-want +got):\n%s", d)
			}
		})
	}
}

func TestARoomThatIsNotThere(t *testing.T) {
	l := newTestLog(t)
	admin := Actor{User: "root", Admin: true}
	for _, c := range []Command{
		&RoomSet{Room: room("r"), By: admin}, &RoomDelete{Room: room("r"), By: admin},
		&Join{Room: room("r"), By: admin}, &Leave{Room: room("r"), By: admin},
	} {
		if r := l.do(c); r.Outcome != NotFound || r.Detail == "" {
			t.Errorf("%T: %+v", c, r)
		}
	}
}

func TestRoomDelete(t *testing.T) {
	l := newTestLog(t)
	l.done(&RoomCreate{Room: room("r"), By: from("olga"), Kind: Public})
	l.done(&RoomCreate{Room: room("rr"), By: from("olga"), Kind: Public})
	l.done(say("rr", "olga", "stays"))
	l.done(&Join{Room: room("r"), By: from("ann")})
	for range 3 {
		l.done(say("r", "ann", "hi"))
	}
	if r := l.do(&RoomDelete{Room: room("r"), By: from("ann")}); r.Outcome != Forbidden {
		t.Fatalf("by a member: %+v", r)
	}
	pos := l.s.Pos()
	l.done(&RoomDelete{Room: room("r"), By: from("olga")})
	l.settle()

	if r, err := l.s.Room(room("r")); r != nil || err != nil {
		t.Fatalf("room %+v, %v", r, err)
	}
	if es, err := l.s.Entries(room("r"), 0, 100, 100, 1<<20); len(es) != 0 || err != nil {
		t.Fatalf("%d entries, %v", len(es), err)
	}
	if ms, err := l.s.Members(room("r"), "", 10); len(ms) != 0 || err != nil {
		t.Fatalf("members %v, %v", ms, err)
	}
	if rs := l.rooms("ann"); len(rs) != 0 {
		t.Fatalf("ann's rooms %v", rs)
	}
	if rs := l.rooms("olga"); len(rs) != 1 || rs[0].Room != "rr" {
		t.Fatalf("olga's rooms %v", rs)
	}
	if es, err := l.s.Entries(room("rr"), 0, 100, 100, 1<<20); len(es) != 1 || err != nil {
		t.Fatalf("the neighbour has %d entries, %v", len(es), err)
	}
	for _, at := range []uint64{0, 2, pos} {
		if seq, err := l.s.SeqAfter(room("r"), at); seq != 5 || err != nil {
			t.Fatalf("after pos %d a deleted room goes on at %d, %v, want 5", at, seq, err)
		}
	}
	if seq, err := l.s.SeqAfter(room("never"), 1); seq != 1 || err != nil {
		t.Fatalf("a room that never was goes on at %d, %v", seq, err)
	}
}

func TestARoomMadeAgainGoesOnAfterItsOldHead(t *testing.T) {
	again := map[string]Command{
		"by a call":    &RoomCreate{Room: room("r"), By: from("ann"), Kind: Private},
		"by a message": say("r", "ann", "again"),
	}
	for name, c := range again {
		for _, together := range []bool{false, true} {
			l := newTestLog(t)
			l.done(say("r", "olga", "1"))
			l.done(say("r", "olga", "2"))
			del, more := &RoomDelete{Room: room("r"), By: from("olga")}, say("r", "ann", "more")
			if together {
				l.as("a", del, c, more)
			} else {
				l.done(del)
				l.done(c)
				l.done(more)
			}
			want := Head{Seq: 3, N: 3, First: 3, Pos: 3}
			if name == "by a message" {
				want = Head{Seq: 4, N: 4, First: 3, Pos: 4}
			}
			h := l.head("r")
			if h.Seq != want.Seq || h.N != want.N || h.First != want.First || h.Pos != want.Pos {
				t.Fatalf("%s, together %v: head %+v, want %+v", name, together, h, want)
			}
			es, err := l.s.Entries(room("r"), 0, 100, 100, 1<<20)
			if err != nil || uint64(len(es)) != h.Seq-2 || es[0].Seq != 3 {
				t.Fatalf("%s, together %v: %d entries, %v", name, together, len(es), err)
			}
			m, err := l.s.Member(room("r"), "olga")
			if err != nil || m.Role != "" {
				t.Fatalf("the owner before is %+v, %v", m, err)
			}
			checkRoomOf(t, l.s, "r")
		}
	}
}

func checkRoomOf(t *testing.T, s *Store, name string) {
	t.Helper()
	r, err := s.Room(room(name))
	if err != nil || r == nil {
		t.Fatalf("room %v, %v", r, err)
	}
	es, err := s.Entries(room(name), 0, 1<<60, 1<<20, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	checkRoom(t, s, r, es)
}

func TestRoomKeysLeavesOutDeletedRooms(t *testing.T) {
	l := newTestLog(t)
	for _, n := range []string{"b", "a", "ab", "c"} {
		l.done(say(n, "olga", "hi"))
	}
	l.done(&RoomDelete{Room: room("ab"), By: from("olga")})
	var got []string
	walk := func(upto int) {
		got = nil
		if err := l.s.RoomKeys(func(k RoomKey) bool { got = append(got, k.Room); return len(got) < upto }); err != nil {
			t.Fatal(err)
		}
	}
	walk(9)
	if d := cmp.Diff([]string{"a", "b", "c"}, got); d != "" {
		t.Fatal(d)
	}
	walk(2)
	if d := cmp.Diff([]string{"a", "b"}, got); d != "" {
		t.Fatal(d)
	}
}

func TestRoomKeysOverManyPages(t *testing.T) {
	l := newTestLog(t)
	var g logentry.Group
	cmds := make([]Command, 0, 2*pageSize+3)
	for i := range cap(cmds) {
		cmds = append(cmds, &RoomCreate{Room: room(string(rune('a'+i%26)) + string(rune('a'+i/26))), Kind: Public})
	}
	g = l.group("a", cmds...)
	l.apply(g)
	seen := map[RoomKey]int{}
	if err := l.s.RoomKeys(func(k RoomKey) bool { seen[k]++; return true }); err != nil || len(seen) != len(cmds) {
		t.Fatalf("%d rooms, %v, want %d", len(seen), err, len(cmds))
	}
}
