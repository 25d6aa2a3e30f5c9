package calls

import (
	"context"
	"strings"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/storage"
)

// Page sizes of RoomsList.
const (
	defaultRooms = 100
	maxRooms     = 1000
)

// RoomsListInput are the params of RoomsList.
type RoomsListInput struct {
	Limit  int    `json:"limit,omitempty"`  // 0 = 100, at most 1000
	After  string `json:"after,omitempty"`  // the "next" of the page before
	Public bool   `json:"public,omitempty"` // the public rooms, in place of one's own
	Query  string `json:"q,omitempty"`      // of the public rooms those whose id or name holds this, whatever its case

	budget int // bytes of JSON; 0 = the default
}

// ListedRoom is a room in a list. Read, Unread and Role are the caller's, absent for one who is no member.
type ListedRoom struct {
	Room    string       `json:"room"`
	Kind    string       `json:"kind"`
	Name    string       `json:"name"`
	Role    storage.Role `json:"role,omitempty"`
	Members uint64       `json:"members"`
	Head    uint64       `json:"head"`
	N       uint64       `json:"n"`
	Read    *uint64      `json:"read,omitempty"`   // seq
	Unread  *uint64      `json:"unread,omitempty"` // messages after it
	Last    *LastMessage `json:"last,omitempty"`   // absent when the room keeps none
}

// LastMessage is the newest message of a room, as a list shows it.
type LastMessage struct {
	Seq  uint64  `json:"seq"`
	TS   int64   `json:"ts"` // ms since the epoch
	Type string  `json:"type"`
	From *Sender `json:"from,omitempty"`
	Text string  `json:"text,omitempty"` // its first 80 characters
}

// RoomsPage is a page of rooms, in byte order of their ids.
type RoomsPage struct {
	Rooms  []ListedRoom `json:"rooms"`
	Unread *uint64      `json:"unread,omitempty"` // messages unread in all rooms of the caller; on the first page of one's own
	Next   string       `json:"next,omitempty"`   // the "after" of the next page, when there are more
	More   bool         `json:"more"`
}

// RoomsList returns the rooms the caller is a member of, or the public ones. A guest is a member of none.
func (c *Calls) RoomsList(_ context.Context, id auth.Identity, in RoomsListInput) (RoomsPage, error) {
	limit, err := pageLimit(in.Limit, defaultRooms, maxRooms)
	if err != nil {
		return RoomsPage{}, err
	}
	page := RoomsPage{Rooms: []ListedRoom{}}
	left := in.budget
	setDefault(&left, pageBytes)
	l := &roomLister{c: c, id: id, page: &page, limit: limit, left: left}
	switch {
	case in.Public:
		err = l.public(in)
	case !id.Guest:
		err = l.mine(in.After)
	}
	if err != nil {
		return RoomsPage{}, c.broken(err)
	}
	if !page.More {
		page.Next = ""
	}
	return page, nil
}

// RoomSearchInput are the params of RoomSearch.
type RoomSearchInput struct {
	Query string `json:"q,omitempty"`     // whose id or name holds this, whatever its case; all when not given
	Limit int    `json:"limit,omitempty"` // 0 = 100, at most 1000
	After string `json:"after,omitempty"` // the "next" of the page before

	budget int // bytes of JSON; 0 = the default
}

// RoomSearch returns public rooms.
func (c *Calls) RoomSearch(ctx context.Context, id auth.Identity, in RoomSearchInput) (RoomsPage, error) {
	return c.RoomsList(ctx, id, RoomsListInput{Public: true, Query: in.Query, Limit: in.Limit, After: in.After, budget: in.budget})
}

// roomLister fills a page.
type roomLister struct {
	c     *Calls
	id    auth.Identity
	page  *RoomsPage
	limit int
	left  int // bytes
}

// add puts a room on the page, and reports whether there is room for more.
func (l *roomLister) add(r *storage.Room, role storage.Role, m *storage.Mark) (bool, error) {
	if l.left -= listedBytes(r); l.left < 0 || len(l.page.Rooms) == l.limit {
		l.page.More = true
		return false, nil
	}
	out := ListedRoom{
		Room: r.Key.Room, Kind: r.Kind.String(), Name: r.Name, Role: role, Members: r.Members, Head: r.Head.Seq, N: r.Head.N,
	}
	if m != nil {
		mark := ReadMarkOf(r.Key.Room, *m, r.Head)
		out.Read, out.Unread = &mark.Seq, &mark.Unread
	}
	last, edit, err := l.c.cfg.Store.LastMessage(r.Key)
	if err != nil {
		return false, err
	}
	if last != nil {
		h := HeadOf(r.Head, last, edit)
		out.Last = &LastMessage{Seq: last.Seq, TS: last.TS, Type: last.Type, From: h.From, Text: h.Text}
	}
	l.page.Rooms = append(l.page.Rooms, out)
	l.page.Next = r.Key.Room
	return true, nil
}

func (l *roomLister) mine(after string) error {
	list, err := l.c.cfg.Store.UserRooms(l.id.Namespace, l.id.User, after, l.limit+1)
	if err != nil {
		return err
	}
	marks, total, err := l.marks(after, list)
	if err != nil {
		return err
	}
	if after == "" {
		l.page.Unread = &total
	}
	for _, ur := range list {
		r, err := l.c.cfg.Store.Room(storage.RoomKey{NS: l.id.Namespace, Room: ur.Room})
		if err != nil {
			return err
		}
		if r == nil { // a deleted room leaves the list a moment later
			continue
		}
		at, err := l.c.cfg.Store.Member(r.Key, l.id.User)
		if err != nil {
			return err
		}
		if at.Role == "" || l.banned(at) { // the list follows a moment later
			continue
		}
		m := marks[ur.Room]
		if more, err := l.add(r, at.Role, &m); !more || err != nil {
			return err
		}
	}
	if len(list) > l.limit { // some were left out
		l.page.More, l.page.Next = true, list[len(list)-1].Room
	}
	return nil
}

// marks reads the marks of the rooms on the page and, for the first page, adds up what is unread everywhere.
func (l *roomLister) marks(after string, list []storage.UserRoom) (marks map[string]storage.Mark, total uint64, err error) {
	marks = make(map[string]storage.Mark, len(list))
	if len(list) == 0 {
		return marks, 0, nil
	}
	last := list[len(list)-1].Room
	type room struct {
		name string
		n    uint64
	}
	var all []room
	err = l.c.cfg.Store.UserMarks(l.id.Namespace, l.id.User, after, func(name string, m storage.Mark) bool {
		if name <= last {
			marks[name] = m
		}
		if after == "" {
			all = append(all, room{name, m.N})
		}
		return after == "" || name < last
	})
	for _, x := range all {
		r, err := l.c.cfg.Store.Room(storage.RoomKey{NS: l.id.Namespace, Room: x.name})
		if err != nil {
			return nil, 0, err
		}
		if r != nil {
			total += r.Head.N - min(x.n, r.Head.N)
		}
	}
	return marks, total, err
}

// banned reports whether the caller may not read the room.
func (l *roomLister) banned(m storage.Member) bool { return !l.id.Admin && l.c.banned(m) != nil }

// publicLook bounds the rooms looked at for one page.
const publicLook = 10_000

func (l *roomLister) public(in RoomsListInput) error {
	query := strings.ToLower(in.Query)
	looked, err := l.c.cfg.Store.PublicRooms(l.id.Namespace, in.After, publicLook, func(name, title string) bool {
		return query == "" || strings.Contains(strings.ToLower(name), query) || strings.Contains(strings.ToLower(title), query)
	}, l.limit+1)
	if err != nil {
		return err
	}
	for _, name := range looked.Rooms {
		k := storage.RoomKey{NS: l.id.Namespace, Room: name}
		r, err := l.c.cfg.Store.Room(k)
		if err != nil {
			return err
		}
		if r == nil || l.id.Guest && r.GuestMay() < storage.GuestRead {
			continue
		}
		m, err := l.c.cfg.Store.Member(k, l.id.User)
		if err != nil {
			return err
		}
		if l.banned(m) {
			continue
		}
		var mark *storage.Mark
		if m.Role != "" {
			at, err := l.c.cfg.Store.Mark(k, l.id.User)
			if err != nil {
				return err
			}
			mark = &at
		}
		if more, err := l.add(r, m.Role, mark); !more || err != nil {
			return err
		}
	}
	if looked.Next != "" {
		l.page.More, l.page.Next = true, looked.Next
	}
	return nil
}

// listedBytes is the most that the room takes in a page.
func listedBytes(r *storage.Room) int {
	const most = 1200 // keys, kind, role, numbers, and of the newest message its writer and text
	return most + len(r.Key.Room) + 6*len(r.Name)
}
