package calls

import (
	"context"
	"net/netip"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
)

// LoginInput are the fields of Login.
type LoginInput struct {
	User     string `json:"user"`
	Password string `json:"password"`
	Device   string `json:"device,omitempty"` // whose logout ends the token
}

// GuestInput are the fields of GuestToken.
type GuestInput struct {
	Name string `json:"name,omitempty"` // display name
}

// Token is a token and its end, in ms since the epoch.
type Token struct {
	Token     string `json:"token"`
	ExpiresAt int64  `json:"expires_at"`
}

// GuestToken is a token for a guest, and the name that goes with it.
type GuestToken struct {
	Token
	User string `json:"user"`
}

// Login issues a token for a user and password. addr is where the call comes from, for the back-off.
func (c *Calls) Login(ctx context.Context, addr netip.Addr, in LoginInput) (Token, error) {
	token, expires, _, err := c.cfg.Auth.LoginOn(ctx, in.User, in.Password, in.Device, addr)
	if err != nil {
		return Token{}, ProblemFrom(err)
	}
	return Token{Token: token, ExpiresAt: expires.UnixMilli()}, nil
}

// GuestToken makes a guest who can be known again. Nothing of it is stored.
func (c *Calls) GuestToken(_ context.Context, in GuestInput) (GuestToken, error) {
	token, user, expires, err := c.cfg.Auth.GuestToken(in.Name, 0)
	if err != nil {
		return GuestToken{}, ProblemFrom(err)
	}
	return GuestToken{Token: Token{Token: token, ExpiresAt: expires.UnixMilli()}, User: user}, nil
}

// Identify returns whom a bearer token belongs to; an empty token is a guest without a name, where guests are admitted.
func (c *Calls) Identify(ctx context.Context, token string) (auth.Identity, error) {
	if token == "" {
		id, err := c.cfg.Auth.Guest()
		if err != nil {
			return auth.Identity{}, problem.New(problem.Unauthenticated, "A token is needed here; get one with POST /auth/login.")
		}
		return id, nil
	}
	id, err := c.cfg.Auth.VerifyToken(ctx, token)
	if err != nil {
		return auth.Identity{}, ProblemFrom(err)
	}
	return id, nil
}

// As returns the user, "alice" or "ns/alice", as whom a service key acts.
func (c *Calls) As(id auth.Identity, login string) (auth.Identity, error) {
	id, err := c.cfg.Auth.As(id, login)
	if err != nil {
		return auth.Identity{}, ProblemFrom(err)
	}
	return id, nil
}

// StillThere says why somebody whose identity was established a while ago would not be admitted any more, or not with the
// roles and scopes that were theirs.
func (c *Calls) StillThere(id auth.Identity) error {
	now, err := c.cfg.Auth.Recheck(id)
	switch {
	case err != nil:
		return ProblemFrom(err)
	case id.Admin && !now.Admin, id.Auditor && !now.Auditor, id.Scopes&^now.Scopes != 0:
		return problem.New(problem.Forbidden, "A role or a scope was taken back; ask again with what is left.")
	}
	return nil
}
