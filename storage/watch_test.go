package storage

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWatcherIsToldWhatChanged(t *testing.T) {
	r := room("r")
	for name, tc := range map[string]struct {
		before []Command
		c      Command
		want   Changes
	}{
		"message": {
			[]Command{say("r", "olga", "x")},
			say("r", "ann", "hi"),
			Changes{Rooms: map[RoomKey]RoomChange{r: {Entries: true}}},
		},
		"refused message": {
			[]Command{&RoomCreate{Room: r, By: from("olga"), Kind: Private}}, say("r", "ann", "hi"), Changes{},
		},
		"first message makes the room": {nil, say("r", "ann", "hi"), Changes{
			Rooms: map[RoomKey]RoomChange{r: {Entries: true, Access: true, Settings: true}}, Outbox: true,
			Members: []MemberChange{{r, "ann", RoleOwner, 0}},
		}},
		"room made": {nil, &RoomCreate{Room: r, Kind: Public}, Changes{
			Rooms: map[RoomKey]RoomChange{r: {Access: true, Settings: true}},
		}},
		"room renamed": {
			[]Command{say("r", "olga", "x")},
			&RoomSet{Room: r, By: from("olga"), Name: new("new")},
			Changes{Rooms: map[RoomKey]RoomChange{r: {Settings: true}}},
		},
		"room closed": {
			[]Command{say("r", "olga", "x")},
			&RoomSet{Room: r, By: from("olga"), Kind: new(Private)},
			Changes{Rooms: map[RoomKey]RoomChange{r: {Access: true, Settings: true, Kind: true}}},
		},
		"room deleted": {[]Command{say("r", "olga", "x")}, &RoomDelete{Room: r, By: from("olga")}, Changes{
			Rooms: map[RoomKey]RoomChange{r: {Access: true, Settings: true}}, Outbox: true,
			Members: []MemberChange{{r, "olga", "", 1}}, Indexed: map[RoomKey]struct{}{r: {}},
		}},
		"join": {[]Command{say("r", "olga", "x")}, &Join{Room: r, By: from("ann")}, Changes{
			Rooms: map[RoomKey]RoomChange{r: {Entries: true, Access: true, Settings: true}}, Outbox: true,
			Members: []MemberChange{{r, "ann", RoleMember, 2}},
		}},
		"leave": {[]Command{say("r", "olga", "x")}, &Leave{Room: r, By: from("olga")}, Changes{
			Rooms: map[RoomKey]RoomChange{r: {Entries: true, Access: true, Settings: true}}, Outbox: true,
			Members: []MemberChange{{r, "olga", "", 2}},
		}},
		"follow-up": {[]Command{say("r", "olga", "x")}, &FollowUp{ID: 1}, Changes{
			FollowedUp: true, Members: []MemberChange{{r, "olga", RoleOwner, 0}},
		}},
		"trim":      {[]Command{say("r", "olga", "x"), say("r", "olga", "y")}, &Trim{Room: r, Upto: 1, MaxCount: 1}, Changes{Indexed: map[RoomKey]struct{}{r: {}}}},
		"take":      {nil, taking(phone, 60), Changes{Taken: []Taken{{phone, 1, "a", 1}}}},
		"drop":      {[]Command{taking(phone, 60)}, &Drop{Session: phone}, Changes{Taken: []Taken{{Session: phone}}}},
		"subscribe": {[]Command{taking(phone, 60)}, &Subscribe{Session: phone, Epoch: 1, Add: []Subscription{{Filter: "f"}}}, Changes{}},
		"node lost": {nil, &NodeLost{Node: "b", Boot: 1}, Changes{Nodes: []NodeChange{{"b", 1, false}}, Wills: true}},
		"secret":    {nil, &Secret{Name: "k"}, Changes{Secrets: true}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t)
			l.boot("a")
			l.boot("b")
			for _, c := range tc.before {
				l.done(c)
			}
			w := l.s.Watch()
			defer w.Close()
			l.do(tc.c)
			if d := cmp.Diff(tc.want, w.Take()); d != "" {
				t.Fatalf("changes (-want +got):\n%s", d)
			}
			if d := cmp.Diff(Changes{}, w.Take()); d != "" {
				t.Fatalf("taken twice:\n%s", d)
			}
		})
	}
}

func TestWatcherGathersUntilItTakes(t *testing.T) {
	l := newTestLog(t)
	slow, gone := l.s.Watch(), l.s.Watch()
	defer slow.Close()
	gone.Close()
	l.boot("a")
	l.boot("a")
	for i := range 100 {
		l.done(say(fmt.Sprint("r", i%2), "ann", "hi"))
	}
	l.done(&RoomSet{Room: room("r0"), By: from("ann"), Name: new("x")})
	select {
	case <-slow.Wake():
	default:
		t.Fatal("the watcher was not woken")
	}
	select {
	case <-slow.Wake():
		t.Fatal("the watcher is woken once for all that waits")
	default:
	}
	all := RoomChange{Entries: true, Access: true, Settings: true}
	want := Changes{
		Rooms: map[RoomKey]RoomChange{room("r0"): all, room("r1"): all}, Outbox: true, Wills: true,
		Members: []MemberChange{{room("r0"), "ann", RoleOwner, 0}, {room("r1"), "ann", RoleOwner, 0}},
		Nodes:   []NodeChange{{"a", 1, true}, {"a", 2, true}},
	}
	if d := cmp.Diff(want, slow.Take()); d != "" {
		t.Fatalf("changes (-want +got):\n%s", d)
	}
	if d := cmp.Diff(Changes{}, gone.Take()); d != "" {
		t.Fatalf("a closed watcher was told:\n%s", d)
	}
}

// Each entry is in a room of its own, so that the rooms told of say which places were told of.
func TestPosThenTakeMissesNothing(t *testing.T) {
	const entries = 300
	l := newTestLog(t)
	w := l.s.Watch()
	defer w.Close()
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range entries {
			l.do(say(fmt.Sprint("r", i+1), "ann", "hi"))
		}
	})
	defer writer.Wait()
	told := map[string]bool{}
	for checked := uint64(0); checked < entries; {
		<-w.Wake()
		pos := l.s.Pos()
		for k := range w.Take().Rooms {
			told[k.Room] = true
		}
		for ; checked < pos; checked++ {
			name := fmt.Sprint("r", checked+1)
			es, err := l.s.Entries(room(name), 1, 1, 1, 0)
			if !told[name] || err != nil || len(es) != 1 || es[0].Pos != checked+1 {
				t.Fatalf("pos is %d: room %s was told of: %v; it holds %d entries, %v", pos, name, told[name], len(es), err)
			}
		}
	}
}
