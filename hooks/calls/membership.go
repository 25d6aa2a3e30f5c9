package calls

import (
	"context"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

// Page sizes of RoomsList.
const (
	defaultRooms = 100
	maxRooms     = 1000
)

// Membership is the result of RoomJoin and RoomLeave.
type Membership struct {
	Room string       `json:"room"`
	Role storage.Role `json:"role,omitempty"` // absent after leaving
	Seq  uint64       `json:"seq"`            // of the entry that says so
}

// RoomJoin makes the caller a member of a public room; joining twice changes nothing. RoomsList has the room on return.
func (c *Calls) RoomJoin(ctx context.Context, id auth.Identity, in RoomInput) (Membership, error) {
	if err := noGuest(id, "join rooms"); err != nil {
		return Membership{}, err
	}
	k, err := roomKey(id, in.Room)
	if err != nil {
		return Membership{}, err
	}
	m, err := c.cfg.Store.Member(k, id.User)
	if err != nil {
		return Membership{}, c.broken(err)
	}
	if m.Role == "" {
		if err := c.roomLeft(id); err != nil {
			return Membership{}, err
		}
	}
	res, err := c.write(ctx, &storage.Join{Room: k, By: ActorOf(id)})
	if err != nil {
		return Membership{}, err
	}
	if m, err = c.membership(ctx, k, id, res, true); err != nil {
		return Membership{}, err
	}
	return Membership{Room: in.Room, Role: m.Role, Seq: res.Seq}, nil
}

// RoomLeave ends the caller's membership; leaving twice changes nothing. RoomsList lacks the room on return.
func (c *Calls) RoomLeave(ctx context.Context, id auth.Identity, in RoomInput) (Membership, error) {
	if err := noGuest(id, "leave rooms"); err != nil {
		return Membership{}, err
	}
	k, err := roomKey(id, in.Room)
	if err != nil {
		return Membership{}, err
	}
	res, err := c.write(ctx, &storage.Leave{Room: k, By: ActorOf(id)})
	if err != nil {
		return Membership{}, err
	}
	if _, err := c.membership(ctx, k, id, res, false); err != nil {
		return Membership{}, err
	}
	return Membership{Room: in.Room, Seq: res.Seq}, nil
}

// membership waits until this node shows the change in res, in the room and in the user's list.
func (c *Calls) membership(
	ctx context.Context, k storage.RoomKey, id auth.Identity, res storage.Result, joined bool,
) (storage.Member, error) {
	var m storage.Member
	err := c.settled.wait(ctx, c.cfg.SettleWait, func() (bool, error) {
		r, err := c.cfg.Store.Room(k)
		if err != nil || r == nil {
			return r == nil, err
		}
		if r.Head.Seq < res.Seq { // not applied here yet; Delivered says true of an item that does not exist yet
			return false, nil
		}
		if m, err = c.cfg.Store.Member(k, id.User); err != nil {
			return false, err
		}
		if res.Outbox == 0 {
			return true, nil
		}
		return c.cfg.Store.Delivered(res.Outbox)
	})
	if err != nil {
		return m, c.broken(err)
	}
	if joined && m.Role == "" {
		m.Role = storage.RoleMember // left or removed meanwhile, or not shown yet: the answer is about the join
	}
	return m, nil
}

// roomLeft refuses one more membership to a user who has all that are allowed. The list lags behind the rooms by a few
// commands, so the limit is not exact under concurrent calls; it guards memory, not a rule.
func (c *Calls) roomLeft(id auth.Identity) error {
	limit := c.cfg.RoomsPerUser
	if limit <= 0 {
		return nil
	}
	rooms, err := c.cfg.Store.UserRooms(id.Namespace, id.User, "", limit)
	if err != nil {
		return c.broken(err)
	}
	if len(rooms) >= limit {
		return problem.New(problem.Limit, "You are in %d rooms, which is the limit; leave one first.", len(rooms))
	}
	return nil
}

// RoomsListInput are the params of RoomsList.
type RoomsListInput struct {
	Limit int    `json:"limit,omitempty"` // 0 = 100, at most 1000
	After string `json:"after,omitempty"` // the "next" of the page before

	budget int // bytes of JSON; 0 = the default
}

// ListedRoom is a room in a user's list.
type ListedRoom struct {
	Room string       `json:"room"`
	Kind string       `json:"kind"`
	Name string       `json:"name"`
	Role storage.Role `json:"role"`
	Head uint64       `json:"head"`
	N    uint64       `json:"n"`
}

// RoomsPage is a page of a user's rooms, in byte order of their names.
type RoomsPage struct {
	Rooms []ListedRoom `json:"rooms"`
	Next  string       `json:"next,omitempty"` // the "after" of the next page, when there are more
	More  bool         `json:"more"`
}

// RoomsList returns the rooms the caller is a member of. A guest has none.
func (c *Calls) RoomsList(_ context.Context, id auth.Identity, in RoomsListInput) (RoomsPage, error) {
	limit, err := pageLimit(in.Limit, defaultRooms, maxRooms)
	if err != nil {
		return RoomsPage{}, err
	}
	page := RoomsPage{Rooms: []ListedRoom{}}
	if id.Guest {
		return page, nil
	}
	list, err := c.cfg.Store.UserRooms(id.Namespace, id.User, in.After, limit+1)
	if err != nil {
		return RoomsPage{}, c.broken(err)
	}
	left := in.budget
	setDefault(&left, pageBytes)
	for i, ur := range list {
		if i == limit {
			page.More = true
			break
		}
		r, err := c.cfg.Store.Room(storage.RoomKey{NS: id.Namespace, Room: ur.Room})
		if err != nil {
			return RoomsPage{}, c.broken(err)
		}
		if r != nil { // a deleted room leaves the list a moment later
			if left -= listedBytes(r); left < 0 {
				page.More = true
				break
			}
			page.Rooms = append(page.Rooms, ListedRoom{
				Room: ur.Room, Kind: r.Kind.String(), Name: r.Name, Role: ur.Role, Head: r.Head.Seq, N: r.Head.N,
			})
		}
		page.Next = ur.Room
	}
	if !page.More {
		page.Next = ""
	}
	return page, nil
}

// listedBytes is the most that the room takes in a page.
func listedBytes(r *storage.Room) int {
	const most = 160 // keys, kind, role and two numbers
	return most + len(r.Key.Room) + 6*len(r.Name)
}

func pageLimit(limit, def, most int) (int, error) {
	switch {
	case limit < 0:
		return 0, problem.New(problem.BadPayload, "limit: it is a number of 1 to %d.", most)
	case limit == 0:
		return def, nil
	}
	return min(limit, most), nil
}
