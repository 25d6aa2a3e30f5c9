package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/internal/clock"
)

// Chain answers who somebody is. It is safe for concurrent use.
type Chain struct {
	cfg      Config
	log      *slog.Logger
	admins   map[string]bool // by "ns/user"
	auditors map[string]bool
	broker   brokerKey
	jwks     *keySet // nil without auth.jwt.jwks_url
	back     *backOff
	proven   *proven
	gate     gate
	nobody   *passwordHash // matches no password
	hashed   func(cost)    // told of every hash that is made to check a password; nil = nobody is

	reload sync.Mutex            // one Reload at a time
	files  atomic.Pointer[files] // what Reload replaces

	stop context.CancelFunc
	wait sync.WaitGroup
}

// files is everything that was read from files, exchanged as a whole.
type files struct {
	users    *userTable      // nil without auth.users_file
	costs    []*passwordHash // that match no password, one of each cost that a user's may have
	keys     keyring
	services []serviceKey
}

// New reads the files cfg names and returns a chain that works until Close, or until ctx ends. It does not wait for
// the network: a key set that cannot be fetched is tried again and again, and its tokens are refused with CodeNoQuorum
// meanwhile. secret returns the cluster-wide random key of 32 bytes or more that all tokens issued by the broker hang
// on; while it returns nil, such tokens are neither issued nor checked (CodeNoQuorum). It is called often and must be
// quick.
func New(ctx context.Context, cfg Config, secret func() []byte) (*Chain, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Chain{
		cfg:    cfg,
		log:    cfg.Logger.With("component", "auth"),
		broker: brokerKey{secret: secret},
		proven: newProven(cfg.CacheTTL),
		gate:   make(gate, cfg.HashConcurrency),
		nobody: defaultCost.dummy(),
	}
	if c.admins, err = loginSet("auth.admins", cfg.Admins, cfg.DefaultNamespace); err != nil {
		return nil, err
	}
	if c.auditors, err = loginSet("auth.auditors", cfg.Auditors, cfg.DefaultNamespace); err != nil {
		return nil, err
	}
	if cfg.BackOff {
		c.back = newBackOff()
	}
	if cfg.JWT.JWKSURL != "" {
		if c.jwks, err = newKeySet(cfg.JWT.JWKSURL, c.log); err != nil {
			return nil, err
		}
	}
	loaded, err := c.load()
	if err != nil {
		return nil, err
	}
	c.files.Store(loaded)
	ctx, c.stop = context.WithCancel(ctx)
	if c.jwks != nil {
		c.wait.Go(func() { c.jwks.run(ctx) })
	}
	return c, nil
}

// Close ends what New started and waits for it. The chain goes on answering, with the keys it has.
func (c *Chain) Close() {
	c.stop()
	c.wait.Wait()
}

// Reload reads the users file and the key files again, forgets which passwords were right, and has the key set fetched
// soon. On an error everything stays as it was. Connections that are open keep their identity: ask Recheck.
func (c *Chain) Reload() error {
	c.reload.Lock()
	defer c.reload.Unlock()
	loaded, err := c.load()
	if err != nil {
		return err
	}
	c.files.Store(loaded)
	c.proven.clear()
	if c.jwks != nil {
		c.jwks.refreshSoon()
	}
	return nil
}

func (c *Chain) load() (*files, error) {
	keys, err := loadKeys(c.cfg.JWT)
	if err != nil {
		return nil, err
	}
	loaded := &files{keys: keys}
	if c.cfg.JWT.HMACSecretFile != "" {
		warnReadable(c.cfg.JWT.HMACSecretFile, c.log)
	}
	if c.cfg.UsersFile != "" {
		if loaded.users, err = loadUsers(c.cfg.UsersFile, c.cfg.DefaultNamespace, c.log); err != nil {
			return nil, fmt.Errorf("auth.users_file: %w", err)
		}
		if c.cfg.Accounts != nil {
			loaded.users.dummies = append(loaded.users.dummies, c.nobody)
		}
		loaded.costs = loaded.users.costs()
	}
	if c.cfg.ServiceKeysFile != "" {
		if loaded.services, err = loadServiceKeys(c.cfg.ServiceKeysFile, c.log); err != nil {
			return nil, fmt.Errorf("auth.service_keys_file: %w", err)
		}
	}
	return loaded, nil
}

// Enabled reports whether somebody has to prove who he is to be more than a guest: passwords or keys are configured
// and Trust is off. With Trust anybody is anybody, which is no ground for opening a port to a network.
func (c *Chain) Enabled() bool {
	return !c.cfg.Trust && (c.cfg.UsersFile != "" || c.cfg.ServiceKeysFile != "" || c.cfg.JWT.keys())
}

// GuestsAdmitted reports whether auth.guest lets anybody in without a name.
func (c *Chain) GuestsAdmitted() bool { return c.cfg.Guest == GuestRead }

// Authenticate decides who a CONNECT comes from; its client id is the device that a logout may name. The error is a *Refusal. It may take as long as ctx allows while
// other logins are hashed, at most 10 s.
func (c *Chain) Authenticate(ctx context.Context, cr Credentials) (Identity, error) {
	id, err := c.authenticate(ctx, cr)
	if err != nil || id.Guest {
		return id, err
	}
	return c.OnDevice(id, cr.ClientID)
}

// OnDevice returns an identity as that of a connection with a client id, or why it has ended there. The error is a *Refusal.
func (c *Chain) OnDevice(id Identity, client string) (Identity, error) {
	id.Device = client
	return c.begin(id)
}

func (c *Chain) authenticate(ctx context.Context, cr Credentials) (Identity, error) {
	switch {
	case !cr.HasUsername, cr.Username == "" && len(cr.Password) == 0:
		return c.Guest()
	case cr.Username == "":
		return Identity{}, unauthenticated(`a password needs a username, or "-" with a token as the password`)
	case cr.Username == TokenUser && len(cr.Password) == 0:
		return Identity{}, unauthenticated(`the username "-" needs a token as the password`)
	case cr.Username == TokenUser:
		return c.VerifyToken(ctx, string(cr.Password))
	case looksLikeToken(cr.Password):
		return c.tokenOf(ctx, cr)
	}
	return c.password(ctx, cr.Username, cr.Password, cr.Addr)
}

// tokenOf checks a token that came with a username. Under Trust one that nobody here signed is a password like any
// other; one that was signed says what it says.
func (c *Chain) tokenOf(ctx context.Context, cr Credentials) (Identity, error) {
	t, byBroker, refusal := c.verify(ctx, string(cr.Password))
	if refusal != nil {
		if c.cfg.Trust && refusal.Code == CodeUnauthenticated {
			return c.password(ctx, cr.Username, cr.Password, cr.Addr)
		}
		return Identity{}, refusal
	}
	id, err := c.identify(t, byBroker)
	if err != nil {
		return Identity{}, err
	}
	namespace, user, found := strings.Cut(cr.Username, "/")
	if !found {
		namespace, user = c.cfg.DefaultNamespace, cr.Username
	}
	if id.Namespace != namespace || id.User != user {
		return Identity{}, unauthenticated(`the token is another user's; the username must be its subject, or "-"`)
	}
	return id, nil
}

// password logs in with a username and a password: by Trust, else by the users file.
func (c *Chain) password(ctx context.Context, login string, password []byte, addr netip.Addr) (Identity, error) {
	namespace, user, err := SplitLogin(login, c.cfg.DefaultNamespace)
	if err != nil {
		return Identity{}, unauthenticated(err.Error())
	}
	id := Identity{Namespace: namespace, User: user, Method: MethodPassword}
	if c.cfg.Trust {
		id.Method = MethodTrust
		return c.now(c.withRoles(id))
	}
	if c.files.Load().users == nil && c.cfg.Accounts == nil {
		return Identity{}, unauthenticated("there is no login with a password here; use a token as the password")
	}
	hash, known, refusal := c.hashOf(id)
	if refusal != nil {
		return Identity{}, refusal
	}
	if err := c.check(ctx, hash, known, id.Login(), password, addr); err != nil {
		return Identity{}, err
	}
	return c.now(c.withRoles(id))
}

// check verifies a password against a hash; known says that it is a user's.
func (c *Chain) check(
	ctx context.Context, hash *passwordHash, known bool, login string, password []byte, addr netip.Addr,
) error {
	key := newBackOffKey(login, addr)
	if err := c.paused(key); err != nil {
		return err
	}
	if c.proven.has(login, password, hash) {
		c.back.succeeded(key)
		return nil
	}
	if err := c.gate.enter(ctx); err != nil {
		return err
	}
	defer c.gate.leave()
	// Much may have happened in the queue: failures of the same pair, or the same password found right.
	if err := c.paused(key); err != nil {
		return err
	}
	if c.proven.has(login, password, hash) {
		c.back.succeeded(key)
		return nil
	}
	if len(password) <= maxPassword {
		if c.matches(hash, password) && known {
			c.proven.add(login, password, hash)
			c.back.succeeded(key)
			return nil
		}
		c.even(hash, password)
	}
	if pause, first := c.back.failed(key); first {
		c.log.Warn("many failed logins; slowing them down", "user", login, "addr", addr, "pause", pause)
	}
	return errWrongPassword()
}

// matches reports whether a password is that of a hash.
func (c *Chain) matches(hash *passwordHash, password []byte) bool {
	if c.hashed != nil {
		c.hashed(hash.cost)
	}
	return hash.verify(password)
}

// even hashes a password that was wrong once with each other cost that a user's may have. So every login that fails costs the
// same, whosever name it was under and whatever that user's hash is: those of the users file, and those that are registered.
func (c *Chain) even(hash *passwordHash, password []byte) {
	for _, other := range c.files.Load().costs {
		if other.cost != hash.cost {
			c.matches(other, password)
		}
	}
}

func (c *Chain) paused(key backOffKey) error {
	if pause := c.back.pause(key); pause > 0 {
		return &Refusal{Code: CodeRateLimited, Title: "too many failed logins, try again later", RetryAfter: pause}
	}
	return nil
}

// withRoles sets the roles that the configuration gives an identity.
func (c *Chain) withRoles(id Identity) Identity {
	id.Admin = c.admins[id.Login()] || c.cfg.Trust && id.User == "admin"
	id.Auditor = c.auditors[id.Login()]
	return id
}

// VerifyToken decides who a token, or a service key, belongs to. The error is a *Refusal.
func (c *Chain) VerifyToken(ctx context.Context, token string) (Identity, error) {
	if looksLikeServiceKey(token) {
		return c.service(token)
	}
	t, byBroker, refusal := c.verify(ctx, token)
	if refusal != nil {
		return Identity{}, refusal
	}
	return c.identify(t, byBroker)
}

// Login checks a username and password and issues a token for them that ends at expires; the identity is the one the
// token stands for. The error is a *Refusal.
//
// The token names the user and no roles: those are looked up whenever it is used. It ends with its user, when that is
// taken from the users file or deleted, and with a logout, but not with the password.
func (c *Chain) Login(
	ctx context.Context, user, password string, addr netip.Addr,
) (token string, expires time.Time, id Identity, err error) {
	return c.LoginOn(ctx, user, password, "", addr)
}

// LoginOn is Login on a device, whose logout the token ends with.
func (c *Chain) LoginOn(
	ctx context.Context, user, password, device string, addr netip.Addr,
) (token string, expires time.Time, id Identity, err error) {
	if !topic.ValidClientID(device) {
		return "", time.Time{}, Identity{}, refuse(CodeBadPayload, "a device is UTF-8 of at most 128 bytes")
	}
	if c.broker.get() == nil {
		return "", time.Time{}, Identity{}, errNotReady()
	}
	id, err = c.password(ctx, user, []byte(password), addr)
	if err != nil {
		return "", time.Time{}, Identity{}, err
	}
	id.Device, id.TokenDevice = "", device
	token, expires, err = c.broker.issue(id, useLogin, id.Method, c.cfg.LoginTTL)
	if err != nil {
		return "", time.Time{}, Identity{}, err
	}
	id.Method, id.Expires, id.TokenID = MethodLogin, expires, tokenID(token[:strings.LastIndexByte(token, '.')])
	return token, expires, id, nil
}

// Guest returns a new guest with a random name, for as long as one connection lasts. The error is a *Refusal.
func (c *Chain) Guest() (Identity, error) {
	if !c.GuestsAdmitted() {
		return Identity{}, unauthenticated("a username is needed here (auth.guest is off)")
	}
	return Identity{Namespace: c.cfg.DefaultNamespace, User: newGuestName(), Guest: true, Method: MethodGuest}, nil
}

// GuestToken makes a guest who can be known again: a token, and the name that goes with it. name is what is shown, ""
// for none; a ttl of 0 or less is the configured one. The error is a *Refusal.
func (c *Chain) GuestToken(name string, ttl time.Duration) (token, user string, expires time.Time, err error) {
	if !c.GuestsAdmitted() {
		return "", "", time.Time{}, refuse(CodeForbidden, "guests are not admitted here (auth.guest is off)")
	}
	if name != "" && !validDisplayName(name) {
		return "", "", time.Time{}, refuse(CodeBadPayload, displayNameRule)
	}
	if ttl <= 0 {
		ttl = c.cfg.GuestTTL
	}
	id := Identity{Namespace: c.cfg.DefaultNamespace, User: newGuestName(), Name: name}
	token, expires, err = c.broker.issue(id, useGuest, "", max(ttl, time.Second))
	if err != nil {
		return "", "", time.Time{}, err
	}
	return token, id.User, expires, nil
}

// Recheck returns an identity as it stands now: its roles by the present configuration, or a *Refusal when it has
// ended or its user is gone. It is for connections that are open across a Reload, and costs next to nothing.
func (c *Chain) Recheck(id Identity) (Identity, error) {
	if id.Expired(clock.Now()) {
		return Identity{}, errExpired()
	}
	if !id.Guest && !id.Service {
		if u, refusal := c.account(id.Namespace, id.User); refusal == nil && u != nil { // else its word holds until it can be read
			if refusal := left(id, u); refusal != nil {
				return Identity{}, refusal
			}
		}
	}
	switch id.Method {
	case MethodService:
		if id.Service {
			return c.recheckService(id)
		}
		return c.recheckAs(id)
	case MethodTrust:
		if !c.cfg.Trust {
			return Identity{}, errUserGone()
		}
	case MethodPassword, MethodLogin:
		if !c.exists(id) {
			return Identity{}, errUserGone()
		}
	default:
		return id, nil // a token's word holds to its end; a guest has nothing to lose
	}
	return c.withRoles(id), nil
}

// exists reports whether the user can log in with some password now.
func (c *Chain) exists(id Identity) bool {
	if c.cfg.Trust || c.files.Load().users.has(id.Login()) {
		return true
	}
	u, refusal := c.account(id.Namespace, id.User)
	return refusal != nil || u != nil && u.Hash != "" && u.Gone() == ""
}

func errUserGone() *Refusal { return unauthenticated("this user does not exist any more") }

func errExpired() *Refusal { return refuse(CodeTokenExpired, "the token has expired") }

// AsRefusal returns the Refusal in err; an error that is none becomes one that tells nothing.
func AsRefusal(err error) *Refusal {
	if r := (*Refusal)(nil); errors.As(err, &r) {
		return r
	}
	return unauthenticated("not authenticated")
}
