package auth

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/madang-chat/madang/hooks/topic"
)

// How an identity was established: the values of Identity.Method.
const (
	MethodTrust      = "trust"       // auth.trust: nothing was checked
	MethodPassword   = "password"    // the users file
	MethodJWT        = "jwt"         // a token signed by a key of auth.jwt
	MethodLogin      = "login"       // a token the broker issued for a password (POST /auth/login)
	MethodGuest      = "guest"       // no username; the name lasts as long as the connection
	MethodService    = "service_key" // a key of auth.service_keys_file
	MethodGuestToken = "guest_token" // a token the broker issued for a guest (POST /auth/guest)
)

const (
	// TokenUser is the username that means "whoever the token in the password says".
	TokenUser = "-"

	guestPrefix      = "guest~"
	defaultNamespace = topic.DefaultNamespace
	maxUser          = topic.MaxUser
	maxNamespace     = topic.MaxNamespace // who logs in must be able to name a topic
	maxDisplayName   = 64                 // characters
)

// Identity is who a connection or a request is, for as long as it is open. It is a value; copies are independent but
// for Level, which is never written after the identity was made.
type Identity struct {
	Namespace string    // "chat" by default; a login outside it is "ns/user"
	User      string    // "alice", or "guest~x" for a guest
	Name      string    // display name, "" = none
	Level     *int64    // the token's claim "level", nil = none
	Guest     bool      // reads only unless a room says otherwise; nothing of it is stored
	Admin     bool      // admin of the namespace
	Auditor   bool      // reads everything of the namespace, audited
	Service   bool      // a service key
	Expires   time.Time // zero = never
	Method    string    // one of the Method constants

	Scopes      Scope     // of a service key, and of a user as whom one acts
	By          string    // the service key that acts as the user, "" = nobody
	Key         string    // which key that is: its SHA-256 in hex
	Device      string    // client id of the connection, "" = by HTTP
	TokenDevice string    // device that the token was issued to, "" = none is named
	TokenID     string    // of the token by which it was established, "" = by a password
	Issued      time.Time // of a token that others issued
	Logouts     uint64    // how many times something of the user had been ended when it was established
}

// Login returns the identity in the form that is unambiguous everywhere: "ns/user".
func (id Identity) Login() string { return id.Namespace + "/" + id.User }

// Expired reports whether the identity had an end and it lies at or before now.
func (id Identity) Expired(now time.Time) bool {
	return !id.Expires.IsZero() && !now.Before(id.Expires)
}

// LogValue shows who it is and how that is known.
func (id Identity) LogValue() slog.Value {
	return slog.GroupValue(slog.String("user", id.Login()), slog.String("method", id.Method))
}

// Credentials are what a CONNECT brought along. Password is only read, and not kept after the call.
type Credentials struct {
	HasUsername bool
	Username    string
	HasPassword bool
	Password    []byte
	ClientID    string
	Addr        netip.Addr // where it comes from, for the back-off; the zero value is one more address
}

// SplitLogin splits a login, "user" or "ns/user", into its namespace (def when none is named) and its user. The error
// says which rule the login breaks; it never matches a name reserved for the broker (those with a "~") or TokenUser.
func SplitLogin(login, def string) (namespace, user string, err error) {
	namespace, user, found := strings.Cut(login, "/")
	if !found {
		namespace, user = def, login
	}
	switch {
	case !ValidNamespace(namespace):
		return "", "", fmt.Errorf("%w: a namespace is 1-%d of A-Z a-z 0-9 . _ : -", ErrBadName, maxNamespace)
	case strings.Contains(user, "~"):
		return "", "", fmt.Errorf("%w: names with ~ belong to the broker", ErrBadName)
	case !ValidUser(user) || user == TokenUser:
		return "", "", fmt.Errorf("%w: a user is 1-%d of A-Z a-z 0-9 . _ : @ | = -, and not %q alone",
			ErrBadName, maxUser, TokenUser)
	}
	return namespace, user, nil
}

// ValidUser reports whether s is a name a user may have.
func ValidUser(s string) bool {
	return topic.ValidUser(s)
}

// ValidNamespace reports whether s is a name a namespace may have.
func ValidNamespace(s string) bool {
	return topic.ValidNamespace(s)
}

// validGuest reports whether s is a name newGuestName could have made.
func validGuest(s string) bool {
	x, ok := strings.CutPrefix(s, guestPrefix)
	return ok && ValidUser(x) && len(s) <= maxUser
}
