package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/time/rate"
)

// Options of Open. The zero value of a field other than Dir takes the default named beside it.
type Options struct {
	Dir       string
	FS        vfs.FS           // the operating system's
	TailBytes int64            // memory of recent entries over all rooms; 64 MiB
	Rooms     int              // rooms whose head and settings stay in memory; 100,000
	CacheSize int64            // Pebble's block cache; 32 MiB
	Files     int              // files open at once, beside a few; 1,000
	Logger    *slog.Logger     // slog.Default
	Fatal     func(line error) // called when Pebble cannot go on (it cannot write); must not return, may be called again
}

// Errors of Open and of the reads.
var (
	ErrFormat = errors.New("data directory was written by a newer madang")
	ErrClosed = errors.New("store is closed")
)

const (
	defaultTailBytes = 64 << 20
	defaultRooms     = 100_000
	defaultCache     = 32 << 20
	bloomBits        = 10
	memTableSize     = 16 << 20
	memTables        = 3         // at most: one written to, one written out, one kept for the next; Pebble takes them out of the cache
	walBytesPerSync  = 512 << 10 // written back as it grows: a snapshot's sync then finds little left, and publishers do not wait for it
	formatVersion    = 1
)

// Store is the replicated state of one node. See the package comment for who may call what.
type Store struct {
	opts Options
	log  *slog.Logger

	// dbMu guards db against Swap and Close: readers and Apply hold it shared for the length of one call.
	dbMu  sync.RWMutex
	db    *pebble.DB
	cache *pebble.Cache

	// applyMu serialises Apply, Swap and Close. Lock order: applyMu, dbMu, rooms.mu, cell.mu.
	applyMu  sync.Mutex
	meta     meta                         // as committed; changed under applyMu, read through metaMu
	nodes    map[string]nodeState         // numbering; owned by Apply
	clock    atomic.Pointer[func() int64] // see Clock
	epochs   map[SessionID]uint64         // newest epoch of sessions that published lately; owned by Apply
	accounts map[UserKey]*account         // users who did something lately, nil = there is no such user; owned by Apply
	feed     feed                         // as meta
	chain    *chain                       // owned by Apply
	metaMu   sync.RWMutex
	stats    Stats // under metaMu

	scratchBuf, scratchJSON []byte // of the next batch; owned by Apply

	rooms     rooms
	tail      tailBudget
	tailBytes atomic.Int64 // its limit
	watchers  watchers
}

// meta is the record that makes a batch one step of the log.
type meta struct {
	Applied uint64 // Raft index
	Time    int64  // log time of that entry, ms
	Pos     uint64 // last place given to an entry
	Outbox  uint64 // last item given
	Epoch   uint64 // last epoch given

	FollowedUp uint64 // last item of the outbox that was carried to its user
}

func (m meta) encode() []byte {
	b := append(make([]byte, 0, 48), formatVersion)
	for _, v := range [...]uint64{m.Applied, uint64(m.Time), m.Pos, m.Outbox, m.Epoch, m.FollowedUp} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func decodeMeta(b []byte) (meta, error) {
	if len(b) == 0 {
		return meta{}, fmt.Errorf("%w: empty meta record", ErrEntry)
	}
	if b[0] != formatVersion {
		return meta{}, fmt.Errorf("%w (format %d, this build reads %d)", ErrFormat, b[0], formatVersion)
	}
	r := readRecord(b, formatVersion)
	m := meta{
		Applied: r.uvarint(), Time: int64(r.uvarint()), Pos: r.uvarint(), Outbox: r.uvarint(), Epoch: r.uvarint(),
		FollowedUp: r.uvarint(),
	}
	if !r.end() || m.FollowedUp > m.Outbox {
		return meta{}, fmt.Errorf("%w: meta record", ErrEntry)
	}
	return m, nil
}

// Open opens or makes the store in o.Dir, after Recover. A damaged store is an error, never an empty one.
func Open(o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.TailBytes == 0 {
		o.TailBytes = defaultTailBytes
	}
	if o.Rooms == 0 {
		o.Rooms = defaultRooms
	}
	if o.CacheSize == 0 {
		o.CacheSize = defaultCache
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Fatal == nil {
		o.Fatal = func(line error) { panic(line) }
	}
	if err := Recover(o); err != nil {
		return nil, err
	}
	s := &Store{opts: o, log: o.Logger, cache: pebble.NewCache(o.CacheSize + memTables*memTableSize)}
	s.tailBytes.Store(o.TailBytes)
	if err := s.open(false); err != nil {
		s.cache.Unref()
		return nil, err
	}
	return s, nil
}

// open opens Pebble and loads what Apply keeps in memory; mustExist refuses to make a new store. Callers hold applyMu and
// dbMu, or are alone.
func (s *Store) open(mustExist bool) error {
	po := &pebble.Options{
		FS:                 s.opts.FS,
		Cache:              s.cache,
		MemTableSize:       memTableSize,
		WALBytesPerSync:    walBytesPerSync,
		MaxOpenFiles:       s.opts.Files,
		ErrorIfNotExists:   mustExist,
		FormatMajorVersion: pebble.FormatTableFormatV6, // ratcheted one release after every node can read it
		EventListener:      &pebble.EventListener{BackgroundError: s.backgroundError, DataCorruption: s.damaged},
		Logger:             pebbleLogger{s.log, s.opts.Fatal, &rate.Sometimes{First: 10, Interval: time.Second}},
	}
	for i := range po.Levels {
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBits)
	}
	links := new(chain)
	po.EventListener.FlushEnd = func(i pebble.FlushInfo) {
		if i.Err == nil {
			links.flushed(s.current().Applied)
		}
	}
	db, err := pebble.Open(s.opts.Dir, po)
	if err != nil {
		return fmt.Errorf("open the store in %s: %w", s.opts.Dir, unreadable(err))
	}
	s.db, s.chain = db, links
	s.nodes = map[string]nodeState{}
	s.epochs = map[SessionID]uint64{}
	s.accounts = map[UserKey]*account{}
	s.rooms.reset(s.opts.Rooms)
	s.tail.reset(s.tailBytes.Load())
	if err := s.load(); err != nil {
		s.db = nil
		return errors.Join(fmt.Errorf("open the store in %s: %w", s.opts.Dir, err), db.Close())
	}
	return nil
}

func (s *Store) load() error {
	b, err := s.get([]byte(keyMetaApplied))
	if err != nil {
		return err
	}
	m := meta{}
	if b != nil {
		m, err = decodeMeta(b)
	} else {
		err = s.mustBeEmpty()
	}
	if err != nil {
		return err
	}
	if b, err = s.get(feedMetaKey()); err != nil {
		return err
	}
	f, err := decodeFeed(b)
	if err != nil {
		return err
	}
	if s.chain.begin, s.chain.begun, err = readChain(s.db, m.Applied); err != nil {
		return err
	}
	s.metaMu.Lock()
	s.meta, s.feed = m, f
	s.metaMu.Unlock()
	s.chain.opened()
	return s.scanNodes(func(name string, st nodeState) { s.nodes[name] = st })
}

// mustBeEmpty keeps a store that lost its meta record from starting over: every batch writes one.
func (s *Store) mustBeEmpty() (err error) {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return fmt.Errorf("read the store: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if it.First() {
		return fmt.Errorf("%w: no meta record", ErrEntry)
	}
	return it.Error()
}

// Applied returns the index and the log time (ms) of the last entry applied.
func (s *Store) Applied() (index uint64, logTime int64) {
	m := s.current()
	return m.Applied, m.Time
}

// Pos returns the place of the newest entry over all rooms. Whoever reads Pos and then takes from a Watcher has been told
// of every entry up to it: in this order nothing at or below Pos is missed.
func (s *Store) Pos() uint64 { return s.current().Pos }

// Epoch returns the newest epoch given to a session: every Take applied so far has at most this one.
func (s *Store) Epoch() uint64 { return s.current().Epoch }

func (s *Store) current() meta {
	s.metaMu.RLock()
	defer s.metaMu.RUnlock()
	return s.meta
}

// Sync makes everything applied so far durable.
func (s *Store) Sync() error {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	if s.db == nil {
		return ErrClosed
	}
	return s.db.LogData(nil, pebble.Sync)
}

// Close syncs and closes the store. Later calls of anything return ErrClosed.
func (s *Store) Close() error {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	s.dbMu.Lock()
	defer s.dbMu.Unlock()
	if s.db == nil {
		return nil
	}
	err := errors.Join(s.db.LogData(nil, pebble.Sync), s.db.Close())
	s.db = nil
	s.rooms.reset(s.opts.Rooms)
	s.tail.reset(s.tailBytes.Load())
	s.cache.Unref()
	return err
}

// get returns a copy of the value of k, nil when there is none. Callers hold dbMu or applyMu.
func (s *Store) get(k []byte) ([]byte, error) {
	if s.db == nil {
		return nil, ErrClosed
	}
	return get(s.db, k)
}

func get(r pebble.Reader, k []byte) (out []byte, err error) {
	err = view(r, k, func(v []byte) error {
		out = append(make([]byte, 0, len(v)+1), v...)
		return nil
	})
	return out, err
}

// view calls f with the value of k, which is valid during the call only; not at all when there is none.
func view(r pebble.Reader, k []byte, f func(v []byte) error) error {
	v, closer, err := r.Get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the store: %w", err)
	}
	return errors.Join(f(v), closer.Close())
}

// read is get for callers that hold no lock.
func (s *Store) read(k []byte) ([]byte, error) {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	return s.get(k)
}

// scan calls f for the keys from start (or prefix, when start is nil) that begin with prefix, in order, until f says
// stop. k and v are valid during the call only.
func scan(r pebble.Reader, prefix, start []byte, f func(k, v []byte) (more bool, err error)) (err error) {
	if start == nil {
		start = prefix
	}
	return scanRange(r, start, end(prefix), f)
}

// scanRange calls f for every key in [from, to), in order, until it says stop. f keeps neither k nor v.
func scanRange(r pebble.Reader, from, to []byte, f func(k, v []byte) (more bool, err error)) (err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return fmt.Errorf("read the store: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("read the store: %w", err)
		}
		more, err := f(it.Key(), v)
		if err != nil || !more {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return fmt.Errorf("read the store: %w", err)
	}
	return nil
}

// scan is scan of the newest state, for readers that hold no lock.
func (s *Store) scan(prefix, start []byte, f func(k, v []byte) (more bool, err error)) error {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	if s.db == nil {
		return ErrClosed
	}
	return scan(s.db, prefix, start, f)
}

// pebbleLogger passes on what Pebble finds worth a line; Fatalf means it cannot go on.
type pebbleLogger struct {
	log    *slog.Logger
	fatal  func(error)
	errors *rate.Sometimes // Pebble tries again at once, and says so each time
}

func (l pebbleLogger) Infof(format string, args ...any) {
	l.log.Debug("pebble", "says", fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.errors.Do(func() { l.log.Error("pebble", "says", fmt.Sprintf(format, args...)) })
}

func (l pebbleLogger) Fatalf(format string, args ...any) {
	for _, a := range args {
		if err, ok := a.(error); ok {
			l.fatal(cannotWrite(err))
			return
		}
	}
	l.fatal(cannotWrite(fmt.Errorf(format, args...)))
}

func cannotWrite(err error) error { return fmt.Errorf("the store cannot be written: %w", err) }

// commit writes a batch. Where its write-ahead log has no room Pebble panics with what the disk said, and is of no use
// afterwards.
func (s *Store) commit(b *pebble.Batch) error {
	defer func() {
		if r := recover(); r != nil {
			err, ok := r.(error)
			if _, bug := r.(runtime.Error); bug || !ok {
				panic(r)
			}
			s.opts.Fatal(cannotWrite(err))
		}
	}()
	return b.Commit(pebble.NoSync)
}

// ErrDamaged means that a file of the store is not what was written.
var ErrDamaged = errors.New("a file of the store is damaged: `madang verify` tells more; wipe the data and let the node join anew, " +
	"or restore a backup")

// unreadable says of an error of Pebble's at its start what to do. What the disk itself says, and a store of a newer release,
// are no damage; that a file is missing, in a store that is there, is.
func unreadable(err error) error {
	var disk syscall.Errno
	missing := errors.Is(err, os.ErrNotExist) && !errors.Is(err, pebble.ErrDBDoesNotExist)
	if errors.As(err, &disk) && !missing || errors.Is(err, pebble.ErrDBDoesNotExist) || strings.Contains(err.Error(), "format major version") {
		return err
	}
	return fmt.Errorf("%w (%w)", ErrDamaged, err)
}

// damaged ends a node that would serve less than it has, or something else.
func (s *Store) damaged(i pebble.DataCorruptionInfo) {
	go s.opts.Fatal(fmt.Errorf("%w (%s: %w)", ErrDamaged, i.Path, i.Details)) // Pebble holds locks here
}

// backgroundError ends what Pebble would try again for ever, without a pause.
func (s *Store) backgroundError(err error) {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		go s.opts.Fatal(cannotWrite(err)) // Pebble holds locks here
	}
}
