package calls

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/storage"
)

// Bounds of one look of a Follower.
const (
	followEntries = 256
	followBytes   = 256 << 10
)

// Follower reads a room from a place on, as it grows: what a stream of events and a long poll are made of. It is used by
// one goroutine at a time; Close it when done.
type Follower struct {
	c       *Calls
	id      auth.Identity
	room    string
	next    uint64
	changed chan struct{} // has one when the room may have more
	leave   func()
}

// Followed is what a look found: entries in order, as delivered, or a gap before them. At is the newest entry that was
// passed, also where what has expired was left out.
type Followed struct {
	Entries []*storage.Entry
	Gap     *Gap
	At      uint64
	Head    uint64
	First   uint64
}

// Gap are entries that are not kept any more.
type Gap struct {
	From  uint64 `json:"from"`
	To    uint64 `json:"to"`
	First uint64 `json:"first"` // oldest entry kept
}

// Polled is what a long poll answers.
type Polled struct {
	Messages []json.RawMessage `json:"messages"`
	Head     uint64            `json:"head"`
	First    uint64            `json:"first"`         // oldest entry kept
	Next     uint64            `json:"next"`          // the after of the next poll
	Gap      *Gap              `json:"gap,omitempty"` // entries that are not kept any more
}

// Polled is what was found, for a long poll.
func (f *Followed) Polled() Polled {
	p := Polled{Head: f.Head, First: f.First, Next: f.At, Gap: f.Gap}
	for _, e := range f.Entries {
		p.Messages = append(p.Messages, e.JSON)
	}
	return p
}

// AppendJSON appends the answer with its messages byte for byte.
func (p Polled) AppendJSON(dst []byte) []byte {
	dst = appendRaw(append(dst, `{"messages":`...), p.Messages)
	dst = strconv.AppendUint(append(dst, `,"head":`...), p.Head, 10)
	dst = strconv.AppendUint(append(dst, `,"first":`...), p.First, 10)
	dst = strconv.AppendUint(append(dst, `,"next":`...), p.Next, 10)
	if g := p.Gap; g != nil {
		dst = fmt.Appendf(dst, `,"gap":{"from":%d,"to":%d,"first":%d}`, g.From, g.To, g.First)
	}
	return append(dst, '}')
}

// Follow begins to follow a room the caller may read, after an entry; nil: after its newest.
func (c *Calls) Follow(id auth.Identity, room string, after *uint64) (*Follower, error) {
	k := storage.RoomKey{NS: id.Namespace, Room: room}
	if k.IsRoom() {
		if _, err := roomKey(id, room); err != nil {
			return nil, err
		}
	}
	f := &Follower{c: c, id: id, room: room}
	f.changed, f.leave = c.follows.enter(k)
	r, err := c.readLog(id, room)
	if err != nil {
		f.leave()
		return nil, err
	}
	f.next = r.Head.Seq + 1
	if after != nil {
		f.next = afterSeq(*after)
	}
	return f, nil
}

// Close ends it.
func (f *Follower) Close() { f.leave() }

// Next returns what follows; it waits for something, or returns nothing when ctx ends. Its error is a *problem.Problem:
// the caller may not read the room any more.
func (f *Follower) Next(ctx context.Context) (Followed, error) {
	for {
		got, err := f.look()
		if err != nil || got.Gap != nil || len(got.Entries) > 0 {
			return got, err
		}
		select {
		case <-f.changed:
		case <-ctx.Done():
			return got, nil
		}
	}
}

func (f *Follower) look() (Followed, error) {
	r, err := f.c.readLog(f.id, f.room)
	if err != nil {
		return Followed{}, err
	}
	h := r.Head
	out := Followed{Head: h.Seq, First: h.First, At: f.next - 1}
	switch {
	case f.next > h.Seq+1: // of a room that was set back: what it will hold goes on from the head
		out.Gap = &Gap{From: h.Seq + 1, To: f.next - 1, First: h.First}
		f.next = h.Seq + 1
	case f.next < h.First:
		out.Gap = &Gap{From: f.next, To: h.First - 1, First: h.First}
		f.next = h.First
	}
	now := f.c.cfg.Store.Now()
	for f.next <= h.Seq && len(out.Entries) == 0 {
		es, err := f.c.cfg.Store.Entries(r.Key, f.next, h.Seq, followEntries, followBytes)
		if err != nil {
			return Followed{}, f.c.broken(err)
		}
		if len(es) == 0 || es[0].Seq > f.next { // trimmed meanwhile, or a hole
			to := h.Seq
			if len(es) > 0 {
				to = es[0].Seq - 1
			}
			out.Gap = &Gap{From: f.next, To: to, First: h.First}
			f.next = to + 1
			break
		}
		for _, e := range es {
			gone, err := f.c.cfg.Store.Collapsed(r.Key, e)
			if err != nil {
				return Followed{}, f.c.broken(err)
			}
			if !gone && (e.Expiry == 0 || e.Expiry > now) {
				out.Entries = append(out.Entries, e)
			}
		}
		f.next = es[len(es)-1].Seq + 1
	}
	out.At = f.next - 1
	return out, nil
}

// follows wakes those who follow a room when it changes. One watcher serves them all; it exists only while somebody
// follows.
type follows struct {
	watch func() *storage.Watcher

	mu    sync.Mutex
	rooms map[storage.RoomKey]map[chan struct{}]struct{}
	stop  chan struct{} // of the watcher's goroutine, nil when it does not run
	done  chan struct{}
}

// enter adds a follower of a room.
func (s *follows) enter(k storage.RoomKey) (changed chan struct{}, leave func()) {
	changed = make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rooms == nil {
		s.rooms = map[storage.RoomKey]map[chan struct{}]struct{}{}
	}
	if s.rooms[k] == nil {
		s.rooms[k] = map[chan struct{}]struct{}{}
	}
	s.rooms[k][changed] = struct{}{}
	if s.stop == nil {
		s.stop, s.done = make(chan struct{}), make(chan struct{})
		go s.run(s.watch(), s.stop, s.done)
	}
	return changed, sync.OnceFunc(func() { s.forget(k, changed) })
}

func (s *follows) forget(k storage.RoomKey, changed chan struct{}) {
	s.mu.Lock()
	delete(s.rooms[k], changed)
	if len(s.rooms[k]) == 0 {
		delete(s.rooms, k)
	}
	var done chan struct{}
	if len(s.rooms) == 0 && s.stop != nil {
		close(s.stop)
		done = s.done
		s.stop = nil
	}
	s.mu.Unlock()
	if done != nil {
		<-done
	}
}

func (s *follows) run(w *storage.Watcher, stop, done chan struct{}) {
	defer close(done)
	defer w.Close()
	for {
		select {
		case <-stop:
			return
		case <-w.Wake():
		}
		ch := w.Take()
		s.mu.Lock()
		for k := range ch.Rooms {
			wake(s.rooms[k])
		}
		if ch.Reset {
			for _, all := range s.rooms {
				wake(all)
			}
		}
		s.mu.Unlock()
	}
}

func wake(all map[chan struct{}]struct{}) {
	for c := range all {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
