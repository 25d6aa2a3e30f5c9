package storage

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// stored returns a session that must exist.
func (l *testLog) stored(id SessionID) *Session {
	l.t.Helper()
	sess, err := l.s.Session(id)
	if err != nil || sess == nil {
		l.t.Fatalf("session %v: %+v, %v", id, sess, err)
	}
	return sess
}

// gone checks that a session does not exist and is counted nowhere.
func (l *testLog) gone(id SessionID) {
	l.t.Helper()
	if sess, err := l.s.Session(id); sess != nil || err != nil {
		l.t.Fatalf("session %+v, %v", sess, err)
	}
	if err := l.s.Sessions(func(sess *Session) bool {
		if sess.ID == id {
			l.t.Fatalf("listed: %+v", sess)
		}
		return true
	}); err != nil {
		l.t.Fatalf("sessions: %v", err)
	}
	for k := range dump(l.t, l.s) {
		if k[0] == prefixLag {
			l.t.Fatalf("a lag is left: %q", k)
		}
	}
}

func taking(id SessionID, expiry uint32) *Take {
	return &Take{Session: id, Node: "a", Boot: 1, Expiry: expiry}
}

func TestTakeKeepsWhatWasStored(t *testing.T) {
	l := newTestLog(t)
	l.boot("a")
	first := l.done(taking(phone, 60))
	if first.Present || first.Epoch != 1 {
		t.Fatalf("%+v", first)
	}
	l.done(&Subscribe{Session: phone, Epoch: 1, Add: []Subscription{{Filter: "chat/rooms/r/#", QoS: 1}}})
	l.done(say("r", "bob", "1"))
	l.done(say("r", "bob", "2"))
	l.done(&Release{Session: phone, Epoch: 1, Place: 1, Lag: []RoomSeq{{"r", 1}}})
	l.now += 59_999
	second := l.done(&Take{Session: phone, Node: "a", Boot: 1, Expiry: 70, Backlog: 5})
	if !second.Present || second.Epoch != 2 {
		t.Fatalf("%+v", second)
	}
	want := &Session{
		ID: phone, Epoch: 2, Connected: true, Node: "a", Boot: 1, Expiry: 70, Place: 1, Lag: []RoomSeq{{"r", 1}},
		Filters: []Subscription{{Filter: "chat/rooms/r/#", QoS: 1}}, Backlog: 5,
	}
	if d := cmp.Diff(want, l.stored(phone)); d != "" {
		t.Fatalf("session (-want +got):\n%s", d)
	}
}

func TestTakeStartsAnew(t *testing.T) {
	for name, tc := range map[string]struct {
		wait  int64
		clean bool
	}{"clean start": {0, true}, "expired, though nobody said so yet": {60_000, false}} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t)
			l.boot("a")
			l.done(taking(phone, 60))
			l.done(&Subscribe{
				Session: phone, Epoch: 1, Add: []Subscription{{Filter: "f"}}, Places: []RoomSeq{{"r", 1}},
			})
			l.done(&Release{Session: phone, Epoch: 1})
			l.done(say("r", "bob", "1"))
			l.now += tc.wait
			c := taking(phone, 60)
			c.Clean = tc.clean
			if r := l.done(c); r.Present || r.Epoch != 2 {
				t.Fatalf("%+v", r)
			}
			want := &Session{ID: phone, Epoch: 2, Connected: true, Node: "a", Boot: 1, Expiry: 60, Place: 1}
			if d := cmp.Diff(want, l.stored(phone)); d != "" {
				t.Fatalf("session (-want +got):\n%s", d)
			}
			l.done(&Drop{Session: phone})
			l.gone(phone)
		})
	}
}

func TestALowerEpochIsFenced(t *testing.T) {
	l := newTestLog(t)
	l.boot("a")
	l.done(taking(phone, 60))
	l.done(taking(phone, 60))
	l.done(say("r", "bob", "1"))
	before := dump(t, l.s)
	for _, c := range []Command{
		sends(phone, 1, 1, "hi", false),
		&Subscribe{Session: phone, Epoch: 1, Add: []Subscription{{Filter: "f"}}, Places: []RoomSeq{{"r", 1}}},
		&Release{Session: phone, Epoch: 1, Place: 1}, &Expire{Session: phone, Epoch: 1}, &FireWill{Session: phone, Epoch: 1},
		sends(phone, 3, 1, "hi", false), &Release{Session: phone, Epoch: 3},
	} {
		if r := l.do(c); r.Outcome != Fenced {
			t.Errorf("%T: %+v", c, r)
		}
	}
	l.done(&Places{Node: "a", Boot: 1, Lags: []LagOf{{Session: phone, Epoch: 1, Room: "r", Seq: 1}}})
	after := dump(t, l.s)
	for k := range after { // these say which commands were answered
		if k[0] == prefixMeta || k[0] == prefixNode || k[0] == prefixGroup {
			after[k] = before[k]
			if before[k] == nil {
				delete(after, k)
			}
		}
	}
	diffDumps(t, before, after)
	if r := l.do(sends(phone, 2, 1, "hi", false)); r.Outcome != Done {
		t.Fatalf("the newest epoch: %+v", r)
	}
}

func TestPublishesOfASessionThatEndedAreFenced(t *testing.T) {
	l := newTestLog(t)
	l.boot("a")
	l.done(taking(phone, 60))
	l.done(&Drop{Session: phone})
	if r := l.do(sends(phone, 1, 1, "hi", false)); r.Outcome != Fenced {
		t.Fatalf("%+v", r)
	}
	clear(l.s.epochs) // what is not in memory is looked up
	if r := l.do(sends(phone, 1, 1, "hi", false)); r.Outcome != Fenced {
		t.Fatalf("%+v", r)
	}
}

func TestSecondReleaseIsFenced(t *testing.T) {
	l := newTestLog(t)
	l.boot("a")
	l.done(taking(phone, 60))
	l.done(&Release{Session: phone, Epoch: 1})
	if r := l.do(&Release{Session: phone, Epoch: 1, Expiry: new(uint32(0))}); r.Outcome != Fenced {
		t.Fatalf("%+v", r)
	}
	l.stored(phone)
}

func TestReleaseWithExpiry0EndsTheSession(t *testing.T) {
	l := newTestLog(t)
	l.boot("a")
	l.done(taking(phone, 60))
	l.done(&Subscribe{Session: phone, Epoch: 1, Places: []RoomSeq{{"r", 1}}})
	l.done(&Release{Session: phone, Epoch: 1, Expiry: new(uint32(0))})
	l.gone(phone)
}

func TestExpire(t *testing.T) {
	for name, tc := range map[string]struct {
		expiry uint32
		left   func(l *testLog) // how the connection ends
		wait   int64
		want   Outcome
	}{
		"due":                      {60, func(l *testLog) { l.done(&Release{Session: phone, Epoch: 1}) }, 60_000, Done},
		"too early":                {60, func(l *testLog) { l.done(&Release{Session: phone, Epoch: 1}) }, 59_999, Conflict},
		"never":                    {NeverExpires, func(l *testLog) { l.done(&Release{Session: phone, Epoch: 1}) }, 1 << 50, Conflict},
		"connected":                {1, func(*testLog) {}, 1 << 40, Conflict},
		"shorter at the end":       {60, func(l *testLog) { l.done(&Release{Session: phone, Epoch: 1, Expiry: new(uint32(2))}) }, 2_000, Done},
		"longer at the end":        {2, func(l *testLog) { l.done(&Release{Session: phone, Epoch: 1, Expiry: new(uint32(9))}) }, 8_999, Conflict},
		"node lost":                {60, func(l *testLog) { l.as("b", &NodeLost{Node: "a", Boot: 1}) }, 60_000, Done},
		"node lost lately":         {60, func(l *testLog) { l.as("b", &NodeLost{Node: "a", Boot: 1}) }, 59_999, Conflict},
		"node started anew":        {60, func(l *testLog) { l.boot("a") }, 60_000, Done},
		"node started anew lately": {60, func(l *testLog) { l.boot("a") }, 59_999, Conflict},
		"lost, then started anew": {60, func(l *testLog) {
			l.as("b", &NodeLost{Node: "a", Boot: 1})
			l.now += 50_000
			l.boot("a")
		}, 10_000, Done},
		"lost, then back": {60, func(l *testLog) {
			l.as("b", &NodeLost{Node: "a", Boot: 1})
			l.as("a", &NodeUp{Node: "a", Boot: 1})
		}, 60_000, Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t)
			l.boot("a")
			l.done(taking(phone, tc.expiry))
			tc.left(l)
			l.now += tc.wait
			r := l.as("b", &Expire{Session: phone, Epoch: 1})[0]
			if r.Outcome != tc.want {
				t.Fatalf("%+v, want %v", r, tc.want)
			}
			if tc.want == Done {
				l.gone(phone)
			} else {
				l.stored(phone)
			}
		})
	}
}

func TestNodesInTheLog(t *testing.T) {
	l := newTestLog(t)
	l.boot("a")
	l.boot("b")
	l.now += 10
	nodes := func(want ...Node) {
		t.Helper()
		got, err := l.s.Nodes()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("nodes (-want +got):\n%s", d)
		}
	}
	nodes(Node{"a", 1, true, 1_000_000}, Node{"b", 1, true, 1_000_000})
	for _, c := range []Command{&NodeLost{Node: "a", Boot: 2}, &NodeLost{Node: "c", Boot: 0}, &NodeUp{Node: "a", Boot: 1}} {
		if r := l.as("b", c)[0]; r.Outcome != Conflict {
			t.Errorf("%+v: %+v", c, r)
		}
	}
	l.as("b", &NodeLost{Node: "a", Boot: 1})
	l.now += 10
	l.as("b", &NodeLost{Node: "a", Boot: 1})
	nodes(Node{"a", 1, false, 1_000_010}, Node{"b", 1, true, 1_000_000})
	l.as("a", &NodeUp{Node: "a", Boot: 1})
	nodes(Node{"a", 1, true, 1_000_000}, Node{"b", 1, true, 1_000_000})
	l.boot("a")
	nodes(Node{"a", 2, true, 1_000_020}, Node{"b", 1, true, 1_000_000})
}

func TestSessionsAreLimitedPerUser(t *testing.T) {
	l := newTestLog(t)
	l.boot("a")
	take := func(user string, client int) Outcome {
		c := taking(SessionID{NS: "chat", User: user, Client: fmt.Sprint(client)}, 60)
		c.MaxSessions = 2
		return l.do(c).Outcome
	}
	got := []Outcome{take("ann", 1), take("ann", 2), take("ann", 3), take("ann", 2), take("bob", 3)}
	l.done(&Drop{Session: SessionID{NS: "chat", User: "ann", Client: "1"}})
	got = append(got, take("ann", 3), take("ann", 1))
	if d := cmp.Diff([]Outcome{Done, Done, Limit, Done, Done, Done, Limit}, got); d != "" {
		t.Fatalf("outcomes (-want +got):\n%s", d)
	}
}

func TestDropOfNothing(t *testing.T) {
	l := newTestLog(t)
	if r := l.done(&Drop{Session: phone}); r.Present {
		t.Fatalf("%+v", r)
	}
}

func TestSubscribe(t *testing.T) {
	l := newTestLog(t)
	l.boot("a")
	l.done(taking(phone, 60))
	l.done(&Subscribe{Session: phone, Epoch: 1, Add: []Subscription{{Filter: "x"}, {Filter: "y", QoS: 1}}})
	l.done(say("r", "bob", "1"))
	r := l.done(&Subscribe{
		Session: phone, Epoch: 1, Add: []Subscription{{Filter: "x", ID: 7, Pos: 99}, {Filter: "z", Pos: 99}}, Remove: []string{"y", "none"},
		Places: []RoomSeq{{"r", 1}, {"s", 4}},
	})
	if r.Seq != 1 {
		t.Fatalf("%+v", r)
	}
	l.done(&Subscribe{Session: phone, Epoch: 1, Places: []RoomSeq{{"s", 0}}})
	sess := l.stored(phone)
	if d := cmp.Diff([]Subscription{{Filter: "x", ID: 7}, {Filter: "z", Pos: 1}}, sess.Filters); d != "" {
		t.Errorf("filters (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]RoomSeq{{"r", 1}}, sess.Lag); d != "" {
		t.Errorf("lag (-want +got):\n%s", d)
	}
}

// Client ids may hold any byte; sessions are kept apart and listed in order all the same.
func TestClientIDsOfAnyKind(t *testing.T) {
	l := newTestLog(t)
	l.boot("a")
	clients := []string{"", "\x00", "\x00\x00", "\x01", "\x01\x01", "\x02", "a", "a\x00", "a\x00r", "a\x01", "ar", "\xff"}
	for i, c := range clients {
		id := SessionID{NS: "chat", User: "ann", Client: c}
		e := l.done(taking(id, 60)).Epoch
		l.done(&Subscribe{Session: id, Epoch: e, Places: []RoomSeq{{"r", uint64(i + 1)}}})
	}
	var got []string
	if err := l.s.Sessions(func(s *Session) bool { got = append(got, s.ID.Client); return true }); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(clients, got); d != "" {
		t.Fatalf("clients (-want +got):\n%s", d)
	}
	for i, c := range clients {
		sess := l.stored(SessionID{NS: "chat", User: "ann", Client: c})
		if d := cmp.Diff([]RoomSeq{{"r", uint64(i + 1)}}, sess.Lag); d != "" {
			t.Fatalf("client %q (-want +got):\n%s", c, d)
		}
	}
}
