package auth

import (
	"slices"
	"strings"
	"testing"

	"github.com/madang-chat/madang/storage"
)

// A login that fails makes the same hashes and is refused with the same words, whoever it is for: a user of the file with a hash
// of any kind, one who is registered, disabled, deleted or has no password, and nobody at all, by
// MQTT and HTTP alike. Hashes are counted, not timed.
func TestFailedLoginsCostTheSame(t *testing.T) {
	f := NewUsersFile("u")
	if err := f.Set("new", []byte("right")); err != nil {
		t.Fatal(err)
	}
	disabled, deleted := registered(t, "right"), registered(t, "right")
	disabled.Disabled, deleted.Deleted = true, storage.Erase
	log := &accounts{users: map[string]*storage.User{
		"chat/ann": registered(t, "right"), "chat/off": disabled, "chat/gone": deleted, "chat/none": {There: true},
		"chat/broken": {There: true, Hash: "$argon2id$no"},
	}}
	plain := cost{kind: kindSHA512, sum: 64}.dummy()
	mixed := string(f.Bytes()) + "old:" + hashA + "\nweak:$6$" + b64(plain.salt) + "$" + b64(plain.sum) + "\n"
	for name, tt := range map[string]struct {
		file     string
		accounts Accounts
		kinds    int
	}{
		"a file of three kinds": {mixed, nil, 3}, "a file of one kind": {"old:" + hashA + "\n", nil, 1}, "an empty file": {"# nobody\n", nil, 1},
		"the log": {"", log, 1}, "a file and the log": {"old:" + hashA + "\n", log, 2}, "three kinds and the log": {mixed, log, 3},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Accounts: tt.accounts}
			if tt.file != "" {
				cfg.UsersFile = writeFile(t, "u", tt.file)
			}
			c := newChain(t, cfg)
			var made []cost
			c.hashed = func(h cost) { made = append(made, h) }
			fails := func(user string, try func() error) (costs []string, says string) {
				t.Helper()
				made = nil
				err := try()
				if err == nil {
					t.Fatalf("%s is let in", user)
				}
				for _, h := range made {
					costs = append(costs, string(rune('0'+h.kind))+strings.Repeat("i", int(min(h.passes, 200))))
				}
				slices.Sort(costs)
				return costs, err.Error()
			}
			want, words := fails("nobody", func() error { _, err := c.Authenticate(t.Context(), login("nobody", "x")); return err })
			if len(want) != tt.kinds {
				t.Errorf("%d hashes, want %d: %v", len(want), tt.kinds, want)
			}
			users := []string{"new", "old", "weak", "ann", "off", "gone", "none", "broken", "elsewhere/old", "a", "b", "c", "d", "e", "f", "g"}
			for _, user := range users {
				for way, try := range map[string]func() error{
					"MQTT": func() error { _, err := c.Authenticate(t.Context(), login(user, "wrong")); return err },
					"HTTP": func() error { _, _, _, err := c.Login(t.Context(), user, "wrong", home); return err },
				} {
					if got, says := fails(user, try); !slices.Equal(got, want) || says != words {
						t.Errorf("%s by %s: %v %q, nobody: %v %q", user, way, got, says, want, words)
					}
				}
			}
			long := strings.Repeat("x", maxPassword+1)
			for _, user := range users {
				if got, says := fails(user, func() error { _, err := c.Authenticate(t.Context(), login(user, long)); return err }); len(got) != 0 || says != words {
					t.Errorf("%s with a password that is too long: %v %q", user, got, says)
				}
			}
		})
	}
}

// A users file in which every hash has another cost does not make a failing login pay all of them.
func TestFailedLoginsAreBounded(t *testing.T) {
	file := ""
	for i := range uint32(mostCosts + 1) {
		h := cost{kind: kindPBKDF2, passes: i + 1, sum: 64}.dummy()
		file += string(rune('a'+i)) + ":$7$" + string(rune('1'+i)) + "$" + b64(h.salt) + "$" + b64(h.sum) + "\n"
	}
	c := newChain(t, Config{UsersFile: writeFile(t, "u", file)})
	n := 0
	c.hashed = func(cost) { n++ }
	for _, user := range []string{"a", "e", "nobody"} {
		if _, err := c.Authenticate(t.Context(), login(user, "wrong")); err == nil {
			t.Errorf("%s is let in", user)
		}
	}
	if n != 3 {
		t.Errorf("%d hashes for three logins", n)
	}
}
