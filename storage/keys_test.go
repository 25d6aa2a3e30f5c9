package storage

import (
	"bytes"
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

var (
	keyName   = rapid.StringOfN(rapid.RuneFrom([]rune("ab~\u0100")), 0, 3, -1)
	keyClient = rapid.Custom(func(t *rapid.T) string {
		return string(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 'a', 0xff}), 0, 4).Draw(t, "client"))
	})
)

// Keys order as their fields do: that is what scans of a room, a user or a session rely on.
func TestKeysOrderAsTheirFields(t *testing.T) {
	type fields struct {
		names  []string
		number uint64
	}
	compare := func(a, b fields) int {
		return cmp.Or(slices.Compare(a.names, b.names), cmp.Compare(a.number, b.number))
	}
	for name, tc := range map[string]struct {
		names int
		last  *rapid.Generator[string]
		key   func(f fields) []byte
	}{
		"entry":   {2, nil, func(f fields) []byte { return entryKey(RoomKey{f.names[0], f.names[1]}, f.number) }},
		"by seq":  {2, nil, func(f fields) []byte { return bySeqKey(RoomKey{f.names[0], f.names[1]}, f.number) }},
		"boot":    {1, nil, func(f fields) []byte { return bootPlaceKey(f.names[0], f.number) }},
		"outbox":  {0, nil, func(f fields) []byte { return outboxKey(f.number) }},
		"member":  {3, nil, func(f fields) []byte { return memberKey(RoomKey{f.names[0], f.names[1]}, f.names[2]) }},
		"list":    {3, nil, func(f fields) []byte { return userRoomKey(f.names[0], f.names[1], f.names[2]) }},
		"cid":     {3, keyClient, func(f fields) []byte { return cidKey(RoomKey{f.names[0], f.names[1]}, f.names[2], f.names[3]) }},
		"session": {2, keyClient, func(f fields) []byte { return sessionKey(SessionID{f.names[0], f.names[1], f.names[2]}) }},
	} {
		t.Run(name, func(t *testing.T) {
			numbered := tc.last == nil && tc.names < 3
			rapid.Check(t, func(t *rapid.T) {
				draw := func() (f fields) {
					for range tc.names {
						f.names = append(f.names, keyName.Draw(t, "name"))
					}
					if tc.last != nil {
						f.names = append(f.names, tc.last.Draw(t, "last"))
					}
					if numbered {
						f.number = rapid.Uint64().Draw(t, "number")
					}
					return f
				}
				a, b := draw(), draw()
				if got, want := bytes.Compare(tc.key(a), tc.key(b)), compare(a, b); got != want {
					t.Fatalf("keys of %+v and %+v compare as %d, want %d", a, b, got, want)
				}
			})
		})
	}
}

// The lags of a session are those keys that begin with its prefix, whatever bytes the client ids hold.
func TestPrefixesDoNotMix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := func() SessionID {
			return SessionID{keyName.Draw(t, "ns"), keyName.Draw(t, "user"), keyClient.Draw(t, "client")}
		}
		a, b, r := id(), id(), keyClient.Draw(t, "room")
		if got := bytes.HasPrefix(lagKey(b, r), lagPrefix(a)); got != (a == b) {
			t.Fatalf("a lag of %q in %q is one of %q: %v", b, r, a, got)
		}
		k := sessionKey(a)
		n := split(k, 2)
		if back := (SessionID{n[0], n[1], unescapeName(n[2])}); back != a {
			t.Fatalf("%q comes back from its key as %q", a, back)
		}
	})
}

func TestTheEndOfAPrefix(t *testing.T) {
	for _, tc := range []struct{ prefix, want string }{
		{"a", "b"}, {"a\x00", "a\x01"}, {"a\xff", "b"}, {"a\xff\xff", "b"}, {"\xff\xff", ""}, {"", ""},
	} {
		if got := end([]byte(tc.prefix)); string(got) != tc.want {
			t.Errorf("%q ends at %q, want %q", tc.prefix, got, tc.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SliceOfN(rapid.Byte(), 1, 4).Draw(t, "prefix")
		k := rapid.SliceOfN(rapid.Byte(), 0, 6).Draw(t, "key")
		e := end(p)
		in := bytes.Compare(k, p) >= 0 && (e == nil || bytes.Compare(k, e) < 0)
		if in != bytes.HasPrefix(k, p) {
			t.Fatalf("%q lies in [%q, %q): %v", k, p, e, in)
		}
	})
}

func TestSplitOfAKeyWithTooFewNames(t *testing.T) {
	if got := split([]byte("Sa\x00b"), 2); got != nil {
		t.Fatalf("%q", got)
	}
}
