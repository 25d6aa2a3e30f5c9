package hooks

import (
	"time"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// Rooms is what the rules read of the replicated state.
type Rooms interface {
	Room(k storage.RoomKey) (*storage.Room, error)
	Member(k storage.RoomKey, user string) (storage.Member, error)
	Now() int64 // log time, ms; it goes on while nothing is written
	Blocked(ns, by, other string) (bool, error)
}

// Access answers who may read and write. It is asked at every subscription and again whenever a room changes.
type Access struct{ Rooms Rooms }

// MayRead reports whether id may read the room now. A room that does not exist is read by nobody. An inbox is read by its
// user, and broadcasts by all users; both are there before their first entry. A service key reads with the scope read.
func (a Access) MayRead(id auth.Identity, k storage.RoomKey) (bool, error) {
	if !id.May(auth.ScopeRead) {
		return false, nil
	}
	if user, inbox := k.InboxUser(); inbox {
		return !id.Guest && user == id.User, nil
	}
	if k.IsBroadcast() {
		return !id.Guest, nil
	}
	r, err := a.Rooms.Room(k)
	if err != nil || r == nil {
		return false, err
	}
	if r.Restricted {
		m, err := a.Rooms.Member(k, id.User)
		if err != nil {
			return false, err
		}
		if is, _ := m.Silenced(a.Rooms.Now()); is == storage.Banned && !id.Admin {
			return false, nil
		}
	}
	if id.Guest {
		return r.GuestMay() >= storage.GuestRead, nil
	}
	if r.Kind == storage.Public {
		return true, nil
	}
	return a.Joined(id, k)
}

// BanEnds returns the log time, after now, at which a ban that keeps id from reading the room ends; 0 = there is none, or it
// has no end. Whoever may not read before asks again then.
func (a Access) BanEnds(id auth.Identity, k storage.RoomKey, now int64) (int64, error) {
	if !k.IsRoom() {
		return 0, nil
	}
	r, err := a.Rooms.Room(k)
	if err != nil || r == nil || !r.Restricted {
		return 0, err
	}
	m, err := a.Rooms.Member(k, id.User)
	if err != nil || m.Banned <= now || m.Banned == storage.Forever {
		return 0, err
	}
	return m.Banned, nil
}

// Joined reports whether id is a member of the room.
func (a Access) Joined(id auth.Identity, k storage.RoomKey) (bool, error) {
	if id.Guest {
		return false, nil
	}
	m, err := a.Rooms.Member(k, id.User)
	return m.Role != "", err
}

// mayWriteLive reports why id may not write what is never in the log. Users meet the rules a message meets in the log;
// that a guest may write at all is asked before.
func (a Access) mayWriteLive(id auth.Identity, k storage.RoomKey) *problem.Problem {
	r, err := a.Rooms.Room(k)
	if err != nil {
		return refusal(err)
	}
	if r == nil {
		return problem.New(problem.NotFound, "There is no room %q.", k.Room)
	}
	if r.Kind == storage.Direct {
		if bad := a.apart(id, k); bad != nil {
			return bad
		}
	}
	if id.Admin || r.Kind == storage.Public && !r.Frozen && !r.Restricted {
		return nil
	}
	m, err := a.Rooms.Member(k, id.User)
	if err != nil {
		return refusal(err)
	}
	if is, ms := m.Silenced(a.Rooms.Now()); is != storage.Done {
		return problem.New(problem.Code(is.String()), "").After(time.Duration(ms) * time.Millisecond)
	}
	if m.Role == "" && !id.Guest && r.Kind != storage.Public {
		return problem.New(problem.NotMember, "")
	}
	if r.Frozen && m.Role != storage.RoleOwner && m.Role != storage.RoleOperator {
		return problem.New(problem.RoomFrozen, "")
	}
	return nil
}

// apart refuses one of a direct room's two while either has blocked the other.
func (a Access) apart(id auth.Identity, k storage.RoomKey) *problem.Problem {
	one, other, ok := topic.SplitDirect(k.Room)
	if !ok || id.User != one && id.User != other {
		return nil
	}
	for _, p := range [...][2]string{{one, other}, {other, one}} {
		if blocked, err := a.Rooms.Blocked(k.NS, p[0], p[1]); err != nil {
			return refusal(err)
		} else if blocked {
			return problem.New(problem.Forbidden, "Nothing reaches the other side of this room.")
		}
	}
	return nil
}

// Grant decides on one filter of a SUBSCRIBE. A user is granted whatever can ever match something they may read, also a
// room that does not exist yet; a guest, who joins nothing and waits for nothing, only a room that may be read now.
func (a Access) Grant(id auth.Identity, f topic.Filter) *problem.Problem {
	if _, named := f.Room(); !id.May(auth.ScopeRead) && (named || f.JoinedRooms() || f.AllRooms() || f.Broadcasts()) {
		return problem.New(problem.Forbidden, "To read rooms and broadcasts a service key needs the scope %s; this one has %s.", auth.ScopeRead, id.Scopes)
	}
	p := f.Grant(topic.Reader{
		Namespace: id.Namespace, User: id.User, Guest: id.Guest,
		Audit: id.Admin || id.Auditor, SYS: id.Admin && id.Namespace == topic.DefaultNamespace,
	})
	if p != nil || !id.Guest {
		return p
	}
	room, named := f.Room()
	if !named {
		return nil
	}
	may, err := a.MayRead(id, storage.RoomKey{NS: id.Namespace, Room: room})
	if err != nil {
		return refusal(err)
	}
	if !may {
		return problem.New(problem.Forbidden, "Guests may not read room %q; log in first.", room)
	}
	return nil
}
