package storage

import (
	"sort"
	"sync"
)

// tailBudget bounds the bytes of recent entries held over all rooms. The oldest entry goes first, whichever its room.
// Apply adds and trims; readers never wait for it.
type tailBudget struct {
	mu    sync.Mutex
	limit int64
	bytes int64
	queue deque[tailItem]
}

type tailItem struct {
	c    *cell
	seq  uint64
	size int64
}

const entryOverhead = 288 // bytes of an Entry beside its JSON, counted in the budget: the struct, its names, its place here

func (b *tailBudget) reset(limit int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit, b.bytes, b.queue = limit, 0, deque[tailItem]{}
}

func (b *tailBudget) setLimit(limit int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = limit
}

// size returns what the tail holds now.
func (b *tailBudget) size() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes
}

// extend adds entries to the cell's tail; callers hold c.mu. Entries below head.First are gone from it too.
func (c *cell) extend(entries []*Entry, head Head, b *tailBudget) {
	for len(entries) > 0 && entries[0].Seq < head.First {
		entries = entries[1:]
	}
	if n := c.entries.len(); n > 0 && len(entries) > 0 && c.entries.at(n-1).Seq+1 != entries[0].Seq {
		c.entries = deque[*Entry]{} // the entries between were trimmed before they came here
	}
	c.dropBelow(head.First)
	if len(entries) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range entries {
		c.entries.push(e)
		size := int64(len(e.JSON)) + entryOverhead
		b.queue.push(tailItem{c, e.Seq, size})
		b.bytes += size
	}
}

// replace puts a stub in the place of the entry it is of; callers hold c.mu. The budget goes on counting what was there.
func (c *cell) replace(e *Entry) {
	if n := c.entries.len(); n > 0 && e.Seq >= c.entries.at(0).Seq && e.Seq <= c.entries.at(n-1).Seq {
		c.entries.set(int(e.Seq-c.entries.at(0).Seq), e)
	}
}

// dropBelow removes the entries below seq from the tail; callers hold c.mu.
func (c *cell) dropBelow(seq uint64) {
	for c.entries.len() > 0 && c.entries.at(0).Seq < seq {
		c.entries.pop()
	}
}

// trim drops the oldest entries beyond the budget. Called by Apply without any cell's lock.
func (b *tailBudget) trim() {
	for {
		b.mu.Lock()
		if b.bytes <= b.limit || b.queue.len() == 0 {
			b.mu.Unlock()
			return
		}
		it := b.queue.at(0)
		b.queue.pop()
		b.bytes -= it.size
		b.mu.Unlock()

		it.c.mu.Lock()
		it.c.dropBelow(it.seq + 1)
		it.c.mu.Unlock()
	}
}

// recent appends to dst the entries from..to that the tail holds, and whether it holds
// from. limit and maxBytes count what is appended; the first entry comes whatever its size.
func (c *cell) recent(dst []*Entry, from, to uint64, limit, maxBytes int) ([]*Entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.entries.len()
	if n == 0 || from < c.entries.at(0).Seq {
		return dst, false
	}
	size := 0
	had := len(dst)
	for i := from - c.entries.at(0).Seq; i < uint64(n); i++ {
		e := c.entries.at(int(i))
		if e.Seq > to || len(dst)-had >= limit || len(dst) > had && size+len(e.JSON) > maxBytes {
			break
		}
		size += len(e.JSON)
		dst = append(dst, e)
	}
	return dst, true
}

// before appends to dst, newest first, the entries from..to that fit, and whether the tail holds all of from..to.
func (c *cell) before(dst []*Entry, from, to uint64, maxBytes int) ([]*Entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.entries.len()
	if n == 0 || from < c.entries.at(0).Seq || to > c.entries.at(n-1).Seq {
		return dst, false
	}
	size := 0
	first := c.entries.at(0).Seq
	for seq := to; seq >= from; seq-- {
		e := c.entries.at(int(seq - first))
		if len(dst) > 0 && size+len(e.JSON) > maxBytes {
			break
		}
		size += len(e.JSON)
		dst = append(dst, e)
	}
	return dst, true
}

// seqAfter returns the first seq of the tail whose entry came after pos, when the tail can tell.
func (c *cell) seqAfter(pos uint64) (seq uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.entries.len()
	if n == 0 || c.entries.at(0).Pos > pos {
		return 0, false
	}
	i := sort.Search(n, func(i int) bool { return c.entries.at(i).Pos > pos })
	return c.entries.at(0).Seq + uint64(i), true
}
