package storage

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// withEntries returns a log with 9 entries, whose node a has session phone with epoch 1 from before them.
func withEntries(t *testing.T) *testLog {
	t.Helper()
	l := newTestLog(t)
	l.boot("a")
	l.done(taking(phone, 60))
	for range 9 {
		l.done(say("r", "bob", "hi"))
	}
	return l
}

func TestPlaces(t *testing.T) {
	for name, tc := range map[string]struct {
		first, then Places
		want        uint64
	}{
		"moves the session":            {Places{Pos: 4, Epoch: 1}, Places{}, 4},
		"moves it on":                  {Places{Pos: 4, Epoch: 1}, Places{Pos: 6, Epoch: 1}, 6},
		"never back":                   {Places{Pos: 4, Epoch: 1}, Places{Pos: 3, Epoch: 1}, 4},
		"not beyond what is there":     {Places{Pos: 4, Epoch: 1}, Places{Pos: 10, Epoch: 1}, 4},
		"not for a take it has missed": {Places{Pos: 4, Epoch: 0}, Places{}, 0},
		"nor with a lower epoch":       {Places{Pos: 4, Epoch: 1}, Places{Pos: 5, Epoch: 0}, 4},
		"nor with one not given yet":   {Places{Pos: 4, Epoch: 2}, Places{}, 0},
		"another boot's":               {Places{Boot: 2, Pos: 4, Epoch: 1}, Places{}, 0},
		"another node's":               {Places{Node: "b", Pos: 4, Epoch: 1}, Places{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			l := withEntries(t)
			for _, c := range []*Places{&tc.first, &tc.then} {
				if c.Node == "" {
					c.Node = "a"
				}
				if c.Boot == 0 {
					c.Boot = 1
				}
				l.done(c)
			}
			if got := l.stored(phone).Place; got != tc.want {
				t.Fatalf("place %d, want %d", got, tc.want)
			}
		})
	}
}

// A session that was taken after the node made its command is not carried past what it missed.
func TestPlacesDoNotReachANewerTake(t *testing.T) {
	l := withEntries(t)
	l.done(&Release{Session: phone, Epoch: 1, Place: 2})
	l.done(taking(phone, 60))
	l.done(&Places{Node: "a", Boot: 1, Pos: 9, Epoch: 1})
	if got := l.stored(phone).Place; got != 2 {
		t.Fatalf("place %d, want 2", got)
	}
	l.done(&Places{Node: "a", Boot: 1, Pos: 9, Epoch: 2})
	if got := l.stored(phone).Place; got != 9 {
		t.Fatalf("place %d, want 9", got)
	}
}

func TestPlacesOfABootThatEnded(t *testing.T) {
	l := withEntries(t)
	l.done(&Places{Node: "a", Boot: 1, Pos: 3, Epoch: 1})
	l.now += 7
	l.boot("a")
	l.as("b", &Places{Node: "a", Boot: 1, Pos: 9, Epoch: 1})
	sess := l.stored(phone)
	if sess.Place != 3 || sess.Connected || sess.EndedAt != l.now {
		t.Fatalf("%+v", sess)
	}
}

func TestLags(t *testing.T) {
	l := withEntries(t)
	l.done(&Places{
		Node: "a", Boot: 1, Pos: 9, Epoch: 1, Lags: []LagOf{
			{phone, 1, "r", 5}, {phone, 1, "s", 1}, {phone, 2, "t", 1}, {SessionID{NS: "chat", User: "bob"}, 1, "r", 1},
		},
	})
	sess := l.stored(phone)
	if d := cmp.Diff([]RoomSeq{{"r", 5}, {"s", 1}}, sess.Lag); d != "" || sess.Place != 9 {
		t.Fatalf("place %d, lag (-want +got):\n%s", sess.Place, d)
	}
	l.done(&Places{Node: "a", Boot: 1, Lags: []LagOf{{phone, 1, "r", 7}, {phone, 1, "s", 0}}})
	sess = l.stored(phone)
	if d := cmp.Diff([]RoomSeq{{"r", 7}}, sess.Lag); d != "" || sess.Place != 9 {
		t.Fatalf("place %d, lag (-want +got):\n%s", sess.Place, d)
	}
	l.done(&Release{Session: phone, Epoch: 1})
	l.done(&Places{Node: "a", Boot: 1, Lags: []LagOf{{phone, 1, "r", 9}}})
	if d := cmp.Diff([]RoomSeq{{"r", 7}}, l.stored(phone).Lag); d != "" {
		t.Fatalf("lag after the release (-want +got):\n%s", d)
	}
}

func TestReleaseStoresTheSessionsOwnPlace(t *testing.T) {
	for name, tc := range map[string]struct {
		c     Release
		place uint64
		lag   []RoomSeq
	}{
		"further":         {Release{Place: 8}, 8, nil},
		"further back":    {Release{Place: 2, Lag: []RoomSeq{{"s", 3}}}, 2, []RoomSeq{{"s", 3}}},
		"beyond the end":  {Release{Place: 99}, 9, nil},
		"as stored":       {Release{}, 5, []RoomSeq{{"r", 4}}},
		"as stored, more": {Release{Lag: []RoomSeq{{"r", 0}, {"s", 3}}}, 5, []RoomSeq{{"s", 3}}},
	} {
		t.Run(name, func(t *testing.T) {
			l := withEntries(t)
			l.done(&Places{Node: "a", Boot: 1, Pos: 5, Epoch: 1, Lags: []LagOf{{phone, 1, "r", 4}}})
			tc.c.Session, tc.c.Epoch = phone, 1
			l.done(&tc.c)
			l.done(&Places{Node: "a", Boot: 1, Pos: 9, Epoch: 1})
			sess := l.stored(phone)
			if d := cmp.Diff(tc.lag, sess.Lag); d != "" || sess.Place != tc.place || sess.Connected || sess.EndedAt != l.now {
				t.Fatalf("%+v, want place %d, lag (-want +got):\n%s", sess, tc.place, d)
			}
		})
	}
}

// What a session takes with it to another node is its node's common place, whatever that does afterwards.
func TestPlaceOnAnotherNode(t *testing.T) {
	l := withEntries(t)
	l.boot("b")
	l.done(&Places{Node: "a", Boot: 1, Pos: 5, Epoch: 1})
	l.as("b", &Take{Session: phone, Node: "b", Boot: 1, Expiry: 60})
	l.done(&Places{Node: "a", Boot: 1, Pos: 9, Epoch: 2})
	if sess := l.stored(phone); sess.Place != 5 || sess.Node != "b" || sess.Epoch != 2 || !sess.Connected {
		t.Fatalf("%+v", sess)
	}
}

// One command moves any number of live sessions.
func TestPlacesCostOneKey(t *testing.T) {
	l := withEntries(t)
	cost := func() uint64 {
		before := l.s.Stats().BatchKeys
		l.done(&Places{Node: "a", Boot: 1, Pos: l.s.Pos(), Epoch: l.s.current().Epoch})
		return l.s.Stats().BatchKeys - before
	}
	one := cost()
	for i := range 500 {
		l.done(taking(SessionID{NS: "chat", User: "ann", Client: fmt.Sprint(i)}, 60))
	}
	if many := cost(); many != one {
		t.Fatalf("%d keys with 501 sessions, %d with one", many, one)
	}
}
