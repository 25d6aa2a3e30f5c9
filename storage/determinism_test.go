package storage

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/madang-chat/madang/internal/logentry"
)

var (
	testRooms = []string{"r", "rr", "s", "dm~a~ab", "imported"}
	testUsers = []string{"a", "ab", "b"}
)

func drawSession(t *rapid.T) SessionID {
	return SessionID{
		NS: "chat", User: rapid.SampledFrom(testUsers).Draw(t, "session user"),
		Client: rapid.SampledFrom([]string{"", "x", "x\x00y", "x\x01"}).Draw(t, "client"),
	}
}

// drawCommand makes any command; epochs and numbers are small so that they often hit.
func drawCommand(t *rapid.T) Command {
	r := room(rapid.SampledFrom(testRooms).Draw(t, "room"))
	user := Actor{User: rapid.SampledFrom(testUsers).Draw(t, "user"), Admin: rapid.IntRange(0, 9).Draw(t, "admin") == 0}
	small := func(name string, most uint64) uint64 { return rapid.Uint64Range(0, most).Draw(t, name) }
	id := drawSession(t)
	node := rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "session node")
	boot := 1 + small("session boot", 2)
	epoch := small("epoch", 12)
	appendOf := func() *Append {
		text := fmt.Sprint(small("text", 2))
		a := say(r.Room, user.User, text)
		a.From = user
		a.AutoCreate = RoomKind(small("kind", 3))
		a.RoomsPerDay = int(small("per day", 3))
		a.Mentions = rapid.SliceOfN(rapid.SampledFrom(testUsers), 0, 3).Draw(t, "mentions")
		a.Collapse = rapid.SampledFrom([]string{"", "", "c", "d\x00"}).Draw(t, "collapse key")
		if rapid.Bool().Draw(t, "with cid") {
			a.CID = fmt.Sprint("c", small("cid", 2))
		} else if rapid.Bool().Draw(t, "from session") {
			a.From.User, a.Device, a.Epoch, a.Dup, a.PacketID = id.User, id.Client, epoch, true, 1
		}
		return a
	}
	switch rapid.IntRange(0, 56).Draw(t, "command") {
	case 33, 34:
		return &Contact{NS: "chat", User: user.User, Other: rapid.SampledFrom(testUsers).Draw(t, "other"), On: rapid.Bool().Draw(t, "on"), Max: int(small("contacts", 2))}
	case 35:
		return &Block{NS: "chat", User: user.User, Other: rapid.SampledFrom(testUsers).Draw(t, "other"), On: rapid.Bool().Draw(t, "on")}
	case 36:
		return &InboxRead{NS: "chat", User: user.User, Seq: small("read", 8)}
	case 37:
		a := appendOf()
		a.Room = BroadcastLog("chat")
		a.AutoCreate = rapid.SampledFrom([]RoomKind{0, Public, Broadcast, Broadcast}).Draw(t, "may broadcast")
		return a
	case 43:
		c := new(Active)
		for range small("users", 3) {
			c.Users = append(c.Users, ActiveAt{NS: "chat", User: rapid.SampledFrom(testUsers).Draw(t, "active"), At: int64(small("at", 2000))})
		}
		return c
	case 44, 45:
		return &SetPush{
			Session: id, Provider: rapid.SampledFrom([]string{"fcm", "apns", "a", "b", "c"}).Draw(t, "provider"),
			Token: rapid.SampledFrom([]string{"", "t", "u"}).Draw(t, "token"),
		}
	case 46:
		return &EndDevice{Session: id}
	case 47, 48:
		return &FeedHooks{Names: rapid.SampledFrom([][]string{{"h"}, {"h", "i"}, {"i"}, nil}).Draw(t, "hooks"), Keep: int64(small("keep", 2)) * 1000}
	case 49:
		return &FeedPlaces{Places: []HookPlace{{Name: "h", Place: small("place", 9), Error: "e"}, {Name: "i", Place: small("other place", 9)}}}
	case 50:
		return &FeedTrim{Upto: small("upto", 9), MaxAge: int64(small("age", 1)) * 1000, MaxCount: small("count", 3)}
	case 51, 52:
		return &FeedDead{Hook: "h", ID: small("item", 9), Tries: 3, Error: "e", Max: 2}
	case 53:
		return &FeedRetry{Hook: "h", IDs: rapid.SampledFrom([][]uint64{nil, {1, 3}}).Draw(t, "ids")}
	case 25, 26:
		all := slices.Sorted(maps.Keys(acts))
		return &Moderate{
			Room: r, By: user, Act: rapid.SampledFrom(all).Draw(t, "act"), User: rapid.SampledFrom(testUsers).Draw(t, "whom"),
			Seconds: int64(small("seconds", 2)), Role: rapid.SampledFrom([]Role{RoleOwner, RoleOperator, RoleMember, "x"}).Draw(t, "role"),
			Target: small("target", 6), Reason: "why", Data: []byte(`{"text":"hear"}`), MaxMembers: small("members", 3),
		}
	case 27, 28, 29:
		a := appendOf()
		a.Type = rapid.SampledFrom([]string{TypeDelete, TypeEdit, TypeReaction}).Draw(t, "about")
		a.Target, a.Reason = small("target", 6), "spam"
		a.Emoji, a.Off = rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "emoji"), rapid.Bool().Draw(t, "off")
		return a
	case 54, 55, 56:
		c := &Import{Room: room(rapid.SampledFrom([]string{"r", "s", "imported", "imported"}).Draw(t, "into")), File: hashOf("f"), From: 1 + small("from line", 5)}
		c.By = Actor{User: "root", Admin: small("by admin", 9) > 0}
		for range 1 + small("lines", 5) {
			l := ImportLine{Upto: hashOf(fmt.Sprint(small("upto", 9)))}
			switch small("line", 9) {
			case 0:
				l.Member = &ImportMember{User: user.User, Member: Member{Role: RoleMember}}
			case 1:
				l.State = &ImportState{Key: "k", Ver: 3, Tail: []byte(`,"key":"k","ver":3,"data":1}`)}
			case 2:
				l.Mark = &ImportMark{User: user.User, Read: small("mark", 9)}
			case 3:
				l.Reaction = &ImportReaction{Seq: small("of", 9), User: user.User, Emoji: "x"}
			case 4:
				l.End = true
			default:
				l.Entry = &ImportEntry{
					Seq: small("seq", 9), TS: int64(small("ts", 3)), Type: rapid.SampledFrom([]string{TypeText, TypeEdit, TypeDelete, TypeReaction}).Draw(t, "type"),
					From: Actor{User: user.User}, Tail: []byte(`,"data":{"text":"old"}`), Target: small("target", 6), ReplyTo: small("reply", 6), Emoji: "x",
					Off: rapid.Bool().Draw(t, "off"), Erased: small("erased", 5) == 0,
				}
			}
			c.Lines = append(c.Lines, l)
		}
		if c.From == 1 {
			c.Lines[0] = ImportLine{Room: &ImportRoom{Kind: Public, Pinned: []uint64{1}}}
		}
		return c
	case 31, 32:
		c := &SetState{Room: r, From: user, Key: rapid.SampledFrom([]string{"k", "l"}).Draw(t, "key"), MaxKeys: small("keys", 2)}
		if rapid.Bool().Draw(t, "set") {
			c.Data = []byte(`{"x":1}`)
		}
		if rapid.Bool().Draw(t, "conditional") {
			c.IfVer = new(small("version", 3))
		}
		return c
	case 30:
		return &Marks{Marks: []MarkOf{
			{Room: r, User: user.User, Read: small("read", 8), Delivered: small("delivered", 8)},
			{Room: room("s"), User: "b", Read: small("read", 8)},
		}}
	case 38, 39, 40, 41, 42:
		return drawOfUser(t, r.Room, user)
	case 0:
		return &RoomCreate{Room: r, By: user, Kind: RoomKind(small("kind", 3)), Guest: GuestAccess(small("guest", 3))}
	case 1:
		k := RoomKind(small("kind", 4))
		name := "named"
		return &RoomSet{Room: r, By: user, Kind: &k, Name: &name}
	case 2:
		user.Admin = true
		return &RoomDelete{Room: r, By: user}
	case 3, 4:
		return &Join{Room: r, By: user}
	case 5:
		return &Leave{Room: r, By: user}
	case 6, 7:
		return &FollowUp{ID: small("item", 20)}
	case 8, 9:
		c := &Take{
			Session: id, Node: node, Boot: boot, Clean: rapid.IntRange(0, 3).Draw(t, "clean") == 0,
			Expiry: uint32(small("expiry", 3)), MaxSessions: int(small("most", 3)), WillDelay: uint32(small("delay", 2)),
		}
		if rapid.Bool().Draw(t, "will") {
			c.Will = appendOf()
		}
		return c
	case 10:
		return &Drop{Session: id}
	case 11:
		return &Subscribe{
			Session: id, Epoch: epoch, Add: []Subscription{{Filter: r.Room}}, Remove: []string{"s"},
			Places: []RoomSeq{{Room: r.Room, Seq: small("seq", 5)}},
		}
	case 12:
		c := &Release{
			Session: id, Epoch: epoch, Place: small("place", 9), KeepWill: rapid.Bool().Draw(t, "keep will"),
			Lag:        []RoomSeq{{Room: r.Room, Seq: small("seq", 5)}},
			Unfinished: []Unfinished{{PacketID: 1, Hash: hashOf("1"), Room: r.Room, Seq: 1, TS: 1}},
		}
		if rapid.Bool().Draw(t, "with expiry") {
			e := uint32(small("expiry", 2))
			c.Expiry = &e
		}
		return c
	case 13:
		return &Places{
			Node: node, Boot: boot, Pos: small("pos", 9), Epoch: epoch,
			Lags: []LagOf{{Session: id, Epoch: epoch, Room: r.Room, Seq: small("seq", 5)}},
		}
	case 14:
		return &Expire{Session: id, Epoch: epoch}
	case 15:
		return &FireWill{Session: id, Epoch: epoch}
	case 16:
		return &NodeUp{Node: node, Boot: boot}
	case 17:
		return &NodeLost{Node: node, Boot: boot}
	case 18:
		return &Trim{Room: r, Upto: small("upto", 9), MaxAge: int64(small("age", 1)), MaxCount: small("count", 3), MaxBytes: small("bytes", 300)}
	case 19:
		return &Forget{Room: r, Upto: small("upto", 9), Window: int64(small("window", 1)), Keep: small("keep", 3)}
	case 20:
		return &Secret{Name: "k", Value: fmt.Append(nil, small("secret", 9))}
	}
	return appendOf()
}

// drawLog makes a log of two nodes with restarts, repeated groups, and groups of older boots.
func drawLog(t *rapid.T) []logentry.Entry {
	var entries []logentry.Entry
	boots := map[string]uint64{"n1": 1, "n2": 1}
	last := map[string]uint64{}
	var seen []logentry.Group
	index, now := uint64(0), int64(1_000)
	for range rapid.IntRange(1, 40).Draw(t, "entries") {
		index += rapid.Uint64Range(1, 2).Draw(t, "index step")
		now += rapid.Int64Range(-500, 2_000).Draw(t, "time step")
		e := logentry.Entry{Index: index, Time: now}
		for range rapid.IntRange(0, 3).Draw(t, "groups") {
			node := rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "node")
			switch rapid.IntRange(0, 9).Draw(t, "group kind") {
			case 0:
				boots[node]++
				last[node] = 0
			case 1, 2:
				if len(seen) > 0 {
					e.Groups = append(e.Groups, rapid.SampledFrom(seen).Draw(t, "again"))
					continue
				}
			case 3: // a hole
				e.Groups = append(e.Groups, logentry.Group{
					Node: node, Boot: boots[node], First: last[node] + 3, Commands: [][]byte{Encode(drawCommand(t))},
				})
				continue
			}
			g := logentry.Group{Node: node, Boot: boots[node], First: last[node] + 1}
			for range rapid.IntRange(0, 5).Draw(t, "commands") {
				g.Commands = append(g.Commands, Encode(drawCommand(t)))
			}
			last[node] += uint64(len(g.Commands))
			seen = append(seen, g)
			e.Groups = append(e.Groups, g)
		}
		entries = append(entries, e)
	}
	return entries
}

// The same log gives the same bytes and the same answers, wherever batches end, with restarts and crashes between them.
func TestApplyIsDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := drawLog(t)
		one := openOn(t, vfs.NewMem())
		defer func() { _ = one.Close() }()
		var want [][][][]byte
		for i := range entries {
			r, err := one.Apply(entries[i : i+1])
			if err != nil {
				t.Fatalf("one by one: %v", err)
			}
			want = append(want, r[0])
		}

		fs := vfs.NewCrashableMem()
		small := func(o *Options) { o.Rooms, o.TailBytes = 1, 600 }
		s := openOn(t, fs, small)
		defer func() { _ = s.Close() }()
		for next := 0; next < len(entries); {
			n := rapid.IntRange(1, len(entries)-next).Draw(t, "batch")
			if rapid.Bool().Draw(t, "with what is applied already") {
				next = max(next-2, 0)
				n = min(n+2, len(entries)-next)
			}
			applied, _ := s.Applied()
			got, err := s.Apply(entries[next : next+n])
			if err != nil {
				t.Fatalf("in batches: %v", err)
			}
			for i := range got {
				if e := entries[next+i]; e.Index > applied && !sameAnswers(want[next+i], got[i]) {
					t.Fatalf("entry %d answers\n%q, one by one\n%q", e.Index, got[i], want[next+i])
				}
			}
			next += n
			switch rapid.IntRange(0, 5).Draw(t, "then") {
			case 0:
				if err := s.Close(); err != nil {
					t.Fatalf("close: %v", err)
				}
				s = openOn(t, fs, small)
			case 1:
				if err := s.Sync(); err != nil {
					t.Fatalf("sync: %v", err)
				}
			case 2:
				seed := rapid.Uint64().Draw(t, "crash")
				clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(seed, 1))})
				_ = s.Close()
				fs = clone
				s = openOn(t, fs, small)
				applied, _ := s.Applied()
				for next = 0; next < len(entries) && entries[next].Index <= applied; {
					next++
				}
			}
		}
		diffDumps(t, dump(t, one), dump(t, s))
		checkStore(t, one)
		checkStore(t, s)
		if err := errors.Join(s.Sync(), s.Close()); err != nil {
			t.Fatal(err)
		}
		o := Options{Dir: "data/db", FS: fs, Logger: quiet}
		if _, err := Verify(o, func(err error) { t.Errorf("verify: %v", err) }); err != nil {
			t.Fatal(err)
		}
	})
}

func sameAnswers(a, b [][][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for g := range a {
		for c := range a[g] {
			if (a[g][c] == nil) != (b[g][c] == nil) || !bytes.Equal(a[g][c], b[g][c]) {
				return false
			}
		}
	}
	return true
}

// checkStore checks what must hold of any store, by reading it the ways the program does.
func checkStore(t fataler, s *Store) {
	t.Helper()
	type listed struct{ room, user string }
	lists := map[listed]bool{}
	for _, u := range testUsers {
		list, err := s.UserRooms("chat", u, "", 100)
		if err != nil {
			t.Fatalf("rooms of %s: %v", u, err)
		}
		for _, r := range list {
			lists[listed{r.Room, u}] = true
		}
	}
	waiting, err := s.Outbox(1000)
	if err != nil {
		t.Fatalf("outbox: %v", err)
	}
	unsettled := map[listed]bool{}
	for _, w := range waiting {
		unsettled[listed{w.Room.Room, w.User}] = true
	}
	lastPos := map[uint64]bool{}
	for _, name := range testRooms {
		k := room(name)
		r, err := s.Room(k)
		if err != nil {
			t.Fatalf("room: %v", err)
		}
		entries, err := s.Entries(k, 0, 1<<60, 1<<30, 1<<30)
		if err != nil {
			t.Fatalf("entries: %v", err)
		}
		members, err := s.Members(k, "", 100)
		if err != nil {
			t.Fatalf("members: %v", err)
		}
		if r == nil {
			if len(entries) != 0 || len(members) != 0 {
				t.Fatalf("room %s is gone and has %d entries, %d members", name, len(entries), len(members))
			}
		} else {
			checkRoom(t, s, r, entries)
			if r.Members != uint64(len(members)) {
				t.Fatalf("room %s counts %d members, lists %d", name, r.Members, len(members))
			}
		}
		is := map[string]bool{}
		for _, m := range members {
			is[m.User] = true
		}
		for _, u := range testUsers {
			if l := (listed{name, u}); !unsettled[l] && lists[l] != is[u] {
				t.Fatalf("%s in the list of %s: %v; member: %v", name, u, lists[l], is[u])
			}
		}
		for _, e := range entries {
			if lastPos[e.Pos] {
				t.Fatalf("pos %d twice", e.Pos)
			}
			lastPos[e.Pos] = true
		}
	}
	logs := []RoomKey{BroadcastLog("chat")}
	for _, u := range testUsers {
		logs = append(logs, InboxLog("chat", u))
	}
	for _, k := range logs {
		r, err := s.Room(k)
		if err != nil {
			t.Fatalf("log: %v", err)
		}
		if r == nil {
			continue
		}
		entries, err := s.Entries(k, 0, 1<<60, 1<<30, 1<<30)
		if err != nil {
			t.Fatalf("entries: %v", err)
		}
		checkRoom(t, s, r, entries)
	}
	counts := map[string]int{}
	if err := s.Sessions(func(x *Session) bool {
		counts[x.ID.User]++
		if _, err := s.Session(x.ID); err != nil {
			t.Fatalf("session: %v", err)
		}
		return true
	}); err != nil {
		t.Fatalf("sessions: %v", err)
	}
	for _, u := range testUsers {
		tx := s.begin()
		if n := tx.counts("chat", u).Sessions; n != counts[u] {
			t.Fatalf("%s has %d sessions, counted %d", u, counts[u], n)
		}
		tx.close()
	}
}

// checkRoom compares a room's head with its entries, and every way of reading them.
func checkRoom(t fataler, s *Store, r *Room, entries []*Entry) {
	t.Helper()
	h := r.Head
	if len(h.Holes) > 0 {
		return // Verify looks at rooms with holes, which imports make here
	}
	if uint64(len(entries)) != h.Seq+1-h.First {
		t.Fatalf("room %s has %d entries, head says %d..%d", r.Key.Room, len(entries), h.First, h.Seq)
	}
	total := h.Gone
	for i, e := range entries {
		total += e.size()
		if e.Seq != h.First+uint64(i) || e.Total != total || i > 0 && (e.Pos <= entries[i-1].Pos || e.TS < entries[i-1].TS) {
			t.Fatalf("room %s: entry %+v after head %+v", r.Key.Room, e, h)
		}
	}
	if total != h.Total {
		t.Fatalf("room %s: total %d, want %d", r.Key.Room, h.Total, total)
	}
	for pos := uint64(0); pos <= s.Pos()+1; pos++ {
		want := h.Seq + 1
		for i := len(entries) - 1; i >= 0 && entries[i].Pos > pos; i-- {
			want = entries[i].Seq
		}
		if got, err := s.SeqAfter(r.Key, pos); err != nil || got != want {
			t.Fatalf("room %s: after pos %d comes %d, %v, want %d (head %+v)", r.Key.Room, pos, got, err, want, h)
		}
	}
	for from := h.First; from <= h.Seq; from++ {
		got, err := s.Entries(r.Key, from, from+1, 5, 1<<20)
		if want := min(2, h.Seq+1-from); err != nil || uint64(len(got)) != want || got[0].Seq != from {
			t.Fatalf("entries from %d: %d, %v", from, len(got), err)
		}
		got, err = s.EntriesBefore(r.Key, from+1, 3, 1<<20)
		if want := min(3, from+1-h.First); err != nil || uint64(len(got)) != want || got[len(got)-1].Seq != from {
			t.Fatalf("entries before %d: %d, %v, want %d", from+1, len(got), err, want)
		}
		if got, ok := s.Recent(nil, r.Key, from, h.Seq, 1, 1); ok && (len(got) != 1 || !bytes.Equal(got[0].JSON, entries[from-h.First].JSON)) {
			t.Fatalf("recent %d: %v", from, got)
		}
	}
}
