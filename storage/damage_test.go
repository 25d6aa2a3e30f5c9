package storage

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/madang-chat/madang/internal/logentry"
)

// applies returns an Apply of commands as the next entry of node a.
func applies(cmds ...Command) func(l *testLog) error {
	return func(l *testLog) error {
		_, err := l.s.Apply([]logentry.Entry{l.entry(l.group("a", cmds...))})
		return err
	}
}

// record is one that a test damages, and who reads it.
type record struct {
	key  []byte
	read func(l *testLog) error
}

// records are those of fill, of every kind.
func records() map[string]record {
	r := room("r")
	session := func(l *testLog) error { _, err := l.s.Session(phone); return err }
	entries := func(l *testLog) error { _, err := l.s.Entries(r, 1, 9, 9, 1<<20); return err }
	return map[string]record{
		"settings":             {key(prefixRoom, "chat", "r"), func(l *testLog) error { _, err := l.s.Room(r); return err }},
		"settings, for Apply":  {key(prefixRoom, "chat", "r"), applies(say("r", "ann", "x"))},
		"settings, for a list": {key(prefixRoom, "chat", "r"), func(l *testLog) error { return l.s.RoomKeys(func(RoomKey) bool { return true }) }},
		"head":                 {key(prefixHead, "chat", "r"), func(l *testLog) error { _, err := l.s.Room(r); return err }},
		"head, for Apply":      {key(prefixHead, "chat", "r"), applies(say("r", "ann", "x"))},
		"entry":                {entryKey(r, 2), entries},
		"entry, from the end":  {entryKey(r, 2), func(l *testLog) error { _, err := l.s.EntriesBefore(r, 3, 1, 0); return err }},
		"entry, by pos":        {entryKey(r, 2), func(l *testLog) error { _, err := l.s.SeqAfter(r, 1); return err }},
		"entry, for Apply":     {entryKey(r, 2), applies(&Trim{Room: r, Upto: 2, MaxCount: 1})},
		"member":               {memberKey(r, "ann"), func(l *testLog) error { _, err := l.s.Member(r, "ann"); return err }},
		"member, for Apply":    {memberKey(r, "ann"), applies(&Leave{Room: r, By: from("ann")})},
		"member, for a list":   {memberKey(r, "ann"), func(l *testLog) error { _, err := l.s.Members(r, "", 9); return err }},
		"room of a user":       {userRoomKey("chat", "ann", "r"), func(l *testLog) error { _, err := l.s.UserRooms("chat", "ann", "", 9); return err }},
		"cid":                  {cidKey(r, "ann", "c1"), applies(sayAs("r", "ann", "1", "c1"))},
		"cid by seq":           {bySeqKey(r, 1), applies(&Forget{Room: r, Upto: 1, Window: -1})},
		"oldest cid":           {bySeqKey(r, 1), func(l *testLog) error { _, _, _, err := l.s.OldestCID(r); return err }},
		"session":              {sessionKey(phone), session},
		"session, for Apply":   {sessionKey(phone), applies(taking(phone, 60))},
		"session, for a list":  {sessionKey(phone), func(l *testLog) error { return l.s.Sessions(func(*Session) bool { return true }) }},
		"lag":                  {lagKey(phone, "r"), session},
		"place of a boot":      {bootPlaceKey("a", 1), session},
		"place, for Apply":     {bootPlaceKey("a", 1), applies(&Places{Node: "a", Boot: 1, Pos: 1, Epoch: 1})},
		"node":                 {key(prefixNode, "a"), session},
		"nodes":                {key(prefixNode, "a"), func(l *testLog) error { _, err := l.s.Nodes(); return err }},
		"counts":               {last(key(prefixUserCounts, "chat"), "ann"), applies(taking(SessionID{NS: "chat", User: "ann"}, 60))},
		"outbox":               {outboxKey(3), func(l *testLog) error { _, err := l.s.Outbox(9); return err }},
		"outbox, for Apply":    {outboxKey(3), applies(&FollowUp{ID: 3})},
		"contact":              {relationKey("chat", "ann", "bob"), func(l *testLog) error { _, err := l.s.Contacts("chat", "ann", "", 9); return err }},
		"contact, of two":      {relationKey("chat", "ann", "bob"), func(l *testLog) error { _, err := l.s.MutualContacts("chat", "bob", "ann"); return err }},
		"contact, for Apply":   {relationKey("chat", "ann", "bob"), applies(&Contact{NS: "chat", User: "ann", Other: "bob"})},
		"block":                {pairKey("chat", "ann", "eve"), func(l *testLog) error { _, err := l.s.Blocked("chat", "ann", "eve"); return err }},
		"block, for Apply":     {pairKey("chat", "ann", "eve"), applies(say("dm~ann~eve", "eve", "x"))},
		"person":               {personKey("chat", "ann"), func(l *testLog) error { _, err := l.s.InboxMark("chat", "ann"); return err }},
		"person, for Apply":    {personKey("chat", "ann"), applies(&InboxRead{NS: "chat", User: "ann", Seq: 1})},
		"user":                 {userRecordKey(someone("zoe")), func(l *testLog) error { _, err := l.s.User("chat", "zoe"); return err }},
		"user, for Apply":      {userRecordKey(someone("zoe")), applies(say("r", "zoe", "x"))},
		"user, for a search":   {userRecordKey(someone("zoe")), func(l *testLog) error { _, err := l.s.FindUsers("chat", "z", "", 9); return err }},
		"deletion":             {userRecordKey(someone("yan")), func(l *testLog) error { _, err := l.s.Deletions(9); return err }},
		"last activity":        {activeKey("chat", "ann"), func(l *testLog) error { _, err := l.s.LastActive("chat", "ann"); return err }},
		"push tokens":          {pushKey("chat", "ann"), func(l *testLog) error { _, err := l.s.Pushes("chat", "ann"); return err }},
		"secret":               {last(key(prefixSecret), "k"), func(l *testLog) error { _, err := l.s.Secret("k"); return err }},
		"results of a group": {ringKey("a", 1), func(l *testLog) error {
			g := logentry.Group{Node: "a", Boot: 1, First: 2, Commands: [][]byte{nil}}
			_, err := l.s.Apply([]logentry.Entry{l.entry(g)})
			return err
		}},
	}
}

// Every kind of record, damaged, is an error to whoever reads it next, and never taken for one that is not there.
func TestDamagedRecordsAreErrors(t *testing.T) {
	for name, tc := range records() {
		for how, value := range map[string][]byte{"of a newer version": {99, 0, 0, 0, 0, 0, 0}, "cut": {1}, "empty": {}} {
			if name == "secret" && how == "cut" {
				continue // that is an empty one
			}
			t.Run(name+" "+how, func(t *testing.T) {
				fs := vfs.NewMem()
				l := newLog(t, openOn(t, fs))
				fill(l)
				// Nothing in memory, so that the disk is read; but opened before the damage, which Open would meet first.
				if err := l.s.Close(); err != nil {
					t.Fatal(err)
				}
				l.s = openOn(t, fs)
				defer func() { _ = l.s.Close() }()
				if got, err := get(l.s.db, tc.key); got == nil || err != nil {
					t.Fatalf("there is no such record: %v", err)
				}
				if err := l.s.db.Set(tc.key, value, pebble.NoSync); err != nil {
					t.Fatal(err)
				}
				if err := tc.read(l); !errors.Is(err, ErrEntry) {
					t.Fatalf("read: %v", err)
				}
			})
		}
	}
}

// fill makes a store with a record of every kind.
func fill(l *testLog) {
	l.boot("a")
	for _, c := range []Command{
		sayAs("r", "olga", "0", "c0"), &Join{Room: room("r"), By: from("ann")}, sayAs("r", "ann", "1", "c1"),
		&FollowUp{ID: 1}, &FollowUp{ID: 2}, say("other", "olga", "x"), taking(phone, 60),
		&Subscribe{Session: phone, Epoch: 1, Places: []RoomSeq{{"r", 1}}},
		&Places{Node: "a", Boot: 1, Pos: 1, Epoch: 1}, &Secret{Name: "k", Value: []byte("v")},
		&Contact{NS: "chat", User: "ann", Other: "bob", On: true}, &Contact{NS: "chat", User: "bob", Other: "ann", On: true},
		&Block{NS: "chat", User: "ann", Other: "eve", On: true},
		&PutUser{Key: someone("zoe"), By: from("zoe"), Register: true, Name: new("Zoe Z"), Fold: "zoe z"},
		&DeleteUser{Key: someone("yan"), By: from("yan"), Mode: Erase},
		&Active{Users: []ActiveAt{{NS: "chat", User: "ann", At: 1}}}, &SetPush{Session: phone, Provider: "fcm", Token: "t"},
	} {
		l.done(c)
	}
}

func TestAnEntryThatIsMissing(t *testing.T) {
	fs := vfs.NewMem()
	l := newLog(t, openOn(t, fs))
	fill(l)
	if err := errors.Join(l.s.db.Delete(entryKey(room("r"), 2), nil), l.s.Close()); err != nil {
		t.Fatal(err)
	}
	l.s = openOn(t, fs)
	defer func() { _ = l.s.Close() }()
	if seq, err := l.s.SeqAfter(room("r"), 1); !errors.Is(err, ErrEntry) {
		t.Fatalf("after a hole: %d, %v", seq, err)
	}
	if err := applies(&Trim{Room: room("r"), Upto: 2, MaxCount: 1})(l); !errors.Is(err, ErrEntry) {
		t.Fatalf("trim: %v", err)
	}
}

func TestAnOutboxItemThatIsMissing(t *testing.T) {
	l := newTestLog(t)
	fill(l)
	if err := l.s.db.Delete(outboxKey(3), pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	if err := applies(&FollowUp{ID: 3})(l); !errors.Is(err, ErrEntry) {
		t.Fatalf("%v", err)
	}
}

func TestADamagedStoreDoesNotOpen(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(db *pebble.DB) error
		want   error
	}{
		"newer format":   {func(db *pebble.DB) error { return db.Set([]byte(keyMetaApplied), []byte{2, 0}, nil) }, ErrFormat},
		"meta empty":     {func(db *pebble.DB) error { return db.Set([]byte(keyMetaApplied), nil, nil) }, ErrEntry},
		"meta cut":       {func(db *pebble.DB) error { return db.Set([]byte(keyMetaApplied), []byte{1, 5}, nil) }, ErrEntry},
		"meta missing":   {func(db *pebble.DB) error { return db.Delete([]byte(keyMetaApplied), nil) }, ErrEntry},
		"impossible":     {func(db *pebble.DB) error { return db.Set([]byte(keyMetaApplied), meta{FollowedUp: 1}.encode(), nil) }, ErrEntry},
		"node damaged":   {func(db *pebble.DB) error { return db.Set(key(prefixNode, "a"), []byte{1}, nil) }, ErrEntry},
		"node key wrong": {func(db *pebble.DB) error { return db.Set([]byte{prefixNode, 'x'}, nodeState{}.encode(), nil) }, ErrEntry},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			l := newLog(t, openOn(t, fs))
			fill(l)
			if err := errors.Join(tc.change(l.s.db), l.s.Close()); err != nil {
				t.Fatal(err)
			}
			s, err := Open(Options{Dir: "data/db", FS: fs, Logger: quiet})
			if !errors.Is(err, tc.want) {
				t.Fatalf("open: %v, %v", s, err)
			}
			if _, err := Open(Options{Dir: "data/db", FS: fs, Logger: quiet}); !errors.Is(err, tc.want) {
				t.Fatalf("opened a second time: %v", err) // the first left nothing behind
			}
		})
	}
}

// A result ring from before the record was damaged is not made up.
func TestResultsCutShort(t *testing.T) {
	whole := []byte{ringVersion, 1, 1, 2, 3, 'a', 'b', 'c', 1, 'd'}
	for cut := range whole {
		l := newTestLog(t)
		l.apply(l.group("a", texts(2)...))
		if err := l.s.db.Set(ringKey("a", 0), whole[:cut], pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		out, err := l.s.Apply([]logentry.Entry{l.entry(logentry.Group{Node: "a", Boot: 1, First: 2, Commands: [][]byte{nil}})})
		if !errors.Is(err, ErrEntry) {
			t.Fatalf("cut to %d bytes: %q, %v", cut, out, err)
		}
	}
	l := newTestLog(t)
	l.apply(l.group("a", texts(2)...))
	if err := l.s.db.Set(ringKey("a", 0), whole, pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	if got := l.apply(logentry.Group{Node: "a", Boot: 1, First: 2, Commands: [][]byte{nil}}); !bytes.Equal(got[0], []byte("d")) {
		t.Fatalf("%q", got)
	}
}
