package cluster

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// logCacheEntries is how many of the newest entries stay in memory for followers. An entry has up to
// Config.MaxEntryBytes, usually a few kilobytes.
const logCacheEntries = 128

// logStore is raft's log and its stable store: raft-wal, with one rule added. After the first error nothing is written
// any more (a failed append may be on disk or not, and what follows it would be wrong either way), the error goes to
// Failed once, and the goroutine of raft that cannot save its term or read its log ends instead of panicking.
//
// A disk that hangs: see stalls.
//
// What remains: raft still panics when its log lacks an entry that should be there (raft-wal does not check CRCs of
// what it reads, damage inside a segment can show that way).
//
// Kept log: raft deletes all but TrailingLogs entries after a snapshot. DeleteRange leaves, besides, the newest whole
// segments that hold keepBytes; raft only needs what is deleted to be deletable later.
type logStore struct {
	wal     *wal.WAL
	fail    *failure
	fs      *walFS
	dir     string
	keep    int // newest segments never deleted by compaction
	clock   func() time.Time
	started atomic.Bool // raft runs: its goroutines may be ended
	stalls  *stalls     // told of what is under way
	grown   func()      // more than snapshotBytes were appended since the last call

	snapshotBytes int64
	sinceGrown    int64 // raft's main goroutine only

	holdMu sync.Mutex
	holds  int // open snapshot streams: compaction waits

	appends, entries, bytes atomic.Uint64
	appendNanos             atomic.Int64
}

// openLog opens or makes the log in dir.
func openLog(c *Config, dir string, fail *failure) (*logStore, error) {
	if err := makeDir(c.Disk, dir); err != nil {
		return nil, err
	}
	fs := &walFS{disk: c.Disk}
	meta := &metaStore{disk: c.Disk, failed: fs.note}
	if err := repairLog(c.Disk, dir, meta, c.SegmentBytes, c.Clock()); err != nil {
		return nil, err
	}
	w, err := wal.Open(dir,
		wal.WithSegmentFiler(segment.NewFiler(dir, fs)),
		wal.WithMetaStore(meta),
		wal.WithSegmentSize(c.SegmentBytes),
		wal.WithLogger(newHCLogger(c.Logger, "raft-wal")))
	if err != nil {
		return nil, err
	}
	return &logStore{
		wal: w, fail: fail, fs: fs, dir: dir, clock: c.Clock, grown: func() {},
		keep:          int((c.KeepLogBytes + int64(c.SegmentBytes) - 1) / int64(c.SegmentBytes)),
		snapshotBytes: c.SnapshotBytes,
	}, nil
}

// failed notes a write that failed. While raft runs, the goroutine ends if raft would panic on the error.
func (s *logStore) failed(what string, err error, panics bool) error {
	if errors.Is(err, wal.ErrClosed) {
		return err
	}
	if cause := s.fs.broken.Load(); cause != nil && errors.Is(err, wal.ErrSealed) {
		err = *cause // raft-wal changes segments in the background and only logs what went wrong there
	}
	err = s.fail.report(fmt.Errorf("%s: %w", what, err))
	if panics && s.started.Load() {
		leaveRaft()
	}
	return err
}

// StoreLogs implements raft.LogStore.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	if err := s.fail.get(); err != nil {
		return err
	}
	start := s.clock()
	s.stalls.begin(stallAppend)
	err := s.wal.StoreLogs(logs)
	s.stalls.end(stallAppend)
	if err != nil {
		return s.failed("append to the log", err, false)
	}
	s.appendNanos.Add(int64(s.clock().Sub(start)))
	var size int64
	for _, l := range logs {
		size += int64(len(l.Data))
	}
	s.appends.Add(1)
	s.entries.Add(uint64(len(logs)))
	s.bytes.Add(uint64(size))
	if s.sinceGrown += size; s.snapshotBytes > 0 && s.sinceGrown >= s.snapshotBytes {
		s.sinceGrown = 0
		s.grown()
	}
	return nil
}

// StoreLog implements raft.LogStore.
func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// GetLog implements raft.LogStore.
func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	err := s.wal.GetLog(index, l)
	if err == nil || errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	return s.failed(fmt.Sprintf("read entry %d of the log", index), err, true)
}

// FirstIndex implements raft.LogStore.
func (s *logStore) FirstIndex() (uint64, error) { return s.wal.FirstIndex() }

// LastIndex implements raft.LogStore.
func (s *logStore) LastIndex() (uint64, error) { return s.wal.LastIndex() }

// DeleteRange implements raft.LogStore. A range that ends before the last entry is compaction: less may be deleted, or
// nothing while a snapshot is streamed.
func (s *logStore) DeleteRange(first, last uint64) error {
	if err := s.fail.get(); err != nil {
		return err
	}
	end, err := s.wal.LastIndex()
	if err != nil {
		return err
	}
	if begin, err := s.wal.FirstIndex(); err != nil {
		return err
	} else if first <= begin && last < end {
		s.holdMu.Lock()
		held := s.holds > 0
		s.holdMu.Unlock()
		if held {
			return nil
		}
		limit, err := s.deletable()
		if err != nil {
			return s.failed("list the log", err, false)
		}
		if last = min(last, limit); last < first {
			return nil
		}
	}
	s.stalls.begin(stallShorten)
	err = s.wal.DeleteRange(first, last)
	s.stalls.end(stallShorten)
	if err != nil {
		return s.failed("shorten the log", err, false)
	}
	return nil
}

// deletable returns the last index that compaction may delete: everything before the newest segments to keep.
func (s *logStore) deletable() (uint64, error) {
	if s.keep == 0 {
		return math.MaxUint64, nil
	}
	names, err := s.fs.ListDir(s.dir)
	if err != nil {
		return 0, err
	}
	var bases []uint64
	for _, n := range names {
		var base, id uint64
		if !strings.HasSuffix(n, ".wal") {
			continue
		}
		if _, err := fmt.Sscanf(n, "%d-%x.wal", &base, &id); err == nil {
			bases = append(bases, base)
		}
	}
	slices.Sort(bases)
	// The newest segment is being filled and counts for nothing.
	if i := len(bases) - 1 - s.keep; i >= 0 && bases[i] > 0 {
		return bases[i] - 1, nil
	}
	return 0, nil
}

// hold keeps compaction away until release is called.
func (s *logStore) hold() (release func()) {
	s.holdMu.Lock()
	s.holds++
	s.holdMu.Unlock()
	return sync.OnceFunc(func() {
		s.holdMu.Lock()
		s.holds--
		s.holdMu.Unlock()
	})
}

// IsMonotonic implements raft.MonotonicLogStore: after a received snapshot raft deletes the whole log.
func (s *logStore) IsMonotonic() bool { return true }

// Set implements raft.StableStore.
func (s *logStore) Set(key, value []byte) error {
	err := s.fail.get()
	if err == nil {
		s.stalls.begin(stallStable)
		err = s.wal.Set(key, value)
		s.stalls.end(stallStable)
	}
	if err != nil {
		return s.failed("save raft's term and vote", err, true)
	}
	return nil
}

// SetUint64 implements raft.StableStore.
func (s *logStore) SetUint64(key []byte, value uint64) error {
	err := s.fail.get()
	if err == nil {
		s.stalls.begin(stallStable)
		err = s.wal.SetUint64(key, value)
		s.stalls.end(stallStable)
	}
	if err != nil {
		return s.failed("save raft's term and vote", err, true)
	}
	return nil
}

// Get implements raft.StableStore.
func (s *logStore) Get(key []byte) ([]byte, error) { return s.wal.Get(key) }

// GetUint64 implements raft.StableStore.
func (s *logStore) GetUint64(key []byte) (uint64, error) { return s.wal.GetUint64(key) }

// truncate deletes the whole log.
func (s *logStore) truncate() error {
	first, err := s.wal.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.wal.LastIndex()
	if err != nil || last == 0 {
		return err
	}
	return s.wal.DeleteRange(first, last)
}

// Close closes the files.
func (s *logStore) Close() error { return s.wal.Close() }

// walFS lets raft-wal's segments live on a Disk.
type walFS struct {
	disk   Disk
	syncs  atomic.Uint64
	broken atomic.Pointer[error] // the last change of segments that failed
}

func (w *walFS) note(err error) { w.broken.Store(&err) }

// ListDir implements types.VFS.
func (w *walFS) ListDir(dir string) ([]string, error) {
	names, err := w.disk.List(dir)
	sort.Strings(names)
	return names, err
}

// Create implements types.VFS.
func (w *walFS) Create(dir, name string, size uint64) (types.WritableFile, error) {
	f, err := w.create(filepath.Join(dir, name), int64(size))
	if err != nil {
		err = fmt.Errorf("start a log segment of %d bytes: %w", size, err)
		w.note(err)
		return nil, err
	}
	return &walFile{File: f, fs: w, newIn: dir}, nil
}

func (w *walFS) create(name string, size int64) (File, error) {
	f, err := w.disk.Create(name)
	if err != nil || size == 0 {
		return f, err
	}
	if err := f.Preallocate(size); err != nil {
		return nil, errors.Join(err, f.Close(), w.disk.Remove(name))
	}
	return f, nil
}

// Delete implements types.VFS.
func (w *walFS) Delete(dir, name string) error {
	if err := w.disk.Remove(filepath.Join(dir, name)); err != nil {
		return err
	}
	return w.disk.SyncDir(dir)
}

// OpenReader implements types.VFS.
func (w *walFS) OpenReader(dir, name string) (types.ReadableFile, error) {
	return w.disk.Open(filepath.Join(dir, name))
}

// OpenWriter implements types.VFS. The file may have been made just before a crash, its name not yet durable.
func (w *walFS) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := w.disk.OpenReadWrite(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	return &walFile{File: f, fs: w, newIn: dir}, nil
}

// walFile is a segment. Its first Sync makes its name durable too.
type walFile struct {
	File
	fs    *walFS
	newIn string // directory to sync; "" after that. Used by the one writer.
}

// Sync implements types.WritableFile.
func (f *walFile) Sync() error {
	f.fs.syncs.Add(1)
	if err := f.File.Sync(); err != nil {
		return err
	}
	if f.newIn == "" {
		return nil
	}
	f.fs.syncs.Add(1)
	if err := f.fs.disk.SyncDir(f.newIn); err != nil {
		return err
	}
	f.newIn = ""
	return nil
}

var (
	_ raft.LogStore          = (*logStore)(nil)
	_ raft.MonotonicLogStore = (*logStore)(nil)
	_ raft.StableStore       = (*logStore)(nil)
	_ types.VFS              = (*walFS)(nil)
)
