package storage

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

// A head's numbers are those of a plain list of the entries that are kept.
func TestHeadWithHoles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := Head{First: 1}
		var kept []uint64
		for range rapid.IntRange(0, 4).Draw(t, "eras") {
			for range rapid.IntRange(0, 4).Draw(t, "entries") {
				h.Seq++
				kept = append(kept, h.Seq)
			}
			if n := uint64(rapid.IntRange(0, 3).Draw(t, "trimmed")); n > 0 && int(n) < len(kept) {
				h.trimTo(kept[n-1] + 1)
				kept = kept[n:]
			}
			if gap := uint64(rapid.IntRange(0, 3).Draw(t, "hole")); gap > 0 {
				hole := Hole{h.Seq + 1, h.Seq + gap}
				h.Seq = hole.To
				if len(kept) == 0 {
					h.First = hole.To + 1
				} else {
					h.Holes = append(h.Holes, hole)
				}
				h.Seq++ // an era has an entry at once
				kept = append(kept, h.Seq)
			}
		}
		if got, err := decodeHead(h.appendTo(nil)); err != nil || fmt.Sprint(got) != fmt.Sprint(h) {
			t.Fatalf("%+v is stored as %+v, %v", h, got, err)
		}
		if h.Kept() != uint64(len(kept)) {
			t.Fatalf("%+v keeps %d, want %v", h, h.Kept(), kept)
		}
		for i, seq := range kept {
			if h.At(uint64(i)) != seq {
				t.Fatalf("%+v: entry %d is %d, want %v", h, i, h.At(uint64(i)), kept)
			}
		}
		if got := h.At(uint64(len(kept))); got != h.Seq+1 {
			t.Fatalf("%+v: after all %d", h, got)
		}
		for seq := uint64(0); seq <= h.Seq+2; seq++ {
			want, _ := slices.BinarySearch(kept, seq)
			if got := h.Index(seq); got != uint64(want) {
				t.Fatalf("%+v: %d before %d, want %d of %v", h, got, seq, want, kept)
			}
		}
		for n := 1; n <= len(kept); n++ {
			if got := h.Back(uint64(n)); got != kept[len(kept)-n] {
				t.Fatalf("%+v: %d back is %d, want %v", h, n, got, kept)
			}
		}
		for to := uint64(0); to <= h.Seq+1; to++ {
			for n := uint64(1); n < 4; n++ {
				var want []uint64
				for i := len(kept) - 1; i >= 0 && uint64(len(want)) < n; i-- {
					if kept[i] <= to && (len(want) == 0 || kept[i]+1 == want[len(want)-1]) {
						want = append(want, kept[i])
					} else if len(want) > 0 {
						break
					}
				}
				from, last := h.Run(to, n)
				if len(want) == 0 && from <= last || len(want) > 0 && (last != want[0] || from != want[len(want)-1]) {
					t.Fatalf("%+v: run of %d up to %d is %d..%d, want %v", h, n, to, from, last, want)
				}
			}
		}
	})
}

// A new era leaves a million numbers out in every room and says so; all readings get over the hole.
func TestNewEra(t *testing.T) {
	fs := vfs.NewMem()
	l := newLog(t, openOn(t, fs))
	fill(l)
	l.done(say("gone", "olga", "x"))
	l.done(&RoomDelete{Room: room("gone"), By: from("olga")})
	l.done(&RoomCreate{Room: room("empty"), By: from("olga"), Kind: Public})
	before, err := l.s.Entries(room("r"), 1, 99, 99, 1<<20)
	if err != nil || len(before) != 3 {
		t.Fatal(before, err)
	}
	for era := range 2 {
		if err := l.s.NewEra(); err != nil {
			t.Fatal(era, err)
		}
	}
	if err := l.s.Close(); err != nil {
		t.Fatal(err)
	}
	l.s = openOn(t, fs) // from the disk
	defer func() { _ = l.s.Close() }()
	l.boot("b")
	l.done(say("r", "olga", "after"))
	l.done(say("gone", "olga", "again"))

	const first = 3 + EraJump + 1
	r, err := l.s.Room(room("r"))
	if err != nil || r.Head.Seq != first+EraJump+2 || r.Head.N != 3 || r.Head.Kept() != 6 {
		t.Fatalf("%+v, %v", r.Head, err)
	}
	var seqs []uint64
	for next := uint64(1); next <= r.Head.Seq; {
		es, err := l.s.Entries(room("r"), next, r.Head.Seq, 99, 1<<20)
		if err != nil || len(es) == 0 {
			t.Fatal(es, err)
		}
		for i, e := range es {
			if i > 0 && e.Seq != es[i-1].Seq+1 {
				t.Fatalf("a page goes over a hole: %d after %d", e.Seq, es[i-1].Seq)
			}
			seqs, next = append(seqs, e.Seq), e.Seq+1
		}
	}
	want := []uint64{1, 2, 3, first, first + EraJump + 1, first + EraJump + 2}
	if !slices.Equal(seqs, want) {
		t.Fatalf("%v, want %v", seqs, want)
	}
	es, err := l.s.EntriesBefore(room("r"), first+1, 2, 1<<20)
	if err != nil || len(es) != 2 || es[0].Seq != 3 || !strings.Contains(string(es[1].JSON), `"data":{"event":"restored","from":4,"to":1000003}`) {
		t.Fatalf("%v %v", es, err)
	}
	for _, e := range before {
		if seq, err := l.s.SeqAfter(room("r"), e.Pos); err != nil || seq != r.Head.At(r.Head.Index(e.Seq)+1) {
			t.Fatalf("after the place of %d comes %d, %v", e.Seq, seq, err)
		}
	}
	for name, head := range map[string]uint64{"empty": 2*EraJump + 2, "gone": 2*EraJump + 2} {
		if r, err := l.s.Room(room(name)); err != nil || r.Head.Seq != head {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	if got := l.do(&Trim{Room: room("r"), Upto: 5, MaxCount: 1}); got.Outcome != Conflict {
		t.Errorf("trimmed up to a number that is in a hole: %+v", got)
	}
	l.done(&Trim{Room: room("r"), Upto: first, MaxCount: 2})
	if r, err = l.s.Room(room("r")); err != nil || r.Head.First != first+EraJump+1 || len(r.Head.Holes) != 0 {
		t.Fatalf("%+v, %v", r.Head, err)
	}
}
