package calls

import (
	"context"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/envelope"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

// Broadcast parses a message to everybody in the caller's namespace and puts it in the log of broadcasts. Room is not used.
func (c *Calls) Broadcast(ctx context.Context, id auth.Identity, in PostInput) (Posted, error) {
	if err := mayBroadcast(id); err != nil {
		return Posted{}, err
	}
	if p := c.CheckSize(len(in.Body)); p != nil {
		return Posted{}, p
	}
	m, p := envelope.ParseHTTP(in.ContentType, in.Type, in.CID, in.IdempotencyKey, in.Body)
	if p != nil {
		return Posted{}, p
	}
	cmd, err := broadcastOf(id, &m)
	if err != nil {
		return Posted{}, err
	}
	return c.post(ctx, cmd)
}

// BroadcastsInput are the params of broadcast.list.
type BroadcastsInput struct {
	Before *uint64 `json:"before,omitempty"` // the entries before this seq
	After  *uint64 `json:"after,omitempty"`  // the entries after this seq
	Limit  int     `json:"limit,omitempty"`  // 0 = 50, at most 1000

	budget int // bytes of JSON; 0 = the default
}

// Broadcasts returns a page of what was said to everybody.
func (c *Calls) Broadcasts(ctx context.Context, id auth.Identity, in BroadcastsInput) (Page, error) {
	return c.History(ctx, id, HistoryInput{
		Room: storage.BroadcastLog(id.Namespace).Room, Before: in.Before, After: in.After, Limit: in.Limit, budget: in.budget,
	})
}

// DraftBroadcast returns the command of an MQTT payload, as Draft does for one to a room.
func (c *Calls) DraftBroadcast(id auth.Identity, typ string, payload []byte, opt envelope.Options) (*storage.Append, error) {
	if err := mayBroadcast(id); err != nil {
		return nil, err
	}
	if p := c.CheckSize(len(payload)); p != nil {
		return nil, p
	}
	m, p := envelope.Parse(typ, payload, opt)
	if p != nil {
		return nil, p
	}
	return broadcastOf(id, &m)
}

func broadcastOf(id auth.Identity, m *envelope.Message) (*storage.Append, error) {
	switch m.Type {
	case envelope.TypeSystem, envelope.TypeEdit, envelope.TypeDelete, envelope.TypeReaction:
		return nil, problem.New(problem.Forbidden, "A broadcast is a message; type %s is not one. Take another type.", m.Type)
	}
	cmd := draftOf(id, storage.BroadcastLog(id.Namespace), m)
	cmd.AutoCreate, cmd.Mentions = storage.Broadcast, nil
	return cmd, nil
}

func mayBroadcast(id auth.Identity) error {
	if err := noGuest(id, "broadcast"); err != nil {
		return err
	}
	switch {
	case id.Admin:
	case !id.Service:
		return problem.New(problem.Forbidden, "Admins and service keys of the namespace broadcast; write to a room.")
	case !id.May(auth.ScopeBroadcast):
		return problem.New(problem.Forbidden, "To broadcast a service key needs the scope %s; this one has %s.", auth.ScopeBroadcast, id.Scopes)
	}
	return nil
}
