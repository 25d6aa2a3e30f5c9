package broker

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/madang-chat/madang/hooks"
	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// Calls of one connection that may run at once, and how long a call may take (design.md, "rpc").
const (
	callsAtOnce = 16
	callTime    = 10 * time.Second
)

// call answers an rpc on me/reply, in the order the answers come. It returns a refusal of the publish itself when the
// call is not taken at all.
func (c *client) call(in *hooks.Call, qos byte, correlation []byte) *problem.Problem {
	if c.calling.Add(1) > callsAtOnce {
		c.calling.Add(-1)
		return problem.New(problem.RateLimited, "%d calls may run at once.", callsAtOnce)
	}
	c.running.Go(func() {
		defer c.calling.Add(-1)
		ctx, cancel := context.WithTimeout(c.ctx, callTime)
		defer cancel()
		ctx = calls.WithAddr(context.WithValue(ctx, callerKey{}, c), c.conn.RemoteAddr().Addr())
		if endsItself(in.Method) {
			defer c.mayEnd()()
		}
		c.reply(c.b.cfg.Calls.Serve(ctx, c.identity(), c.replies, c.methods(), in.Method, in.Payload), qos, correlation)
	})
	return nil
}

// methods are the calls that concern the connection itself.
func (c *client) methods() map[string]calls.Method {
	return map[string]calls.Method{
		"session.set": func(_ context.Context, _ auth.Identity, params json.RawMessage) (any, error) {
			return c.sessionSet(params)
		},
		"replay": func(ctx context.Context, _ auth.Identity, params json.RawMessage) (any, error) {
			return c.replayCall(ctx, params)
		},
		"auth.renew": func(ctx context.Context, _ auth.Identity, params json.RawMessage) (any, error) {
			return c.authRenew(ctx, params)
		},
	}
}

func (c *client) authRenew(ctx context.Context, params json.RawMessage) (json.RawMessage, error) {
	var in struct {
		Token string `json:"token"`
	}
	if err := calls.Params(params, &in); err != nil {
		return nil, err
	}
	if bad := c.renew(ctx, in.Token); bad != nil {
		return nil, bad
	}
	return json.Marshal(map[string]any{"user": c.sid.User, "expires_at": c.identity().Expires.UnixMilli()})
}

// reply sends an answer at the QoS of its call. At QoS 1 it waits for room in the window as long as the connection lasts.
func (c *client) reply(answer []byte, qos byte, correlation []byte) {
	for {
		sent := make(chan bool, 1)
		c.w.post(func() {
			s := c.wants(topic.MeReply)
			sent <- c.gone || s == nil || c.w.sendMe(c, s, topic.MeReply, answer, qos, correlation)
		})
		if <-sent {
			return
		}
		select {
		case <-c.ctx.Done():
			return
		case <-time.After(coarseTick): // the window is full: acknowledgements are on their way, or the client is gone
		}
	}
}

// sessionSet changes what the connection wants of its rooms: how much of a backlog, and which rooms first.
func (c *client) sessionSet(params json.RawMessage) (json.RawMessage, error) {
	var in struct {
		Backlog *uint64  `json:"backlog"`
		Focus   []string `json:"focus"`
	}
	if err := calls.Params(params, &in); err != nil {
		return nil, err
	}
	const maxFocus = 100
	if len(in.Focus) > maxFocus || slices.ContainsFunc(in.Focus, func(r string) bool { return !topic.IsRoom(r) }) {
		return nil, problem.New(problem.BadPayload, "focus is a list of at most %d room names.", maxFocus)
	}
	out := make(chan map[string]any, 1)
	c.w.post(func() {
		if in.Backlog != nil {
			c.backlog = *in.Backlog
		}
		if in.Focus != nil {
			c.focus = map[string]bool{}
			for _, r := range in.Focus {
				c.focus[r] = true
			}
			slices.SortStableFunc(c.behind, func(a, b *cursor) int { return c.rank(a) - c.rank(b) })
		}
		focus := []string{}
		for r := range c.focus {
			focus = append(focus, r)
		}
		slices.Sort(focus)
		out <- map[string]any{"backlog": c.backlog, "focus": focus}
		if !c.gone {
			c.w.serve(c)
		}
	})
	return json.Marshal(<-out)
}

// rank orders cursors that are behind: rooms in focus, direct rooms, the others.
func (c *client) rank(cur *cursor) int {
	switch name := cur.room.key.Room; {
	case c.focus[name]:
		return 0
	case topic.IsDirect(name), !cur.room.key.IsRoom():
		return 1
	}
	return 2
}

// replayCall sets the session's cursor on a room back, as $last and $since do, for libraries that route by filter.
func (c *client) replayCall(ctx context.Context, params json.RawMessage) (json.RawMessage, error) {
	var in struct {
		Room  string  `json:"room"`
		Since *uint64 `json:"since"`
		Last  *int    `json:"last"`
	}
	if err := calls.Params(params, &in); err != nil {
		return nil, err
	}
	r := topic.Replay{Mode: topic.ReplaySince}
	k := storage.RoomKey{NS: c.sid.NS, Room: in.Room}
	switch {
	case k.IsRoom() && !topic.IsRoom(in.Room) || (in.Since == nil) == (in.Last == nil):
		return nil, problem.New(problem.BadPayload, `replay takes {"room","since"} or {"room","last"}.`)
	case in.Since != nil:
		r.Since = min(*in.Since, topic.MaxSeq)
	case *in.Last < 1 || *in.Last > topic.MaxLast:
		return nil, problem.New(problem.BadPayload, "last is a number from 1 to %d.", topic.MaxLast)
	default:
		r = topic.Replay{Mode: topic.ReplayLast, Last: *in.Last}
	}
	may, err := c.b.cfg.Rules.Access.MayRead(c.identity(), k)
	if err != nil || !may {
		return nil, problem.New(problem.NotFound, "There is no room %q that you may read.", in.Room)
	}
	from, bad := c.b.replayStart(k, r)
	if bad != nil {
		return nil, bad
	}
	if c.stored {
		cmd := &storage.Subscribe{Session: c.sid, Epoch: c.epoch, Places: []storage.RoomSeq{{
			Room: in.Room, Seq: c.asked(map[string]uint64{in.Room: from})[in.Room],
		}}}
		res, err := c.b.proposeWait(ctx, cmd)
		if bad := (*problem.Problem)(nil); errors.As(err, &bad) {
			return nil, bad
		}
		if err != nil {
			return nil, problem.New(problem.OutcomeUnknown, "")
		}
		if bad := calls.ProblemOf(res); bad != nil {
			return nil, bad
		}
	}
	found := make(chan bool, 1)
	head := uint64(0)
	c.w.post(func() {
		cur := (*cursor)(nil)
		if !c.gone {
			cur = c.w.attachExisting(c, k, from)
		}
		if cur != nil {
			head = c.w.head(cur.room)
		}
		found <- cur != nil
	})
	if !<-found {
		return nil, problem.New(problem.Conflict, "No subscription covers room %q; subscribe first.", in.Room)
	}
	return json.Marshal(map[string]any{"room": in.Room, "from": from, "head": head})
}

// attachExisting sets a cursor back, if there is one. The answer to the call may overtake the entries; they are all of
// the same connection and say their seq.
func (w *worker) attachExisting(c *client, k storage.RoomKey, next uint64) *cursor {
	cur := c.cursors[k]
	if cur == nil {
		return nil
	}
	w.rouse(cur)
	if next < cur.next {
		cur.next, cur.page = next, nil
	}
	w.replay(cur)
	c.dirty()
	return cur
}

// renew lets a connection live on with a new token of the same user.
func (c *client) renew(ctx context.Context, token string) *problem.Problem {
	id, err := c.b.cfg.Auth.VerifyToken(ctx, token)
	if err != nil {
		return calls.ProblemFrom(err)
	}
	if id.User != c.sid.User || id.Namespace != c.sid.NS {
		return problem.New(problem.Forbidden, "The token is of another user; connect anew to change users.")
	}
	if !id.Guest {
		if id, err = c.b.cfg.Auth.OnDevice(id, c.device); err != nil {
			return calls.ProblemFrom(err)
		}
	}
	c.id.Store(&id)
	c.b.stillThere(c) // what ended the new token meanwhile was told to one with the old
	return nil
}
