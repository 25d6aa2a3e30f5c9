package calls

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/quota"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// Who may register: the values of Config.Register.
const (
	RegisterOpen   = "open"   // anybody
	RegisterToken  = "token"  // whoever has a token for it; admins and service keys
	RegisterClosed = "closed" // admins and service keys
)

// Bounds of what is said of a user.
const (
	maxUserName      = 64 // characters
	maxAttributeName = 64
	maxDepth         = 8 // of an attribute's value
	maxLevel         = 1<<53 - 1
	defaultUsers     = 50
	maxUsers         = 200
	defaultInvite    = 7 * 24 * time.Hour
	maxInvite        = 90 * 24 * time.Hour
)

// Passwords hashes and checks what users log in with, and makes what they register with; *auth.Chain does.
type Passwords interface {
	HashPassword(ctx context.Context, password string) (string, error)
	CheckPassword(ctx context.Context, id auth.Identity, password string, addr netip.Addr) (hash string, err error)
	Taken(ns, user string) bool
	TokenLife() time.Duration
	RegisterToken(ns, user string, ttl time.Duration) (token string, expires time.Time, err error)
	VerifyRegister(ctx context.Context, token string) (ns, user string, err error)
}

// Profile is what is known of a user. Others than the user, admins and service keys see the name and, of the attributes, the
// level and what users say of themselves.
type Profile struct {
	User       string                     `json:"user"`
	Name       string                     `json:"name,omitempty"`
	Attributes map[string]json.RawMessage `json:"attributes"`

	Password  bool   `json:"password,omitempty"`   // there is one
	CreatedAt int64  `json:"created_at,omitempty"` // ms since the epoch
	UpdatedAt int64  `json:"updated_at,omitempty"`
	Disabled  bool   `json:"disabled,omitempty"`
	Deleted   string `json:"deleted,omitempty"`  // how, for admins
	Deleting  bool   `json:"deleting,omitempty"` // it is not done
}

// UserRegisterInput are the params of user.register.
type UserRegisterInput struct {
	User       string                     `json:"user"`
	Password   string                     `json:"password,omitempty"`
	Name       string                     `json:"name,omitempty"`
	Attributes map[string]json.RawMessage `json:"attributes,omitempty"`
	Token      string                     `json:"token,omitempty"` // for registering
}

// UserInput are the params of user.get.
type UserInput struct {
	User string `json:"user"`
}

// UserSetInput are the params of user.set. What is absent stays; an attribute that is null goes.
type UserSetInput struct {
	User        string                     `json:"user"`
	Name        *string                    `json:"name,omitempty"`
	Password    *string                    `json:"password,omitempty"`
	OldPassword string                     `json:"old_password,omitempty"`
	Attributes  map[string]json.RawMessage `json:"attributes,omitempty"`
	Disabled    *bool                      `json:"disabled,omitempty"`
}

// UserDeleteInput are the params of user.delete.
type UserDeleteInput struct {
	User string             `json:"user"`
	Mode storage.DeleteMode `json:"mode,omitempty"` // anonymise when not given, or erase
}

// UserDeleted says that a user is gone. What they wrote follows within a while.
type UserDeleted struct {
	User string             `json:"user"`
	Mode storage.DeleteMode `json:"mode"`
}

// UserSearchInput are the params of user.search.
type UserSearchInput struct {
	Query string `json:"q,omitempty"` // beginning of an id or a name
	Limit int    `json:"limit,omitempty"`
	After string `json:"after,omitempty"` // next of the page before
}

// UsersPage is a page of users.
type UsersPage struct {
	Users []Profile `json:"users"`
	Next  string    `json:"next,omitempty"`
	More  bool      `json:"more"`
}

// UserRegister makes a user. Who may is for Config.Register to say; admins and service keys with the scope users always do,
// also under a name that was deleted.
func (c *Calls) UserRegister(ctx context.Context, id auth.Identity, in UserRegisterInput) (Profile, error) {
	ns, user, err := c.mayRegister(ctx, id, &in)
	if err != nil {
		return Profile{}, err
	}
	if err := c.ofConfiguration(id, ns, user); err != nil {
		return Profile{}, err
	}
	if c.cfg.Auth.Taken(ns, user) && !id.Admin {
		return Profile{}, problem.New(problem.Conflict, "The name %s is taken.", user)
	}
	cmd := &storage.PutUser{Key: storage.UserKey{NS: ns, User: user}, By: storage.Actor{User: user}, Register: true}
	if id.Admin {
		cmd.By, cmd.Again = ActorOf(id), true
	}
	if in.Name != "" {
		if err := setName(cmd, in.Name); err != nil {
			return Profile{}, err
		}
	}
	if cmd.Set, err = c.attributes(id, in.Attributes); err != nil {
		return Profile{}, err
	}
	switch { // after all that costs less
	case in.Password != "":
		hash, err := c.cfg.Auth.HashPassword(ctx, in.Password)
		if err != nil {
			return Profile{}, ProblemFrom(err)
		}
		cmd.Hash = &hash
	case !id.Admin:
		return Profile{}, problem.New(problem.BadPayload, "password: it is needed.")
	}
	u, err := c.putUser(ctx, cmd)
	if err != nil {
		return Profile{}, err
	}
	return c.profile(u, true), nil
}

// mayRegister returns under which name a caller registers.
func (c *Calls) mayRegister(ctx context.Context, id auth.Identity, in *UserRegisterInput) (ns, user string, err error) {
	def := c.cfg.DefaultNamespace
	if id.Admin {
		def = id.Namespace
	}
	if ns, user, err = auth.SplitLogin(in.User, def); err != nil {
		return "", "", problem.New(problem.BadPayload, "user: %s.", strings.TrimPrefix(err.Error(), auth.ErrBadName.Error()+": "))
	}
	if id.Admin {
		if ns != id.Namespace {
			return "", "", problem.New(problem.Forbidden, "You run the namespace %s and no other.", id.Namespace)
		}
		return ns, user, nil
	}
	q := c.cfg.Registers.Of(quota.Address(addrOf(ctx)))
	defer q.Done()
	if wait := q.Take(0); wait > 0 {
		return "", "", problem.Over(problem.RateLimited, limit.RegisterRate, "Too many try to register from this address; try again later.").After(wait)
	}
	switch {
	case c.cfg.Register == RegisterOpen && in.Token == "":
		if ns != c.cfg.DefaultNamespace {
			return "", "", problem.New(problem.Forbidden, "Without a token one registers in the namespace %s only.", c.cfg.DefaultNamespace)
		}
		return ns, user, nil
	case c.cfg.Register == RegisterClosed:
		return "", "", problem.New(problem.Forbidden, "Nobody registers here by themselves (auth.register is closed); ask an admin.")
	case in.Token == "":
		return "", "", problem.New(problem.Forbidden, "To register here takes a token (auth.register is token); ask an admin for one.")
	}
	forNS, forUser, err := c.cfg.Auth.VerifyRegister(ctx, in.Token)
	switch {
	case err != nil:
		return "", "", ProblemFrom(err)
	case !strings.Contains(in.User, "/"):
		ns = forNS
	}
	if ns != forNS || forUser != "" && user != forUser {
		return "", "", problem.New(problem.Forbidden, "The token is for another name.")
	}
	return ns, user, nil
}

// userKey names a user of the caller's namespace; full says that the caller may see and change everything of theirs.
func (c *Calls) userKey(id auth.Identity, user string) (k storage.UserKey, full bool, err error) {
	if err := noGuest(id, "look users up"); err != nil {
		return k, false, err
	}
	if !topic.ValidUser(user) {
		return k, false, noUser(user)
	}
	return storage.UserKey{NS: id.Namespace, User: user}, id.Admin || id.User == user && !id.Service && id.By == "", nil
}

func noUser(user string) error {
	return problem.New(problem.NotFound, "There is no user %.60q.", user)
}

// UserGet returns a user: oneself, or what others may see.
func (c *Calls) UserGet(_ context.Context, id auth.Identity, in UserInput) (Profile, error) {
	k, full, err := c.userKey(id, in.User)
	if err != nil {
		return Profile{}, err
	}
	u, err := c.cfg.Store.User(k.NS, k.User)
	if err != nil {
		return Profile{}, c.broken(err)
	}
	if u == nil || !u.There && !(id.Admin && u.Deleted != "") {
		return Profile{}, noUser(in.User)
	}
	return c.profile(u, full), nil
}

// UserSet changes a user, and makes one who is known by a token or a file only: oneself, or anybody as an admin.
func (c *Calls) UserSet(ctx context.Context, id auth.Identity, in UserSetInput) (Profile, error) {
	k, full, err := c.userKey(id, in.User)
	if err != nil {
		return Profile{}, err
	}
	if !full {
		return Profile{}, problem.New(problem.Forbidden, "Users change themselves, and admins and service keys with the scope users others.")
	}
	if in.Name == nil && in.Password == nil && in.Attributes == nil && in.Disabled == nil {
		return Profile{}, problem.New(problem.BadPayload, "There is nothing to change; give name, password, attributes or disabled.")
	}
	if in.Password != nil || in.Disabled != nil {
		if err := c.ofConfiguration(id, k.NS, k.User); err != nil {
			return Profile{}, err
		}
	}
	cmd := &storage.PutUser{Key: k, By: ActorOf(id), Disabled: in.Disabled}
	if in.Disabled != nil && !id.Admin {
		return Profile{}, problem.New(problem.Forbidden, "disabled: only admins say so.")
	}
	if in.Name != nil {
		if err := setName(cmd, *in.Name); err != nil {
			return Profile{}, err
		}
	}
	if cmd.Set, err = c.attributes(id, in.Attributes); err != nil {
		return Profile{}, err
	}
	if in.Password != nil {
		if err := c.setPassword(ctx, id, cmd, &in); err != nil {
			return Profile{}, err
		}
	}
	u, err := c.putUser(ctx, cmd)
	if err != nil {
		return Profile{}, err
	}
	return c.profile(u, true), nil
}

// setPassword takes a new password: of oneself with the old one, of another as an admin.
func (c *Calls) setPassword(ctx context.Context, id auth.Identity, cmd *storage.PutUser, in *UserSetInput) error {
	if !id.Admin {
		old, err := c.cfg.Auth.CheckPassword(ctx, id, in.OldPassword, addrOf(ctx))
		if err != nil {
			p := ProblemFrom(err)
			if p.Code == problem.Unauthenticated {
				return problem.New(problem.Forbidden, "old_password: it is not right, or there is no password that is kept here.")
			}
			return p
		}
		cmd.IfHash = &old
	}
	hash, err := c.cfg.Auth.HashPassword(ctx, *in.Password)
	if err != nil {
		return ProblemFrom(err)
	}
	cmd.Hash = &hash
	return nil
}

// putUser proposes a change and returns the user as it left them.
func (c *Calls) putUser(ctx context.Context, cmd *storage.PutUser) (*storage.User, error) {
	res, err := c.write(ctx, cmd)
	if err != nil {
		return nil, err
	}
	u := &storage.User{Key: cmd.Key}
	err = c.settled.wait(ctx, c.cfg.SettleWait, func() (bool, error) {
		now, err := c.cfg.Store.User(cmd.Key.NS, cmd.Key.User)
		if now != nil {
			u = now
		}
		return now != nil && now.Updated >= res.TS, err
	})
	if err != nil {
		return nil, c.broken(err)
	}
	return u, nil
}

// UserDelete deletes a user: oneself, or anybody as an admin. On return they are logged out everywhere and write nothing more.
func (c *Calls) UserDelete(ctx context.Context, id auth.Identity, in UserDeleteInput) (UserDeleted, error) {
	k, full, err := c.userKey(id, in.User)
	if err != nil {
		return UserDeleted{}, err
	}
	if !full {
		return UserDeleted{}, problem.New(problem.Forbidden, "Users delete themselves, and admins and service keys with the scope users others.")
	}
	if err := c.ofConfiguration(id, k.NS, k.User); err != nil {
		return UserDeleted{}, err
	}
	setDefault(&in.Mode, storage.Anonymise)
	if in.Mode != storage.Anonymise && in.Mode != storage.Erase {
		return UserDeleted{}, problem.New(problem.BadPayload, "mode: %.40q is none; anonymise and erase are.", string(in.Mode))
	}
	if _, err := c.write(ctx, &storage.DeleteUser{Key: k, By: ActorOf(id), Mode: in.Mode}); err != nil {
		return UserDeleted{}, err
	}
	err = c.settled.wait(ctx, c.cfg.SettleWait, func() (bool, error) {
		u, err := c.cfg.Store.User(k.NS, k.User)
		return u != nil && u.Deleted != "", err
	})
	if err != nil {
		return UserDeleted{}, c.broken(err)
	}
	c.log.Info("audit: user deleted", "user", k.NS+"/"+k.User, "mode", in.Mode, "by", id)
	return UserDeleted(in), nil
}

// UserSearch finds users by the beginning of their id or name. Admins may ask for all.
func (c *Calls) UserSearch(_ context.Context, id auth.Identity, in UserSearchInput) (UsersPage, error) {
	if err := noGuest(id, "look users up"); err != nil {
		return UsersPage{}, err
	}
	fold := foldName(in.Query)
	if fold == "" && !id.Admin {
		return UsersPage{}, problem.New(problem.BadPayload, "q: give the beginning of an id or a name.")
	}
	if utf8.RuneCountInString(fold) > maxUserName || !utf8.ValidString(fold) || strings.ContainsRune(fold, 0) {
		return UsersPage{}, problem.New(problem.BadPayload, "q: it is UTF-8 of at most %d characters.", maxUserName)
	}
	if in.Limit <= 0 {
		in.Limit = defaultUsers
	}
	found, err := c.cfg.Store.FindUsers(id.Namespace, fold, in.After, min(in.Limit, maxUsers))
	if err != nil {
		return UsersPage{}, c.broken(err)
	}
	page := UsersPage{Users: make([]Profile, 0, len(found.Users))}
	left := maxResult - pageAround
	for i, u := range found.Users {
		p := c.profile(u, id.Admin || u.Key.User == id.User && !id.Service)
		size := profileSize(&p)
		if left -= size; left < 0 && i > 0 {
			page.Next = found.Places[i-1]
			break
		}
		page.Users = append(page.Users, p)
	}
	if page.Next == "" {
		page.Next = found.Next
	}
	page.More = page.Next != ""
	return page, nil
}

// profileSize is about as many bytes as a profile has as JSON, and no fewer.
func profileSize(p *Profile) int {
	size := 256 + len(p.User) + 6*len(p.Name)
	for name, v := range p.Attributes {
		size += 6*len(name) + len(v) + 4
	}
	return size
}

// profile is what somebody sees of a user.
func (c *Calls) profile(u *storage.User, full bool) Profile {
	p := Profile{User: u.Key.User, Name: u.Name, Attributes: map[string]json.RawMessage{}}
	for _, a := range u.Attributes {
		if full || a.Name == storage.AttributeLevel || c.ownAttribute(a.Name) {
			p.Attributes[a.Name] = a.Value
		}
	}
	if full {
		p.Password, p.CreatedAt, p.UpdatedAt, p.Disabled = u.Hash != "", u.Created, u.Updated, u.Disabled
		p.Deleted, p.Deleting = string(u.Deleted), u.Deletion != nil
	}
	return p
}

// ownAttribute reports whether users say that of themselves.
func (c *Calls) ownAttribute(name string) bool {
	return name != storage.AttributeLevel && (slices.Contains(c.cfg.OwnAttributes, name) || slices.Contains(c.cfg.OwnAttributes, "*"))
}

// attributes reads changes of attributes and says which of them are not the caller's to make.
func (c *Calls) attributes(id auth.Identity, in map[string]json.RawMessage) ([]storage.Attribute, error) {
	var out []storage.Attribute
	if len(in) > 2*storage.MaxAttributes {
		return nil, problem.New(problem.BadPayload, "attributes: at most %d change at once.", 2*storage.MaxAttributes)
	}
	for name, value := range in {
		if !topic.ValidRoom(name) || len(name) > maxAttributeName {
			return nil, problem.New(problem.BadPayload, "attributes: a name is 1-%d characters of A-Z a-z 0-9 . _ : -", maxAttributeName)
		}
		if !id.Admin && !c.ownAttribute(name) {
			return nil, problem.New(problem.Forbidden,
				"attributes: %s is set by admins and service keys with the scope users; one's own are %s (auth.own_attributes).",
				name, strings.Join(c.cfg.OwnAttributes, ", "))
		}
		a := storage.Attribute{Name: name}
		if string(value) != "null" && value != nil {
			compact, err := compactJSON(value)
			if err != nil {
				return nil, problem.New(problem.BadPayload, "attributes: %s: %s.", name, jsonFault(err))
			}
			a.Value = compact
		}
		if name == storage.AttributeLevel && a.Value != nil {
			if n, err := strconv.ParseInt(string(a.Value), 10, 64); err != nil || n > maxLevel || n < -maxLevel {
				return nil, problem.New(problem.BadPayload, "attributes: level is an integer below 2^53.")
			}
		}
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b storage.Attribute) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// setName takes a display name: one line, so that it cannot pose as something else.
func setName(cmd *storage.PutUser, name string) error {
	name = strings.TrimSpace(name)
	if name != "" && !auth.ValidDisplayName(name) {
		return problem.New(problem.BadPayload, "name: it is one line of at most %d characters.", maxUserName)
	}
	cmd.Name, cmd.Fold = &name, foldName(name)
	return nil
}

// foldName is how a name is found: in lower case, without what keys of the store have no place for.
func foldName(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '"' || r == '\\' {
			return -1
		}
		return unicode.ToLower(r)
	}, s)
}

// compactJSON returns a JSON value without the blanks between its parts.
func compactJSON(b json.RawMessage) ([]byte, error) {
	depth := 0
	dec := json.NewDecoder(strings.NewReader(string(b)))
	for {
		t, err := dec.Token()
		if err != nil {
			break
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > maxDepth {
				return nil, fmt.Errorf("it is nested more than %d deep", maxDepth)
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
	var v json.RawMessage
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, err
	}
	if !utf8.Valid(b) {
		return nil, errNoUTF8
	}
	return json.Marshal(v)
}
