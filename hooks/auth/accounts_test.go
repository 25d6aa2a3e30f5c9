package auth

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/storage"
)

// accounts are users of the log, by "ns/user".
type accounts struct {
	users map[string]*storage.User
	err   error
}

func (a *accounts) User(ns, user string) (*storage.User, error) { return a.users[ns+"/"+user], a.err }

// registered is a user with a password.
func registered(t *testing.T, password string) *storage.User {
	t.Helper()
	hash, err := HashPassword([]byte(password))
	if err != nil {
		t.Fatal(err)
	}
	return &storage.User{There: true, Hash: hash}
}

// The users file is asked first, then the log; whoever has no password in either is told what a wrong one is told.
func TestPasswordsOfTheLog(t *testing.T) {
	level := int64(5)
	ann := registered(t, "log")
	ann.Name, ann.Level = "Ann", &level
	disabled, deleted := registered(t, "log"), registered(t, "log")
	disabled.Disabled, deleted.Deleted = true, storage.Erase
	a := &accounts{users: map[string]*storage.User{
		"chat/ann": ann, "chat/both": registered(t, "log"), "chat/off": disabled, "chat/gone": deleted,
		"chat/none": {There: true}, "chat/broken": {There: true, Hash: "$argon2id$no"},
	}}
	for _, file := range []string{"", cheapUsers(t, map[string]string{"both": "file"})} {
		c := newChain(t, Config{Accounts: a, UsersFile: file})
		right := map[string]string{"ann": "log", "both": "file"}
		if file == "" {
			right["both"] = "log"
		}
		for user, password := range right {
			id, err := c.Authenticate(t.Context(), login(user, password))
			if err != nil || id.User != user || id.Method != MethodPassword {
				t.Errorf("%s: %+v, %v", user, id, err)
			}
		}
		if id, _ := c.Authenticate(t.Context(), login("ann", "log")); id.Name != "Ann" || id.Level != &level {
			t.Errorf("%+v", id)
		}
		for user, password := range map[string]string{
			"ann": "wrong", "both": "wrong", "off": "log", "gone": "log", "none": "", "nobody": "log", "broken": "log",
		} {
			_, err := c.Authenticate(t.Context(), login(user, password))
			if err == nil || err.Error() != errWrongPassword().Error() {
				t.Errorf("%s: %v", user, err)
			}
		}
	}
	a.err = errors.New("the disk is gone")
	_, err := newChain(t, Config{Accounts: a}).Authenticate(t.Context(), login("ann", "log"))
	wantRefusal(t, err, CodeNoQuorum, "another one")
}

// What a logout ends: tokens and connections of before it, each by what it is about.
func TestLoggedOut(t *testing.T) {
	u := registered(t, "pw")
	a := &accounts{users: map[string]*storage.User{"chat/ann": u}}
	c := newChain(t, Config{Accounts: a, JWT: JWTConfig{HMACSecretFile: writeFile(t, "s", string(hmacSecret))}})
	ctx := t.Context()
	issue := func(device string) (string, Identity) {
		t.Helper()
		token, _, id, err := c.LoginOn(ctx, "ann", "pw", device, home)
		if err != nil {
			t.Fatal(err)
		}
		return token, id
	}
	connect := func(client string) Identity {
		t.Helper()
		cr := login("ann", "pw")
		cr.ClientID = client
		id, err := c.Authenticate(ctx, cr)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	foreign, err := IssueToken(hmacSecret, "ann", TokenClaims{}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	plain, plainID := issue("")
	twin, _ := issue("")
	phone, _ := issue("phone")
	onPhone, onWeb := connect("phone"), connect("web")
	now := clock.UnixMilli()
	for _, tc := range []struct {
		what    string
		user    storage.User
		refused []string // tokens
		ended   []string // connections
	}{
		{"nothing", storage.User{}, nil, nil},
		{"a token", storage.User{Logouts: 1, Endings: []storage.Ending{{Token: plainID.TokenID, Logouts: 1, At: now}}}, []string{"plain"}, nil},
		{"a device", storage.User{Logouts: 1, Endings: []storage.Ending{{Device: "phone", Logouts: 1, At: now}}}, []string{"phone"}, []string{"phone"}},
		{"everything", storage.User{Logouts: 1, EndedAll: 1, NotBefore: now}, []string{"plain", "twin", "phone", "foreign"}, []string{"phone", "web"}},
		{"long ago", storage.User{Logouts: 1, EndedAll: 1, NotBefore: now - 10_000}, []string{"plain", "twin", "phone"}, []string{"phone", "web"}},
		{"disabled", storage.User{Disabled: true}, []string{"plain", "twin", "phone", "foreign"}, []string{"phone", "web"}},
		{"deleted", storage.User{Deleted: storage.Erase}, []string{"plain", "twin", "phone", "foreign"}, []string{"phone", "web"}},
	} {
		tc.user.There, tc.user.Hash = true, u.Hash
		a.users["chat/ann"] = &tc.user
		for name, token := range map[string]string{"plain": plain, "twin": twin, "phone": phone, "foreign": foreign} {
			_, err := c.VerifyToken(ctx, token)
			if want := strings.Contains(" "+strings.Join(tc.refused, " ")+" ", " "+name+" "); (err != nil) != want {
				t.Errorf("%s: token %s: %v", tc.what, name, err)
			}
		}
		for name, id := range map[string]Identity{"phone": onPhone, "web": onWeb} {
			_, err := c.Recheck(id)
			if want := strings.Contains(" "+strings.Join(tc.ended, " ")+" ", " "+name+" "); (err != nil) != want {
				t.Errorf("%s: connection of %s: %v", tc.what, name, err)
			}
		}
		if tc.user.Gone() != "" {
			continue
		}
		if id := connect("phone"); id.Logouts != tc.user.Logouts {
			t.Errorf("%s: a new connection is of %d logouts", tc.what, id.Logouts)
		}
		if again, _ := issue("phone"); again == phone {
			t.Error("the same token twice")
		} else if _, err := c.VerifyToken(ctx, again); err != nil {
			t.Errorf("%s: a token of after it: %v", tc.what, err)
		}
	}
	// A token of others on a device that was logged out: it is another one that comes in.
	a.users["chat/ann"] = &storage.User{Logouts: 1, Endings: []storage.Ending{{Device: "phone", Logouts: 1, At: now}}}
	for client, want := range map[string]bool{"phone": true, "web": false} {
		cr := login("-", foreign)
		cr.ClientID = client
		if _, err := c.Authenticate(ctx, cr); (err != nil) != want {
			t.Errorf("%s: %v", client, err)
		}
	}
}

// A token for registering is for that only, for whom it says, and from whom may say so.
func TestRegisterTokens(t *testing.T) {
	c := newChain(t, Config{
		Accounts: &accounts{}, JWT: JWTConfig{HMACSecretFile: writeFile(t, "s", string(hmacSecret)), Issuer: "us"},
	})
	ctx := t.Context()
	for _, user := range []string{"", "zoe"} {
		token, _, err := c.RegisterToken("acme", user, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if ns, got, err := c.VerifyRegister(ctx, token); ns != "acme" || got != user || err != nil {
			t.Errorf("%q: %q %q %v", user, ns, got, err)
		}
		_, err = c.VerifyToken(ctx, token)
		wantRefusal(t, err, CodeUnauthenticated, "for registering")
		_, err = c.Authenticate(ctx, login("-", token))
		wantRefusal(t, err, CodeUnauthenticated, "for registering")
	}
	for sub, want := range map[string][2]string{"*": {"chat", ""}, "acme/*": {"acme", ""}, "zoe": {"chat", "zoe"}, "acme/zoe": {"acme", "zoe"}} {
		token, err := IssueToken(hmacSecret, sub, TokenClaims{Register: true, Issuer: "us"}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if ns, user, err := c.VerifyRegister(ctx, token); err != nil || [2]string{ns, user} != want {
			t.Errorf("%s: %s %s %v", sub, ns, user, err)
		}
		_, err = c.VerifyToken(ctx, token)
		wantRefusal(t, err, CodeUnauthenticated, "for registering")
	}
	for _, claims := range []TokenClaims{{Issuer: "us"}, {Register: true}, {Register: true, Issuer: "them"}} {
		token, err := IssueToken(hmacSecret, "zoe", claims, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.VerifyRegister(ctx, token); err == nil {
			t.Errorf("%+v lets somebody register", claims)
		}
	}
	if _, err := IssueToken(hmacSecret, "*", TokenClaims{}, time.Minute); err == nil {
		t.Error("a token to log in as anybody")
	}
	if _, _, err := c.RegisterToken("acme", "a~b", time.Minute); err == nil {
		t.Error("a token for a name of the broker's")
	}
}
