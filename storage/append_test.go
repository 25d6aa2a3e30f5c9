package storage

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func freeze(l *testLog, name string) {
	l.t.Helper()
	l.done(&Moderate{Room: room(name), By: Actor{User: "root", Admin: true}, Act: ActFreeze})
}

func from(user string) Actor { return Actor{User: user} }

func TestWhoMayWrite(t *testing.T) {
	member, guest, admin := from("ann"), Actor{User: "guest~1", Guest: true}, Actor{User: "root", Admin: true}
	owner, other := from("olga"), from("eve")
	for name, tc := range map[string]struct {
		kind   RoomKind
		guest  GuestAccess
		frozen bool
		from   Actor
		want   Outcome
		role   Role
	}{
		"public, owner":               {Public, 0, false, owner, Done, RoleOwner},
		"public, member":              {Public, 0, false, member, Done, RoleMember},
		"public, anybody":             {Public, 0, false, other, Done, RoleMember},
		"public, guest":               {Public, 0, false, guest, GuestReadOnly, ""},
		"public, guests write":        {Public, GuestWrite, false, guest, Done, RoleGuest},
		"public, guests read":         {Public, GuestRead, false, guest, GuestReadOnly, ""},
		"private, owner":              {Private, 0, false, owner, Done, RoleOwner},
		"private, anybody":            {Private, 0, false, other, NotMember, ""},
		"private, admin":              {Private, 0, false, admin, Done, RoleMember},
		"private, guest":              {Private, 0, false, guest, GuestReadOnly, ""},
		"private, guests write":       {Private, GuestWrite, false, guest, Done, RoleGuest},
		"direct, owner":               {Direct, 0, false, owner, Done, RoleOwner},
		"direct, anybody":             {Direct, 0, false, other, NotMember, ""},
		"frozen, owner":               {Public, 0, true, owner, Done, RoleOwner},
		"frozen, admin":               {Public, 0, true, admin, Done, RoleMember},
		"frozen, member":              {Public, 0, true, member, Frozen, ""},
		"frozen, anybody":             {Public, 0, true, other, Frozen, ""},
		"frozen, guests write":        {Public, GuestWrite, true, guest, Frozen, ""},
		"frozen and private, anybody": {Private, 0, true, other, NotMember, ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t)
			l.done(&RoomCreate{Room: room("r"), By: owner, Kind: tc.kind, Guest: tc.guest})
			if tc.kind == Public {
				l.done(&Join{Room: room("r"), By: member})
			}
			if tc.frozen {
				freeze(l, "r")
			}
			before := l.head("r").Seq
			c := say("r", tc.from.User, "hi")
			c.From = tc.from
			r := l.do(c)
			if r.Outcome != tc.want {
				t.Fatalf("outcome %v (%s), want %v", r.Outcome, r.Detail, tc.want)
			}
			if tc.want != Done {
				if got := l.head("r").Seq; got != before || r.Seq != 0 {
					t.Fatalf("refused, yet the head went from %d to %d (seq %d)", before, got, r.Seq)
				}
				return
			}
			var got struct {
				From struct{ User, Role string }
			}
			l.json("r", r.Seq, &got)
			if got.From.User != tc.from.User || got.From.Role != string(tc.role) {
				t.Fatalf("from %+v, want %s as %s", got.From, tc.from.User, tc.role)
			}
		})
	}
}

// head returns the head of a room that exists.
func (l *testLog) head(name string) Head {
	l.t.Helper()
	r, err := l.s.Room(room(name))
	if err != nil || r == nil {
		l.t.Fatalf("room %s: %v, %v", name, r, err)
	}
	return r.Head
}

// json reads what is delivered of one entry.
func (l *testLog) json(name string, seq uint64, into any) {
	l.t.Helper()
	es, err := l.s.Entries(room(name), seq, seq, 1, 1)
	if err != nil || len(es) != 1 {
		l.t.Fatalf("entry %d of %s: %d entries, %v", seq, name, len(es), err)
	}
	if err := json.Unmarshal(es[0].JSON, into); err != nil {
		l.t.Fatalf("entry %d of %s is no JSON: %v\n%s", seq, name, err, es[0].JSON)
	}
}

func TestAutoCreate(t *testing.T) {
	for name, tc := range map[string]struct {
		from Actor
		kind RoomKind
		want Outcome
	}{
		"public":          {from("ann"), Public, Done},
		"private":         {from("ann"), Private, Done},
		"switched off":    {from("ann"), 0, NotFound},
		"no such kind":    {from("ann"), 9, Conflict},
		"guest":           {Actor{User: "guest~1", Guest: true}, Public, NotFound},
		"without a user":  {Actor{}, Public, NotFound},
		"admin all alone": {Actor{User: "root", Admin: true}, 0, NotFound},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t)
			c := say("r", "", "hi")
			c.From, c.AutoCreate = tc.from, tc.kind
			r := l.do(c)
			if r.Outcome != tc.want || r.Created != (tc.want == Done) {
				t.Fatalf("%+v, want %v", r, tc.want)
			}
			got, err := l.s.Room(room("r"))
			if err != nil || (got != nil) != (tc.want == Done) {
				t.Fatalf("room %v, %v", got, err)
			}
			if got == nil {
				return
			}
			m, err := l.s.Member(room("r"), tc.from.User)
			if err != nil || m.Role != RoleOwner || got.Kind != tc.kind || got.Owner != tc.from.User || got.Members != 1 {
				t.Fatalf("room %+v with owner %+v, %v", got, m, err)
			}
			if r.Seq != 1 || got.Head.Seq != 1 || got.Head.N != 1 {
				t.Fatalf("first message is seq %d, head %+v", r.Seq, got.Head)
			}
		})
	}
}

func TestAutoCreateIsLimitedPerDayOfLogTime(t *testing.T) {
	l := newTestLog(t)
	l.now = 10 * msPerDay
	first := func(room, user string) Outcome {
		c := say(room, user, "hi")
		c.RoomsPerDay = 2
		return l.do(c).Outcome
	}
	var got []Outcome
	got = append(got, first("r1", "ann"), first("r2", "ann"), first("r3", "ann"), first("r1", "ann"), first("r3", "bob"))
	l.now += msPerDay - 1
	got = append(got, first("r4", "ann"))
	l.now++
	got = append(got, first("r4", "ann"))
	if d := cmp.Diff([]Outcome{Done, Done, Limit, Done, Done, Limit, Done}, got); d != "" {
		t.Fatalf("outcomes (-want +got):\n%s", d)
	}
}

// Whatever is written, when, and however time jumps: seq is dense, n counts messages, ts never goes back, and it all is
// what the delivered JSON says.
func TestNumbersOfARoom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := openOn(t, vfs.NewMem())
		defer func() { _ = s.Close() }()
		l := newLog(t, s)
		var seq, n uint64
		var ts int64
		for range rapid.IntRange(1, 30).Draw(t, "messages") {
			l.now = max(0, l.now+rapid.Int64Range(-5_000, 5_000).Draw(t, "time step"))
			c := say("r", "ann", "hi")
			c.Type = rapid.SampledFrom([]string{"text", "image", "edit", "reaction"}).Draw(t, "type")
			if n == 0 && c.Type != "image" {
				c.Type = "text"
			}
			if c.Type == "edit" || c.Type == "reaction" {
				c.Target, c.Emoji = 1, fmt.Sprint(seq)
			}
			r := l.done(c)
			seq++
			if c.Type == "text" || c.Type == "image" {
				n++
			}
			if h := l.head("r"); r.Seq != seq || h.Seq != seq || h.N != n || h.TS != r.TS || r.TS < ts {
				t.Fatalf("result %+v, head %+v, want seq %d, n %d, ts from %d", r, h, seq, n, ts)
			}
			ts = r.TS
			var got struct {
				Room, Type string
				Seq, N     uint64
				TS         int64
			}
			l.json("r", seq, &got)
			if got.Room != "r" || got.Type != c.Type || got.Seq != seq || got.N != n || got.TS != ts {
				t.Fatalf("delivered %+v", got)
			}
		}
	})
}

func TestDeliveredBytes(t *testing.T) {
	level := int64(3)
	l := newTestLog(t)
	l.now = 1_795_430_000_123
	c := say("general", "alice", "")
	c.From.Name, c.From.Level, c.Device = "Al\"ice\x01\xff", &level, "web\\1"
	c.Tail = []byte(`,"cid":"c-7f3","data":{"text":"안녕"}`)
	l.done(c)
	es, err := l.s.Entries(room("general"), 1, 1, 1, 0)
	if err != nil || len(es) != 1 {
		t.Fatalf("%d entries, %v", len(es), err)
	}
	want := `{"room":"general","seq":1,"n":1,"ts":1795430000123,"type":"text","from":{"user":"alice",` +
		`"name":"Al\"ice\u0001�","role":"owner","level":3,"device":"web\\1"},"cid":"c-7f3","data":{"text":"안녕"}}`
	if got := string(es[0].JSON); got != want {
		t.Fatalf("delivered\n%s, want\n%s", got, want)
	}
}

func TestTTL(t *testing.T) {
	for _, tc := range []struct {
		ttl, want int64
	}{{0, 0}, {-1, 0}, {60, 1_060_000}, {1 << 62, 1_000_000 + maxTTL*1000}} {
		t.Run(fmt.Sprint(tc.ttl), func(t *testing.T) {
			l := newTestLog(t)
			c := say("r", "ann", "hi")
			c.TTL = tc.ttl
			l.done(c)
			es, err := l.s.Entries(room("r"), 1, 1, 1, 0)
			if err != nil || es[0].Expiry != tc.want || es[0].Expiry >= 1<<53 {
				t.Fatalf("expiry %d, %v, want %d", es[0].Expiry, err, tc.want)
			}
		})
	}
}

func TestNamesThatCannotStandInKeysOrJSONAreRefused(t *testing.T) {
	for _, bad := range []string{"a\x00b", "a\"b", `a\b`, "a\nb", "a\x7f", "a\xff"} {
		l := newTestLog(t)
		for _, c := range []*Append{
			{Room: RoomKey{NS: bad, Room: "r"}, From: from("ann"), Type: "text", AutoCreate: Public},
			{Room: room(bad), From: from("ann"), Type: "text", AutoCreate: Public},
			{Room: room("r"), From: from(bad), Type: "text", AutoCreate: Public},
			{Room: room("r"), From: from("ann"), Type: bad, AutoCreate: Public},
			{Room: room(""), From: from("ann"), Type: "text", AutoCreate: Public},
		} {
			if r := l.do(c); r.Outcome != Forbidden {
				t.Fatalf("%q: %+v answers %+v", bad, c, r)
			}
		}
		if got := l.s.Pos(); got != 0 {
			t.Fatalf("%q: %d entries", bad, got)
		}
	}
}
