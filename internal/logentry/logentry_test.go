package logentry

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func TestEntrySurvivesEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := Entry{Index: rapid.Uint64().Draw(t, "index"), Time: rapid.Int64().Draw(t, "time")}
		for range rapid.IntRange(0, 4).Draw(t, "groups") {
			g := Group{
				Node:  rapid.StringN(0, 20, MaxNodeID).Draw(t, "node"),
				Boot:  rapid.Uint64().Draw(t, "boot"),
				First: rapid.Uint64().Draw(t, "first"),
			}
			for range rapid.IntRange(0, 5).Draw(t, "commands") {
				g.Commands = append(g.Commands, rapid.SliceOf(rapid.Byte()).Draw(t, "command"))
			}
			in.Groups = append(in.Groups, g)
		}
		out, err := Decode(in.Index, in.Append(nil))
		if err != nil {
			t.Fatalf("decode: %v", err)
		}
		if d := cmp.Diff(in, out, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("entry changed (-in +out):\n%s", d)
		}
	})
}

func TestDecodeRefuses(t *testing.T) {
	good := (&Entry{Groups: []Group{{Node: "a", Boot: 1, First: 1, Commands: [][]byte{[]byte("x")}}}}).Append(nil)
	for name, tc := range map[string]struct {
		data []byte
		want error
	}{
		"empty":          {nil, ErrCorrupt},
		"newer version":  {append([]byte{Version + 1}, good[1:]...), ErrVersion},
		"cut short":      {good[:len(good)-1], ErrCorrupt},
		"trailing bytes": {append(bytes.Clone(good), 0), ErrCorrupt},
		"huge count":     {append(bytes.Clone(good[:9]), 0xff, 0xff, 0xff, 0xff, 0x7f), ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Decode(7, tc.data); !errors.Is(err, tc.want) {
				t.Fatalf("Decode = %v, want %v", err, tc.want)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add((&Entry{Time: 1, Groups: []Group{{Node: "a", Boot: 1, First: 1, Commands: [][]byte{nil, []byte("xy")}}}}).Append(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := Decode(1, data)
		if err != nil {
			return
		}
		again, err := Decode(1, e.Append(nil))
		if err != nil {
			t.Fatalf("own encoding refused: %v", err)
		}
		if d := cmp.Diff(e, again, cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
	})
}
