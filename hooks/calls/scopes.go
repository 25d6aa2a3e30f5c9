package calls

import (
	"context"
	"net/netip"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
)

// scopes are what a service key needs for a call, by its name as an rpc or, where it has none, as an operation over HTTP.
// A call that is not named here needs admin.
var scopes = map[string]auth.Scope{
	"whoami": 0, "session.set": 0, "auth.renew": 0, "connect": 0,

	"message.post": auth.ScopeSendAs, "publish": auth.ScopeSendAs, "publish.bulk": auth.ScopeSendAs, "state.set": auth.ScopeSendAs,
	"read": auth.ScopeSendAs,

	"history": auth.ScopeRead, "events": auth.ScopeRead, "sync": auth.ScopeRead, "replay": auth.ScopeRead, "state.get": auth.ScopeRead,
	"room.get": auth.ScopeRead, "rooms.list": auth.ScopeRead, "room.search": auth.ScopeRead, "members": auth.ScopeRead,
	"search": auth.ScopeRead, "room.export": auth.ScopeRead, "user.export": auth.ScopeUsers, "presence.get": auth.ScopeRead,

	"room.create": auth.ScopeRooms, "room.set": auth.ScopeRooms, "room.delete": auth.ScopeRooms, "room.join": auth.ScopeRooms,
	"room.leave": auth.ScopeRooms, "room.invite": auth.ScopeRooms, "mod.role": auth.ScopeRooms,

	"mod.freeze": auth.ScopeModerate, "mod.unfreeze": auth.ScopeModerate, "mod.slow": auth.ScopeModerate,
	"mod.mute": auth.ScopeModerate, "mod.unmute": auth.ScopeModerate, "mod.ban": auth.ScopeModerate, "mod.unban": auth.ScopeModerate,
	"mod.kick": auth.ScopeModerate, "mod.delete": auth.ScopeModerate, "mod.pin": auth.ScopeModerate, "mod.announce": auth.ScopeModerate,
	"mod.audit": auth.ScopeModerate,

	"user.register": auth.ScopeUsers, "user.get": auth.ScopeUsers, "user.set": auth.ScopeUsers, "user.delete": auth.ScopeUsers,
	"user.search": auth.ScopeUsers, "logout": auth.ScopeUsers, "register_token": auth.ScopeUsers,

	"contacts.list": auth.ScopeUsers, "contacts.add": auth.ScopeUsers, "contacts.remove": auth.ScopeUsers, "blocks.list": auth.ScopeUsers,
	"blocks.add": auth.ScopeUsers, "blocks.remove": auth.ScopeUsers, "inbox": auth.ScopeUsers, "inbox.read": auth.ScopeUsers,

	"presence.room": auth.ScopeRead, "devices.list": auth.ScopeUsers, "devices.listOf": auth.ScopeUsers, "devices.kick": auth.ScopeUsers,
	"devices.kickAll": auth.ScopeUsers, "devices.kickOf": auth.ScopeUsers, "devices.kickAllOf": auth.ScopeUsers, "devices.push": auth.ScopeUsers,

	"webhooks": auth.ScopeAdmin, "webhooks.dead": auth.ScopeAdmin, "webhooks.retry": auth.ScopeAdmin,

	"broadcast.post": auth.ScopeBroadcast, "broadcast.list": auth.ScopeRead,
}

// Allow returns the identity with which a caller makes a call: users as they are; a service key, where it has the scope that
// the call needs, as one who may do it to anybody's rooms and users of the namespace. A user as whom a key acts does what
// they may, as far as the key has the scope as well.
func (c *Calls) Allow(id auth.Identity, call string) (auth.Identity, error) {
	if !id.Service && id.By == "" {
		return id, nil
	}
	need, known := scopes[call]
	if !known {
		need = auth.ScopeAdmin
	}
	if need != 0 && id.Scopes&(need|auth.ScopeAdmin) == 0 {
		return id, problem.New(problem.Forbidden, "For %s a service key needs the scope %s; this one has %s.", call, need, id.Scopes)
	}
	switch {
	case !id.Service: // as a user
	case need == auth.ScopeUsers, need == auth.ScopeRooms, need == auth.ScopeModerate:
		id.Admin = true
	}
	return id, nil
}

// ofConfiguration refuses a service key what would make it the holder, or the end, of a name that the configuration knows: one
// with a role, or of the users file. Allow makes a key with the scope users an admin for the call, and a name with a role would
// make it one for good. Admins, and keys with the scope admin, are what they would become.
func (c *Calls) ofConfiguration(id auth.Identity, ns, user string) error {
	if !id.Service && id.By == "" || id.Scopes&auth.ScopeAdmin != 0 || !c.cfg.Auth.Taken(ns, user) {
		return nil
	}
	return problem.New(problem.Forbidden, "%s is an admin, an auditor or a user of auth.users_file; for that a service key needs the scope %s.",
		user, auth.ScopeAdmin)
}

type addrKey struct{}

// WithAddr notes where a call comes from, for the limits of an address.
func WithAddr(ctx context.Context, addr netip.Addr) context.Context {
	return context.WithValue(ctx, addrKey{}, addr)
}

func addrOf(ctx context.Context) netip.Addr {
	addr, _ := ctx.Value(addrKey{}).(netip.Addr)
	return addr
}
