package storage

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// Apply's batches are a chain: each one names the one before it, by the index of its last entry. A list of tables (Pebble's
// MANIFEST) whose end is cut off or not readable is taken for one that a crash left: the tables it does not name any more are
// forgotten, the WAL goes on behind them, and nothing of Pebble's notices. The chain has a hole then, and the store does not
// open.
//
//	m              index of the last batch before the chain
//	m index        index of the batch before
//
// What is forgotten that way is what was flushed last, so only the newest part of the chain is kept: that of the last flushes.
const chainFlushes = 4 // Pebble has at most three tables in memory (MemTableStopWritesThreshold): the last flush began behind the fourth last

// chain is what Apply knows of it, for as long as Pebble is open. flushed may be called by any goroutine, the rest is Apply's.
type chain struct {
	begun bool // there is a record of its beginning
	begin uint64

	mu    sync.Mutex
	open  bool
	ended []uint64 // what was applied when the last flushes ended, oldest first
}

func chainKey(index uint64) []byte { return withNumber([]byte{prefixChain}, index) }

// opened says that what is applied is known from here on.
func (c *chain) opened() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = true
}

// flushed notes that a flush has ended, with what was applied by then.
func (c *chain) flushed(applied uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return // nothing is known yet of what is applied
	}
	if c.ended = append(c.ended, applied); len(c.ended) > chainFlushes {
		c.ended = c.ended[1:]
	}
}

// due returns up to where the chain is not needed any more.
func (c *chain) due() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ended) < chainFlushes {
		return 0
	}
	return c.ended[0]
}

// link adds the batch to the chain, after one that ended with before. One that applies no entry of the log (a new era) is
// made again after a crash.
func (t *tx) link(before uint64) {
	if before == t.meta.Applied {
		return
	}
	c := t.s.chain
	if !c.begun {
		c.begun, c.begin = true, before
		t.write([]byte{prefixChain}, binary.BigEndian.AppendUint64(nil, before))
	}
	t.write(chainKey(t.meta.Applied), binary.BigEndian.AppendUint64(nil, before))
	if cut := c.due(); cut > c.begin {
		t.delRange(chainKey(0), chainKey(cut+1))
		c.begin = cut
		t.write([]byte{prefixChain}, binary.BigEndian.AppendUint64(nil, cut))
	}
}

// readChain returns the beginning of the chain that ends with applied; begun is false for a store that has none yet. A hole is
// ErrDamaged.
func readChain(r pebble.Reader, applied uint64) (begin uint64, begun bool, err error) {
	at := uint64(0) // index of the batch before the next
	err = scan(r, []byte{prefixChain}, nil, func(k, v []byte) (bool, error) {
		switch {
		case len(v) != seqBytes, len(k) != 1 && len(k) != 1+seqBytes:
			return false, fmt.Errorf("%w: chain of the batches", ErrEntry)
		case len(k) == 1:
			begin, begun = binary.BigEndian.Uint64(v), true
			at = begin
			return true, nil
		}
		index, before := lastNumber(k), binary.BigEndian.Uint64(v)
		if !begun || before != at || index <= before {
			return false, fmt.Errorf("%w (entries %d to %d were applied and are not there)", ErrDamaged, at+1, before)
		}
		at = index
		return true, nil
	})
	if err == nil && begun && at != applied {
		err = fmt.Errorf("%w (entries %d to %d were applied and are not there)", ErrDamaged, at+1, applied)
	}
	return begin, begun, err
}
