package app

import (
	"context"

	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/storage"
)

// online is the broker as the calls ask it who is connected: it is made after them, since it serves them.
type online struct{ a *App }

func (o online) UserPresence(ns, user string) calls.UserPresence {
	return o.a.broker.UserPresence(ns, user)
}

func (o online) RoomPresence(k storage.RoomKey) calls.RoomPresence { return o.a.broker.RoomPresence(k) }

func (o online) Connected(ctx context.Context, ns, user string) ([]calls.Connected, []string) {
	return o.a.broker.Connected(ctx, ns, user)
}

func (o online) Disconnect(ctx context.Context, ns, user, device, except string) []string {
	return o.a.broker.Disconnect(ctx, ns, user, device, except)
}
