package bench

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func drawStamp(t *rapid.T) stamp {
	return stamp{
		due:       rapid.Int64().Draw(t, "due"),
		publisher: rapid.IntRange(0, maxPublishers-1).Draw(t, "publisher"),
		room:      rapid.IntRange(0, maxRooms-1).Draw(t, "room"),
		n:         rapid.Uint32().Draw(t, "n"),
		message:   rapid.Uint64Range(0, 1<<40-1).Draw(t, "message"),
	}
}

// A stamp is found as it was written, wherever it stands, and wherever the one before stood; that of another run is not.
func TestStamp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, other := &stamper{mark: []byte("m#0a1b2c")}, &stamper{mark: []byte("m#0a1b2d")}
		around := rapid.SliceOfN(rapid.Byte(), 0, 100)
		for range rapid.IntRange(1, 4).Draw(t, "messages") {
			want := drawStamp(t)
			size := rapid.IntRange(stampLen, stampLen+50).Draw(t, "size")
			b := around.Filter(func(b []byte) bool { return !bytes.Contains(b, s.mark) }).Draw(t, "before")
			at := len(b)
			b = s.append(b, want, size)
			if len(b) != at+size {
				t.Fatalf("%d bytes, want %d", len(b)-at, size)
			}
			b = append(b, around.Draw(t, "after")...)
			if got, ok := s.find(b); !ok || got != want {
				t.Fatalf("%+v, %v; want %+v in %q", got, ok, want, b)
			}
			if got, ok := other.find(b[:at+size]); ok {
				t.Fatalf("another run found %+v in %q", got, b)
			}
			if got, ok := s.find(b[:at+stampLen-1]); ok {
				t.Fatalf("found %+v in a part of it, %q", got, b[:at+stampLen-1])
			}
		}
	})
}

func TestStampsOfRunsDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 10 {
		s := newStamper()
		if len(s.mark) != markLen {
			t.Fatalf("mark %q", s.mark)
		}
		seen[string(s.mark)] = true
	}
	if len(seen) < 9 { // of 16 million
		t.Errorf("10 runs have %d marks", len(seen))
	}
}

func FuzzFindStamp(f *testing.F) {
	s := &stamper{mark: []byte("m#0a1b2c")}
	f.Add(s.append(nil, stamp{due: -1, publisher: 1, room: 2, n: 3, message: 4}, stampLen), 0)
	f.Add([]byte("m#0a1b2cxyz m#0a1b2c"), 5)
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		s := &stamper{mark: s.mark, at: max(at, 0) % 1000}
		if st, ok := s.find(b); ok && (len(b) < stampLen || st.publisher >= maxPublishers || st.room >= maxRooms) {
			t.Errorf("%+v", st)
		}
	})
}
