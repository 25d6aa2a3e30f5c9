package calls

import (
	"context"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/envelope"
	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/quota"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// PostInput is a message as it came by HTTP; see envelope.ParseHTTP.
type PostInput struct {
	Room           string
	ContentType    string
	Type           string // of the query
	CID            string // of the query
	IdempotencyKey string
	Body           []byte // not kept after the call
}

// Posted is where a message stands in its room.
type Posted struct {
	Seq       uint64 `json:"seq"`
	TS        int64  `json:"ts"`
	Duplicate bool   `json:"duplicate,omitempty"` // an earlier message with this cid is the one meant
}

// Post parses a message and puts it in the room's log.
func (c *Calls) Post(ctx context.Context, id auth.Identity, in PostInput) (Posted, error) {
	k, err := c.mayPost(id, in.Room)
	if err != nil {
		return Posted{}, err
	}
	if p := c.CheckSize(len(in.Body)); p != nil {
		return Posted{}, p
	}
	m, p := envelope.ParseHTTP(in.ContentType, in.Type, in.CID, in.IdempotencyKey, in.Body)
	if p != nil {
		return Posted{}, p
	}
	cmd, err := c.appendOf(id, k, &m)
	if err != nil {
		return Posted{}, err
	}
	return c.post(ctx, cmd)
}

// Send is Post for a message that is parsed already and was at most MaxMessage bytes long.
func (c *Calls) Send(ctx context.Context, id auth.Identity, room string, m *envelope.Message) (Posted, error) {
	cmd, err := c.AppendOf(id, room, m)
	if err != nil {
		return Posted{}, err
	}
	return c.post(ctx, cmd)
}

// CheckSize refuses a message of size bytes that is too large, else nil.
func (c *Calls) CheckSize(size int) *problem.Problem {
	if most := c.limits().Message; size > most {
		return problem.Over(problem.TooLarge, limit.Message, "A message has at most %d bytes; this one has %d.", most, size)
	}
	return nil
}

// Draft returns the command of an MQTT payload; Device, Epoch, Dup and PacketID are the caller's to add. It does not alias
// the payload. The writer is judged first: to one who may not write, the faults of the payload are no news.
func (c *Calls) Draft(
	id auth.Identity, room, typ string, payload []byte, opt envelope.Options,
) (*storage.Append, error) {
	k, err := c.mayPost(id, room)
	if err != nil {
		return nil, err
	}
	if p := c.CheckSize(len(payload)); p != nil {
		return nil, p
	}
	m, p := envelope.Parse(typ, payload, opt)
	if p != nil {
		return nil, p
	}
	return c.appendOf(id, k, &m)
}

// AppendOf checks what this node can check and returns the command for m; Device, Epoch, Dup and PacketID are the
// caller's to add. The command does not alias m.
func (c *Calls) AppendOf(id auth.Identity, room string, m *envelope.Message) (*storage.Append, error) {
	k, err := c.mayPost(id, room)
	if err != nil {
		return nil, err
	}
	return c.appendOf(id, k, m)
}

// MayPost says why id may not post to the room, as far as this node decides it: a name that no room can have, and all of
// what guests may. Users are judged by the log.
func (c *Calls) MayPost(id auth.Identity, room string) error {
	_, err := c.mayPost(id, room)
	return err
}

func (c *Calls) mayPost(id auth.Identity, room string) (storage.RoomKey, error) {
	k, err := roomKey(id, room)
	if err != nil {
		return k, err
	}
	return k, c.guestMayWrite(id, k)
}

func (c *Calls) appendOf(id auth.Identity, k storage.RoomKey, m *envelope.Message) (*storage.Append, error) {
	switch m.Type {
	case envelope.TypeSystem:
		return nil, problem.New(problem.Forbidden, "Messages of type system come from the broker only; use another type.")
	}
	if p := c.spendRoom(k, len(m.Data)); p != nil {
		return nil, p
	}
	cmd := draftOf(id, k, m)
	if m.Type == envelope.TypeReaction {
		cmd.Emoji, cmd.Off = m.Reaction()
		cmd.Many = c.cfg.Online.RoomPresence(k).Mode == ModeCount
	}
	switch {
	case m.Type == envelope.TypeEdit, m.Type == envelope.TypeDelete, m.Type == envelope.TypeReaction: // of what is there
	case topic.InDirect(k.Room, id.User) && !id.Guest && !id.Service:
		cmd.AutoCreate, cmd.RoomsPerDay = storage.Direct, c.limits().RoomsPerDay
	case c.cfg.AutoCreate != 0 && !id.Guest && topic.ValidRoom(k.Room):
		cmd.AutoCreate, cmd.RoomsPerDay = c.cfg.AutoCreate, c.limits().RoomsPerDay
		if room, err := c.cfg.Store.Room(k); err == nil && room == nil { // the message would make it, with its writer as owner
			if !topic.MayName(k.Room) {
				return nil, unreachable(problem.NotFound, k.Room)
			}
			if err := c.roomLeft(id.Namespace, id.User); err != nil {
				return nil, err
			}
		}
	}
	return cmd, nil
}

// spendRoom takes a message of that many bytes from what this node takes for a room. It is the last of the checks before the
// log: what is refused for another reason takes nothing from others in the room.
func (c *Calls) spendRoom(k storage.RoomKey, bytes int) *problem.Problem {
	if !c.cfg.Rooms.On() {
		return nil
	}
	q := c.cfg.Rooms.Of(quota.Name{NS: k.NS, Name: k.Room})
	defer q.Done()
	return q.Refuse(bytes)
}

// draftOf is the command of a message, without what its room has to do with it.
func draftOf(id auth.Identity, k storage.RoomKey, m *envelope.Message) *storage.Append {
	return &storage.Append{
		Room: k, From: ActorOf(id), Type: m.Type, CID: m.CID, Hash: m.Hash(), TTL: m.TTL, Target: m.Target, ReplyTo: m.ReplyTo, Collapse: m.CollapseKey,
		Mentions: m.Mentions, Tail: m.AppendTail(make([]byte, 0, len(m.Data)+len(m.Meta)+128)),
	}
}

// guestMayWrite refuses a guest wherever the room does not let guests write, so that nothing of a guest reaches the log
// in vain. A guest without a token is nobody one could answer or mute, and never writes.
func (c *Calls) guestMayWrite(id auth.Identity, k storage.RoomKey) error {
	if !id.Guest {
		return nil
	}
	room, err := c.cfg.Store.Room(k)
	if err != nil {
		return c.broken(err)
	}
	if room == nil || room.GuestMay() != storage.GuestWrite || !topic.IsGuest(id.User) {
		return problem.New(problem.GuestReadOnly, "")
	}
	if id.Method == auth.MethodGuest {
		return problem.New(problem.GuestReadOnly, "Guests write here with a token only; get one with POST /auth/guest.")
	}
	return nil
}

func (c *Calls) post(ctx context.Context, cmd *storage.Append) (Posted, error) {
	if ctx.Err() != nil {
		return Posted{}, problem.New(problem.NoQuorum, "The call ended before it began.")
	}
	res, err := c.Begin(ctx, cmd, cmd.Room)()
	if err != nil {
		return Posted{}, err
	}
	return Posted{Seq: res.Seq, TS: res.TS, Duplicate: res.Duplicate}, nil
}
