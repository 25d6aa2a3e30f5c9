package auth

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/storage"
)

// Accounts are the users of the log, those who registered and those of whom a logout is known; *storage.Store has them.
type Accounts interface {
	User(ns, user string) (*storage.User, error) // nil: nothing is known of them
}

// account returns what the log knows of a user, nil where nothing is known.
func (c *Chain) account(ns, user string) (*storage.User, *Refusal) {
	if c.cfg.Accounts == nil {
		return nil, nil
	}
	u, err := c.cfg.Accounts.User(ns, user)
	if err != nil {
		c.log.Error("read a user", "user", ns+"/"+user, "err", err)
		return nil, &Refusal{Code: CodeNoQuorum, Title: "this node cannot read its users, try another one", RetryAfter: time.Second}
	}
	return u, nil
}

// hashOf returns the hash a password is checked against: that of the users file, else the one that is registered. For a user
// who has neither it is one that never matches.
func (c *Chain) hashOf(id Identity) (hash *passwordHash, known bool, refusal *Refusal) {
	users := c.files.Load().users
	if users.has(id.Login()) || c.cfg.Accounts == nil {
		hash, known = users.lookup(id.Login())
		return hash, known, nil
	}
	u, refusal := c.account(id.Namespace, id.User)
	if refusal != nil {
		return nil, false, refusal
	}
	if u != nil && u.Hash != "" && u.Gone() == "" {
		if hash, err := parseHash(u.Hash); err == nil {
			return hash, true, nil
		}
	}
	if users == nil {
		return c.nobody, false, nil
	}
	hash, _ = users.lookup(id.Login())
	return hash, false, nil
}

// begin refuses somebody who proved who they are and may not be here: a user who was deleted, or a token that was issued
// before a logout. What is recorded of a user is newer than what a token says of their name and level.
func (c *Chain) begin(id Identity) (Identity, error) {
	if id.Guest || id.Service {
		return id, nil
	}
	u, refusal := c.account(id.Namespace, id.User)
	if refusal != nil {
		return Identity{}, refusal
	}
	if u == nil {
		return id, nil
	}
	if refusal := left(id, u); refusal != nil {
		return Identity{}, refusal
	}
	if u.Name != "" {
		id.Name = u.Name
	}
	if u.Level != nil {
		id.Level = u.Level
	}
	return id, nil
}

// now is begin of one who proves who they are at this moment: what was ended before is not theirs.
func (c *Chain) now(id Identity) (Identity, error) {
	u, refusal := c.account(id.Namespace, id.User)
	if refusal != nil {
		return Identity{}, refusal
	}
	if u != nil {
		id.Logouts = u.Logouts
	}
	return c.begin(id)
}

// left says why an identity has ended by what the log knows of its user, nil when it has not.
func left(id Identity, u *storage.User) *Refusal {
	if why := u.Gone(); why != "" {
		return unauthenticated(why)
	}
	if id.before(u.EndedAll, u.NotBefore) {
		return loggedOut(id)
	}
	for i := range u.Endings {
		switch e := &u.Endings[i]; {
		case e.Token != "" && e.Token == id.TokenID:
			return errLoggedOut()
		case e.Device != "" && (e.Device == id.Device || e.Device == id.TokenDevice) && id.before(e.Logouts, e.At):
			return loggedOut(id)
		}
	}
	return nil
}

// before reports whether the identity was proven before a logout, which was the user's so manieth at that time (ms). The
// broker's own tokens say how many logouts there were when they were issued, so no clock is asked. Those of others have the
// second in which they were issued: in doubt they are older.
func (id Identity) before(logouts uint64, at int64) bool {
	if logouts == 0 {
		return false
	}
	if id.Method == MethodJWT {
		return id.Issued.Unix() <= at/1000
	}
	return id.Logouts < logouts
}

// loggedOut is the refusal of an identity that a logout ended. A token without iat is older than every logout, now and for ever.
func loggedOut(id Identity) *Refusal {
	if id.Method == MethodJWT && id.Issued.IsZero() {
		return unauthenticated("the token has no iat (when it was issued), so it counts as older than the last logout; issue tokens with iat")
	}
	return errLoggedOut()
}

func errLoggedOut() *Refusal {
	return refuse(CodeUnauthenticated, "this was logged out; log in again")
}

// HashPassword hashes a password to be stored, when its turn comes: as many are hashed at once as are checked. The error is
// a *Refusal.
func (c *Chain) HashPassword(ctx context.Context, password string) (string, error) {
	if err := c.gate.enter(ctx); err != nil {
		return "", err
	}
	defer c.gate.leave()
	hash, err := HashPassword([]byte(password))
	if err != nil {
		return "", refuse(CodeBadPayload, strings.TrimPrefix(err.Error(), ErrBadPassword.Error()+": "))
	}
	return hash, nil
}

// CheckPassword checks a registered user's password and returns the hash that it matches. The error is a *Refusal, and for
// whoever has no password the same as for a wrong one.
func (c *Chain) CheckPassword(ctx context.Context, id Identity, password string, addr netip.Addr) (hash string, err error) {
	u, refusal := c.account(id.Namespace, id.User)
	if refusal != nil {
		return "", refusal
	}
	h, known := c.nobody, false
	if u != nil && u.Hash != "" {
		if stored, err := parseHash(u.Hash); err == nil {
			h, known = stored, true
		}
	}
	if err := c.check(ctx, h, known, id.Login(), []byte(password), addr); err != nil {
		return "", err
	}
	return u.Hash, nil
}

// Taken reports whether a name is somebody's by configuration, and so nobody's to register: a user of the users file, or one
// with a role.
func (c *Chain) Taken(ns, user string) bool {
	login := ns + "/" + user
	return c.files.Load().users.has(login) || c.admins[login] || c.auditors[login] || c.cfg.Trust && user == "admin"
}

// TokenLife is how long what was issued may be good still after a logout of one device, at most: a token of the broker's own.
// Those of others may be good for longer; they are remembered by when they end.
func (c *Chain) TokenLife() time.Duration { return c.cfg.LoginTTL }

// anyUser stands for the user in the subject of a registration token that is not for one name.
const anyUser = "*"

// RegisterToken makes a token that lets its bearer register: as user, or where that is "" under any name that is free. The
// error is a *Refusal.
func (c *Chain) RegisterToken(ns, user string, ttl time.Duration) (token string, expires time.Time, err error) {
	switch {
	case user == "":
		user = anyUser
	case !ValidUser(user) || user == TokenUser:
		return "", time.Time{}, refuse(CodeBadPayload, "a user is 1-60 of A-Z a-z 0-9 . _ : @ | = -")
	}
	return c.broker.issue(Identity{Namespace: ns, User: user}, useRegister, "", max(ttl, time.Second))
}

// VerifyRegister returns whom a registration token is for: a namespace, and a user or "" for anybody. The error is a
// *Refusal.
func (c *Chain) VerifyRegister(ctx context.Context, s string) (ns, user string, err error) {
	t, byBroker, refusal := c.verify(ctx, s)
	if refusal != nil {
		return "", "", refusal
	}
	p := claims(decodeObject(t.payload))
	switch want := c.cfg.JWT; {
	case p.text("use") != useRegister:
		return "", "", unauthenticated("the token is none for registering")
	case byBroker && (p.text("iss") != brokerIssuer || !p.hasAudience(brokerIssuer)),
		!byBroker && (want.Issuer != "" && p.text("iss") != want.Issuer || want.Audience != "" && !p.hasAudience(want.Audience)):
		return "", "", unauthenticated("the token was not issued for this broker")
	}
	if _, refusal := p.checkTimes(clock.Now(), byBroker); refusal != nil {
		return "", "", refusal
	}
	ns, user, found := strings.Cut(p.text("sub"), "/")
	if !found {
		ns, user = c.cfg.DefaultNamespace, ns
	}
	if user == anyUser {
		user = ""
	} else if !ValidUser(user) {
		return "", "", unauthenticated("the token's subject (claim sub) is no user")
	}
	if !ValidNamespace(ns) {
		return "", "", unauthenticated("the token's subject (claim sub) is no user")
	}
	return ns, user, nil
}

var _ Accounts = (*storage.Store)(nil)
