package calls

import (
	"context"
	"encoding/json"
	"strconv"
	"unicode/utf8"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/envelope"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// Bounds of what those who run a room say.
const (
	maxReason       = 512 // characters
	maxAnnouncement = 16 << 10
	maxSeconds      = 10 * 365 * 24 * 60 * 60 // of a mute, a ban and slow mode: ten years
)

// Acted is the result of an act of those who run a room. Its place in the room's order is Seq: nothing that it forbids has
// a later one. Changed is false when all was so already; then Seq is the head.
type Acted struct {
	Room    string `json:"room"`
	Seq     uint64 `json:"seq"`
	TS      int64  `json:"ts,omitempty"` // ms since the epoch
	Changed bool   `json:"changed"`
}

// ActInput are the params of mod.freeze and mod.unfreeze.
type ActInput struct {
	Room   string `json:"room"`
	Reason string `json:"reason,omitempty"` // shown in the room and kept in its audit log
}

// SlowInput are the params of mod.slow.
type SlowInput struct {
	Room    string `json:"room"`
	Seconds int64  `json:"seconds"` // between two messages of a member; 0 ends slow mode
	Reason  string `json:"reason,omitempty"`
}

// OnUserInput are the params of mod.unmute, mod.unban, mod.kick and room.invite.
type OnUserInput struct {
	Room   string `json:"room"`
	User   string `json:"user"`
	Reason string `json:"reason,omitempty"`
}

// ForTimeInput are the params of mod.mute and mod.ban.
type ForTimeInput struct {
	Room    string `json:"room"`
	User    string `json:"user"`
	Seconds int64  `json:"seconds,omitempty"` // 0 = until it is lifted
	Reason  string `json:"reason,omitempty"`
}

// RoleInput are the params of mod.role.
type RoleInput struct {
	Room string       `json:"room"`
	User string       `json:"user"`
	Role storage.Role `json:"role"` // owner, operator or member
}

// OnMessageInput are the params of mod.delete.
type OnMessageInput struct {
	Room   string `json:"room"`
	Seq    uint64 `json:"seq"`
	Reason string `json:"reason,omitempty"`
}

// PinInput are the params of mod.pin.
type PinInput struct {
	Room string `json:"room"`
	Seq  uint64 `json:"seq"`
	On   *bool  `json:"on,omitempty"` // false unpins; true when not given
}

// AnnounceInput are the params of mod.announce: a text, or any JSON value.
type AnnounceInput struct {
	Room string          `json:"room"`
	Text string          `json:"text,omitempty"`
	Data json.RawMessage `json:"data,omitempty"`
}

// Freeze lets only those who run the room write in it, until Unfreeze.
func (c *Calls) Freeze(ctx context.Context, id auth.Identity, in ActInput) (Acted, error) {
	return c.act(ctx, id, in.Room, &storage.Moderate{Act: storage.ActFreeze, Reason: in.Reason})
}

// Unfreeze ends Freeze.
func (c *Calls) Unfreeze(ctx context.Context, id auth.Identity, in ActInput) (Acted, error) {
	return c.act(ctx, id, in.Room, &storage.Moderate{Act: storage.ActUnfreeze, Reason: in.Reason})
}

// Slow sets how long a member waits between two messages.
func (c *Calls) Slow(ctx context.Context, id auth.Identity, in SlowInput) (Acted, error) {
	if err := checkSeconds(in.Seconds); err != nil {
		return Acted{}, err
	}
	return c.act(ctx, id, in.Room, &storage.Moderate{Act: storage.ActSlow, Seconds: in.Seconds, Reason: in.Reason})
}

// Mute keeps somebody from writing, for a time or until Unmute.
func (c *Calls) Mute(ctx context.Context, id auth.Identity, in ForTimeInput) (Acted, error) {
	return c.actForTime(ctx, id, storage.ActMute, in)
}

// Unmute ends Mute.
func (c *Calls) Unmute(ctx context.Context, id auth.Identity, in OnUserInput) (Acted, error) {
	return c.actOn(ctx, id, storage.ActUnmute, in)
}

// Ban ends somebody's membership and keeps them from reading, writing and joining, for a time or until Unban.
func (c *Calls) Ban(ctx context.Context, id auth.Identity, in ForTimeInput) (Acted, error) {
	return c.actForTime(ctx, id, storage.ActBan, in)
}

// Unban ends Ban. The membership does not come back by itself.
func (c *Calls) Unban(ctx context.Context, id auth.Identity, in OnUserInput) (Acted, error) {
	return c.actOn(ctx, id, storage.ActUnban, in)
}

// Kick ends somebody's membership.
func (c *Calls) Kick(ctx context.Context, id auth.Identity, in OnUserInput) (Acted, error) {
	return c.actOn(ctx, id, storage.ActKick, in)
}

// RoomInvite makes somebody a member; their RoomsList has the room on return.
func (c *Calls) RoomInvite(ctx context.Context, id auth.Identity, in OnUserInput) (Acted, error) {
	if !topic.ValidUser(in.User) {
		return Acted{}, problem.New(problem.NotFound, "%.40q is no user; guests are no members.", in.User)
	}
	if err := c.roomLeft(id.Namespace, in.User); err != nil {
		return Acted{}, err
	}
	return c.actOn(ctx, id, storage.ActInvite, in)
}

// Role gives a member a role, as an owner of the room or an admin.
func (c *Calls) Role(ctx context.Context, id auth.Identity, in RoleInput) (Acted, error) {
	switch in.Role {
	case storage.RoleOwner, storage.RoleOperator, storage.RoleMember:
	default:
		return Acted{}, problem.New(problem.BadPayload, "role: %.40q is none; owner, operator and member are.", string(in.Role))
	}
	if err := checkUser(in.User); err != nil {
		return Acted{}, err
	}
	return c.act(ctx, id, in.Room, &storage.Moderate{Act: storage.ActRole, User: in.User, Role: in.Role})
}

// Pin pins a message, or unpins it.
func (c *Calls) Pin(ctx context.Context, id auth.Identity, in PinInput) (Acted, error) {
	a := storage.ActPin
	if in.On != nil && !*in.On {
		a = storage.ActUnpin
	}
	return c.act(ctx, id, in.Room, &storage.Moderate{Act: a, Target: in.Seq})
}

// Announce puts an announcement in the room's log, also of a frozen one. Who judges messages is asked about it as about one of
// type announce.
func (c *Calls) Announce(ctx context.Context, id auth.Identity, in AnnounceInput) (Acted, error) {
	if (in.Text == "") == (len(in.Data) == 0) {
		return Acted{}, problem.New(problem.BadPayload, "Give a text, or data.")
	}
	data := in.Data
	if in.Text != "" {
		data = append(envelope.AppendString([]byte(`{"text":`), in.Text), '}')
	}
	if len(data) > maxAnnouncement {
		return Acted{}, problem.New(problem.TooLarge, "An announcement has at most %d bytes; this one has %d.", maxAnnouncement, len(data))
	}
	k, err := c.mayPost(id, in.Room)
	if err != nil {
		return Acted{}, err
	}
	asked := &storage.Append{Room: k, From: ActorOf(id), Type: string(storage.ActAnnounce), Tail: append([]byte(`,"data":`), data...)}
	if c.cfg.Before.Asks(asked) {
		if bad := c.cfg.Before.Wait(ctx, asked); bad != nil {
			return Acted{}, bad
		}
		data, _ = envelope.DataOf(asked.Tail)
	}
	return c.act(ctx, id, in.Room, &storage.Moderate{Act: storage.ActAnnounce, Data: data})
}

// Delete puts a stub in the place of a message: one's own, or anybody's for those who run the room.
func (c *Calls) Delete(ctx context.Context, id auth.Identity, in OnMessageInput) (Acted, error) {
	k, err := c.mayPost(id, in.Room)
	if err != nil {
		return Acted{}, err
	}
	if err := checkReason(in.Reason); err != nil {
		return Acted{}, err
	}
	tail := strconv.AppendUint([]byte(`,"target":`), in.Seq, 10)
	if in.Reason != "" {
		tail = envelope.AppendString(append(tail, `,"data":{"reason":`...), in.Reason)
	} else {
		tail = append(tail, `,"data":{`...)
	}
	posted, err := c.post(ctx, &storage.Append{
		Room: k, From: ActorOf(id), Type: envelope.TypeDelete, Target: in.Seq, Reason: in.Reason, Tail: append(tail, '}'),
	})
	return Acted{Room: in.Room, Seq: posted.Seq, TS: posted.TS, Changed: err == nil}, err
}

func (c *Calls) actForTime(ctx context.Context, id auth.Identity, a storage.Act, in ForTimeInput) (Acted, error) {
	if err := checkSeconds(in.Seconds); err != nil {
		return Acted{}, err
	}
	if err := checkUser(in.User); err != nil {
		return Acted{}, err
	}
	return c.act(ctx, id, in.Room, &storage.Moderate{Act: a, User: in.User, Seconds: in.Seconds, Reason: in.Reason})
}

func (c *Calls) actOn(ctx context.Context, id auth.Identity, a storage.Act, in OnUserInput) (Acted, error) {
	if err := checkUser(in.User); err != nil {
		return Acted{}, err
	}
	return c.act(ctx, id, in.Room, &storage.Moderate{Act: a, User: in.User, Reason: in.Reason})
}

// act carries out an act and waits until this node shows it, in the room and in the list of the user it is about.
func (c *Calls) act(ctx context.Context, id auth.Identity, room string, cmd *storage.Moderate) (Acted, error) {
	if err := noGuest(id, "run rooms"); err != nil {
		return Acted{}, err
	}
	k, err := roomKey(id, room)
	if err != nil {
		return Acted{}, err
	}
	if err := checkReason(cmd.Reason); err != nil {
		return Acted{}, err
	}
	cmd.Room, cmd.By, cmd.MaxMembers = k, ActorOf(id), uint64(c.cfg.RoomMembers)
	res, err := c.write(ctx, cmd)
	if err != nil {
		return Acted{}, err
	}
	if _, err := c.membership(ctx, k, cmd.User, res, false); err != nil {
		return Acted{}, err
	}
	return Acted{Room: room, Seq: res.Seq, TS: res.TS, Changed: !res.Present}, nil
}

func checkUser(user string) error {
	if !topic.ValidUser(user) && !topic.IsGuest(user) {
		return problem.New(problem.NotFound, "%.40q is no user.", user)
	}
	return nil
}

func checkSeconds(n int64) error {
	if n < 0 || n > maxSeconds {
		return problem.New(problem.BadPayload, "seconds: it is a number of 0 to %d.", maxSeconds)
	}
	return nil
}

func checkReason(s string) error {
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > maxReason {
		return problem.New(problem.BadPayload, "reason: it is UTF-8 of at most %d characters.", maxReason)
	}
	return nil
}
