package calls

import (
	"cmp"
	"container/heap"
	"encoding/json"
	"slices"

	"github.com/madang-chat/madang/storage"
)

// fetched is how many messages of a room are looked for at a time, while the rooms are merged.
const fetched = 4

// hopeful is a room whose newest message that is wanted, if there is one, has a place at or below bound.
type hopeful struct {
	room   *storage.Room
	bound  uint64
	before uint64           // what is to be looked through; 0 = nothing is left
	found  []*storage.Entry // newest first; the bound is the place of the first
}

// hopefuls is a heap, the highest bound first.
type hopefuls []*hopeful

func (h hopefuls) Len() int           { return len(h) }
func (h hopefuls) Less(i, j int) bool { return h[i].bound > h[j].bound }
func (h hopefuls) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *hopefuls) Push(x any)        { *h = append(*h, x.(*hopeful)) }

// Pop takes the last one.
func (h *hopefuls) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// below returns the seq below which a room's entries have a place below pos; 0 = it has none.
func (s *searcher) below(room *storage.Room, pos uint64) (uint64, error) {
	if pos == 0 || room.Head.Pos < pos {
		return room.Head.Seq + 1, nil
	}
	seq, err := s.c.cfg.Store.SeqAfter(room.Key, pos-1)
	if seq <= room.Head.First {
		return 0, err
	}
	return seq, err
}

// merged fills the page with the newest messages of all rooms that have a place below at.Pos.
func (s *searcher) merged(rooms []*storage.Room, at place) error {
	var h hopefuls
	for _, r := range rooms {
		bound := r.Head.Pos
		if at.Pos != 0 {
			bound = min(bound, at.Pos-1)
		}
		if r.Head.Kept() > 0 && bound > 0 {
			h = append(h, &hopeful{room: r, bound: bound})
		}
	}
	heap.Init(&h)
	reached := at.Pos // everything at or above it is on this page or on one before
	for h.Len() > 0 {
		x := h[0]
		switch {
		case len(x.found) > 0:
			if s.full() {
				s.goOn(place{Pos: reached})
				return nil
			}
			fits, err := s.put(x.room, x.found[0])
			if err != nil {
				return err
			}
			if !fits {
				s.goOn(place{Pos: reached})
				return nil
			}
			reached, x.bound, x.found = x.bound, x.bound-1, x.found[1:]
		case *s.find.Work <= 0 && len(s.page.Messages) > 0:
			s.goOn(place{Pos: reached})
			return nil
		case *s.find.Work <= 0: // what one call can do is not enough to say which is the newest
			s.goOn(place{Pos: reached, Each: true})
			return nil
		default:
			if err := s.fetch(x, at.Pos); err != nil {
				return err
			}
		}
		switch {
		case len(x.found) > 0:
			x.bound = x.found[0].Pos
			heap.Fix(&h, 0)
		case x.before == 0:
			heap.Pop(&h)
		default:
			heap.Fix(&h, 0)
		}
	}
	return nil
}

// fetch looks for the next messages of a room.
func (s *searcher) fetch(x *hopeful, pos uint64) (err error) {
	if x.before == 0 { // for the first time
		if x.before, err = s.below(x.room, pos); err != nil || x.before == 0 {
			return err
		}
	}
	f, empty, err := s.within(x.room, fetched)
	if empty || err != nil {
		x.before = 0
		return err
	}
	x.found, x.before, err = s.look(x.room.Key, f, x.before)
	return err
}

// oneByOne fills the page from one room after the other, from at.Room on.
func (s *searcher) oneByOne(rooms []*storage.Room, at place) error {
	type item struct {
		pos  uint64
		form json.RawMessage
	}
	var items []item
	defer func() {
		slices.SortFunc(items, func(a, b item) int { return cmp.Compare(b.pos, a.pos) })
		s.page.Messages = s.page.Messages[:0]
		for _, it := range items {
			s.page.Messages = append(s.page.Messages, it.form)
		}
	}()
	for _, r := range rooms {
		if r.Key.Room < at.Room {
			continue
		}
		before := at.Seq
		if r.Key.Room != at.Room || before == 0 {
			var err error
			if before, err = s.below(r, at.Pos); err != nil {
				return err
			}
		}
		if s.full() || *s.find.Work <= 0 {
			s.goOn(place{Pos: at.Pos, Room: r.Key.Room, Each: true})
			return nil
		}
		f, empty, err := s.within(r, s.limit-len(s.page.Messages))
		if err != nil {
			return err
		}
		if empty || before == 0 {
			continue
		}
		found, next, err := s.look(r.Key, f, before)
		if err != nil {
			return err
		}
		for _, e := range found {
			fits, err := s.put(r, e)
			if err != nil {
				return err
			}
			if !fits {
				next = e.Seq + 1
				break
			}
			items = append(items, item{e.Pos, s.page.Messages[len(s.page.Messages)-1]})
		}
		if next != 0 {
			s.goOn(place{Pos: at.Pos, Room: r.Key.Room, Seq: next, Each: true})
			return nil
		}
	}
	return nil
}
