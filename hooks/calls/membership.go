package calls

import (
	"context"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
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
		if err := c.roomLeft(id.Namespace, id.User); err != nil {
			return Membership{}, err
		}
	}
	res, err := c.write(ctx, &storage.Join{Room: k, By: ActorOf(id), MaxMembers: uint64(c.cfg.RoomMembers)})
	if err != nil {
		return Membership{}, err
	}
	if m, err = c.membership(ctx, k, id.User, res, true); err != nil {
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
	if _, err := c.membership(ctx, k, id.User, res, false); err != nil {
		return Membership{}, err
	}
	return Membership{Room: in.Room, Seq: res.Seq}, nil
}

// membership waits until this node shows the change in res, in the room and in the user's list.
func (c *Calls) membership(
	ctx context.Context, k storage.RoomKey, user string, res storage.Result, joined bool,
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
		if m, err = c.cfg.Store.Member(k, user); err != nil {
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

// roomLeft refuses one more membership to a user who has all that are allowed. Direct rooms do not count: strangers make them,
// and would keep the user out of all others. The list lags behind the rooms by a few commands, and is not counted each time, so
// the limit is not exact under concurrent calls; it guards memory, not a rule.
func (c *Calls) roomLeft(ns, user string) error {
	most := c.limits().RoomsPerUser
	if most <= 0 || c.spares.take(ns, user, most) {
		return nil
	}
	n := 0
	for after := ""; ; {
		rooms, err := c.cfg.Store.UserRooms(ns, user, after, most)
		if err != nil {
			return c.broken(err)
		}
		for _, r := range rooms {
			if !topic.IsDirect(r.Room) {
				n++
			}
		}
		if n >= most {
			return problem.Over(problem.Limit, limit.RoomsPerUser, "%s is in %d rooms, which is the limit; leave one first.", user, n)
		}
		if len(rooms) < most {
			c.spares.counted(ns, user, n, most)
			return nil
		}
		after = max(topic.AfterDirect, rooms[len(rooms)-1].Room)
	}
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
