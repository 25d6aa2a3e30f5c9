package calls

import (
	"context"
	"errors"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// Relations says how users stand to each other.
type Relations interface {
	MutualContacts(ns, a, b string) (bool, error)
	Blocked(ns, by, other string) (bool, error)
	// EachContact calls f with the mutual contacts of a user until it says stop.
	EachContact(ns, user string, f func(other string) (more bool)) error
}

// Online is who is connected, to all nodes together.
type Online interface {
	// UserPresence does not ask who wants to know.
	UserPresence(ns, user string) UserPresence
	RoomPresence(k storage.RoomKey) RoomPresence
	// Connected returns the connections of a user, and the nodes that did not say what they have.
	Connected(ctx context.Context, ns, user string) (all []Connected, missing []string)
	// Disconnect ends the connections of a device, of all the user's devices with "", except for one ("" = none), and returns
	// when they have ended, or the nodes that did not say so.
	Disconnect(ctx context.Context, ns, user, device, except string) (missing []string)
}

// UserPresence is whether a user is online.
type UserPresence struct {
	Status       string `json:"status"` // online or offline
	Devices      int    `json:"devices"`
	LastActiveAt int64  `json:"last_active_at,omitempty"` // ms since the epoch; absent when it is not known
	Level        *int64 `json:"level,omitempty"`          // the user's attribute, as beside what they write
}

// NewUserPresence returns the presence of a user with so many devices online.
func NewUserPresence(devices int, active int64) UserPresence {
	p := UserPresence{Status: "offline", Devices: devices, LastActiveAt: active}
	if devices > 0 {
		p.Status = "online"
	}
	return p
}

// OnlineUser is one user of a room's roster.
type OnlineUser struct {
	User    string `json:"user"`
	Devices int    `json:"devices"`
}

// ModeCount is the mode of a room with too many users online to name them (design.md section 3: more than 100).
const ModeCount = "count"

// RoomPresence is who is in a room: by name while they are few, and how many, guests included.
type RoomPresence struct {
	Room        string       `json:"room"`
	Mode        string       `json:"mode"` // full, or count when there are too many to name
	V           uint64       `json:"v"`
	Online      []OnlineUser `json:"online,omitzero" required:"false" nullable:"false"` // with mode full, and then [] for nobody
	Users       uint64       `json:"users"`
	Connections uint64       `json:"connections"`
}

// PresenceInput are the params of presence.get: one of the two.
type PresenceInput struct {
	User string `json:"user,omitempty"`
	Room string `json:"room,omitempty"`
}

// PresenceOf is the presence of a user, with the name.
type PresenceOf struct {
	User string `json:"user"`
	UserPresence
}

// Presence returns the presence of a user or of a room.
func (c *Calls) Presence(ctx context.Context, id auth.Identity, in PresenceInput) (any, error) {
	if (in.User == "") == (in.Room == "") {
		return nil, problem.New(problem.BadPayload, `presence.get takes {"user"} or {"room"}.`)
	}
	if in.User != "" {
		return c.UserPresence(ctx, id, in.User)
	}
	return c.RoomPresence(ctx, id, in.Room)
}

// UserPresence returns the presence of a user, for those who may see it.
func (c *Calls) UserPresence(_ context.Context, id auth.Identity, user string) (PresenceOf, error) {
	if err := noGuest(id, "see who is online"); err != nil {
		return PresenceOf{}, err
	}
	if !topic.ValidUser(user) {
		return PresenceOf{}, badUser(user)
	}
	sees, err := c.SeesUser(id, user)
	if err != nil {
		return PresenceOf{}, c.broken(err)
	}
	if !sees {
		return PresenceOf{}, problem.New(problem.Forbidden,
			"The presence of %q is for contacts and for members of a direct or private room that you share.", user)
	}
	return PresenceOf{user, c.cfg.Online.UserPresence(id.Namespace, user)}, nil
}

// RoomPresence returns who is in a room the caller may read. In a direct room nobody is there for one of the two while there
// is a block between them.
func (c *Calls) RoomPresence(_ context.Context, id auth.Identity, name string) (RoomPresence, error) {
	room, _, err := c.readable(id, name)
	if err != nil {
		return RoomPresence{}, err
	}
	apart, err := c.Apart(id, room.Key)
	if err != nil {
		return RoomPresence{}, c.broken(err)
	}
	if apart {
		return nobody{}.RoomPresence(room.Key), nil
	}
	return c.cfg.Online.RoomPresence(room.Key), nil
}

func badUser(user string) error {
	return problem.New(problem.NotFound, "%.40q is no user: 1-%d characters of A-Z a-z 0-9 . _ : @ | = - are.", user, topic.MaxUser)
}

// SeesUser reports whether the presence of a user is for id: of oneself, of mutual contacts, of those who are members of a
// direct or private room too; admins and auditors see everybody. A block hides each of the two from the other.
func (c *Calls) SeesUser(id auth.Identity, user string) (bool, error) {
	switch {
	case id.Guest:
		return false, nil
	case id.User == user, id.Admin, id.Auditor:
		return true, nil
	}
	if p := c.cfg.Relations; p != nil {
		if apart, err := c.apart(id.Namespace, id.User, user); apart || err != nil {
			return false, err
		}
		if mutual, err := p.MutualContacts(id.Namespace, id.User, user); mutual || err != nil {
			return mutual, err
		}
	}
	return c.shareRoom(id.Namespace, id.User, user)
}

// Apart reports whether id is one of a direct room's two with a block between them: what tells that the other is there, or
// has read something, is not for id then. As of a single user's presence, admins and auditors see all.
func (c *Calls) Apart(id auth.Identity, k storage.RoomKey) (bool, error) {
	if c.cfg.Relations == nil || id.Admin || id.Auditor || !topic.IsDirect(k.Room) {
		return false, nil
	}
	one, two, ok := topic.SplitDirect(k.Room)
	if !ok || id.User != one && id.User != two {
		return false, nil
	}
	return c.apart(k.NS, one, two)
}

// apart reports whether one of two users has blocked the other.
func (c *Calls) apart(ns, one, two string) (bool, error) {
	if blocked, err := c.cfg.Relations.Blocked(ns, one, two); blocked || err != nil {
		return blocked, err
	}
	return c.cfg.Relations.Blocked(ns, two, one)
}

// maxKnown bounds those whose presence one filter is about.
const maxKnown = 10_000

// Knows returns those whose presence users/+/presence is about for a user, and who are told of the user's by theirs: the
// user and the mutual contacts, but for those with a block between them.
func (c *Calls) Knows(ns, user string) ([]string, error) {
	out := []string{user}
	if c.cfg.Relations == nil {
		return out, nil
	}
	var failed error
	err := c.cfg.Relations.EachContact(ns, user, func(other string) bool {
		var apart bool
		if apart, failed = c.apart(ns, user, other); !apart && failed == nil {
			out = append(out, other)
		}
		return failed == nil && len(out) < maxKnown
	})
	return out, errors.Join(err, failed)
}

// sharedPage is how many rooms of a user's list are read at a time.
const sharedPage = 500

// shareRoom reports whether two users are members of the same direct or private room: their lists, both in order, are gone
// through together.
func (c *Calls) shareRoom(ns, one, two string) (bool, error) {
	direct, err := c.bothIn(storage.RoomKey{NS: ns, Room: topic.DirectRoom(one, two)}, one, two)
	if direct || err != nil {
		return direct, err
	}
	lists := [2]roomList{{user: one}, {user: two}}
	for {
		var names [2]string
		for i := range lists {
			name, ok, err := c.nextRoom(ns, &lists[i])
			if !ok || err != nil {
				return false, err
			}
			names[i] = name
		}
		switch {
		case names[0] < names[1]:
			lists[0].page = lists[0].page[1:]
		case names[0] > names[1]:
			lists[1].page = lists[1].page[1:]
		default:
			both, err := c.bothIn(storage.RoomKey{NS: ns, Room: names[0]}, one, two)
			if both || err != nil {
				return both, err
			}
			for i := range lists {
				lists[i].page = lists[i].page[1:]
			}
		}
	}
}

// roomList is how far the list of a user's rooms has been read.
type roomList struct {
	user, after string
	page        []storage.UserRoom
}

func (c *Calls) nextRoom(ns string, l *roomList) (name string, ok bool, err error) {
	if len(l.page) == 0 {
		if l.page, err = c.cfg.Store.UserRooms(ns, l.user, l.after, sharedPage); err != nil || len(l.page) == 0 {
			return "", false, err
		}
		l.after = l.page[len(l.page)-1].Room
	}
	return l.page[0].Room, true, nil
}

// bothIn reports whether both are members of a room that is not public. The room decides, the lists follow.
func (c *Calls) bothIn(k storage.RoomKey, users ...string) (bool, error) {
	r, err := c.cfg.Store.Room(k)
	if err != nil || r == nil || r.Kind == storage.Public {
		return false, err
	}
	for _, user := range users {
		if m, err := c.cfg.Store.Member(k, user); err != nil || m.Role == "" {
			return false, err
		}
	}
	return true, nil
}

// nobody is connected.
type nobody struct{}

func (nobody) UserPresence(string, string) UserPresence { return NewUserPresence(0, 0) }

func (nobody) RoomPresence(k storage.RoomKey) RoomPresence {
	return RoomPresence{Room: k.Room, Mode: "full", Online: []OnlineUser{}}
}

func (nobody) Connected(context.Context, string, string) ([]Connected, []string) { return nil, nil }

func (nobody) Disconnect(context.Context, string, string, string, string) []string { return nil }
