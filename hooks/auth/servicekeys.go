package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// Scope is what a service key may do. A key acts as svc~name.
type Scope uint16

// Scopes. Each is for all of the key's namespace.
const (
	ScopeAdmin     Scope = 1 << iota // everything an admin of the namespace may
	ScopeSendAs                      // send messages, as itself and, with the header Madang-As, as any user
	ScopeUsers                       // register, change and delete users
	ScopeRooms                       // make, change and delete rooms, and their members
	ScopeModerate                    // what operators of rooms may
	ScopeBroadcast                   // write to everybody
	ScopeRead                        // read every room, as an auditor does
)

var scopeNames = []string{"admin", "send_as", "users", "rooms", "moderate", "broadcast", "read"}

// String returns the names of the scopes, with commas between them.
func (s Scope) String() string {
	var out []string
	for i, n := range scopeNames {
		if s&(1<<i) != 0 {
			out = append(out, n)
		}
	}
	return strings.Join(out, ",")
}

// ParseScopes reads names with commas between them. At least one is needed.
func ParseScopes(text string) (s Scope, err error) {
	for name := range strings.SplitSeq(text, ",") {
		i := slices.Index(scopeNames, name)
		if i < 0 {
			return 0, fmt.Errorf("%w: there is no scope %.40q; there are %s", ErrBadConfig, name, strings.Join(scopeNames, " "))
		}
		s |= 1 << i
	}
	return s, nil
}

// May reports whether a service key has a scope, or all; for anybody else the rules of users hold, and it is true.
func (id Identity) May(s Scope) bool {
	return !id.Service || id.Scopes&(s|ScopeAdmin) != 0
}

const (
	serviceKeyPrefix = "mdk_"
	serviceKeyBytes  = 32
	servicePrefix    = "svc~"
	maxServiceName   = 40
	maxServiceFile   = 1 << 20
	maxServiceKeys   = 1000
)

// serviceKey is one line of the file.
type serviceKey struct {
	name, namespace string
	scopes          Scope
	sum             [sha256.Size]byte
}

// NewServiceKey draws a key, which is shown to nobody again, and the line of auth.service_keys_file that lets it in. The error
// is ErrBadName or ErrBadConfig.
func NewServiceKey(name, namespace string, scopes Scope) (key, line string, err error) {
	raw := make([]byte, serviceKeyBytes)
	rand.Read(raw) // never fails
	key = serviceKeyPrefix + base64.RawURLEncoding.EncodeToString(raw)
	sum := sha256.Sum256([]byte(key))
	line = fmt.Sprintf("%s %s %s %s", name, namespace, scopes, hex.EncodeToString(sum[:]))
	_, err = parseServiceKey(line)
	return key, line, err
}

// parseServiceKey reads "name namespace scope,scope sha256".
func parseServiceKey(line string) (k serviceKey, err error) {
	f := strings.Fields(line)
	if len(f) != 4 {
		return k, fmt.Errorf("%w: a line is: name namespace scope,scope sha256", ErrBadConfig)
	}
	k.name, k.namespace = f[0], f[1]
	if !ValidUser(k.name) || len(k.name) > maxServiceName || k.name == TokenUser {
		return k, fmt.Errorf("%w: a service is 1-%d of A-Z a-z 0-9 . _ : @ | = -", ErrBadName, maxServiceName)
	}
	if !ValidNamespace(k.namespace) {
		return k, fmt.Errorf("%w: a namespace is 1-%d of A-Z a-z 0-9 . _ : -", ErrBadName, maxNamespace)
	}
	if k.scopes, err = ParseScopes(f[2]); err != nil {
		return k, err
	}
	sum, err := hex.DecodeString(f[3])
	if err != nil || len(sum) != len(k.sum) {
		return k, fmt.Errorf("%w: the last field is the SHA-256 of the key in hex, as `madang token service` prints it", ErrBadKey)
	}
	copy(k.sum[:], sum)
	return k, nil
}

// loadServiceKeys reads a file of service keys: one a line, blank lines and those that begin with # are comments. The error
// names file and line of everything that is wrong, and quotes no line.
func loadServiceKeys(path string, log *slog.Logger) ([]serviceKey, error) {
	data, err := readLimited(path, maxServiceFile)
	if err != nil {
		return nil, err
	}
	var keys []serviceKey
	var faults []error
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		k, err := parseServiceKey(line)
		switch {
		case err != nil:
		case slices.ContainsFunc(keys, func(o serviceKey) bool { return o.sum == k.sum }):
			err = fmt.Errorf("%w: the key is on an earlier line already", ErrBadKey)
		case len(keys) == maxServiceKeys:
			err = fmt.Errorf("%w: more than %d keys", ErrBadConfig, maxServiceKeys)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s:%d: %w", path, n, err))
			if len(faults) == 10 {
				break
			}
			continue
		}
		keys = append(keys, k)
	}
	warnReadable(path, log)
	return keys, errors.Join(faults...)
}

// looksLikeServiceKey reports whether a token is meant as a service key.
func looksLikeServiceKey(s string) bool { return strings.HasPrefix(s, serviceKeyPrefix) }

// service returns whom a service key belongs to. Every key of the file is compared, whichever matches.
func (c *Chain) service(key string) (Identity, error) {
	sum := sha256.Sum256([]byte(key))
	return c.serviceOf(sum)
}

func (c *Chain) serviceOf(sum [sha256.Size]byte) (Identity, error) {
	var found *serviceKey
	keys := c.files.Load().services
	for i := range keys {
		if subtle.ConstantTimeCompare(keys[i].sum[:], sum[:]) == 1 {
			found = &keys[i]
		}
	}
	if found == nil {
		return Identity{}, unauthenticated("the service key is not known here")
	}
	return Identity{
		Namespace: found.namespace, User: servicePrefix + found.name, Name: found.name, Service: true, Scopes: found.scopes,
		Admin: found.scopes&ScopeAdmin != 0, Auditor: found.scopes&ScopeRead != 0, Method: MethodService,
		TokenID: hex.EncodeToString(sum[:]),
	}, nil
}

// recheckService returns what the key of an open connection may do now.
func (c *Chain) recheckService(id Identity) (Identity, error) {
	var sum [sha256.Size]byte
	if _, err := hex.Decode(sum[:], []byte(id.TokenID)); err != nil {
		return Identity{}, errUserGone()
	}
	now, err := c.serviceOf(sum)
	if err != nil {
		return Identity{}, err
	}
	now.Device = id.Device
	return now, nil
}

// recheckAs returns what a user as whom a key acts may do now: what the key may, while it may act at all.
func (c *Chain) recheckAs(id Identity) (Identity, error) {
	key, err := c.recheckService(Identity{TokenID: id.Key})
	if err != nil {
		return Identity{}, err
	}
	if !key.May(ScopeSendAs) || key.Namespace != id.Namespace {
		return Identity{}, unauthenticated("the service key may not act as a user any more")
	}
	id.Scopes = key.Scopes
	return id, nil
}

// As returns the user as whom a service key acts: one of its namespace, named alone or with it. The user keeps no role, and what
// the key may read stays what the key may. The error is a *Refusal.
func (c *Chain) As(id Identity, login string) (Identity, error) {
	if !id.Service || !id.May(ScopeSendAs) {
		return Identity{}, refuse(CodeForbidden, "to act as a user takes a service key with the scope send_as")
	}
	ns, user, err := SplitLogin(login, id.Namespace)
	switch {
	case err != nil:
		return Identity{}, refuse(CodeBadPayload, "as whom: "+err.Error())
	case ns != id.Namespace:
		return Identity{}, refuse(CodeForbidden, "the service key is of another namespace")
	}
	return c.now(Identity{Namespace: ns, User: user, Scopes: id.Scopes, By: id.User, Key: id.TokenID, Method: MethodService})
}
