package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/bits"
	"slices"

	"github.com/madang-chat/madang/storage/text"
)

// What is searched has an index. Each node makes its own from the entries it has, behind Apply: it says nothing that the
// entries do not say, is part of no answer of Apply, and may be thrown away.
//
// A room's entries are indexed in blocks of up to 256 that follow each other. A block is one record with all its terms and
// the messages that have each; beside it stands a key for each term, so that the blocks of a term are a range, the newest
// first. What is not in a block yet, at the end of the room, is looked through.
//
//	gP ns 00 room 00               place: version, version of the terms, MadePos of the room, next entry, first entry kept then
//	gB ns 00 room 00 ^first        block: version, number of entries, terms
//	gT ns 00 room 00 term 00 ^first  empty
//	gI ns 00 room 00               how far an import into the room got: no index, but of every node (import.go)
//	gX ns 00 room 00 seq pos       empty: Apply changed what that message says, when the newest place was pos
//
// ^first is the complement of the block's first seq.
const (
	indexPlaces  = 'P'
	indexBlocks  = 'B'
	indexTerms   = 'T'
	indexChanges = 'X'
	importPlaces = 'I' // no index: how far imports got (import.go), and replicated
)

const (
	blockEntries = 256     // of a room in a block
	blockTerms   = 20_000  // different ones, after which a block ends early
	senderTerm   = "\x01"  // with the name of a user: who wrote it
	blockVersion = 1       // of the record
	placeVersion = 1       // of the record
	maxTermBytes = 1 << 10 // of a term that a record may have; they are much shorter
)

func indexPrefix(kind byte, k RoomKey) []byte {
	b := append(make([]byte, 0, keyCapacity), prefixIndex, kind)
	b = append(append(b, k.NS...), separator)
	return append(append(b, k.Room...), separator)
}

func blockKey(k RoomKey, first uint64) []byte {
	return withNumber(indexPrefix(indexBlocks, k), ^first)
}

// termPrefix is that of the blocks of a term.
func termPrefix(k RoomKey, term string) []byte {
	return append(append(indexPrefix(indexTerms, k), term...), separator)
}

func termKey(k RoomKey, term string, first uint64) []byte {
	return withNumber(termPrefix(k, term), ^first)
}

// lastNumber reads the number at the end of a key.
func lastNumber(k []byte) uint64 { return binary.BigEndian.Uint64(k[len(k)-seqBytes:]) }

// indexPlace says how far a room is indexed.
type indexPlace struct {
	MadePos uint64 // of the room meant: one of that name before, or after, is another
	Next    uint64 // first entry that is in no block
	First   uint64 // oldest entry kept when what was removed left the index last
}

func (p indexPlace) encode() []byte {
	b := []byte{placeVersion, text.Version}
	for _, v := range [...]uint64{p.MadePos, p.Next, p.First} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

// decodeIndexPlace reads a place. ok is false for one of other terms: then the index is made anew.
func decodeIndexPlace(b []byte) (p indexPlace, ok bool, err error) {
	if b == nil {
		return p, false, nil
	}
	r := readRecord(b, placeVersion)
	version := r.fixed(1)
	p = indexPlace{MadePos: r.uvarint(), Next: r.uvarint(), First: r.uvarint()}
	if !r.end() {
		return indexPlace{}, false, fmt.Errorf("%w: place of an index", ErrEntry)
	}
	return p, version[0] == text.Version, nil
}

// entrySet is a set of a block's entries, by their distance from its first.
type entrySet [blockEntries / 64]uint64

func (s *entrySet) add(i uint64)      { s[i/64] |= 1 << (i % 64) }
func (s *entrySet) has(i uint64) bool { return i < blockEntries && s[i/64]>>(i%64)&1 == 1 }

func (s *entrySet) and(o *entrySet) {
	for i := range s {
		s[i] &= o[i]
	}
}

func (s *entrySet) or(o *entrySet) {
	for i := range s {
		s[i] |= o[i]
	}
}

func (s *entrySet) empty() bool { return *s == entrySet{} }

func (s *entrySet) count() (n int) {
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// block is the index of some entries that follow each other.
type block struct {
	entries uint64
	terms   map[string]*entrySet
}

// add puts an entry with what is searched of it into the block, if it is a message.
func (b *block) add(i uint64, e *Entry, folded string) {
	if !e.Message() || e.Erased > 0 {
		return
	}
	put := func(term string) {
		set := b.terms[term]
		if set == nil {
			set = new(entrySet)
			b.terms[term] = set
		}
		set.add(i)
	}
	put(senderTerm + e.User)
	text.Terms(folded, put)
}

// encode returns the record: version, uvarint entries, then each term in byte order: how many bytes it shares with the one
// before (uvarint), the rest with its length, and its messages: how many (uvarint), then the distance of each from the one
// before.
func (b *block) encode() []byte {
	out := binary.AppendUvarint([]byte{blockVersion}, b.entries)
	before := ""
	for _, term := range slices.Sorted(maps.Keys(b.terms)) {
		shared := 0
		for shared < min(len(before), len(term)) && before[shared] == term[shared] {
			shared++
		}
		out = appendSized(binary.AppendUvarint(out, uint64(shared)), term[shared:])
		set := b.terms[term]
		out = binary.AppendUvarint(out, uint64(set.count()))
		last := uint64(0)
		for i := range uint64(blockEntries) {
			if set.has(i) {
				out = binary.AppendUvarint(out, i-last)
				last = i
			}
		}
		before = term
	}
	return out
}

// eachTerm calls f for the terms of a record in byte order, until it says stop. f keeps neither term nor set.
func eachTerm(record []byte, f func(term []byte, set *entrySet) (more bool)) (entries uint64, err error) {
	r := readRecord(record, blockVersion)
	entries = r.uvarint()
	bad := fmt.Errorf("%w: block of an index", ErrEntry)
	if r.bad || entries == 0 || entries > blockEntries {
		return 0, bad
	}
	var term, before []byte
	for len(r.b) > 0 {
		shared, rest, n := r.uvarint(), r.sized(), r.uvarint()
		if r.bad || shared > uint64(len(term)) || len(rest) > maxTermBytes || n == 0 || n > entries {
			return 0, bad
		}
		before = append(before[:0], term...)
		term = append(term[:shared], rest...)
		if bytes.Compare(before, term) >= 0 {
			return 0, bad
		}
		var set entrySet
		last := uint64(0)
		for i := range n {
			d := r.uvarint()
			if r.bad || d >= entries-last || i > 0 && d == 0 {
				return 0, bad
			}
			last += d
			set.add(last)
		}
		if !f(term, &set) {
			return entries, nil
		}
	}
	if r.bad {
		return 0, bad
	}
	return entries, nil
}

// decodeBlock reads a record.
func decodeBlock(record []byte) (*block, error) {
	b := &block{terms: map[string]*entrySet{}}
	var err error
	b.entries, err = eachTerm(record, func(term []byte, set *entrySet) bool {
		copied := *set
		b.terms[string(term)] = &copied
		return true
	})
	return b, err
}

// says notes that a message says something else now, for whoever indexes. There is nothing to do for one that is in no
// block yet, but what is indexed is each node's own.
func (t *tx) says(k RoomKey, seq uint64) {
	t.write(withNumber(withNumber(indexPrefix(indexChanges, k), seq), t.meta.Pos), nil)
	t.changed.indexed(k)
}
