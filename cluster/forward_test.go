package cluster

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/madang-chat/madang/internal/logentry"
)

func TestBatchSurvivesTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.Uint64Min(1).Draw(t, "first")
		commands := rapid.SliceOfN(rapid.SliceOf(rapid.Byte()), 1, 20).Draw(t, "commands")
		frame := appendBatch(make([]byte, 4), first, commands)
		binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
		g, size, err := readBatch(bufio.NewReader(bytes.NewReader(frame)), 1<<20)
		if err != nil || size != len(frame)-4 || g.First != first || !slices.EqualFunc(g.Commands, commands, bytes.Equal) {
			t.Fatalf("%+v, %d bytes, %v", g, size, err)
		}
		if len(frame) > batchSize(commands) {
			t.Fatalf("%d bytes, reckoned %d", len(frame), batchSize(commands))
		}
	})
}

func TestBatchesThatAreRefused(t *testing.T) {
	frame := func(n uint32, body string) string { return string(binary.BigEndian.AppendUint32(nil, n)) + body }
	for name, tc := range map[string]struct {
		in   string
		want error
	}{
		"nothing":                 {"", io.EOF},
		"half a length":           {"\x00\x00", io.ErrUnexpectedEOF},
		"less than it says":       {frame(9, "\x01\x01\x01x"), io.ErrUnexpectedEOF},
		"too large":               {frame(1<<31, ""), errBatch},
		"no commands":             {frame(2, "\x01\x00"), errBatch},
		"number 0":                {frame(4, "\x00\x01\x01x"), errBatch},
		"more commands than said": {frame(5, "\x01\x01\x01xy"), errBatch},
		"more commands than are":  {frame(4, "\x01\x02\x01x"), errBatch},
		"a command that is cut":   {frame(4, "\x01\x01\x05x"), errBatch},
	} {
		if _, _, err := readBatch(bufio.NewReader(strings.NewReader(tc.in)), 1000); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

func FuzzBatch(f *testing.F) {
	f.Add(appendBatch(nil, 7, [][]byte{[]byte("a"), nil, []byte("bc")}))
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := decodeBatch(b)
		if err != nil {
			return
		}
		again, err := decodeBatch(appendBatch(nil, g.First, g.Commands))
		if err != nil || again.First != g.First || !slices.EqualFunc(again.Commands, g.Commands, bytes.Equal) ||
			len(g.Commands) > logentry.MaxCommands {
			t.Fatalf("%+v became %+v, %v", g, again, err)
		}
	})
}

// A question or an answer of a node is JSON behind a length that is checked before memory is taken.
func FuzzQuestion(f *testing.F) {
	var b bytes.Buffer
	if err := writeJSON(&b, question{Ask: askAdd, ID: "a", Voters: []Member{{ID: "a", Address: "b:1", Voter: true}}}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		var q question
		if readJSON(bytes.NewReader(b), &q) == nil && len(b) < 4 {
			t.Fatal("a question without a length")
		}
	})
}
