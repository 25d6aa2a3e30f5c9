package calls

import (
	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// roomKey names a room of the caller's namespace. A name that no room can have is not_found.
func roomKey(id auth.Identity, room string) (storage.RoomKey, error) {
	if !topic.IsRoom(room) {
		return storage.RoomKey{}, problem.New(problem.NotFound,
			"%.40q is no room: 1-%d characters of A-Z a-z 0-9 . _ : - are.", room, topic.MaxRoom)
	}
	return storage.RoomKey{NS: id.Namespace, Room: room}, nil
}

// unreachable is the refusal to make a room that could not be reached over HTTP.
func unreachable(code problem.Code, room string) error {
	return problem.New(code, "room: there can be no room %q: in the path of a URL it means another place; take a longer name.", room)
}

func noRoom(room string) error {
	return problem.New(problem.NotFound, "There is no room %q.", room)
}

// readable returns the room if the caller may read it, with the caller's role; "" = none.
func (c *Calls) readable(id auth.Identity, name string) (*storage.Room, storage.Role, error) {
	k, err := roomKey(id, name)
	if err != nil {
		return nil, "", err
	}
	room, err := c.cfg.Store.Room(k)
	if err != nil {
		return nil, "", c.broken(err)
	}
	if room == nil {
		return nil, "", noRoom(name)
	}
	if room.Restricted && !id.Admin {
		m, err := c.cfg.Store.Member(k, id.User)
		if err != nil {
			return nil, "", c.broken(err)
		}
		if p := c.banned(m); p != nil {
			return nil, "", p
		}
	}
	if id.Guest {
		if g := room.GuestMay(); g == storage.GuestRead || g == storage.GuestWrite {
			return room, storage.RoleGuest, nil
		}
		return nil, "", problem.New(problem.NotMember, "Room %q is not open to guests; log in.", name)
	}
	m, err := c.cfg.Store.Member(k, id.User)
	if err != nil {
		return nil, "", c.broken(err)
	}
	switch {
	case m.Role != "" || room.Kind == storage.Public:
	case id.Admin || id.Auditor:
		c.cfg.Audit(AuditedRead{Reader: id, Room: k})
	default:
		return nil, "", problem.New(problem.NotMember, "")
	}
	return room, m.Role, nil
}

// banned refuses one who is banned from a room now.
func (c *Calls) banned(m storage.Member) *problem.Problem {
	now := c.cfg.Store.Now()
	is, ms := m.Silenced(now)
	if is != storage.Banned {
		return nil
	}
	return ProblemOf(storage.Result{Outcome: is, TS: ms})
}
