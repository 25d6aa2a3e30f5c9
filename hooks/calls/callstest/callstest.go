// Package callstest is what tests of the rules and of the calls stand on: a log that applies at once to a real store, and
// tokens that are the names of their users.
package callstest

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/internal/logentry"
	"github.com/madang-chat/madang/storage"
)

// Log applies commands to a real store as they are proposed. Its fields may be changed between calls, under Lock.
type Log struct {
	sync.Mutex
	T     testing.TB
	Store *storage.Store

	Err     error             // answered instead of applying
	Silent  bool              // nothing is answered; Lost gets the callbacks
	Hold    bool              // follow-ups are not applied
	Now     int64             // log time, ms; rises by 1 with every entry
	Seen    []storage.Command // everything proposed
	Lost    []func(storage.Result, error)
	index   uint64 // of the newest entry
	applied uint64 // commands
}

// NewLog opens a store and returns a log over it. The store is closed with the test.
func NewLog(t testing.TB, o storage.Options) *Log {
	t.Helper()
	s, err := storage.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Log{T: t, Store: s, Now: 1_795_430_000_000}
}

// Space implements calls.Log: nothing ever waits.
func (l *Log) Space() <-chan struct{} { return nil }

// Propose applies cmd and what follows from it.
func (l *Log) Propose(cmd storage.Command, done func(storage.Result, error)) {
	l.Lock()
	defer l.Unlock()
	l.Seen = append(l.Seen, cmd)
	if l.Err != nil {
		done(storage.Result{}, l.Err)
		return
	}
	if l.Silent {
		l.Lost = append(l.Lost, done)
		return
	}
	r := l.apply(cmd)
	done(r, nil)
	if !l.Hold {
		l.followUp()
	}
}

// Apply applies cmd and what follows from it, and returns its result.
func (l *Log) Apply(cmd storage.Command) storage.Result {
	l.Lock()
	defer l.Unlock()
	r := l.apply(cmd)
	l.followUp()
	return r
}

// ApplyAll is Apply for many commands at once; their results are not looked at.
func (l *Log) ApplyAll(cmds []storage.Command) {
	l.Lock()
	defer l.Unlock()
	l.batch(cmds)
	l.followUp()
}

// FollowUp applies the follow-ups that were held.
func (l *Log) FollowUp() {
	l.Lock()
	defer l.Unlock()
	l.followUp()
}

func (l *Log) followUp() {
	for { // one may lead to another
		items, err := l.Store.Outbox(1 << 20)
		if err != nil {
			l.T.Error(err)
			return
		}
		if len(items) == 0 {
			return
		}
		cmds := make([]storage.Command, len(items))
		for i, it := range items {
			cmds[i] = &storage.FollowUp{ID: it.ID}
		}
		l.batch(cmds)
	}
}

func (l *Log) apply(cmd storage.Command) storage.Result {
	out := l.batch([]storage.Command{cmd})
	if out == nil {
		return storage.Result{}
	}
	r, err := storage.DecodeResult(out[0])
	if err != nil {
		l.T.Errorf("apply %T: %v", cmd, err)
	}
	return r
}

// batch applies commands as one entry of the log; nil after an error.
func (l *Log) batch(cmds []storage.Command) [][]byte {
	g := logentry.Group{Node: "n1", Boot: 1, First: l.applied + 1}
	for _, c := range cmds {
		g.Commands = append(g.Commands, storage.Encode(c))
	}
	l.index++
	l.Now++
	l.applied += uint64(len(cmds))
	out, err := l.Store.Apply([]logentry.Entry{{Index: l.index, Time: l.Now, Groups: []logentry.Group{g}}})
	if err != nil {
		l.T.Errorf("apply %T: %v", cmds[0], err)
		return nil
	}
	return out[0][0]
}

// Proposed returns how many commands were proposed so far.
func (l *Log) Proposed() int {
	l.Lock()
	defer l.Unlock()
	return len(l.Seen)
}

// Tokens are the users' names: "alice", "ns/bob", "guest~x", "admin" and "auditor". The password is "secret".
type Tokens struct {
	NoGuests bool
	Level    *int64
	Expires  time.Time

	Now func(id auth.Identity) (auth.Identity, error) // what Recheck answers; nil: everybody is still there
}

// Recheck finds everybody still there, or asks Now.
func (t *Tokens) Recheck(id auth.Identity) (auth.Identity, error) {
	if t.Now != nil {
		return t.Now(id)
	}
	return id, nil
}

// VerifyToken accepts every name a user or guest can have, "svc~name:scope,scope" as a service key, and answers "expired" and "starting" as their names say.
func (t *Tokens) VerifyToken(_ context.Context, token string) (auth.Identity, error) {
	ns, user, found := strings.Cut(token, "/")
	if !found {
		ns, user = "chat", token
	}
	id := auth.Identity{Namespace: ns, User: user, Method: auth.MethodLogin, Level: t.Level, Expires: t.Expires}
	if name, scopes, found := strings.Cut(user, ":"); found && strings.HasPrefix(name, "svc~") {
		id.User, id.Service, id.Method = name, true, auth.MethodService
		var err error
		if id.Scopes, err = auth.ParseScopes(scopes); err != nil {
			return id, err
		}
		id.Admin, id.Auditor = id.May(auth.ScopeAdmin), id.May(auth.ScopeRead)
		return id, nil
	}
	switch {
	case user == "expired":
		return auth.Identity{}, &auth.Refusal{Code: auth.CodeTokenExpired, Title: "the token has expired"}
	case user == "starting":
		return auth.Identity{}, &auth.Refusal{Code: auth.CodeNoQuorum, Title: "not ready yet", RetryAfter: 1500 * time.Millisecond}
	case strings.HasPrefix(user, "guest~"):
		id.Guest, id.Method = true, auth.MethodGuestToken
	case !auth.ValidUser(user):
		return auth.Identity{}, &auth.Refusal{Code: auth.CodeUnauthenticated, Title: "the token's signature is wrong"}
	}
	id.Admin, id.Auditor = user == "admin", user == "auditor"
	return id, nil
}

// Login accepts the password "secret".
func (t *Tokens) Login(
	ctx context.Context, user, password string, addr netip.Addr,
) (string, time.Time, auth.Identity, error) {
	if addr.IsValid() && addr.String() == "192.0.2.66" {
		return "", time.Time{}, auth.Identity{}, &auth.Refusal{
			Code: auth.CodeRateLimited, Title: "too many failed logins", RetryAfter: 4 * time.Second,
		}
	}
	if password != "secret" {
		return "", time.Time{}, auth.Identity{}, &auth.Refusal{
			Code: auth.CodeUnauthenticated, Title: "unknown user or wrong password",
		}
	}
	id, err := t.VerifyToken(ctx, user)
	return user, time.UnixMilli(1_795_440_000_000), id, err
}

// LoginOn is Login.
func (t *Tokens) LoginOn(
	ctx context.Context, user, password, _ string, addr netip.Addr,
) (string, time.Time, auth.Identity, error) {
	return t.Login(ctx, user, password, addr)
}

// As makes any name a user's.
func (t *Tokens) As(id auth.Identity, login string) (auth.Identity, error) {
	if !id.Service || !id.May(auth.ScopeSendAs) {
		return id, &auth.Refusal{Code: auth.CodeForbidden, Title: "to act as a user takes a service key with the scope send_as"}
	}
	return auth.Identity{Namespace: id.Namespace, User: login, Method: auth.MethodService, By: id.User, Scopes: id.Scopes}, nil
}

// HashPassword makes "hash of " and the password.
func (t *Tokens) HashPassword(_ context.Context, password string) (string, error) {
	return "hash of " + password, nil
}

// CheckPassword accepts the password "secret".
func (t *Tokens) CheckPassword(_ context.Context, _ auth.Identity, password string, _ netip.Addr) (string, error) {
	if password != "secret" {
		return "", &auth.Refusal{Code: auth.CodeUnauthenticated, Title: "unknown user or wrong password"}
	}
	return "hash of secret", nil
}

// Taken finds the name "admin" taken.
func (t *Tokens) Taken(_, user string) bool { return user == "admin" }

// TokenLife is an hour.
func (t *Tokens) TokenLife() time.Duration { return time.Hour }

// RegisterToken is "register " and the login.
func (t *Tokens) RegisterToken(ns, user string, _ time.Duration) (string, time.Time, error) {
	return "register " + ns + "/" + user, time.UnixMilli(1_795_440_000_000), nil
}

// VerifyRegister reads what RegisterToken makes.
func (t *Tokens) VerifyRegister(_ context.Context, token string) (ns, user string, err error) {
	login, ok := strings.CutPrefix(token, "register ")
	if !ok {
		return "", "", &auth.Refusal{Code: auth.CodeUnauthenticated, Title: "the token is none for registering"}
	}
	ns, user, _ = strings.Cut(login, "/")
	return ns, user, nil
}

// GuestToken makes guest~1.
func (t *Tokens) GuestToken(name string, _ time.Duration) (string, string, time.Time, error) {
	if t.NoGuests {
		return "", "", time.Time{}, &auth.Refusal{Code: auth.CodeForbidden, Title: "guests are not admitted here"}
	}
	if strings.ContainsRune(name, '\n') {
		return "", "", time.Time{}, &auth.Refusal{Code: auth.CodeBadPayload, Title: "a display name has no line breaks"}
	}
	return "guest~1", "guest~1", time.UnixMilli(1_795_440_000_000), nil
}

// Guest is guest~0, who has no token.
func (t *Tokens) Guest() (auth.Identity, error) {
	if t.NoGuests {
		return auth.Identity{}, &auth.Refusal{Code: auth.CodeUnauthenticated, Title: "a username is needed here"}
	}
	return auth.Identity{Namespace: "chat", User: "guest~0", Guest: true, Method: auth.MethodGuest}, nil
}
