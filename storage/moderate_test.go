package storage

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// moderated is a room with an owner, two operators, two members, and nobody else.
func moderated(t *testing.T, kind RoomKind) *testLog {
	t.Helper()
	l := newTestLog(t)
	l.done(&RoomCreate{Room: room("r"), By: from("olga"), Kind: kind})
	for _, u := range []string{"opa", "otto", "mia", "max"} {
		l.done(&Join{Room: room("r"), By: Actor{User: u, Admin: true}})
	}
	for _, u := range []string{"opa", "otto"} {
		l.done(&Moderate{Room: room("r"), By: from("olga"), Act: ActRole, User: u, Role: RoleOperator})
	}
	l.done(&Append{Room: room("r"), From: from("mia"), Type: "text", Tail: []byte(`,"data":{"text":"pin me"}`)})
	return l
}

func act(by string, a Act, user string) *Moderate {
	c := &Moderate{
		Room: room("r"), By: Actor{User: by, Admin: by == "root", Guest: by == "guest~1"}, Act: a, User: user, Role: RoleOperator,
		Data: []byte(`{"text":"hear"}`), Target: 7, Seconds: 60,
	}
	return c
}

// Every act by everybody on everybody.
func TestWhoMayModerate(t *testing.T) {
	ranks := map[string]int{"root": 4, "olga": 3, "opa": 2, "otto": 2, "mia": 1, "max": 1, "eve": 0, "guest~1": 0}
	for _, a := range slices.Sorted(maps.Keys(acts)) {
		for by, rank := range ranks {
			for _, whom := range []string{"olga", "otto", "max", "zoe"} {
				l := moderated(t, Private)
				before := l.head("r").Seq
				r := l.do(act(by, a, whom))
				least := 2
				if a == ActRole {
					least = 3
				}
				above := rank > ranks[whom] || rank == 4 || a == ActRole && by == whom
				may := rank >= least && (!acts[a].user || above)
				if forbidden := r.Outcome == Forbidden; forbidden == may {
					t.Errorf("%s by %s on %s: %v %s", a, by, whom, r.Outcome, r.Detail)
				}
				if appended := l.head("r").Seq - before; r.Outcome != Done && appended != 0 || appended > 1 {
					t.Errorf("%s by %s on %s: %v, and %d entries", a, by, whom, r.Outcome, appended)
				}
			}
		}
	}
}

// What an act leaves: an entry that says so, a record in the audit log, and nothing when it is done again.
func TestActsAreToldOnce(t *testing.T) {
	for a, want := range map[Act]string{
		ActFreeze:   `{"event":"frozen"}`,
		ActSlow:     `{"event":"slow","seconds":60}`,
		ActMute:     `{"event":"muted","user":"max","until":1060000}`,
		ActBan:      `{"event":"banned","user":"max","until":1060000}`,
		ActKick:     `{"event":"removed","user":"max"}`,
		ActPin:      `{"event":"pinned","target":7}`,
		ActAnnounce: `{"event":"announced","announcement":{"text":"hear"}}`,
		ActRole:     `{"event":"role","user":"max","role":"operator"}`,
		ActInvite:   `{"event":"invited","user":"zoe"}`,
	} {
		t.Run(string(a), func(t *testing.T) {
			l := moderated(t, Private)
			c := act("olga", a, "max")
			if a == ActInvite {
				c.User = "zoe"
			}
			c.Reason = `be "nice"`
			r := l.done(c)
			var e struct {
				Type string
				N    uint64
				From struct{ User, Role string }
				Data json.RawMessage
			}
			l.json("r", r.Seq, &e)
			want := strings.TrimSuffix(want, "}") + `,"reason":"be \"nice\""}`
			if e.Type != TypeSystem || e.From.User != "olga" || e.From.Role != "owner" || string(e.Data) != want || e.N != 1 {
				t.Errorf("told %+v %s, want %s", e, e.Data, want)
			}
			log, err := l.s.Audit(room("r"), 0, 1)
			if err != nil || len(log) != 1 || log[0].By != "olga" || log[0].Act != string(a) || log[0].Seq != r.Seq ||
				log[0].Reason != c.Reason || log[0].At != l.now {
				t.Errorf("audit log %+v, %v", log, err)
			}
			if a == ActMute || a == ActBan || a == ActAnnounce { // these begin anew
				return
			}
			if again := l.done(c); !again.Present || l.head("r").Seq != r.Seq {
				t.Errorf("done again: %+v", again)
			}
		})
	}
}

func TestMuteEnds(t *testing.T) {
	l := moderated(t, Public)
	l.done(act("opa", ActMute, "max"))
	l.done(act("opa", ActMute, "visitor")) // no member
	for _, u := range []string{"max", "visitor"} {
		if r := l.do(say("r", u, "hi")); r.Outcome != Muted || r.TS != 60_000 {
			t.Errorf("%s: %+v", u, r)
		}
	}
	l.now += 59_999
	if r := l.do(say("r", "max", "hi")); r.Outcome != Muted {
		t.Errorf("a moment before: %+v", r)
	}
	l.now++
	l.done(say("r", "max", "hi"))
	l.done(say("r", "visitor", "hi"))

	forever := act("opa", ActMute, "max")
	forever.Seconds = 0
	l.done(forever)
	l.now += 1 << 45
	if r := l.do(say("r", "max", "hi")); r.Outcome != Muted || r.TS != 0 {
		t.Errorf("without an end: %+v", r)
	}
	l.done(act("otto", ActUnmute, "max"))
	l.done(say("r", "max", "hi"))
}

// A mute goes along when its user leaves and comes back.
func TestLeavingDoesNotUnmute(t *testing.T) {
	l := moderated(t, Public)
	l.done(act("opa", ActMute, "max"))
	l.done(&Leave{Room: room("r"), By: from("max")})
	l.done(&Join{Room: room("r"), By: from("max")})
	if r := l.do(say("r", "max", "hi")); r.Outcome != Muted {
		t.Errorf("%+v", r)
	}
	l.done(act("opa", ActKick, "max"))
	if r := l.do(say("r", "max", "hi")); r.Outcome != Muted {
		t.Errorf("after a kick: %+v", r)
	}
}

func TestBan(t *testing.T) {
	l := moderated(t, Public)
	members := l.count("r")
	r := l.done(act("opa", ActBan, "max"))
	if l.count("r") != members-1 || r.Outbox == 0 {
		t.Errorf("%d members of %d, %+v", l.count("r"), members, r)
	}
	for _, c := range []Command{say("r", "max", "hi"), &Join{Room: room("r"), By: from("max")}} {
		if r := l.do(c); r.Outcome != Banned || r.TS != 60_000 {
			t.Errorf("%T: %+v", c, r)
		}
	}
	if r := l.do(act("opa", ActInvite, "max")); r.Outcome != Conflict {
		t.Errorf("invited: %+v", r)
	}
	l.now += 60_000
	l.done(&Join{Room: room("r"), By: from("max")})
	l.done(say("r", "max", "hi"))

	forever := act("opa", ActBan, "stranger")
	forever.Seconds = 0
	if r := l.done(forever); r.Outbox != 0 || l.count("r") != members { // nobody knows them: there is no inbox to tell
		t.Errorf("one who was no member: %+v, %d members", r, l.count("r"))
	}
	if list, err := l.s.Members(room("r"), "", 100); err != nil || len(list) != int(members) {
		t.Errorf("%d in the list, %v", len(list), err)
	}
	l.done(&RoomDelete{Room: room("r"), By: from("olga")})
	l.done(&RoomCreate{Room: room("r"), By: from("olga"), Kind: Public})
	l.done(say("r", "stranger", "a new room knows no old bans"))
}

func TestSlowMode(t *testing.T) {
	l := moderated(t, Public)
	c := act("opa", ActSlow, "")
	c.Seconds = 10
	l.done(c)
	l.done(say("r", "max", "1"))
	for _, u := range []string{"opa", "olga"} {
		l.done(say("r", u, "1"))
		l.done(say("r", u, "2"))
	}
	l.now += 4_000
	if r := l.do(say("r", "max", "2")); r.Outcome != SlowMode || r.TS != 6_000 {
		t.Errorf("%+v", r)
	}
	l.done(say("r", "mia", "1"))
	l.now += 6_000
	l.done(say("r", "max", "3"))
	c.Seconds = 0
	l.done(c)
	l.done(say("r", "max", "4"))
	c.Seconds = 20
	l.done(c)
	l.done(say("r", "max", "slow mode begins anew"))
	if r := l.do(say("r", "max", "5")); r.Outcome != SlowMode {
		t.Errorf("%+v", r)
	}
}

func TestAnnouncedInAFrozenRoom(t *testing.T) {
	l := moderated(t, Public)
	l.done(act("opa", ActFreeze, ""))
	if r := l.do(say("r", "max", "hi")); r.Outcome != Frozen {
		t.Errorf("%+v", r)
	}
	l.done(act("opa", ActAnnounce, ""))
	l.done(act("opa", ActUnfreeze, ""))
	l.done(say("r", "max", "hi"))
}

func TestMembersAreLimited(t *testing.T) {
	l := moderated(t, Public)
	limit := l.count("r")
	if r := l.do(&Join{Room: room("r"), By: from("zoe"), MaxMembers: limit}); r.Outcome != Limit {
		t.Errorf("%+v", r)
	}
	c := act("opa", ActInvite, "zoe")
	c.MaxMembers = limit
	if r := l.do(c); r.Outcome != Limit {
		t.Errorf("%+v", r)
	}
	c.MaxMembers++
	l.done(c)
}

func TestDirectRoomsKeepTheirTwo(t *testing.T) {
	const dm = "dm~max~olga"
	l := newTestLog(t)
	there := func(by string, a Act, user string) *Moderate {
		c := act(by, a, user)
		c.Room = room(dm)
		return c
	}
	first := say(dm, "olga", "hi")
	first.AutoCreate = Direct
	l.done(first)
	if r := l.do(&Leave{Room: room(dm), By: from("max")}); r.Outcome != Conflict {
		t.Errorf("left: %+v", r)
	}
	if r := l.do(&Join{Room: room(dm), By: Actor{User: "root", Admin: true}}); r.Outcome != Conflict {
		t.Errorf("joined by an admin: %+v", r)
	}
	for a, user := range map[Act]string{ActInvite: "zoe", ActKick: "max"} {
		if r := l.do(there("root", a, user)); r.Outcome != Conflict {
			t.Errorf("%s: %+v", a, r)
		}
	}
	l.done(there("root", ActBan, "max"))
	if r := l.do(say(dm, "max", "hi")); r.Outcome != Banned || l.count(dm) != 2 {
		t.Errorf("banned by an admin: %+v, %d members", r, l.count(dm))
	}
	l.done(there("root", ActUnban, "max"))
	l.done(say(dm, "max", "hi"))
}

// Mutes and bans have a limit; ended ones make room.
func TestRestrictionsAreLimited(t *testing.T) {
	l := moderated(t, Public)
	mute := func(i int) *Moderate { return act("opa", ActMute, fmt.Sprint("u", i)) }
	for at := 0; at < maxRestricted; at += 500 {
		var cmds []Command
		for i := range 500 {
			cmds = append(cmds, mute(at+i))
		}
		l.as("a", cmds...)
	}
	if r := l.do(mute(maxRestricted)); r.Outcome != Limit {
		t.Errorf("one more: %+v", r)
	}
	l.now += sweepEach
	l.done(mute(maxRestricted))
	if r, err := l.s.Room(room("r")); err != nil || !r.Restricted {
		t.Errorf("%+v, %v", r, err)
	}
	if st, _, err := readSettings(l.s.db, room("r")); err != nil || st.Restricted != 1 {
		t.Errorf("%d are left, %v", st.Restricted, err)
	}
}

// Who is muted announces nothing either.
func TestMutedOperator(t *testing.T) {
	l := moderated(t, Public)
	l.done(act("olga", ActMute, "opa"))
	if r := l.do(act("opa", ActAnnounce, "")); r.Outcome != Muted {
		t.Errorf("%+v", r)
	}
	l.done(act("olga", ActAnnounce, ""))
}

func deleteOf(user string, seq uint64) *Append {
	return &Append{Room: room("r"), From: from(user), Type: TypeDelete, Target: seq, Tail: fmt.Appendf(nil, `,"target":%d,"data":{}`, seq)}
}

// A deleted message keeps its place, its number and its writer's name, in memory and on disk, in the batch that wrote it
// and later; nothing of what it said is left.
func TestDelete(t *testing.T) {
	for _, same := range []bool{false, true} {
		fs := vfs.NewMem()
		s := openOn(t, fs)
		l := newLog(t, s)
		first := say("r", "ann", "hello")
		first.Device, first.From.Name, first.AutoCreate = "web-1", "Ann", Public
		secret := say("r", "ann", "a secret")
		secret.Device, secret.From.Name = "web-1", "Ann"
		if same {
			l.as("a", first, secret, deleteOf("ann", 2))
		} else {
			l.as("a", first, secret)
			l.done(&Moderate{Room: room("r"), By: from("ann"), Act: ActPin, Target: 2})
			l.done(deleteOf("ann", 2))
		}
		want := fmt.Sprintf(`{"room":"r","seq":2,"n":2,"ts":%d,"type":"text","from":{"user":"ann"},"data":{},"deleted":true}`, l.now)
		for _, from := range []string{"memory", "disk"} {
			es, err := l.s.Entries(room("r"), 1, 10, 10, 1<<20)
			if err != nil || string(es[1].JSON) != want || !strings.Contains(string(es[0].JSON), "hello") {
				t.Fatalf("%s: %v, %s", from, err, es[1].JSON)
			}
			l.s.rooms.reset(l.s.opts.Rooms)
			l.s.tail.reset(l.s.opts.TailBytes)
		}
		r, err := l.s.Room(room("r"))
		if err != nil || len(r.Pinned) != 0 {
			t.Errorf("still pinned: %+v, %v", r, err)
		}
		if r := l.do(deleteOf("ann", 2)); r.Outcome != Conflict {
			t.Errorf("deleted twice: %+v", r)
		}
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(Options{Dir: "data/db", FS: fs}, func(err error) { t.Errorf("verify: %v", err) }); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhoMayDelete(t *testing.T) {
	for by, want := range map[string]Outcome{"mia": Done, "max": Forbidden, "opa": Done, "olga": Done, "eve": NotMember} {
		l := moderated(t, Private)
		c := deleteOf(by, 7)
		c.Reason = "spam"
		if r := l.do(c); r.Outcome != want {
			t.Errorf("%s: %v", by, r.Outcome)
		}
		log, err := l.s.Audit(room("r"), 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		if audited := log[0].Act == TypeDelete && log[0].User == "mia" && log[0].Target == 7 && log[0].Reason == "spam"; audited != (by == "opa" || by == "olga") {
			t.Errorf("%s: audit log %+v", by, log[0])
		}
	}
	l := moderated(t, Private)
	for target, want := range map[uint64]Outcome{0: NotFound, 1: Conflict, 99: NotFound} {
		if r := l.do(deleteOf("opa", target)); r.Outcome != want {
			t.Errorf("entry %d: %v", target, r.Outcome)
		}
	}
}

func TestAuditPages(t *testing.T) {
	l := moderated(t, Public)
	for i := range 5 {
		c := act("opa", ActMute, fmt.Sprint("u", i))
		l.done(c)
	}
	var got []string
	before := uint64(0)
	for {
		page, err := l.s.Audit(room("r"), before, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, a := range page {
			got = append(got, a.User)
		}
		before = page[len(page)-1].Pos
	}
	if d := cmp.Diff([]string{"u4", "u3", "u2", "u1", "u0", "otto", "opa"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// Whatever operators and members do in whatever order: after an act nothing that it forbids is appended, until it ends or
// is lifted.
func TestForbiddenIsNotAppended(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := openOn(t, vfs.NewMem())
		defer func() { _ = s.Close() }()
		l := newLog(t, s)
		l.done(&RoomCreate{Room: room("r"), By: from("olga"), Kind: Public})
		users := []string{"ann", "bob"}
		muted, banned, last := map[string]int64{}, map[string]int64{}, map[string]int64{}
		frozen, slow := false, int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			l.now += rapid.Int64Range(0, 3000).Draw(t, "ms")
			u := rapid.SampledFrom(users).Draw(t, "user")
			a := rapid.SampledFrom([]Act{"", "", "", ActFreeze, ActUnfreeze, ActSlow, ActMute, ActUnmute, ActBan, ActUnban}).Draw(t, "act")
			seconds := rapid.Int64Range(0, 5).Draw(t, "seconds")
			until := l.now + seconds*1000
			if seconds == 0 {
				until = Forever
			}
			switch a {
			case "":
				want := Done
				switch {
				case banned[u] > l.now:
					want = Banned
				case frozen:
					want = Frozen
				case muted[u] > l.now:
					want = Muted
				case slow > 0 && last[u] > 0 && l.now < last[u]+slow*1000:
					want = SlowMode
				}
				before := l.head("r").Seq
				r := l.do(say("r", u, "hi"))
				if r.Outcome != want || (l.head("r").Seq > before) != (want == Done) {
					t.Fatalf("%s at %d: %+v, want %v", u, l.now, r, want)
				}
				if want == Done && slow > 0 {
					last[u] = l.now
				}
				continue
			case ActFreeze, ActUnfreeze:
				frozen = a == ActFreeze
			case ActSlow:
				if slow = seconds; slow == 0 {
					clear(last)
				}
			case ActMute:
				muted[u] = until
			case ActUnmute:
				muted[u] = 0
			case ActBan:
				banned[u] = until
			case ActUnban:
				banned[u] = 0
			}
			l.done(&Moderate{Room: room("r"), By: from("olga"), Act: a, User: u, Seconds: seconds})
		}
	})
}

// count returns how many members the room says it has.
func (l *testLog) count(name string) uint64 {
	l.t.Helper()
	r, err := l.s.Room(room(name))
	if err != nil || r == nil {
		l.t.Fatalf("room %s: %v", name, err)
	}
	return r.Members
}

func TestDirectRoomIsMade(t *testing.T) {
	l := newTestLog(t)
	c := say("dm~ann~bob", "bob", "hi")
	c.AutoCreate = Direct
	if r := l.done(c); r.Seq != 1 || !r.Created {
		t.Errorf("%+v", r)
	}
	l.settle()
	for _, u := range []string{"ann", "bob"} {
		if rooms := l.rooms(u); len(rooms) != 1 || rooms[0].Role != RoleMember || rooms[0].Since != 0 {
			t.Errorf("%s: %+v", u, rooms)
		}
	}
	l.done(say("dm~ann~bob", "ann", "hi too"))
	for room, by := range map[string]string{
		"dm~ann~bob": "eve", "dm~bob~ann": "ann", "dm~ann~ann": "ann", "dm~ann": "ann", "dm~ann~bob~eve": "ann", "other": "ann", "dm~~ann": "ann",
	} {
		c := say(room, by, "hi")
		c.AutoCreate = Direct
		if r := l.do(c); r.Outcome == Done {
			t.Errorf("%s in %s: %+v", by, room, r)
		}
	}
}
