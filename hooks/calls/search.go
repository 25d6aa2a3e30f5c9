package calls

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"hash/fnv"
	"io"
	"strconv"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
	"github.com/madang-chat/madang/storage/text"
)

// Page sizes of Search.
const (
	defaultFound = 20
	maxFound     = 100
	searchWork   = 10_000 // entries read for one page, or what costs as much
)

// SearchInput are the params of Search. Query or From is given.
type SearchInput struct {
	Query   string `json:"q,omitempty"`        // see text.Query
	Room    string `json:"room,omitempty"`     // one room; the caller's own when not given
	From    string `json:"from,omitempty"`     // messages of that user
	FromTS  int64  `json:"from_ts,omitempty"`  // ms since the epoch: not older
	UntilTS int64  `json:"until_ts,omitempty"` // ms since the epoch: older
	Limit   int    `json:"limit,omitempty"`    // 0 = 20, at most 100
	Cursor  string `json:"cursor,omitempty"`   // the "next" of the page before

	budget int // bytes of JSON; 0 = the default
	work   int // entries read; 0 = the default
}

// Found is a page of messages, newest first, each in its present form. A page may hold few messages, or none, and yet have
// more after it: it ends when so much has been looked through.
type Found struct {
	Messages []json.RawMessage `json:"messages"`
	More     bool              `json:"more"`
	Next     string            `json:"next,omitempty"` // the "cursor" of the next page, when there is more
}

// AppendJSON appends the page with its messages byte for byte.
func (f Found) AppendJSON(dst []byte) []byte {
	dst = appendRaw(append(dst, `{"messages":`...), f.Messages)
	dst = strconv.AppendBool(append(dst, `,"more":`...), f.More)
	if f.Next != "" {
		dst = problem.AppendString(append(dst, `,"next":`...), f.Next)
	}
	return append(dst, '}')
}

// place is where a search goes on. It says nothing of what may be read: that is looked at each time.
type place struct {
	For  uint32 `json:"f"`           // hash of what is searched for
	Seq  uint64 `json:"s,omitempty"` // in one room: below this seq
	Pos  uint64 `json:"p,omitempty"` // in all rooms: below this place; 0 = from the newest
	Room string `json:"r,omitempty"` // and room by room, from this one on
	Each bool   `json:"e,omitempty"` // room by room, from the first one on
}

func (p place) String() string {
	b, err := json.Marshal(p)
	if err != nil { // numbers and a name
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func (in *SearchInput) hash() uint32 {
	h := fnv.New32a()
	for _, s := range []string{in.Query, in.Room, in.From, strconv.FormatInt(in.FromTS, 10), strconv.FormatInt(in.UntilTS, 10)} {
		_, _ = io.WriteString(h, s+"\x00")
	}
	return h.Sum32()
}

// where reads the cursor.
func (in *SearchInput) where() (p place, err error) {
	p.For = in.hash()
	if in.Cursor == "" {
		return p, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(in.Cursor)
	if err == nil {
		err = strictJSON(b, &p)
	}
	if err != nil || p.For != in.hash() || p.Room != "" && !topic.IsRoom(p.Room) {
		return p, problem.New(problem.BadPayload, "cursor: it is the \"next\" of a page of the same search, as it was given.")
	}
	return p, nil
}

func (in *SearchInput) check() (find storage.Find, err error) {
	switch {
	case in.Query == "" && in.From == "":
		return find, problem.New(problem.BadPayload, "Give q, what to look for, or from, whose messages.")
	case in.From != "" && !topic.IsSender(in.From):
		return find, problem.New(problem.BadPayload, "from: %.40q is no user.", in.From)
	case in.FromTS < 0 || in.UntilTS < 0:
		return find, problem.New(problem.BadPayload, "from_ts and until_ts are ms since the epoch.")
	}
	find.From = in.From
	if in.Query != "" {
		if find.Query, err = text.ParseQuery(in.Query); err != nil {
			return find, problem.New(problem.BadPayload, "q: %s.", err)
		}
	}
	return find, nil
}

// Search finds messages in a room the caller may read, or in those of which the caller is a member.
//
// Over all rooms the page is merged from theirs, as long as one call can look at each of them; where it cannot, it goes
// through them one after the other, and newest first holds within a page.
func (c *Calls) Search(_ context.Context, id auth.Identity, in SearchInput) (Found, error) {
	if c.cfg.NoSearch {
		return Found{}, problem.New(problem.Unsupported, "This node does not search: search.enabled is off here.")
	}
	limit, err := pageLimit(in.Limit, defaultFound, maxFound)
	if err != nil {
		return Found{}, err
	}
	find, err := in.check()
	if err != nil {
		return Found{}, err
	}
	at, err := in.where()
	if err != nil {
		return Found{}, err
	}
	limit = min(limit, maxFound)
	setDefault(&in.budget, pageBytes)
	work := in.work
	setDefault(&work, searchWork)
	find.Work = &work
	s := &searcher{c: c, in: &in, find: find, limit: limit, left: in.budget, page: Found{Messages: []json.RawMessage{}}}
	if in.Room != "" {
		room, _, err := c.readable(id, in.Room)
		if err != nil {
			return Found{}, err
		}
		err = s.inRoom(room, at)
		return s.page, c.searchFailed(err)
	}
	if id.Guest {
		return Found{}, problem.New(problem.GuestReadOnly, "Guests have no rooms; name the room to search in.")
	}
	rooms, err := s.mine(id)
	if err != nil {
		return Found{}, c.searchFailed(err)
	}
	if at.Each || at.Room != "" {
		err = s.oneByOne(rooms, at)
	} else {
		err = s.merged(rooms, at)
	}
	return s.page, c.searchFailed(err)
}

func (c *Calls) searchFailed(err error) error {
	if p := (*problem.Problem)(nil); err == nil || errors.As(err, &p) {
		return err
	}
	return c.broken(err)
}

// searcher fills a page.
type searcher struct {
	c     *Calls
	in    *SearchInput
	find  storage.Find
	limit int
	left  int // bytes
	page  Found
}

// mine returns the caller's rooms, in byte order of their names.
func (s *searcher) mine(id auth.Identity) (out []*storage.Room, err error) {
	for after := ""; ; {
		list, err := s.c.cfg.Store.UserRooms(id.Namespace, id.User, after, maxRooms)
		if err != nil {
			return nil, err
		}
		for _, ur := range list {
			k := storage.RoomKey{NS: id.Namespace, Room: ur.Room}
			r, err := s.c.cfg.Store.Room(k)
			if err != nil {
				return nil, err
			}
			m, err := s.c.cfg.Store.Member(k, id.User)
			if err != nil {
				return nil, err
			}
			if r == nil || m.Role == "" || s.c.banned(m) != nil { // the list follows a moment later
				continue
			}
			out = append(out, r)
		}
		if len(list) < maxRooms {
			return out, nil
		}
		after = list[len(list)-1].Room
	}
}

// within returns what to look for in a room: with times, between the seqs that they mean there.
func (s *searcher) within(room *storage.Room, limit int) (f storage.Find, empty bool, err error) {
	f = s.find
	f.Limit = limit
	if s.in.FromTS == 0 && s.in.UntilTS == 0 {
		return f, false, nil
	}
	w := s.c.windowOf(room, true, 0)
	if err := w.between(&HistoryFilter{FromTS: s.in.FromTS, UntilTS: s.in.UntilTS}); err != nil {
		return f, false, err
	}
	f.Low, f.High = w.low, w.high
	return f, w.low > w.high || w.high == 0, nil
}

// look is Store.Search without what a newer message with its collapse_key has taken the place of.
func (s *searcher) look(k storage.RoomKey, f storage.Find, before uint64) (found []*storage.Entry, next uint64, err error) {
	all, next, err := s.c.cfg.Store.Search(k, f, before)
	for _, e := range all {
		if gone, err := s.c.cfg.Store.Collapsed(k, e); err != nil || !gone { // when in doubt it is found
			found = append(found, e)
		}
	}
	return found, next, err
}

// put renders a message and reports whether it fits on the page.
func (s *searcher) put(room *storage.Room, e *storage.Entry) (bool, error) {
	w := s.c.windowOf(room, true, s.in.budget)
	if err := w.fold([]*storage.Entry{e}); err != nil {
		return false, err
	}
	b := w.jsonOf(e)
	if w.err != nil {
		return false, w.err
	}
	if size := len(b) + 1; size <= s.left || len(s.page.Messages) == 0 {
		s.left -= size
		s.page.Messages = append(s.page.Messages, b)
		return true, nil
	}
	return false, nil
}

func (s *searcher) goOn(at place) {
	at.For = s.in.hash()
	s.page.More, s.page.Next = true, at.String()
}

// full reports whether the page has as many as were asked for.
func (s *searcher) full() bool { return len(s.page.Messages) >= s.limit }

func (s *searcher) inRoom(room *storage.Room, at place) error {
	before := at.Seq
	if before == 0 {
		before = ^uint64(0)
	}
	f, empty, err := s.within(room, s.limit)
	if empty || err != nil {
		return err
	}
	found, next, err := s.look(room.Key, f, before)
	if err != nil {
		return err
	}
	for _, e := range found {
		fits, err := s.put(room, e)
		if err != nil {
			return err
		}
		if !fits {
			next = e.Seq + 1
			break
		}
	}
	if next != 0 {
		s.goOn(place{Seq: next})
	}
	return nil
}
