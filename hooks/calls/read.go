package calls

import (
	"context"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

// ReadInput are the params of Read: a seq each, absent leaves that mark as it is.
type ReadInput struct {
	Room      string `json:"room"`
	Seq       uint64 `json:"seq,omitempty"`       // everything up to here has been read
	Delivered uint64 `json:"delivered,omitempty"` // everything up to here has come to a device
}

// ReadMark is how far a member has read a room.
type ReadMark struct {
	Room      string `json:"room"`
	Seq       uint64 `json:"seq"`
	Delivered uint64 `json:"delivered"`
	Unread    uint64 `json:"unread"` // messages after Seq
}

// ReadMarkOf is the mark as members are told of it. head is of the room.
func ReadMarkOf(room string, m storage.Mark, head storage.Head) ReadMark {
	return ReadMark{Room: room, Seq: m.Read, Delivered: m.Delivered, Unread: head.N - min(m.N, head.N)}
}

// Read moves the caller's marks forward; they never go back.
func (c *Calls) Read(ctx context.Context, id auth.Identity, in ReadInput) (ReadMark, error) {
	if k := (storage.RoomKey{NS: id.Namespace, Room: in.Room}); !id.Guest && k == storage.InboxLog(id.Namespace, id.User) {
		return c.InboxRead(ctx, id, InboxReadInput{Seq: in.Seq})
	}
	mark, err := c.MarkOf(id, in)
	if err != nil {
		return ReadMark{}, err
	}
	res, err := c.write(ctx, &storage.Marks{Marks: []storage.MarkOf{mark}})
	if err != nil {
		return ReadMark{}, err
	}
	var m storage.Mark
	var r *storage.Room
	err = c.settled.wait(ctx, c.cfg.SettleWait, func() (bool, error) {
		var err error
		if r, err = c.cfg.Store.Room(mark.Room); err != nil || r == nil {
			return true, err
		}
		m, err = c.cfg.Store.Mark(mark.Room, id.User)
		return m.Read >= res.Seq && m.Delivered >= min(in.Delivered, r.Head.Seq), err
	})
	if err != nil {
		return ReadMark{}, c.broken(err)
	}
	if r == nil {
		return ReadMark{}, noRoom(in.Room)
	}
	return ReadMarkOf(in.Room, m, r.Head), nil
}

// MarkOf checks what this node can check of a mark.
func (c *Calls) MarkOf(id auth.Identity, in ReadInput) (storage.MarkOf, error) {
	if err := noGuest(id, "set read marks"); err != nil {
		return storage.MarkOf{}, err
	}
	k, err := roomKey(id, in.Room)
	if err != nil {
		return storage.MarkOf{}, err
	}
	if in.Seq == 0 && in.Delivered == 0 {
		return storage.MarkOf{}, problem.New(problem.BadPayload, `A read mark is {"seq":42}, or {"delivered":42}.`)
	}
	r, err := c.cfg.Store.Room(k)
	if err != nil {
		return storage.MarkOf{}, c.broken(err)
	}
	if r == nil {
		return storage.MarkOf{}, noRoom(in.Room)
	}
	m, err := c.cfg.Store.Member(k, id.User)
	if err != nil {
		return storage.MarkOf{}, c.broken(err)
	}
	if m.Role == "" {
		return storage.MarkOf{}, problem.New(problem.NotMember, "Read marks are for members; join the room first.")
	}
	return storage.MarkOf{Room: k, User: id.User, Read: in.Seq, Delivered: in.Delivered}, nil
}

// ParseMark reads the payload of a publish to rooms/{room}/read.
func (c *Calls) ParseMark(id auth.Identity, room string, payload []byte) (storage.MarkOf, error) {
	if err := noGuest(id, "set read marks"); err != nil {
		return storage.MarkOf{}, err
	}
	var in struct {
		Seq       uint64 `json:"seq"`
		Delivered uint64 `json:"delivered"`
	}
	if err := strictJSON(payload, &in); err != nil {
		return storage.MarkOf{}, problem.New(problem.BadPayload, `A read mark is {"seq":42}, or {"delivered":42}; %s.`, jsonFault(err))
	}
	return c.MarkOf(id, ReadInput{Room: room, Seq: in.Seq, Delivered: in.Delivered})
}
