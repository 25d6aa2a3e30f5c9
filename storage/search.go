package storage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/madang-chat/madang/storage/text"
)

// What a search costs, in entries read. Work is counted and not timed, so that every node stops at the same place.
const (
	workBlock = 8 // a block's record
	workSeek  = 1
	workRoom  = 4 // to look at a room at all
)

// Most of what one pattern is looked up by.
const (
	maxSources    = 8   // patterns whose blocks are looked up; the others are looked for in the blocks found
	maxExpansions = 128 // terms that begin with a pattern; with more of them every block is looked at
)

// Find is what is searched for in a room.
type Find struct {
	Query *text.Query // nil = whatever it says
	From  string      // its writer; "" = anybody
	Low   uint64      // seq of the oldest entry wanted
	High  uint64      // of the newest, 0 = the head
	Limit int

	// Work is how many entries, or what costs as much, may still be read. A search reads something in any case, so that
	// one that is gone on with always comes to an end.
	Work *int
}

// Search returns the newest messages of the room before a seq that have what is searched for, in their present form, and
// neither are deleted nor have expired; newest first. next is where to go on, 0 = all of the room has been looked at.
func (s *Store) Search(k RoomKey, f Find, before uint64) (found []*Entry, next uint64, err error) {
	now := s.Now()
	err = s.snapshot(func(r pebble.Reader) error {
		w := &seeker{f: f, k: k, r: r, now: now}
		*f.Work -= workRoom
		if err := w.search(before); err != nil {
			return err
		}
		found, next = w.found, w.next
		return nil
	})
	return found, next, err
}

// seeker searches one moment's state of a room.
type seeker struct {
	f        Find
	k        RoomKey
	r        pebble.Reader
	now      int64
	patterns []text.Pattern

	low, high uint64
	changed   *pebble.Iterator // over messages that say something else than their blocks know; nil = there are none
	found     []*Entry
	next      uint64
}

func (w *seeker) search(before uint64) error {
	room, err := readRoom(w.r, w.k)
	if room == nil || err != nil {
		return err
	}
	h := &room.Head
	w.low, w.high = max(h.First, w.f.Low, 1), min(h.Seq, max(before, 1)-1)
	if w.f.High != 0 {
		w.high = min(w.high, w.f.High)
	}
	b, err := get(w.r, indexPrefix(indexPlaces, w.k))
	if err != nil {
		return err
	}
	place, ok, err := decodeIndexPlace(b)
	if err != nil {
		return err
	}
	if !ok || place.MadePos != room.MadePos {
		place.Next = 0 // there is no index of this room
	}
	if done, err := w.through(max(w.low, place.Next), w.high); done || err != nil {
		return err
	}
	w.high = min(w.high, max(place.Next, 1)-1)
	if w.high < w.low {
		return nil
	}
	if w.f.Query != nil {
		w.patterns = slices.Clone(w.f.Query.Patterns())
	}
	if w.f.From != "" {
		w.patterns = append(w.patterns, text.Pattern{Text: senderTerm + w.f.From, How: text.Is})
	}
	return w.blocks()
}

// through looks through the entries to..from that are in no block. done says that the search ends here.
func (w *seeker) through(from, to uint64) (done bool, err error) {
	if from > to {
		return false, nil
	}
	it, err := w.r.NewIter(&pebble.IterOptions{LowerBound: entryKey(w.k, from), UpperBound: entryKey(w.k, to+1)})
	if err != nil {
		return false, fmt.Errorf("read the store: %w", err)
	}
	defer func() { err = errors.Join(err, it.Error(), it.Close()) }()
	looked, known := false, to+1 // from which seq on the edits are known
	var edits map[uint64]*Entry
	for ok := it.Last(); ok; ok = it.Prev() {
		seq := lastNumber(it.Key())
		if looked && *w.f.Work <= 0 {
			w.next = seq + 1
			return true, nil
		}
		if seq < known {
			known = seq - min(seq, blockEntries)
			if edits, err = readEdits(w.r, w.k, known, seq); err != nil {
				return false, err
			}
		}
		*w.f.Work--
		looked = true
		v, err := it.ValueAndErr()
		if err != nil {
			return false, fmt.Errorf("read the store: %w", err)
		}
		e, err := decodeEntry(seq, v)
		if err != nil {
			return false, fmt.Errorf("room %q: %w", w.k.Room, err)
		}
		if w.take(e, edits[seq]) {
			return true, nil
		}
	}
	return false, nil
}

// look takes an entry of a block if it is one of those searched for. full says that the search ends with it.
func (w *seeker) look(seq uint64, stored []byte) (full bool, err error) {
	e, err := decodeEntry(seq, stored)
	if err != nil {
		return false, fmt.Errorf("room %q: %w", w.k.Room, err)
	}
	var edit *Entry
	fold, err := get(w.r, foldKey(w.k, seq))
	if err == nil && fold != nil {
		edit, err = editIn(w.r, w.k, seq, fold)
	}
	if err != nil {
		return false, err
	}
	return w.take(e, edit), nil
}

// take takes an entry if it is one of those searched for. full says that the search ends with it.
func (w *seeker) take(e, edit *Entry) (full bool) {
	if e.Expiry != 0 && e.Expiry <= w.now || w.f.From != "" && e.User != w.f.From {
		return false
	}
	if !e.Message() || e.Erased > 0 || w.f.Query != nil && !w.f.Query.Match(wordsOf(e, edit)) {
		return false
	}
	w.found = append(w.found, e)
	if len(w.found) < w.f.Limit {
		return false
	}
	w.next = e.Seq
	return true
}

// blocks looks at the blocks that may have what is searched for, the newest first.
func (w *seeker) blocks() (err error) {
	over := func(kind byte) (it *pebble.Iterator) {
		if err == nil {
			prefix := indexPrefix(kind, w.k)
			it, err = w.r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: end(prefix)})
		}
		return it
	}
	its := []*pebble.Iterator{over(indexTerms), over(indexBlocks), over(indexChanges)}
	defer func() {
		for _, it := range its {
			if it != nil {
				err = errors.Join(err, it.Error(), it.Close())
			}
		}
	}()
	if err != nil {
		return fmt.Errorf("read the store: %w", err)
	}
	records := its[1]
	if w.changed = its[2]; !w.changed.First() {
		w.changed = nil
	}
	sources := w.sources(its[0])
	for at, looked := w.high, false; at >= w.low; looked = true {
		if looked && *w.f.Work <= 0 {
			w.next = at + 1
			return nil
		}
		found, ok := together(sources, at)
		if changed, is := w.changedAtMost(at); is && (!ok || changed > found) {
			found, ok = changed, true
		}
		if !ok || !records.SeekGE(blockKey(w.k, found)) {
			return nil
		}
		*w.f.Work -= workBlock
		first := ^lastNumber(records.Key())
		record, err := records.ValueAndErr()
		if err != nil {
			return fmt.Errorf("read the store: %w", err)
		}
		if full, err := w.block(first, record); full || err != nil || first == 0 {
			return err
		}
		at = first - 1
	}
	return nil
}

// changedAtMost returns the newest message at or below seq that says something else than its block knows.
func (w *seeker) changedAtMost(seq uint64) (uint64, bool) {
	if w.changed == nil || !w.changed.SeekLT(withNumber(indexPrefix(indexChanges, w.k), seq+1)) {
		return 0, false
	}
	k := w.changed.Key()
	return lastNumber(k[:len(k)-seqBytes]), true
}

// block looks at the messages of a block that meet all patterns, or may do so now.
func (w *seeker) block(first uint64, record []byte) (full bool, err error) {
	sets := make([]entrySet, len(w.patterns))
	entries, err := eachTerm(record, func(term []byte, set *entrySet) bool {
		for i := range w.patterns {
			if w.patterns[i].Meets(term) {
				sets[i].or(set)
			}
		}
		return true
	})
	if err != nil {
		return false, err
	}
	hits := entrySet{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
	for i := range sets {
		hits.and(&sets[i])
	}
	for seq, ok := w.changedAtMost(first + entries - 1); ok && seq >= first; seq, ok = w.changedAtMost(seq - 1) {
		hits.add(seq - first)
	}
	for i := entries; i > 0 && !hits.empty(); i-- {
		seq := first + i - 1
		if !hits.has(i-1) || seq > w.high || seq < w.low {
			continue
		}
		*w.f.Work--
		stored, err := get(w.r, entryKey(w.k, seq))
		if err != nil {
			return false, err
		}
		if stored == nil {
			continue // removed, and the index does not know yet
		}
		if full, err := w.look(seq, stored); full || err != nil {
			return true, err
		}
	}
	return false, nil
}

// source finds the blocks of a pattern.
type source struct {
	w     *seeker
	it    *pebble.Iterator
	terms []string
	at    []uint64 // for each term where its newest block begins, at or below the place asked for last
}

// sources are those of the patterns that name few terms.
func (w *seeker) sources(it *pebble.Iterator) (out []*source) {
	for i := range w.patterns {
		p := &w.patterns[i]
		terms := []string{p.Text}
		switch p.How {
		case text.Is:
		case text.BeginsWith:
			var few bool
			if terms, few = w.expand(it, p.Text); !few {
				continue
			}
		default:
			continue
		}
		x := &source{w: w, it: it, terms: terms, at: make([]uint64, len(terms))}
		for i := range x.at {
			x.at[i] = ^uint64(0) // not looked for yet
		}
		if out = append(out, x); len(out) == maxSources {
			break
		}
	}
	return out
}

// expand returns the terms that begin with s; few is false when there are too many.
func (w *seeker) expand(it *pebble.Iterator, s string) (terms []string, few bool) {
	prefix := indexPrefix(indexTerms, w.k)
	from := append(slices.Clone(prefix), s...)
	upto := end(from)
	for ok := it.SeekGE(from); ok && bytes.Compare(it.Key(), upto) < 0; ok = it.SeekGE(from) {
		*w.f.Work -= workSeek
		k := it.Key()
		term := string(k[len(prefix) : len(k)-seqBytes-1])
		if terms = append(terms, term); len(terms) > maxExpansions {
			return nil, false
		}
		from = append(append(append(from[:0], prefix...), term...), separator+1)
	}
	return terms, true
}

// together returns where the newest block begins that does so at or below a seq and that all sources have.
func together(sources []*source, seq uint64) (uint64, bool) {
	for i := 0; i < len(sources); {
		first, ok := sources[i].atMost(seq)
		switch {
		case !ok:
			return 0, false
		case first < seq:
			seq, i = first, 0
		default:
			i++
		}
	}
	return seq, true
}

// atMost returns where the newest block of the pattern begins that does at or below a seq. It is asked for ever lower ones.
func (x *source) atMost(seq uint64) (first uint64, ok bool) {
	for i, term := range x.terms {
		if x.at[i] > seq {
			*x.w.f.Work -= workSeek
			prefix := termPrefix(x.w.k, term)
			if !x.it.SeekGE(withNumber(slices.Clone(prefix), ^seq)) || !bytes.HasPrefix(x.it.Key(), prefix) {
				x.terms[i] = "" // it has no more
				continue
			}
			x.at[i] = ^lastNumber(x.it.Key())
		}
		if !ok || x.at[i] > first {
			first, ok = x.at[i], true
		}
	}
	for i, term := range slices.Backward(x.terms) {
		if term == "" {
			x.terms, x.at = slices.Delete(x.terms, i, i+1), slices.Delete(x.at, i, i+1)
		}
	}
	return first, ok
}
