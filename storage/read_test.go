package storage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

// modelRoom is a room as a plain list.
type modelRoom struct {
	entries []*Entry
	head    uint64
}

// page cuts the entries from..to like Entries and, from the other end, EntriesBefore.
func page(all []*Entry, limit, maxBytes int) []*Entry {
	var out []*Entry
	size := 0
	for _, e := range all {
		size += len(e.JSON)
		if len(out) == limit || len(out) > 0 && size > maxBytes {
			break
		}
		out = append(out, e)
	}
	return out
}

func (m *modelRoom) between(from, to uint64) []*Entry {
	var out []*Entry
	for _, e := range m.entries {
		if e.Seq >= from && e.Seq <= to {
			out = append(out, e)
		}
	}
	return out
}

func sameEntries(a, b []*Entry) bool {
	return slices.EqualFunc(a, b, func(a, b *Entry) bool {
		return a.Seq == b.Seq && a.N == b.N && a.Pos == b.Pos && a.TS == b.TS && a.Total == b.Total && bytes.Equal(a.JSON, b.JSON)
	})
}

// Whatever was appended, trimmed, deleted and pushed out of memory, every way of reading a room agrees with a plain list.
func TestReadsAgreeWithAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewMem()
		small := func(o *Options) { o.TailBytes, o.Rooms = 3*(entryOverhead+120), 2 }
		s := openOn(t, fs, small)
		defer func() { _ = s.Close() }()
		l := newLog(t, s)
		models := map[string]*modelRoom{"r": {}, "s": {}, "t": {}}
		names := []string{"r", "s", "t"}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			name := rapid.SampledFrom(names).Draw(t, "room")
			m := models[name]
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				if n := len(m.entries); n > 0 {
					cut := rapid.IntRange(1, n).Draw(t, "trim")
					l.now += 10
					l.done(&Trim{Room: room(name), Upto: m.entries[cut-1].Seq, MaxAge: 1})
					m.entries = m.entries[cut:]
				}
			case 1:
				if r, _ := s.Room(room(name)); r != nil {
					l.done(&RoomDelete{Room: room(name), By: Actor{Admin: true}})
					m.entries = nil
				}
			case 2:
				if err := s.Close(); err != nil {
					t.Fatalf("close: %v", err)
				}
				s = openOn(t, fs, small)
				l.s = s
			default:
				cmds := make([]Command, rapid.IntRange(1, 3).Draw(t, "appends"))
				for i := range cmds {
					cmds[i] = say(name, "ann", strings.Repeat("x", rapid.IntRange(0, 100).Draw(t, "size")))
				}
				for _, r := range l.as("a", cmds...) {
					m.head++
					m.entries = append(m.entries, l.fromStore(name, r.Seq))
				}
			}
		}
		for _, name := range names {
			checkModel(t, s, name, models[name])
		}
	})
}

// fromStore reads an entry past all memory.
func (l *testLog) fromStore(name string, seq uint64) *Entry {
	l.t.Helper()
	e, err := l.s.entry(room(name), seq)
	if err != nil {
		l.t.Fatalf("entry: %v", err)
	}
	return e
}

func checkModel(t *rapid.T, s *Store, name string, m *modelRoom) {
	t.Helper()
	k := room(name)
	for range 20 {
		from := rapid.Uint64Range(0, m.head+2).Draw(t, "from")
		to := rapid.Uint64Range(0, m.head+2).Draw(t, "to")
		limit, most := rapid.IntRange(-1, 6).Draw(t, "limit"), rapid.IntRange(0, 600).Draw(t, "bytes")
		var want []*Entry
		if limit > 0 {
			want = page(m.between(from, to), limit, most)
		}
		got, err := s.Entries(k, from, to, limit, most)
		if err != nil || !sameEntries(got, want) {
			t.Fatalf("entries %d..%d (%d, %d bytes): %v, %v, want %v", from, to, limit, most, seqs(got), err, seqs(want))
		}
		if recent, ok := s.Recent([]*Entry{nil}, k, from, to, limit, most); ok && (recent[0] != nil || !sameEntries(recent[1:], want)) {
			t.Fatalf("recent %d..%d (%d, %d bytes): %v, want %v", from, to, limit, most, seqs(recent[1:]), seqs(want))
		}
		want = nil
		if limit > 0 && to > 0 {
			down := m.between(0, to-1)
			slices.Reverse(down)
			want = page(down, limit, most)
			slices.Reverse(want)
		}
		got, err = s.EntriesBefore(k, to, limit, most)
		if err != nil || !sameEntries(got, want) {
			t.Fatalf("entries before %d (%d, %d bytes): %v, %v, want %v", to, limit, most, seqs(got), err, seqs(want))
		}
		pos := rapid.Uint64Range(0, s.Pos()+1).Draw(t, "pos")
		next := m.head + 1
		for _, e := range slices.Backward(m.entries) {
			if e.Pos > pos {
				next = e.Seq
			}
		}
		if got, err := s.SeqAfter(k, pos); err != nil || got != next {
			t.Fatalf("after pos %d comes %d, %v, want %d", pos, got, err, next)
		}
	}
}

func seqs(es []*Entry) (out []uint64) {
	for _, e := range es {
		out = append(out, e.Seq)
	}
	return out
}

func TestReadsOfNothing(t *testing.T) {
	l := newTestLog(t)
	k := room("never")
	if es, err := l.s.Entries(k, 0, 9, 9, 9); es != nil || err != nil {
		t.Errorf("entries %v, %v", es, err)
	}
	if es, err := l.s.EntriesBefore(k, 9, 9, 9); es != nil || err != nil {
		t.Errorf("entries before %v, %v", es, err)
	}
	if _, ok := l.s.Recent(nil, k, 1, 9, 9, 9); ok {
		t.Error("memory holds entries of a room that never was")
	}
	if _, err := l.s.Digest(k); !errors.Is(err, ErrNoRoom) {
		t.Errorf("digest: %v", err)
	}
}

// Apply commits a batch a moment before memory shows it. A reader in between finds entries gone below the head it knows.
func TestSeqAfterWhileATrimIsBeingCommitted(t *testing.T) {
	s := openOn(t, vfs.NewMem(), func(o *Options) { o.TailBytes = 1 })
	defer func() { _ = s.Close() }()
	l := newLog(t, s)
	for range 8 {
		l.done(say("r", "ann", "hi"))
	}
	if r, err := s.Room(room("r")); err != nil || r.Head.First != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	h := l.head("r")
	h.First = 6
	b := s.db.NewBatch()
	err := errors.Join(
		b.DeleteRange(entryKey(room("r"), 1), entryKey(room("r"), 6), nil),
		b.Set(key(prefixHead, "chat", "r"), h.appendTo(nil), nil), b.Commit(pebble.NoSync))
	if err != nil {
		t.Fatal(err)
	}
	for pos, want := range []uint64{6, 6, 6, 6, 6, 6, 7, 8, 9} {
		if got, err := s.SeqAfter(room("r"), uint64(pos)); err != nil || got != want {
			t.Errorf("after pos %d comes %d, %v, want %d", pos, got, err, want)
		}
	}
}

func TestDigest(t *testing.T) {
	build := func(change string) Digest {
		l := newTestLog(t)
		for i := range 4 {
			l.done(say("other", "ann", "x"))
			text := fmt.Sprint(i)
			if i == 2 {
				text += change
			}
			l.done(say("r", "ann", text))
		}
		l.done(&Trim{Room: room("r"), Upto: 1, MaxCount: 1})
		d, err := l.s.Digest(room("r"))
		if err != nil || d.Room != "r" || d.First != 2 || d.Head != 4 {
			t.Fatalf("%+v, %v", d, err)
		}
		return d
	}
	if a, b := build(""), build(""); a != b {
		t.Errorf("the same log gives %+v and %+v", a, b)
	}
	if a, b := build(""), build("!"); a.SHA256 == b.SHA256 {
		t.Errorf("other entries give the same sum %s", a.SHA256)
	}
}
