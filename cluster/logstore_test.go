package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func testLog(t *testing.T, dir string) *logStore {
	t.Helper()
	s, err := tryTestLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func tryTestLog(dir string) (*logStore, error) {
	cfg := DefaultConfig(dir, "a")
	cfg.SegmentBytes, cfg.KeepLogBytes, cfg.SnapshotBytes = 4096, 2*4096, 0
	cfg.Logger = slog.New(slog.DiscardHandler)
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return openLog(&cfg, dir, newFailure())
}

func appendEntries(t *testing.T, s *logStore, from, to uint64) {
	t.Helper()
	for i := from; i <= to; i++ {
		if err := s.StoreLog(testEntry(i)); err != nil {
			t.Fatalf("append %d: %v", i, err)
		}
	}
}

func testEntry(i uint64) *raft.Log {
	return &raft.Log{Index: i, Term: 1, Data: []byte(fmt.Sprintf("%d %0300d", i, 0))}
}

func checkEntries(t *testing.T, s *logStore, first, last uint64) {
	t.Helper()
	f, _ := s.FirstIndex()
	l, _ := s.LastIndex()
	if f != first || l != last {
		t.Fatalf("log has %d to %d, want %d to %d", f, l, first, last)
	}
	for i := first; i <= last; i++ {
		var e raft.Log
		if err := s.GetLog(i, &e); err != nil || e.Index != i || string(e.Data) != string(testEntry(i).Data) {
			t.Fatalf("entry %d: %+v, %v", i, e, err)
		}
	}
}

func TestCompactionKeepsWholeSegmentsAndWaitsForStreams(t *testing.T) {
	s := testLog(t, t.TempDir())
	appendEntries(t, s, 1, 100)
	release := s.hold()
	if err := s.DeleteRange(1, 90); err != nil {
		t.Fatal(err)
	}
	checkEntries(t, s, 1, 100)
	release()
	if err := s.DeleteRange(1, 90); err != nil {
		t.Fatal(err)
	}
	first, _ := s.FirstIndex()
	if first < 50 || first > 80 {
		t.Fatalf("log begins at %d; two segments of about 11 entries and the last one should be left", first)
	}
	checkEntries(t, s, first, 100)
	if err := s.DeleteRange(first, 100); err != nil { // after a received snapshot: all
		t.Fatal(err)
	}
	appendEntries(t, s, 500, 520)
	checkEntries(t, s, 500, 520)
}

// Raft deletes the end of a follower's log when a new leader has other entries. raft-wal seals the segment without an
// index then and cannot read it after a restart.
func TestLogWhoseEndWasDeletedOpensAgain(t *testing.T) {
	dir := t.TempDir()
	s := testLog(t, dir)
	appendEntries(t, s, 1, 17)
	if err := s.DeleteRange(15, 17); err != nil {
		t.Fatal(err)
	}
	appendEntries(t, s, 15, 18)
	if err := s.DeleteRange(17, 18); err != nil {
		t.Fatal(err)
	}
	checkEntries(t, s, 1, 16)
	for last := uint64(16); last < 40; last += 6 {
		s.Close()
		s = testLog(t, dir)
		checkEntries(t, s, 1, last)
		appendEntries(t, s, last+1, last+6)
	}
}

// TestTornAppend cuts the newest append at every place, also the one that seals a segment, and damages older ones.
func TestTornAppend(t *testing.T) {
	for _, count := range []uint64{5, 11, 12} { // the 11th or 12th seals the first segment
		base := t.TempDir()
		s := testLog(t, filepath.Join(base, "log"))
		appendEntries(t, s, 1, count-1)
		meta, err := readFile(OSDisk(), filepath.Join(base, "log", metaFile), metaLimit)
		if err != nil {
			t.Fatal(err)
		}
		name := "00000000000000000001-0000000000000000.wal"
		before, err := readFile(OSDisk(), filepath.Join(base, "log", name), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		appendEntries(t, s, count, count)
		after, err := readFile(OSDisk(), filepath.Join(base, "log", name), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		from, to := 0, len(after)
		for from < len(before) && before[from] == after[from] {
			from++
		}
		if from == len(after) {
			continue // this one went to the next segment
		}
		for to > 0 && after[to-1] == 0 {
			to--
		}
		rebuild := func(content []byte) (*logStore, error) {
			dir := filepath.Join(base, fmt.Sprint("again-", time.Now().UnixNano()))
			if err := makeDir(OSDisk(), dir); err != nil {
				t.Fatal(err)
			}
			for n, data := range map[string][]byte{metaFile: meta, name: content} {
				if err := writeFile(OSDisk(), filepath.Join(dir, n), data); err != nil {
					t.Fatal(err)
				}
			}
			return tryTestLog(dir)
		}
		for cut := from; cut <= to; cut += 7 {
			// What came before the cut is not there, what came behind is: worse than most disks.
			content := append([]byte(nil), after...)
			copy(content[from:cut], make([]byte, cut-from))
			copy(content, before[:min(len(before), cut)])
			for _, c := range [][]byte{content, append(append([]byte(nil), after[:cut]...), make([]byte, len(after)-cut)...)} {
				s, err := rebuild(c)
				if err != nil {
					t.Fatalf("%d entries, cut at %d: %v", count, cut, err)
				}
				last, _ := s.LastIndex()
				if last != count-1 && last != count {
					t.Fatalf("%d entries, cut at %d: log ends at %d", count, cut, last)
				}
				appendEntries(t, s, last+1, last+20)
				checkEntries(t, s, 1, last+20)
				s.Close()
			}
		}
		if count == 5 {
			bad := append([]byte(nil), after...)
			bad[segmentHeader+frameHeader+50] ^= 1
			if _, err := rebuild(bad); !errors.Is(err, ErrDamaged) {
				t.Fatalf("a damaged first append: %v", err)
			}
		}
	}
}

func TestMetaStoreSurvivesAndRefusesDamage(t *testing.T) {
	dir := t.TempDir()
	open := func() (*metaStore, error) {
		m := &metaStore{disk: OSDisk(), failed: func(error) {}}
		_, err := m.Load(dir)
		return m, err
	}
	m, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.SetStable([]byte("k"), []byte("v")); err != nil {
		t.Fatal(err)
	}
	if m, err = open(); err != nil {
		t.Fatal(err)
	}
	if v, _ := m.GetStable([]byte("k")); string(v) != "v" {
		t.Fatalf("value %q", v)
	}
	if v, err := m.GetStable([]byte("other")); v != nil || err != nil {
		t.Fatalf("missing value %q, %v", v, err)
	}
	name := filepath.Join(dir, metaFile)
	data, _ := readFile(OSDisk(), name, metaLimit)
	data[len(data)-3] ^= 1
	if err := writeFile(OSDisk(), name, data); err != nil {
		t.Fatal(err)
	}
	if _, err := open(); !errors.Is(err, ErrDamaged) {
		t.Fatalf("damaged file: %v", err)
	}
}

func TestBootNumberRises(t *testing.T) {
	dir := t.TempDir()
	last := uint64(0)
	for _, wall := range []int64{100, 50, 101, -1, 1000} {
		boot, err := nextBoot(OSDisk(), dir, "a b", wall)
		if err != nil || boot <= last {
			t.Fatalf("boot %d after %d, %v", boot, last, err)
		}
		last = boot
	}
	if last != 1000 {
		t.Fatalf("boot %d does not follow the wall clock", last)
	}
	for _, content := range []string{"", "madang-boot 1 \n", "madang-boot 1 x a\n", "madang-boot 2 5 a\n"} {
		if err := writeFile(OSDisk(), filepath.Join(dir, bootFile), []byte(content)); err != nil {
			t.Fatal(err)
		}
		if _, err := nextBoot(OSDisk(), dir, "a b", 1); !errors.Is(err, ErrDamaged) {
			t.Fatalf("boot file %q: %v", content, err)
		}
	}
}

// An interrupted bootstrap has saved raft's term and nothing else.
func TestInterruptedBootstrapIsFinished(t *testing.T) {
	s := testLog(t, t.TempDir())
	snaps, err := openSnapshots(OSDisk(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, trans := raft.NewInmemTransport("a")
	defer trans.Close()
	cfg := DefaultConfig("x", "a")
	if err := cfg.check(); err != nil {
		t.Fatal(err)
	}
	if err := s.SetUint64(keyCurrentTerm, 1); err != nil {
		t.Fatal(err)
	}
	if err := bootstrap(cfg.raftConfig(), s, snaps, trans); err != nil {
		t.Fatal(err)
	}
	var e raft.Log
	if err := s.GetLog(1, &e); err != nil || len(raft.DecodeConfiguration(e.Data).Servers) != 1 {
		t.Fatalf("first entry %+v, %v", e, err)
	}
	lost := testLog(t, t.TempDir())
	if err := lost.SetUint64(keyCurrentTerm, 9); err != nil {
		t.Fatal(err)
	}
	if err := bootstrap(cfg.raftConfig(), lost, snaps, trans); !errors.Is(err, ErrLogLost) {
		t.Fatalf("term 9 without a log: %v", err)
	}
}

func FuzzMark(f *testing.F) {
	m := newMark(7, 3, raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "x:1"}}}, 2)
	data, err := m.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(seal(markMagic, []byte(`{"index":1,"term":1,"servers":[{"suffrage":9}]}`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		// Most inputs have no right checksum: try the content too.
		for _, d := range [][]byte{data, seal(markMagic, data)} {
			m, err := parseMark(d)
			if err != nil {
				continue
			}
			again, err := m.encode()
			if err != nil {
				t.Fatal(err)
			}
			if n, err := parseMark(again); err != nil || n.Index != m.Index || len(n.Servers) != len(m.Servers) {
				t.Fatalf("%+v became %+v, %v", m, n, err)
			}
			m.meta()
		}
	})
}

func FuzzSnapshotStream(f *testing.F) {
	dir := f.TempDir()
	for n, data := range map[string]string{"one": "1", "two": ""} {
		if err := writeFile(OSDisk(), filepath.Join(dir, n), []byte(data)); err != nil {
			f.Fatal(err)
		}
	}
	w, err := newStreamWriter(OSDisk(), dir, 9)
	if err != nil {
		f.Fatal(err)
	}
	good, err := io.ReadAll(w)
	if err != nil || int64(len(good)) != w.size {
		f.Fatalf("%d bytes of %d, %v", len(good), w.size, err)
	}
	f.Add(good)
	f.Add(good[:20])
	f.Fuzz(func(t *testing.T, data []byte) {
		into := t.TempDir()
		if _, err := receiveStream(bytes.NewReader(data), OSDisk(), filepath.Join(into, "db")); err == nil {
			if _, err := walkFiles(OSDisk(), filepath.Join(into, "db")); err != nil {
				t.Fatal(err)
			}
		}
		if names, err := OSDisk().List(into); err != nil || len(names) > 1 {
			t.Fatalf("files outside: %v, %v", names, err)
		}
		for _, p := range []string{"../x", "/x", "a/../b", "", ".", "a\\b", "a//b", "c:x", "a\x00"} {
			if safePath(p) {
				t.Fatalf("path %q is taken", p)
			}
		}
	})
}
