package calls

import (
	"context"
	"errors"
	"time"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/storage"
)

var errNoUTF8 = errors.New("it is no UTF-8")

// LogoutInput says what is ended: everything, one device, or with neither the token of the call, and the device that it was
// issued to.
type LogoutInput struct {
	All    bool   `json:"all,omitempty"`
	Device string `json:"device,omitempty"`
	User   string `json:"user,omitempty"` // somebody else, for admins
}

// LoggedOut says what was ended.
type LoggedOut struct {
	User   string `json:"user"`
	Device string `json:"device,omitempty"`
	All    bool   `json:"all,omitempty"`
}

// Logout ends what was issued to a user before: tokens are refused on every node, connections end, and so do stored sessions.
func (c *Calls) Logout(ctx context.Context, id auth.Identity, in LogoutInput) (LoggedOut, error) {
	if err := noGuest(id, "log out: a guest is as good as its connection"); err != nil {
		return LoggedOut{}, err
	}
	setDefault(&in.User, id.User)
	switch {
	case in.User == id.User && id.Service:
		return LoggedOut{}, problem.New(problem.Unsupported, "A service key ends when it is taken out of auth.service_keys_file; name a user.")
	case in.User != id.User && !id.Admin:
		return LoggedOut{}, problem.New(problem.Forbidden, "Users log themselves out, and admins others.")
	case !topic.ValidUser(in.User):
		return LoggedOut{}, noUser(in.User)
	case in.All && in.Device != "", in.User != id.User && !in.All && in.Device == "":
		return LoggedOut{}, problem.New(problem.BadPayload, "Give a device, or all.")
	case !topic.ValidClientID(in.Device):
		return LoggedOut{}, problem.New(problem.BadPayload, "device: it is UTF-8 of at most %d bytes.", topic.MaxClientID)
	}
	if err := c.ofConfiguration(id, id.Namespace, in.User); err != nil {
		return LoggedOut{}, err
	}
	cmd := &storage.Logout{Key: storage.UserKey{NS: id.Namespace, User: in.User}, All: in.All, Device: in.Device}
	switch {
	case in.All:
	case in.Device != "":
		cmd.Keep = c.cfg.Auth.TokenLife().Milliseconds()
	case id.TokenDevice != "":
		cmd.Device, cmd.Keep = id.TokenDevice, c.cfg.Auth.TokenLife().Milliseconds()
	case id.TokenID == "":
		return LoggedOut{}, problem.New(problem.BadPayload, "This was not established by a token; give a device, or all.")
	default:
		cmd.Token, cmd.Keep = id.TokenID, (clock.Until(id.Expires) + time.Minute).Milliseconds()
	}
	if _, err := c.write(ctx, cmd); err != nil {
		return LoggedOut{}, err
	}
	return LoggedOut{User: in.User, Device: cmd.Device, All: in.All}, nil
}

// RegisterTokenInput are the fields of RegisterToken.
type RegisterTokenInput struct {
	User string `json:"user,omitempty"` // the only name it is for
	TTL  int64  `json:"ttl,omitempty"`  // seconds; a week when not given
}

// RegisterToken makes a token by which somebody registers, as an admin of the namespace. Without a user it is for as many as
// it is given to, until it ends.
func (c *Calls) RegisterToken(_ context.Context, id auth.Identity, in RegisterTokenInput) (Token, error) {
	if !id.Admin {
		return Token{}, problem.New(problem.Forbidden, "Admins, and service keys with the scope users, make tokens for registering.")
	}
	if err := c.ofConfiguration(id, id.Namespace, in.User); err != nil {
		return Token{}, err
	}
	ttl := time.Duration(in.TTL) * time.Second
	if in.TTL < 0 || in.TTL > int64(maxInvite/time.Second) {
		return Token{}, problem.New(problem.BadPayload, "ttl: it is a number of seconds, at most %d.", int64(maxInvite/time.Second))
	}
	if in.TTL == 0 {
		ttl = defaultInvite
	}
	token, expires, err := c.cfg.Auth.RegisterToken(id.Namespace, in.User, ttl)
	if err != nil {
		return Token{}, ProblemFrom(err)
	}
	return Token{Token: token, ExpiresAt: expires.UnixMilli()}, nil
}
