package calls

import (
	"context"
	"unicode"
	"unicode/utf8"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// maxRoomName is the longest display name of a room, in characters.
const maxRoomName = 128

// maxInterval bounds state_interval_ms and live_interval_ms.
const maxInterval = 60_000

// RoomInput names a room.
type RoomInput struct {
	Room string `json:"room"`
}

// RoomCreateInput are the params of RoomCreate.
type RoomCreateInput struct {
	Room  string `json:"room"`
	Kind  string `json:"kind,omitempty"`  // public or private; private when not given
	Name  string `json:"name,omitempty"`  // display name
	Guest string `json:"guest,omitempty"` // none, read or write; by kind when not given
}

// RoomSetInput are the params of RoomSet; nil leaves a setting as it is.
type RoomSetInput struct {
	Room  string  `json:"room"`
	Name  *string `json:"name,omitempty"`
	Kind  *string `json:"kind,omitempty"`
	Guest *string `json:"guest,omitempty"`

	State         *string `json:"state,omitempty"`             // members or operators: who sets its state
	StateInterval *int64  `json:"state_interval_ms,omitempty"` // a reader gets each state key at most once in that time
	LiveInterval  *int64  `json:"live_interval_ms,omitempty"`  // and each live value
	BeforeSend    *string `json:"before_send,omitempty"`       // default, off, open or closed: whether the hook is asked, and what holds without an answer
}

// RoomInfo is a room as the caller sees it.
type RoomInfo struct {
	Room     string `json:"room"`
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	Guest    string `json:"guest"` // what guests may do, the default applied
	Frozen   bool   `json:"frozen"`
	SlowMode int64  `json:"slow_mode"` // seconds between two messages of a member, 0 = off
	State    string `json:"state"`     // members or operators: who sets its state

	StateInterval int64 `json:"state_interval_ms"` // a reader gets each state key at most once in that time, 0 = with every change
	LiveInterval  int64 `json:"live_interval_ms"`  // and each live value

	BeforeSend string `json:"before_send,omitempty"` // off, open or closed; absent: as the configuration says

	Pinned    []uint64     `json:"pinned"` // seqs, the one pinned last in front
	Members   uint64       `json:"members"`
	Head      uint64       `json:"head"`  // seq of the newest entry
	N         uint64       `json:"n"`     // messages at head
	First     uint64       `json:"first"` // oldest entry kept; head+1 when there is none
	CreatedAt int64        `json:"created_at"`
	Role      storage.Role `json:"role,omitempty"` // the caller's; absent for one who is no member
}

// RoomDeleted is the result of RoomDelete.
type RoomDeleted struct {
	Room string `json:"room"`
	Head uint64 `json:"head"` // a room made again under the name goes on after it
}

// beforeSendOf is what a room says of the hook before a send; "" = as the configuration says.
func beforeSendOf(r *storage.Room) string {
	if r.BeforeSend == storage.BeforeSendDefault {
		return ""
	}
	return r.BeforeSend.String()
}

func infoOf(r *storage.Room, role storage.Role) RoomInfo {
	return RoomInfo{
		BeforeSend: beforeSendOf(r),
		Room:       r.Key.Room, Kind: r.Kind.String(), Name: r.Name, Guest: r.GuestMay().String(), Frozen: r.Frozen,
		SlowMode: r.Slow, State: r.StateBy.String(), StateInterval: r.StateMS, LiveInterval: r.LiveMS,
		Pinned: append([]uint64{}, r.Pinned...), Members: r.Members, Head: r.Head.Seq, N: r.Head.N, First: r.Head.First, CreatedAt: r.Made, Role: role,
	}
}

// RoomGet returns a room the caller may read.
func (c *Calls) RoomGet(_ context.Context, id auth.Identity, in RoomInput) (RoomInfo, error) {
	r, role, err := c.readable(id, in.Room)
	if err != nil {
		return RoomInfo{}, err
	}
	return infoOf(r, role), nil
}

// RoomCreate makes a room; the caller becomes its owner and finds it in RoomsList on return.
func (c *Calls) RoomCreate(ctx context.Context, id auth.Identity, in RoomCreateInput) (RoomInfo, error) {
	if err := noGuest(id, "make rooms"); err != nil {
		return RoomInfo{}, err
	}
	if !topic.ValidRoom(in.Room) {
		return RoomInfo{}, problem.New(problem.BadPayload,
			"room: %.40q cannot be a room's name; take 1-%d characters of A-Z a-z 0-9 . _ : -", in.Room, topic.MaxRoom)
	}
	if !topic.MayName(in.Room) {
		return RoomInfo{}, unreachable(problem.BadPayload, in.Room)
	}
	kind := storage.Private
	var guest storage.GuestAccess
	var err error
	if in.Kind != "" {
		if kind, err = readKind(in.Kind); err != nil {
			return RoomInfo{}, err
		}
	}
	if in.Guest != "" {
		if guest, err = readGuest(in.Guest); err != nil {
			return RoomInfo{}, err
		}
	}
	if err := checkName(in.Name); err != nil {
		return RoomInfo{}, err
	}
	if err := c.roomLeft(id.Namespace, id.User); err != nil {
		return RoomInfo{}, err
	}
	k := storage.RoomKey{NS: id.Namespace, Room: in.Room}
	res, err := c.write(ctx, &storage.RoomCreate{Room: k, By: ActorOf(id), Kind: kind, Name: in.Name, Guest: guest})
	if err != nil {
		return RoomInfo{}, err
	}
	room := &storage.Room{
		Key: k, Kind: kind, Name: in.Name, Guest: guest, Members: 1,
		Head: storage.Head{Seq: res.Seq, First: res.Seq + 1},
	}
	role := storage.RoleOwner
	err = c.settled.wait(ctx, c.cfg.SettleWait, func() (bool, error) {
		r, err := c.cfg.Store.Room(k)
		if r == nil || err != nil {
			return false, err
		}
		room = r
		return c.cfg.Store.Delivered(res.Outbox)
	})
	if err != nil {
		return RoomInfo{}, c.broken(err)
	}
	return infoOf(room, role), nil
}

// RoomSet changes settings of a room, as an owner of it or an admin.
func (c *Calls) RoomSet(ctx context.Context, id auth.Identity, in RoomSetInput) (RoomInfo, error) {
	if err := noGuest(id, "change rooms"); err != nil {
		return RoomInfo{}, err
	}
	k, err := roomKey(id, in.Room)
	if err != nil {
		return RoomInfo{}, err
	}
	cmd := &storage.RoomSet{Room: k, By: ActorOf(id), Name: in.Name}
	if in == (RoomSetInput{Room: in.Room}) {
		return RoomInfo{}, problem.New(problem.BadPayload,
			"There is nothing to change; give name, kind, guest, state, state_interval_ms, live_interval_ms or before_send.")
	}
	if in.State != nil {
		by, ok := storage.ParseStateBy(*in.State)
		if !ok {
			return RoomInfo{}, problem.New(problem.BadPayload, "state: %.40q is none; members and operators are.", *in.State)
		}
		cmd.StateBy = &by
	}
	for _, ms := range []*int64{in.StateInterval, in.LiveInterval} {
		if ms != nil && (*ms < 0 || *ms > maxInterval) {
			return RoomInfo{}, problem.New(problem.BadPayload, "An interval is a number of 0 to %d milliseconds.", maxInterval)
		}
	}
	if in.BeforeSend != nil {
		b, ok := storage.ParseBeforeSend(*in.BeforeSend)
		if !ok {
			return RoomInfo{}, problem.New(problem.BadPayload, "before_send: %.40q is none; default, off, open and closed are.", *in.BeforeSend)
		}
		cmd.BeforeSend = &b
	}
	cmd.StateMS, cmd.LiveMS = in.StateInterval, in.LiveInterval
	if in.Name != nil {
		if err := checkName(*in.Name); err != nil {
			return RoomInfo{}, err
		}
	}
	if in.Kind != nil {
		kind, err := readKind(*in.Kind)
		if err != nil {
			return RoomInfo{}, err
		}
		cmd.Kind = &kind
	}
	if in.Guest != nil {
		guest, err := readGuest(*in.Guest)
		if err != nil {
			return RoomInfo{}, err
		}
		cmd.Guest = &guest
	}
	if _, err := c.write(ctx, cmd); err != nil {
		return RoomInfo{}, err
	}
	same := func(was int64, is *int64) bool { return is == nil || was == *is }
	err = c.settled.wait(ctx, c.cfg.SettleWait, func() (bool, error) {
		r, err := c.cfg.Store.Room(k)
		return r == nil || (cmd.Name == nil || r.Name == *cmd.Name) && (cmd.Kind == nil || r.Kind == *cmd.Kind) &&
			(cmd.Guest == nil || r.Guest == *cmd.Guest) && (cmd.StateBy == nil || r.StateBy == *cmd.StateBy) &&
			(cmd.BeforeSend == nil || r.BeforeSend == *cmd.BeforeSend) &&
			same(r.StateMS, cmd.StateMS) && same(r.LiveMS, cmd.LiveMS), err
	})
	if err != nil {
		return RoomInfo{}, c.broken(err)
	}
	return c.RoomGet(ctx, id, RoomInput{in.Room})
}

// RoomDelete ends a room, as an owner of it or an admin.
func (c *Calls) RoomDelete(ctx context.Context, id auth.Identity, in RoomInput) (RoomDeleted, error) {
	if err := noGuest(id, "delete rooms"); err != nil {
		return RoomDeleted{}, err
	}
	k, err := roomKey(id, in.Room)
	if err != nil {
		return RoomDeleted{}, err
	}
	before, err := c.cfg.Store.Room(k)
	if err != nil {
		return RoomDeleted{}, c.broken(err)
	}
	res, err := c.write(ctx, &storage.RoomDelete{Room: k, By: ActorOf(id)})
	if err != nil {
		return RoomDeleted{}, err
	}
	err = c.settled.wait(ctx, c.cfg.SettleWait, func() (bool, error) {
		r, err := c.cfg.Store.Room(k)
		return r == nil || before == nil || r.Made != before.Made, err
	})
	if err != nil {
		return RoomDeleted{}, c.broken(err)
	}
	return RoomDeleted{Room: in.Room, Head: res.Seq}, nil
}

func readKind(s string) (storage.RoomKind, error) {
	kind, ok := storage.ParseRoomKind(s)
	if !ok || kind == storage.Direct {
		return 0, problem.New(problem.BadPayload, "kind: %.40q is none; public and private are.", s)
	}
	return kind, nil
}

func readGuest(s string) (storage.GuestAccess, error) {
	guest, ok := storage.ParseGuestAccess(s)
	if !ok {
		return 0, problem.New(problem.BadPayload, "guest: %.40q is none; none, read and write are.", s)
	}
	return guest, nil
}

func checkName(s string) error {
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > maxRoomName {
		return problem.New(problem.BadPayload, "name: a room's name is UTF-8 of at most %d characters.", maxRoomName)
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return problem.New(problem.BadPayload, "name: a room's name holds no control characters.")
		}
	}
	return nil
}
