package storage

import (
	"bytes"
	"fmt"
)

// index checks a record of the index against the entries and against its counterpart. What the index has not come to yet is
// no fault: a room made again, entries that were removed, messages that were changed.
func (c *verifier) index(k, b []byte) error {
	if len(k) < 2 {
		return fmt.Errorf("%w: key", ErrEntry)
	}
	names, err := names(k[1:], 2)
	if err != nil {
		return err
	}
	room, rest := RoomKey{NS: names[0], Room: names[1]}, []byte(names[2])
	switch k[1] {
	case indexPlaces:
		p, _, err := decodeIndexPlace(b)
		if err == nil && (len(rest) > 0 || p.First > p.Next) {
			err = fmt.Errorf("%w: place of an index", ErrEntry)
		}
		return err
	case importPlaces:
		return decodeRecord(b, new(Imported))
	case indexChanges:
		if len(rest) != 2*seqBytes || len(b) > 0 {
			return fmt.Errorf("%w: change of an index", ErrEntry)
		}
		return nil
	case indexBlocks:
		if len(rest) != seqBytes {
			return fmt.Errorf("%w: block of an index", ErrEntry)
		}
		return c.block(room, ^lastNumber(rest), b)
	case indexTerms:
		return c.term(rest, b)
	}
	return fmt.Errorf("%w: no kind of index has %q", ErrEntry, k[1:2])
}

// block holds the terms of a block against what its entries say, and against the keys of its terms.
func (c *verifier) block(room RoomKey, first uint64, b []byte) error {
	old, err := decodeBlock(b)
	if err != nil {
		return err
	}
	if err := c.lookUp(room, first, old); err != nil {
		return err
	}
	record, err := get(c.db, indexPrefix(indexPlaces, room))
	if err != nil {
		return err
	}
	place, ok, err := decodeIndexPlace(record)
	if err == nil && (record == nil || first+old.entries > place.Next) {
		err = fmt.Errorf("%w: block of an index beyond its place", ErrEntry)
	}
	if !ok || err != nil {
		return err
	}
	now, err := readRoom(c.db, room)
	if err != nil || now == nil || now.MadePos != place.MadePos || first < now.Head.First {
		return err
	}
	changed := false
	from := withNumber(indexPrefix(indexChanges, room), first)
	if err := scanRange(c.db, from, withNumber(indexPrefix(indexChanges, room), first+old.entries), func(_, _ []byte) (bool, error) {
		changed = true
		return false, nil
	}); err != nil || changed {
		return err
	}
	fresh := &block{entries: old.entries, terms: map[string]*entrySet{}}
	if err := readWords(c.db, room, first, first+old.entries-1, func(e *Entry, folded string) bool {
		fresh.add(e.Seq-first, e, folded)
		return true
	}); err != nil {
		return err
	}
	if !bytes.Equal(fresh.encode(), b) {
		return fmt.Errorf("%w: the index does not say what entries %d to %d say", ErrEntry, first, first+old.entries-1)
	}
	return nil
}

// termsLookedUp is how many terms of a block have their key looked up. All of them are counted, which tells as much in the
// end.
const termsLookedUp = 16

// lookUp looks for the keys of some terms of a block.
func (c *verifier) lookUp(room RoomKey, first uint64, b *block) error {
	c.terms += len(b.terms)
	looked := 0
	for term := range b.terms {
		if looked++; looked > termsLookedUp {
			break
		}
		if err := c.has(termKey(room, term, first)); err != nil {
			return err
		}
	}
	return nil
}

// term counts the key of a term.
func (c *verifier) term(rest, b []byte) error {
	c.terms--
	if len(rest) < seqBytes+2 || rest[len(rest)-seqBytes-1] != separator || len(b) > 0 {
		return fmt.Errorf("%w: term of an index", ErrEntry)
	}
	return nil
}

// endIndex looks whether the keys of terms were those of the blocks.
func (c *verifier) endIndex() {
	if c.terms != 0 {
		c.fault(fmt.Errorf("%w: the blocks of the index have %d terms more than there are keys of terms", ErrEntry, c.terms))
	}
}
