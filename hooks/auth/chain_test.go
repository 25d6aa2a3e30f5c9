package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	clusterSecret = []byte("0123456789abcdef0123456789abcdef")
	home          = netip.MustParseAddr("192.0.2.7")
)

func knownSecret() []byte { return clusterSecret }

func newChain(t testing.TB, cfg Config) *Chain {
	t.Helper()
	c, err := New(context.Background(), cfg, knownSecret)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// cheapUsers writes a users file, from users to passwords, whose hashes cost next to nothing.
func cheapUsers(t testing.TB, users map[string]string) string {
	t.Helper()
	var b strings.Builder
	for name, password := range users {
		h := cost{kind: kindPBKDF2, passes: 1, sum: 64}.dummy()
		sum, err := h.derive([]byte(password))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s:$7$1$%s$%s\n", name, b64(h.salt), b64(sum))
	}
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func login(username, password string) Credentials {
	return Credentials{HasUsername: true, Username: username, HasPassword: true, Password: []byte(password), Addr: home}
}

// wantRefusal checks code and a part of the title.
func wantRefusal(t testing.TB, err error, code, title string) *Refusal {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) {
		t.Fatalf("error is %v, want a Refusal %s", err, code)
	}
	if r.Code != code || !strings.Contains(r.Title, title) {
		t.Fatalf("refused with %v, want %s with %q", r, code, title)
	}
	return r
}

func TestAuthenticate(t *testing.T) {
	users := Config{
		UsersFile: cheapUsers(t, map[string]string{"alice": "wonder", "acme/bob": "builder", "chat.root": "dots.in.it"}),
		Admins:    []string{"chat.root", "acme/bob"}, Auditors: []string{"alice"},
	}
	guests := users
	guests.Guest = GuestRead
	trust := Config{Trust: true}
	other := users
	other.DefaultNamespace = "acme"

	tests := []struct {
		name string
		cfg  Config
		cr   Credentials
		want string // "ns/user method roles", or "code: part of the title"
	}{
		{"nothing, guests off", users, Credentials{}, "unauthenticated: auth.guest is off"},
		{"nothing, guests read", guests, Credentials{}, "chat/guest~* guest guest"},
		{"password alone is a guest", guests, Credentials{HasPassword: true, Password: []byte("x")}, "chat/guest~* guest guest"},
		{"empty username is a guest", guests, login("", ""), "chat/guest~* guest guest"},
		{"empty username with password", guests, login("", "x"), "unauthenticated: a password needs a username"},
		{"right", users, login("alice", "wonder"), "chat/alice password auditor"},
		{"right, with namespace", users, login("chat/alice", "wonder"), "chat/alice password auditor"},
		{"right, other namespace", users, login("acme/bob", "builder"), "acme/bob password admin"},
		{"default namespace is another", other, login("bob", "builder"), "acme/bob password admin"},
		{"same name, other namespace", users, login("acme/alice", "wonder"), "unauthenticated: unknown user or wrong password"},
		{"password with dots", users, login("chat.root", "dots.in.it"), "chat/chat.root password admin"},
		{"wrong", users, login("alice", "Wonder"), "unauthenticated: unknown user or wrong password"},
		{"empty", users, login("alice", ""), "unauthenticated: unknown user or wrong password"},
		{"no password", users, Credentials{HasUsername: true, Username: "alice"}, "unauthenticated: unknown user or wrong password"},
		{"unknown", users, login("nobody", "x"), "unauthenticated: unknown user or wrong password"},
		{"too long to be hashed", users, login("alice", strings.Repeat("x", maxPassword+1)), "unauthenticated: unknown user or wrong password"},
		{"case matters", users, login("Alice", "wonder"), "unauthenticated: unknown user"},
		{"broker's name", users, login("guest~x", "x"), "unauthenticated: names with ~"},
		{"broker's name, trusted", trust, login("guest~x", "x"), "unauthenticated: names with ~"},
		{"service name, trusted", trust, login("svc~x", "x"), "unauthenticated: names with ~"},
		{"line break", trust, login("a\nb", "x"), "unauthenticated: a user is 1-60"},
		{"topic", trust, login("a+", "x"), "unauthenticated: a user is 1-60"},
		{"long", trust, login(strings.Repeat("x", 61), "x"), "unauthenticated: a user is 1-60"},
		{"longest", trust, login(strings.Repeat("x", 60), "x"), "chat/" + strings.Repeat("x", 60) + " trust"},
		{"all characters", trust, login("aZ9._:@|=-", "x"), "chat/aZ9._:@|=- trust"},
		{"two slashes", trust, login("a/b/c", "x"), "unauthenticated: a user is 1-60"},
		{"system namespace", trust, login("$SYS/x", "x"), "unauthenticated: a namespace is 1-60"},
		{"empty namespace", trust, login("/x", "x"), "unauthenticated: a namespace is 1-60"},
		{"dash in a namespace", trust, login("acme/-", "x"), "unauthenticated: a user is 1-60"},
		{"trusted", trust, login("carol", "whatever"), "chat/carol trust"},
		{"trusted without password", trust, Credentials{HasUsername: true, Username: "carol"}, "chat/carol trust"},
		{"trusted admin", trust, login("admin", "x"), "chat/admin trust admin"},
		{"trusted admin elsewhere", trust, login("acme/admin", "x"), "acme/admin trust admin"},
		{"trusted, token form", trust, login("carol", "eyJhbGciOiJub25lIn0.e30.AA"), "chat/carol trust"},
		{"admin is nobody without trust", users, login("admin", "x"), "unauthenticated: unknown user"},
		{"trusted dash", trust, login("-", "x"), "unauthenticated: not a JWT"},
		{"trusted dash, unsigned", trust, login("-", "eyJhbGciOiJub25lIn0.e30."), "unauthenticated: algorithm"},
		{"trusted dash, no password", trust, login("-", ""), "unauthenticated: needs a token"},
		{"no way in", Config{}, login("alice", "x"), "unauthenticated: no login with a password"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id, err := newChain(t, tt.cfg).Authenticate(t.Context(), tt.cr)
			if code, title, refused := strings.Cut(tt.want, ": "); refused {
				wantRefusal(t, err, code, title)
				if id != (Identity{}) {
					t.Errorf("a refusal comes with identity %+v", id)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(id); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func describe(id Identity) string {
	s := id.Login()
	if id.Guest {
		s = id.Namespace + "/guest~*"
	}
	s += " " + id.Method
	for role, has := range map[string]bool{"guest": id.Guest, "admin": id.Admin, "auditor": id.Auditor, "service": id.Service} {
		if has {
			s += " " + role
		}
	}
	return s
}

func TestGuestsDiffer(t *testing.T) {
	c := newChain(t, Config{Guest: GuestRead})
	seen := map[string]bool{}
	for range 1000 {
		id, err := c.Guest()
		if err != nil {
			t.Fatal(err)
		}
		if seen[id.User] || !validGuest(id.User) {
			t.Fatalf("guest %q", id.User)
		}
		seen[id.User] = true
	}
}

func TestConfig(t *testing.T) {
	tests := []struct {
		name string
		cfg  Config
		want string
	}{
		{"guest", Config{Guest: "write"}, `auth.guest is "write"`},
		{"namespace", Config{DefaultNamespace: "$x"}, "default namespace"},
		{"admins", Config{Admins: []string{"a b"}}, `auth.admins: "a b"`},
		{"auditors", Config{Auditors: []string{"svc~x"}}, "auth.auditors"},
		{"concurrency", Config{HashConcurrency: -1}, "below 1"},
		{"ttl", Config{LoginTTL: time.Millisecond}, "a second"},
		{"issuer alone", Config{JWT: JWTConfig{Issuer: "x"}}, "without a key"},
		{"no users file", Config{UsersFile: "/nonexistent/users"}, "auth.users_file: users file: open"},
		{"bad users file", Config{UsersFile: writeFile(t, "u", "# x\nalice:plain\n")}, "u:2: "},
		{"same user twice", Config{UsersFile: writeFile(t, "u", "alice:"+hashA+"\nchat/alice:"+hashA+"\n")}, "u:2: "},
		{"no secret file", Config{JWT: JWTConfig{HMACSecretFile: "/nonexistent/s"}}, "auth.jwt.hmac_secret_file: open"},
		{"http", Config{JWT: JWTConfig{JWKSURL: "http://idp.example/keys"}}, "use https"},
		{"http to an address", Config{JWT: JWTConfig{JWKSURL: "http://192.0.2.1/keys"}}, "use https"},
		{"http to a loopback look-alike", Config{JWT: JWTConfig{JWKSURL: "http://localhost.example/keys"}}, "use https"},
		{"file", Config{JWT: JWTConfig{JWKSURL: "file:///etc/keys"}}, "names no host"},
		{"not a URL", Config{JWT: JWTConfig{JWKSURL: "https://u:pa55@[x/"}}, "not a URL"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(t.Context(), tt.cfg, knownSecret)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "pa55") {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestEnabled(t *testing.T) {
	users := cheapUsers(t, nil)
	for _, tt := range []struct {
		cfg  Config
		want bool
	}{
		{Config{}, false},
		{Config{Guest: GuestRead}, false},
		{Config{Trust: true}, false},
		{Config{Trust: true, UsersFile: users}, false},
		{Config{UsersFile: users}, true},
		{Config{JWT: JWTConfig{JWKSURL: "https://127.0.0.1:1/"}}, true},
	} {
		if got := newChain(t, tt.cfg).Enabled(); got != tt.want {
			t.Errorf("%+v: Enabled = %v", tt.cfg, got)
		}
	}
}

func TestReload(t *testing.T) {
	path := cheapUsers(t, map[string]string{"alice": "one"})
	secretPath := writeFile(t, "secret", string(clusterSecret))
	c := newChain(t, Config{UsersFile: path, JWT: JWTConfig{HMACSecretFile: secretPath}})
	ctx := t.Context()
	id, err := c.Authenticate(ctx, login("alice", "one"))
	if err != nil {
		t.Fatal(err)
	}

	// A bad file keeps everything, also what was read before it.
	if err := os.WriteFile(path, []byte("alice:plain\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(secretPath, bytes.Repeat([]byte("n"), 32), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(); err == nil || !strings.Contains(err.Error(), path+":1: ") {
		t.Fatalf("reload of a bad file: %v", err)
	}
	if _, err := c.Authenticate(ctx, login("alice", "one")); err != nil {
		t.Errorf("after a bad reload: %v", err)
	}
	if token, err := IssueToken(clusterSecret, "alice", TokenClaims{}, time.Hour); err != nil {
		t.Error(err)
	} else if _, err := c.VerifyToken(ctx, token); err != nil {
		t.Errorf("after a bad reload: %v", err)
	}

	// A new password takes effect at once, though the old one was remembered as right.
	copyFile(t, cheapUsers(t, map[string]string{"alice": "two"}), path)
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	if c.proven.seen.len() != 0 {
		t.Error("passwords are remembered across a reload")
	}
	_, err = c.Authenticate(ctx, login("alice", "one"))
	wantRefusal(t, err, CodeUnauthenticated, "wrong password")
	if _, err := c.Authenticate(ctx, login("alice", "two")); err != nil {
		t.Error(err)
	}
	if _, err := c.Recheck(id); err != nil {
		t.Errorf("recheck of a user who is still there: %v", err)
	}
	copyFile(t, cheapUsers(t, map[string]string{"bob": "x"}), path)
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	_, err = c.Recheck(id)
	wantRefusal(t, err, CodeUnauthenticated, "does not exist any more")
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	if err := os.WriteFile(to, []byte(readFile(t, from)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestNothingLeaks(t *testing.T) {
	var logs bytes.Buffer
	c := newChain(t, Config{
		UsersFile: cheapUsers(t, map[string]string{"alice": "right"}), BackOff: true,
		JWT:    JWTConfig{HMACSecretFile: writeFile(t, "s", string(clusterSecret))},
		Logger: slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	token, err := IssueToken(bytes.Repeat([]byte("x"), 32), "alice", TokenClaims{}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	logs.Reset() // of the warning about the cheap hashes
	for range 20 {
		for _, secret := range []string{"hunter2hunter2", token} {
			for _, user := range []string{"alice", "-", "evil\nlevel=ERROR msg=owned"} {
				_, err := c.Authenticate(t.Context(), login(user, secret))
				if err == nil || strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), secret[:8]) {
					t.Errorf("error %v", err)
				}
			}
		}
	}
	if !strings.Contains(logs.String(), "many failed logins") || strings.Count(logs.String(), "\n") != 1 {
		t.Errorf("log is %s", logs.String())
	}
	if strings.Contains(logs.String(), "hunter2") || strings.Contains(logs.String(), token[:8]) {
		t.Errorf("the log shows a secret: %s", logs.String())
	}
}

func TestConcurrentUse(t *testing.T) {
	path := cheapUsers(t, map[string]string{"alice": "right"})
	c := newChain(t, Config{UsersFile: path, Guest: GuestRead, BackOff: true})
	token, _, _, err := c.Login(t.Context(), "alice", "right", home)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 50 {
				cr := login("alice", "right")
				cr.Addr = netip.AddrFrom4([4]byte{10, 0, byte(i), byte(n)})
				if _, err := c.Authenticate(t.Context(), cr); err != nil {
					t.Error(err)
				}
				if _, err := c.VerifyToken(t.Context(), token); err != nil {
					t.Error(err)
				}
				if n%10 == i {
					if err := c.Reload(); err != nil {
						t.Error(err)
					}
				}
				cr.Password = []byte("wrong")
				if _, err := c.Authenticate(t.Context(), cr); err == nil {
					t.Error("a wrong password is accepted")
				}
			}
		})
	}
	wg.Wait()
}
