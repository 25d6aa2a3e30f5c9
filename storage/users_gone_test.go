package storage

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/madang-chat/madang/internal/logentry"
)

// willed is a session with a will.
func willed(user, client, r string, delay uint32) *Take {
	c := taking(SessionID{NS: "chat", User: user, Client: client}, 100)
	c.Will, c.WillDelay = say(r, user, "my will"), delay
	return c
}

// Who was deleted says nothing more: not by the wills of the sessions that end with the deletion, nor by those that end later, nor
// when the name is somebody else's.
func TestADeletedUserHasNoWill(t *testing.T) {
	for _, mode := range []DeleteMode{Anonymise, Erase} {
		l := newTestLog(t)
		l.done(say("r", "olga", "hello"))
		for i := range sessionsPerEnd + 9 { // more than one command ends
			l.done(willed("ann", fmt.Sprint("d", i), "r", uint32(i%2*10)))
		}
		l.done(willed("olga", "d", "r", 0))
		l.done(&DeleteUser{Key: someone("ann"), By: from("ann"), Mode: mode})
		var rest []Session
		if err := l.s.Sessions(func(s *Session) bool {
			if s.ID.User == "ann" {
				rest = append(rest, *s)
			}
			return true
		}); err != nil || len(rest) != 9 {
			t.Fatalf("%d sessions are left: %v", len(rest), err)
		}
		l.do(&Release{Session: rest[0].ID, Epoch: rest[0].Epoch, KeepWill: true})
		l.do(&Drop{Session: rest[1].ID})
		l.done(&DeletePage{Key: someone("ann"), Run: 1, Done: true})
		l.done(&PutUser{Key: someone("ann"), By: Actor{User: "root", Admin: true}, Register: true, Again: true})
		l.do(&Release{Session: rest[2].ID, Epoch: rest[2].Epoch, KeepWill: true})
		l.do(&Drop{Session: rest[3].ID})
		l.do(taking(rest[4].ID, 100))
		l.do(&NodeLost{Node: "a", Boot: 1})
		l.now += 1_000_000
		for _, s := range rest[5:] {
			l.do(&FireWill{Session: s.ID, Epoch: s.Epoch})
			l.do(&Expire{Session: s.ID, Epoch: s.Epoch})
		}
		if r, err := l.s.Room(room("r")); err != nil || r.Head.Seq != 1 {
			t.Errorf("%s: %d entries: %s", mode, r.Head.Seq, newest(t, l, "r"))
		}
		// The new one has a will of their own, and others keep theirs.
		l.done(willed("ann", "new", "r", 0))
		l.done(&Drop{Session: SessionID{NS: "chat", User: "ann", Client: "new"}})
		l.done(&Drop{Session: SessionID{NS: "chat", User: "olga", Client: "d"}})
		if r, err := l.s.Room(room("r")); err != nil || r.Head.Seq != 3 {
			t.Errorf("%s: %d entries, %v", mode, r.Head.Seq, err)
		}
		checkStore(t, l.s)
	}
}

// Whether a will is one of a deleted user does not hang on where batches end, nor on a restart.
func TestNoWillIsDeterministic(t *testing.T) {
	maker := newLog(t, nil)
	var entries []logentry.Entry
	add := func(c Command) { entries = append(entries, maker.entry(maker.group("a", c))) }
	add(say("r", "olga", "hello"))
	for i := range 5 {
		add(willed("ann", fmt.Sprint("d", i), "r", 0))
	}
	add(&DeleteUser{Key: someone("ann"), By: from("ann"), Mode: Erase})
	add(&DeletePage{Key: someone("ann"), Run: 1, Done: true})
	add(&PutUser{Key: someone("ann"), By: Actor{User: "root", Admin: true}, Register: true, Again: true})
	add(willed("ann", "new", "r", 0))
	add(&Drop{Session: SessionID{NS: "chat", User: "ann", Client: "new"}})
	want := map[string][]byte(nil)
	for batch := 1; batch <= len(entries); batch += 3 {
		fs := vfs.NewMem()
		s := openOn(t, fs)
		for next := 0; next < len(entries); next += batch {
			if _, err := s.Apply(entries[next:min(next+batch, len(entries))]); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openOn(t, fs)
		}
		got := dump(t, s)
		if want == nil {
			want = got
		}
		diffDumps(t, want, got)
		if r, err := s.Room(room("r")); err != nil || r.Head.Seq != 2 {
			t.Errorf("%d entries, %v", r.Head.Seq, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
