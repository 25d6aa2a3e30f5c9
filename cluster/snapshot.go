package cluster

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// snapshotStore is raft's list of snapshots. A snapshot is a directory with the file mark:
//
//	snapshots/<term>-<index>-<nr>/mark
//	snapshots/<term>-<index>-<nr>/db/     a received store, until it is restored
//	snapshots/tmp-<nr>/                   one that is being made; removed at boot
//	snapshots/stream-<nr>/                a checkpoint that is being sent; removed at boot
//
// A directory appears under its final name when all that is in it is durable. Only the newest is kept.
type snapshotStore struct {
	disk Disk
	dir  string
	sm   StateMachine
	hold func() (release func()) // keeps the log from being compacted

	mu    sync.Mutex
	marks []mark // newest first
	seq   uint64
}

// streamHold is how long a snapshot that is being sent may keep the log from being compacted.
const streamHold = 10 * time.Minute

const (
	markFile  = "mark"
	markMagic = "madangk1"
	markLimit = 1 << 20
	storeDir  = "db"
)

// mark is what the file mark holds, as checksummed JSON.
type mark struct {
	Index              uint64       `json:"index"` // raft's, of the last entry the snapshot covers
	Term               uint64       `json:"term"`
	Servers            []markServer `json:"servers"`
	ConfigurationIndex uint64       `json:"configuration_index"`
	// StoreApplied is what the store had applied, durably, when the mark was made; it may be below Index, since raft's
	// index also moves on entries the store never sees. Of a received snapshot that is not restored: at least this.
	StoreApplied uint64 `json:"store_applied"`
	// Received is true until the store in db has become the node's own.
	Received bool `json:"received,omitempty"`

	id string
	nr uint64
}

type markServer struct {
	ID       string `json:"id"`
	Address  string `json:"address"`
	Suffrage int    `json:"suffrage"`
}

func newMark(index, term uint64, configuration raft.Configuration, configurationIndex uint64) mark {
	m := mark{Index: index, Term: term, ConfigurationIndex: configurationIndex}
	for _, s := range configuration.Servers {
		m.Servers = append(m.Servers, markServer{string(s.ID), string(s.Address), int(s.Suffrage)})
	}
	return m
}

func (m *mark) meta() *raft.SnapshotMeta {
	meta := &raft.SnapshotMeta{
		Version: raft.SnapshotVersionMax, ID: m.id, Index: m.Index, Term: m.Term, ConfigurationIndex: m.ConfigurationIndex,
	}
	for _, s := range m.Servers {
		meta.Configuration.Servers = append(meta.Configuration.Servers, raft.Server{
			ID: raft.ServerID(s.ID), Address: raft.ServerAddress(s.Address), Suffrage: raft.ServerSuffrage(s.Suffrage),
		})
	}
	return meta
}

func (m *mark) encode() ([]byte, error) {
	payload, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return seal(markMagic, payload), nil
}

// parseMark reads the content of a mark file.
func parseMark(data []byte) (mark, error) {
	payload, err := unseal(markMagic, data)
	if err != nil {
		return mark{}, err
	}
	var m mark
	if err := json.Unmarshal(payload, &m); err != nil {
		return mark{}, err
	}
	if m.Index == 0 || m.Term == 0 {
		return mark{}, errors.New("mark without index or term")
	}
	for _, s := range m.Servers {
		if s.Suffrage < int(raft.Voter) || s.Suffrage > int(raft.Staging) {
			return mark{}, fmt.Errorf("server %q has suffrage %d", s.ID, s.Suffrage)
		}
	}
	return m, nil
}

// openSnapshots reads the marks in dir and removes what a crash left unfinished.
func openSnapshots(d Disk, dir string, sm StateMachine) (*snapshotStore, error) {
	if err := makeDir(d, dir); err != nil {
		return nil, err
	}
	s := &snapshotStore{disk: d, dir: dir, sm: sm, hold: func() func() { return func() {} }}
	names, err := d.List(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if strings.HasPrefix(name, "tmp-") || strings.HasPrefix(name, "stream-") {
			if err := d.RemoveAll(filepath.Join(dir, name)); err != nil {
				return nil, err
			}
			continue
		}
		file := filepath.Join(dir, name, markFile)
		data, err := readFile(d, file, markLimit)
		if errors.Is(err, os.ErrNotExist) {
			// A removal that was interrupted: a directory gets its name only after its mark.
			if err := d.RemoveAll(filepath.Join(dir, name)); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		m, err := parseMark(data)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, file, err)
		}
		m.id = name
		if _, nr, ok := cutLast(name, "-"); ok {
			if m.nr, err = strconv.ParseUint(nr, 10, 64); err != nil {
				return nil, fmt.Errorf("%w: %s is no name of a snapshot", ErrDamaged, filepath.Join(dir, name))
			}
		}
		s.seq = max(s.seq, m.nr)
		s.marks = append(s.marks, m)
	}
	s.sort()
	return s, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func (s *snapshotStore) sort() {
	slices.SortFunc(s.marks, func(a, b mark) int {
		return -cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.Term, b.Term), cmp.Compare(a.nr, b.nr))
	})
}

// newest returns the newest mark; ok is false when there is none.
func (s *snapshotStore) newest() (m mark, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.marks) == 0 {
		return mark{}, false
	}
	return s.marks[0], true
}

func (s *snapshotStore) find(id string) (mark, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.marks {
		if m.id == id {
			return m, nil
		}
	}
	return mark{}, fmt.Errorf("no snapshot %q", id)
}

func (s *snapshotStore) next() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	return s.seq
}

// List implements raft.SnapshotStore.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*raft.SnapshotMeta
	for i := range s.marks {
		out = append(out, s.marks[i].meta())
	}
	return out, nil
}

// Create implements raft.SnapshotStore, for a mark of this node and for a stream from the leader alike.
func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, _ raft.Transport,
) (raft.SnapshotSink, error) {
	if version != raft.SnapshotVersionMax {
		return nil, fmt.Errorf("snapshot version %d is not supported", version)
	}
	m := newMark(index, term, configuration, configurationIndex)
	m.nr = s.next()
	m.id = fmt.Sprintf("%d-%d-%d", term, index, m.nr)
	tmp := filepath.Join(s.dir, fmt.Sprintf("tmp-%d", m.nr))
	if err := s.disk.MkdirAll(tmp); err != nil {
		return nil, err
	}
	return &snapshotSink{store: s, m: m, tmp: tmp}, nil
}

// Open implements raft.SnapshotStore. Of a received snapshot it returns a token that fsm.Restore understands, of a
// mark a stream of the store as it is now; the receiver skips entries it has through that.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	m, err := s.find(id)
	if err != nil {
		return nil, nil, err
	}
	meta := m.meta()
	if m.Received {
		token := makeToken(id)
		meta.Size = int64(len(token))
		return meta, io.NopCloser(strings.NewReader(token)), nil
	}
	tmp := filepath.Join(s.dir, fmt.Sprintf("stream-%d", s.next()))
	if err := s.disk.MkdirAll(tmp); err != nil {
		return nil, nil, err
	}
	release := s.hold()
	timer := time.AfterFunc(streamHold, release)
	cleanup := func() error {
		timer.Stop()
		release()
		return s.disk.RemoveAll(tmp)
	}
	db := filepath.Join(tmp, storeDir)
	if err := s.sm.Checkpoint(db); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("checkpoint the store: %w", err), cleanup())
	}
	stream, err := newStreamWriter(s.disk, db, m.StoreApplied)
	if err != nil {
		return nil, nil, errors.Join(err, cleanup())
	}
	stream.onClose = cleanup
	meta.Size = stream.size
	return meta, stream, nil
}

// restore makes the store of a received snapshot the node's own and turns the snapshot into a mark. It may be called
// again after a crash at any point.
func (s *snapshotStore) restore(id string) error {
	m, err := s.find(id)
	if err != nil {
		return err
	}
	if !m.Received {
		return errors.New("it was restored before")
	}
	dir := filepath.Join(s.dir, id)
	db := filepath.Join(dir, storeDir)
	switch _, err := s.disk.IsDir(db); {
	case err == nil:
		if err := s.sm.Swap(db); err != nil {
			return err
		}
		if err := s.disk.SyncDir(dir); err != nil {
			return err
		}
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	applied, _ := s.sm.Applied()
	if applied < m.StoreApplied {
		return fmt.Errorf("%w (store applied %d, snapshot at least %d)", ErrBehindMark, applied, m.StoreApplied)
	}
	m.Received, m.StoreApplied = false, applied
	data, err := m.encode()
	if err != nil {
		return err
	}
	if err := writeFile(s.disk, filepath.Join(dir, markFile), data); err != nil {
		return err
	}
	s.mu.Lock()
	for i := range s.marks {
		if s.marks[i].id == id {
			s.marks[i] = m
		}
	}
	s.mu.Unlock()
	return nil
}

// publish gives the finished directory tmp its final name and drops older snapshots.
func (s *snapshotStore) publish(m mark, tmp string) error {
	data, err := m.encode()
	if err != nil {
		return err
	}
	if err := writeFile(s.disk, filepath.Join(tmp, markFile), data); err != nil {
		return err
	}
	if err := s.disk.Rename(tmp, filepath.Join(s.dir, m.id)); err != nil {
		return err
	}
	if err := s.disk.SyncDir(s.dir); err != nil {
		return err
	}
	s.mu.Lock()
	s.marks = append(s.marks, m)
	s.sort()
	old := slices.Clone(s.marks[1:])
	s.marks = s.marks[:1]
	s.mu.Unlock()
	for _, o := range old {
		// The mark goes first, so that half a removal is not taken for a snapshot.
		dir := filepath.Join(s.dir, o.id)
		err := s.disk.Remove(filepath.Join(dir, markFile))
		if err == nil {
			err = s.disk.SyncDir(dir)
		}
		if err := errors.Join(err, s.disk.RemoveAll(dir)); err != nil {
			return err
		}
	}
	return nil
}

// snapshotSink takes either a mark or the bytes of a stream.
type snapshotSink struct {
	store *snapshotStore
	m     mark
	tmp   string

	marked bool
	pipe   *io.PipeWriter // to the goroutine that reads the stream, from the first Write on
	result chan streamResult
	over   bool
}

type streamResult struct {
	applied uint64
	err     error
}

// ID implements raft.SnapshotSink.
func (k *snapshotSink) ID() string { return k.m.id }

// mark makes it a mark of this node's store, which has durably applied at least this index.
func (k *snapshotSink) mark(storeApplied uint64) {
	k.m.StoreApplied = storeApplied
	k.marked = true
}

// Write takes the next bytes of a stream. The files go straight to their place.
func (k *snapshotSink) Write(p []byte) (int, error) {
	if k.over {
		return 0, os.ErrClosed
	}
	if k.pipe == nil {
		r, w := io.Pipe()
		k.pipe, k.result = w, make(chan streamResult, 1)
		go func() {
			applied, err := receiveStream(r, k.store.disk, filepath.Join(k.tmp, storeDir))
			r.CloseWithError(errors.Join(err, io.ErrClosedPipe))
			k.result <- streamResult{applied, err}
		}()
	}
	return k.pipe.Write(p)
}

// Close implements io.Closer: the snapshot is complete and, when everything in it is right, visible and durable.
func (k *snapshotSink) Close() error {
	if k.over {
		return nil
	}
	if !k.marked {
		if err := k.received(); err != nil {
			return errors.Join(err, k.Cancel())
		}
	}
	k.over = true
	if err := k.store.publish(k.m, k.tmp); err != nil {
		return errors.Join(err, k.store.disk.RemoveAll(k.tmp))
	}
	return nil
}

func (k *snapshotSink) received() error {
	if k.pipe == nil {
		return errors.New("snapshot without content")
	}
	k.pipe.Close()
	res := <-k.result
	k.pipe = nil
	k.m.Received, k.m.StoreApplied = true, res.applied
	return res.err
}

// Cancel implements raft.SnapshotSink.
func (k *snapshotSink) Cancel() error {
	if k.over {
		return nil
	}
	k.over = true
	if k.pipe != nil {
		k.pipe.CloseWithError(errors.New("snapshot canceled"))
		<-k.result
	}
	return k.store.disk.RemoveAll(k.tmp)
}

var (
	_ raft.SnapshotStore = (*snapshotStore)(nil)
	_ raft.SnapshotSink  = (*snapshotSink)(nil)
)
