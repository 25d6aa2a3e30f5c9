package storage

import (
	"encoding/json"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/madang-chat/madang/internal/logentry"
)

// FuzzApply applies commands of any bytes after others that make a room, members, a session and what they hold. What is no
// command stops the node, which is right; what is one has an outcome, and leaves a store in which all fits together.
func FuzzApply(f *testing.F) {
	for _, c := range []Command{
		sayAs("r", "ann", "hi", "c1"), sends(phone, 3, 7, "hi", true), &RoomCreate{Room: room("r"), Kind: Public},
		&RoomDelete{Room: room("r"), By: Actor{User: "admin", Admin: true}},
		&Join{Room: room("r"), By: Actor{User: "bob"}}, &Take{Session: phone, Node: "a", Boot: 1, Will: say("r", "ann", "gone")},
		&Release{Session: phone, Epoch: 1, Unfinished: []Unfinished{{PacketID: 1}}, Expiry: new(uint32(3))},
		&Subscribe{Session: phone, Add: []Subscription{{Filter: "f", QoS: 1}}, Places: []RoomSeq{{"r", 1}}},
		&Places{Node: "a", Boot: 1, Pos: 1, Lags: []LagOf{{phone, 1, "r", 2}}}, &NodeLost{Node: "a"},
		&SetState{Room: room("r"), Key: "k", From: Actor{User: "ann"}, Data: []byte(`{}`)},
		&Contact{NS: "chat", User: "ann", Name: "A", Other: "bob", On: true, Max: 5}, &Block{NS: "chat", User: "ann", Other: "bob", On: true},
		&InboxRead{NS: "chat", User: "ann", Seq: 3}, &FeedHooks{Names: []string{"h"}},
		&Active{Users: []ActiveAt{{"chat", "ann", 3}}},
	} {
		f.Add(Encode(c), Encode(say("r", "ann", "more")))
	}
	f.Fuzz(func(t *testing.T, one, two []byte) {
		fs := vfs.NewMem()
		s := openOn(t, fs)
		closed := false
		defer func() {
			if !closed {
				_ = s.Close() // of an input that is not judged
			}
		}()
		l := newLog(t, s)
		l.boot("a")
		l.done(&RoomCreate{Room: room("r"), By: Actor{User: "ann"}, Kind: Public})
		l.done(&Join{Room: room("r"), By: Actor{User: "bob"}})
		l.done(sayAs("r", "ann", "hi", "c1"))
		l.done(&Take{Session: phone, Node: "a", Boot: 1})
		for _, b := range [][]byte{one, two} {
			c, err := Decode(b)
			if err != nil || !proposed(c) {
				continue
			}
			l.now += 1000
			l.last["a"]++
			out, err := s.Apply([]logentry.Entry{l.entry(logentry.Group{
				Node: "a", Boot: l.boots["a"], First: l.last["a"], Commands: [][]byte{b},
			})})
			if err != nil {
				t.Fatalf("apply %q: %v", b, err)
			}
			if _, err := DecodeResult(out[0][0][0]); err != nil {
				t.Fatalf("the result of %q: %v", b, err)
			}
		}
		closed = true
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(Options{Dir: "data/db", FS: fs}, func(what error) { t.Errorf("%q, %q: %v", one, two, what) }); err != nil {
			t.Fatal(err)
		}
	})
}

// proposed reports whether the JSON of a command is some: nodes make it, and Apply takes it as it is.
func proposed(c Command) bool {
	whole := func(tail []byte) bool { return json.Valid(append(append([]byte(`{"x":0`), tail...), '}')) }
	switch c := c.(type) {
	case *Append:
		return whole(c.Tail)
	case *Take:
		return c.Will == nil || whole(c.Will.Tail)
	case *SetState:
		return c.Data == nil || json.Valid(c.Data)
	}
	return true
}

// FuzzValues reads any bytes as the small values of the store.
func FuzzValues(f *testing.F) {
	f.Add(feed{First: 1, Next: 4, On: true}.encode())
	f.Add(indexPlace{1, 2, 3}.encode())
	f.Add(encodeRecord(FeedItem{Room: room("r"), At: 1, Seq: 2, Type: "text"}))
	f.Add(encodeRecord(userRecord{Name: "Ann", Created: 1, Attributes: []Attribute{{"level", []byte("3")}}}))
	f.Add([]byte{stateVersion, 3, '{', '}'})
	f.Add([]byte{stateVersionTomb, 3, '{', '}'})
	f.Add([]byte{collapseVersion, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Add([]byte{activeVersion, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := decodeFeed(b); err == nil {
			stable(t, v.First, func(uint64) (uint64, error) { again, err := decodeFeed(v.encode()); return again.First, err })
		}
		if v, _, err := decodeIndexPlace(b); err == nil {
			stable(t, v.Next, func(uint64) (uint64, error) { again, _, err := decodeIndexPlace(v.encode()); return again.Next, err })
		}
		if v, err := decodeItem(7, b); err == nil {
			stable(t, v, func(v FeedItem) (FeedItem, error) { return decodeItem(7, encodeRecord(v)) })
		}
		if v, err := decodeUser(UserKey{NS: "chat", User: "ann"}, b); err == nil && v.Key.User != "ann" {
			t.Fatalf("%+v", v)
		}
		if v, err := decodeState(b); err == nil && b != nil && v.JSON == nil {
			t.Fatalf("%q is a state without a value", b)
		}
		if seq, err := decodeCollapse(b); err == nil && b != nil && len(b) != 9 {
			t.Fatalf("%q is entry %d", b, seq)
		}
		if at, err := decodeActive(b); err == nil && at != 0 && len(b) < 2 {
			t.Fatalf("%q is %d", b, at)
		}
	})
}
