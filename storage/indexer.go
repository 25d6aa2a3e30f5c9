package storage

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Indexer keeps the index of a store up with its entries. There is one per store; it is used by one goroutine.
//
// All it does follows from what the store holds, so it may stop anywhere. What Apply does while a step is under way brings
// the room up again, and what the step then wrote is put right: it reads a room of another making, an oldest entry that lies
// higher, or a change that it has not seen.
type Indexer struct {
	s     *Store
	watch *Watcher
	due   deque[RoomKey]
	is    map[RoomKey]bool // in due
	full  map[RoomKey]uint64
	walk  []byte // where to look for more rooms; nil = all have been looked at
	off   bool
	size  uint64 // entries in a block
}

// Indexer returns the store's indexer, which begins with a look at every room. With off it removes the index instead, and
// what Apply leaves for it.
func (s *Store) Indexer(off bool) *Indexer {
	return &Indexer{s: s, watch: s.Watch(), is: map[RoomKey]bool{}, full: map[RoomKey]uint64{}, walk: []byte{prefixHead}, off: off, size: blockEntries}
}

// Wake is ready when there may be something to do.
func (x *Indexer) Wake() <-chan struct{} { return x.watch.Wake() }

// Close ends its watch.
func (x *Indexer) Close() { x.watch.Close() }

// Step does a bounded piece of work. more says that there is more to do now; otherwise Wake tells.
func (x *Indexer) Step() (more bool, err error) {
	ch := x.watch.Take()
	if x.off {
		if x.walk == nil && len(ch.Indexed) == 0 && !ch.Reset {
			return false, nil
		}
		x.walk = nil
		return false, x.s.dropIndex()
	}
	if ch.Reset {
		x.walk = []byte{prefixHead}
		clear(x.full)
	}
	for k, rc := range ch.Rooms {
		if rc.Entries && x.mayHaveBlock(k) {
			x.add(k)
		}
	}
	for k := range ch.Indexed {
		x.add(k)
	}
	if x.due.len() == 0 {
		if x.walk == nil {
			return false, nil
		}
		return true, x.look()
	}
	k := x.due.at(0)
	more, full, err := x.s.indexStep(k, x.size)
	x.due.pop()
	delete(x.is, k)
	if len(x.full) >= indexedRooms {
		clear(x.full)
	}
	x.full[k] = full
	if more || err != nil {
		x.add(k) // rooms take turns
	}
	return x.due.len() > 0 || x.walk != nil, err
}

// indexedRooms is how many rooms' full are remembered: 10 MB.
const indexedRooms = 100_000

// mayHaveBlock reports whether a room may have entries enough for a block. Looking at every room that somebody has written
// to would be a tenth of what messages in small rooms cost.
func (x *Indexer) mayHaveBlock(k RoomKey) bool {
	h, err := x.s.head(k)
	return err != nil || h.Seq >= x.full[k]
}

func (x *Indexer) add(k RoomKey) {
	if k.IsRoom() && !x.is[k] { // inboxes and broadcasts are not searched
		x.is[k] = true
		x.due.push(k)
	}
}

// look adds the next rooms of the walk. Rooms that were deleted are among them: their head stays.
func (x *Indexer) look() error {
	start := x.walk
	x.walk = nil
	n := 0
	return x.s.scan([]byte{prefixHead}, start, func(k, _ []byte) (bool, error) {
		names := split(bytes.TrimSuffix(k, []byte{separator}), 1)
		if names == nil {
			return false, fmt.Errorf("%w: head key %q", ErrEntry, k)
		}
		x.add(RoomKey{NS: names[0], Room: names[1]})
		if n++; n == pageSize {
			x.walk = append(bytes.Clone(k), 0)
			return false, nil
		}
		return true, nil
	})
}

var indexKinds = [...]byte{indexPlaces, indexBlocks, indexTerms, indexChanges}

// dropIndex removes everything an index is made of.
func (s *Store) dropIndex() error {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	if s.db == nil {
		return ErrClosed
	}
	var err error
	for _, kind := range indexKinds {
		err = errors.Join(err, s.db.DeleteRange([]byte{prefixIndex, kind}, []byte{prefixIndex, kind + 1}, pebble.NoSync))
	}
	return err
}

// indexStep brings the index of a room one step nearer to its entries; more says that it is not there yet. Else there is nothing to
// do before the room has the entry full, unless it is told of in Changes.Indexed.
func (s *Store) indexStep(k RoomKey, size uint64) (more bool, full uint64, err error) {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	if s.db == nil {
		return false, 0, ErrClosed
	}
	snap := s.db.NewSnapshot()
	w := &indexWork{k: k, r: snap, b: s.db.NewBatch(), size: size}
	more, err = w.step()
	if err == nil && !w.b.Empty() {
		err = s.commit(w.b)
	}
	if err != nil {
		err = fmt.Errorf("index room %q: %w", k.Room, err)
	}
	if err == nil && !more {
		full = w.full
	}
	return more, full, errors.Join(err, w.b.Close(), snap.Close())
}

// indexWork is a step over one moment's state of a room.
type indexWork struct {
	k RoomKey
	r pebble.Reader
	b *pebble.Batch

	size  uint64
	head  Head
	place indexPlace
	full  uint64 // seq that the room needs for its next block, at least; 0 = not known
}

func (w *indexWork) step() (more bool, err error) {
	room, err := readRoom(w.r, w.k)
	if err != nil {
		return false, err
	}
	record, err := get(w.r, indexPrefix(indexPlaces, w.k))
	if err != nil {
		return false, err
	}
	place, ok, err := decodeIndexPlace(record)
	if err != nil {
		return false, err
	}
	switch {
	case room == nil, record != nil && (!ok || place.MadePos != room.MadePos):
		return room != nil, w.clear()
	case record == nil:
		place = indexPlace{MadePos: room.MadePos, Next: room.Head.First, First: room.Head.First}
	}
	w.head, w.place = room.Head, place
	for _, do := range []func() (bool, error){w.forget, w.change, w.extend} {
		if did, err := do(); did || err != nil {
			return did, err
		}
	}
	return false, nil
}

// clear removes the room's index.
func (w *indexWork) clear() (err error) {
	for _, kind := range indexKinds {
		from := indexPrefix(kind, w.k)
		err = errors.Join(err, w.b.DeleteRange(from, end(from), nil))
	}
	return err
}

func (w *indexWork) setPlace() error {
	w.place.Next = max(w.place.Next, w.place.First)
	return w.b.Set(indexPrefix(indexPlaces, w.k), w.place.encode(), nil)
}

// forget takes out of the index what retention removed: a block at a time.
func (w *indexWork) forget() (did bool, err error) {
	if w.place.First >= w.head.First {
		return false, nil
	}
	first, record, err := w.oldest()
	switch {
	case err != nil:
		return true, err
	case record == nil || first >= w.head.First:
		w.place.First = w.head.First
		return true, w.setPlace()
	}
	old, err := decodeBlock(record)
	if err != nil {
		return true, err
	}
	if err = w.rebuild(first, old); err != nil {
		return true, err
	}
	if first+old.entries > w.head.First { // what follows is kept
		w.place.First = w.head.First
		return true, w.setPlace()
	}
	return true, nil
}

// oldest returns the oldest block, nil when there is none.
func (w *indexWork) oldest() (first uint64, record []byte, err error) {
	prefix := indexPrefix(indexBlocks, w.k)
	it, err := w.r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: end(prefix)})
	if err != nil {
		return 0, nil, err
	}
	if it.Last() {
		first, record = ^lastNumber(it.Key()), append([]byte{}, it.Value()...)
	}
	return first, record, errors.Join(it.Error(), it.Close())
}

// holding returns the block that holds an entry, nil when none does.
func holding(r pebble.Reader, k RoomKey, seq uint64) (first uint64, record []byte, err error) {
	err = scan(r, indexPrefix(indexBlocks, k), blockKey(k, seq), func(key, v []byte) (bool, error) {
		first, record = ^lastNumber(key), append([]byte{}, v...)
		return false, nil
	})
	return first, record, err
}

// change brings a block up whose messages say something else now.
func (w *indexWork) change() (did bool, err error) {
	var seen [][]byte
	var first uint64
	var old *block
	prefix := indexPrefix(indexChanges, w.k)
	err = scan(w.r, prefix, nil, func(key, _ []byte) (bool, error) {
		if len(key) != len(prefix)+2*seqBytes {
			return false, fmt.Errorf("%w: change of an index", ErrEntry)
		}
		seq := lastNumber(key[:len(key)-seqBytes])
		if len(seen) == 0 && seq < w.place.Next {
			at, record, err := holding(w.r, w.k, seq)
			if err != nil {
				return false, err
			}
			if record != nil {
				if old, err = decodeBlock(record); err != nil {
					return false, err
				}
				first = at
			}
		}
		if len(seen) > 0 && (old == nil || seq >= first+old.entries) || len(seen) == pageSize {
			return false, nil
		}
		seen = append(seen, bytes.Clone(key))
		return true, nil
	})
	if err != nil || len(seen) == 0 {
		return false, err
	}
	if old != nil {
		if err := w.rebuild(first, old); err != nil {
			return true, err
		}
	}
	for _, key := range seen {
		if err := w.b.Delete(key, nil); err != nil {
			return true, err
		}
	}
	return true, nil
}

// rebuild makes the record of a block anew and changes the keys of its terms accordingly.
func (w *indexWork) rebuild(first uint64, old *block) error {
	fresh := &block{entries: old.entries, terms: map[string]*entrySet{}}
	kept := false
	if err := w.read(first, first+old.entries-1, func(e *Entry, folded string) bool {
		kept = true
		fresh.add(e.Seq-first, e, folded)
		return true
	}); err != nil {
		return err
	}
	var err error
	for term := range old.terms {
		if fresh.terms[term] == nil {
			err = errors.Join(err, w.b.Delete(termKey(w.k, term, first), nil))
		}
	}
	for term := range fresh.terms {
		if old.terms[term] == nil {
			err = errors.Join(err, w.b.Set(termKey(w.k, term, first), nil, nil))
		}
	}
	if !kept {
		return errors.Join(err, w.b.Delete(blockKey(w.k, first), nil))
	}
	return errors.Join(err, w.b.Set(blockKey(w.k, first), fresh.encode(), nil))
}

// extend makes the next block, when there are entries enough for one.
func (w *indexWork) extend() (did bool, err error) {
	w.place.Next = max(w.place.Next, w.head.First)
	if n := w.head.Kept() - w.head.Index(w.place.Next); n < w.size {
		w.full = w.head.Seq + w.size - n
		return false, nil
	}
	first := w.head.At(w.head.Index(w.place.Next)) // past a hole
	fresh := &block{terms: map[string]*entrySet{}}
	if err := w.read(first, first+w.size-1, func(e *Entry, folded string) bool {
		if e.Seq != first+fresh.entries { // a hole
			return false
		}
		fresh.entries++
		fresh.add(e.Seq-first, e, folded)
		return len(fresh.terms) < blockTerms
	}); err != nil {
		return true, err
	}
	if fresh.entries == 0 {
		return true, fmt.Errorf("%w: room %q has no entry %d", ErrEntry, w.k.Room, first)
	}
	for term := range fresh.terms {
		err = errors.Join(err, w.b.Set(termKey(w.k, term, first), nil, nil))
	}
	w.place.Next = first + fresh.entries
	return true, errors.Join(err, w.b.Set(blockKey(w.k, first), fresh.encode(), nil), w.setPlace())
}

// read calls f for the entries from..to that there are, in order, with what is searched of them, until it says stop.
func (w *indexWork) read(from, to uint64, f func(e *Entry, folded string) (more bool)) error {
	return readWords(w.r, w.k, from, to, f)
}

func readWords(r pebble.Reader, k RoomKey, from, to uint64, f func(e *Entry, folded string) (more bool)) error {
	edits, err := readEdits(r, k, from, to)
	if err != nil {
		return err
	}
	return scanRange(r, entryKey(k, from), entryKey(k, to+1), func(key, v []byte) (bool, error) {
		e, err := decodeEntry(lastNumber(key), v)
		if err != nil {
			return false, err
		}
		return f(e, wordsOf(e, edits[e.Seq])), nil
	})
}

// readEdits returns the newest edits of the messages from..to.
func readEdits(r pebble.Reader, k RoomKey, from, to uint64) (map[uint64]*Entry, error) {
	var out map[uint64]*Entry
	err := scanRange(r, foldKey(k, from), foldKey(k, to+1), func(key, v []byte) (bool, error) {
		seq := lastNumber(key)
		edit, err := editIn(r, k, seq, v)
		if edit != nil {
			if out == nil {
				out = map[uint64]*Entry{}
			}
			out[seq] = edit
		}
		return true, err
	})
	return out, err
}

// editIn returns the newest edit that a stored fold names, nil when there is none.
func editIn(r pebble.Reader, k RoomKey, seq uint64, fold []byte) (*Entry, error) {
	var f Fold
	if err := decodeRecord(fold, &f); err != nil {
		return nil, fmt.Errorf("%w: fold of message %d of room %q: %w", ErrEntry, seq, k.Room, err)
	}
	if len(f.Edits) == 0 {
		return nil, nil
	}
	newest := f.Edits[len(f.Edits)-1]
	b, err := get(r, entryKey(k, newest))
	if b == nil || err != nil {
		return nil, err
	}
	return decodeEntry(newest, b)
}
