package auth

import (
	"crypto/pbkdf2"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// vectors are the passwords behind testdata/mosquitto.passwd, which mosquitto's and argon2's own tools wrote.
var vectors = map[string]string{
	"alice": "correct horse",
	"bob":   "battery staple",
	"dora":  "비밀번호 ✓",
	"erin":  "pl41n",
	"frank": "courtyard",
}

func TestHashesOfOtherTools(t *testing.T) {
	f, err := LoadUsersFile("testdata/mosquitto.passwd")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Check(); err != nil {
		t.Fatal(err)
	}
	for user, password := range vectors {
		h := f.lines[f.byName[user]].hash
		if h == nil || !h.verify([]byte(password)) {
			t.Errorf("%s: the right password is refused", user)
		}
		for _, wrong := range []string{"", password + " ", strings.ToUpper(password), password[1:]} {
			if wrong != password && h.verify([]byte(wrong)) {
				t.Errorf("%s: %q is accepted", user, wrong)
			}
		}
	}
}

// TestMosquittoPasswd checks against the tool itself, in both directions, where it is installed.
func TestMosquittoPasswd(t *testing.T) {
	tool, err := exec.LookPath("mosquitto_passwd")
	if err != nil {
		t.Skip("mosquitto_passwd is not installed; testdata/mosquitto.passwd holds what it wrote")
	}
	path := filepath.Join(t.TempDir(), "passwd")
	f := NewUsersFile(path)
	if err := f.Set("ours", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := f.Save(); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, "-b", path, "theirs", "s3cret").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if f, err = LoadUsersFile(path); err != nil || f.Check() != nil {
		t.Fatal(err, f.Check())
	}
	if !f.Has("ours") || !f.lines[f.byName["theirs"]].hash.verify([]byte("s3cret")) {
		t.Errorf("after mosquitto_passwd: users %v", f.List())
	}
}

func TestPBKDF2Vectors(t *testing.T) {
	for _, iterations := range []int{1, 101, 1000} {
		salt := []byte("twelve bytes")
		sum, err := pbkdf2.Key(sha512.New, "pässword", salt, iterations, sha512.Size)
		if err != nil {
			t.Fatal(err)
		}
		s := fmt.Sprintf("$7$%d$%s$%s", iterations, base64.StdEncoding.EncodeToString(salt),
			base64.StdEncoding.EncodeToString(sum))
		h, err := parseHash(s)
		if err != nil {
			t.Fatal(err)
		}
		if !h.verify([]byte("pässword")) || h.verify([]byte("passwort")) {
			t.Errorf("%d iterations: wrong answer", iterations)
		}
	}
}

func TestHashPassword(t *testing.T) {
	one, err := HashPassword([]byte("hunter2"))
	if err != nil {
		t.Fatal(err)
	}
	two, _ := HashPassword([]byte("hunter2"))
	if one == two {
		t.Error("two hashes share a salt")
	}
	if !strings.HasPrefix(one, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("unexpected form: %s", one)
	}
	h, err := parseHash(one)
	if err != nil {
		t.Fatal(err)
	}
	if h.cost != defaultCost {
		t.Errorf("cost %+v, unknown users cost %+v", h.cost, defaultCost)
	}
	if !h.verify([]byte("hunter2")) || h.verify([]byte("hunter3")) {
		t.Error("wrong answer")
	}
	for _, bad := range [][]byte{nil, {}, make([]byte, maxPassword+1)} {
		if _, err := HashPassword(bad); !errors.Is(err, ErrBadPassword) {
			t.Errorf("%d bytes: %v", len(bad), err)
		}
	}
}

func TestParseHashRefuses(t *testing.T) {
	salt, sum := base64.StdEncoding.EncodeToString(make([]byte, 12)), base64.StdEncoding.EncodeToString(make([]byte, 64))
	raw16, raw32 := base64.RawStdEncoding.EncodeToString(make([]byte, 16)), base64.RawStdEncoding.EncodeToString(make([]byte, 32))
	argon := func(params string) string { return "$argon2id$v=19$" + params + "$" + raw16 + "$" + raw32 }
	tests := []struct{ name, hash, want string }{
		{"empty", "", "not hashed"},
		{"plain", "secret", "not hashed"},
		{"bcrypt", "$2b$10$abcdefghijklmnopqrstuv", "unknown kind"},
		{"argon2i", "$argon2i$v=19$m=4096,t=3,p=1$" + raw16 + "$" + raw32, "unknown kind"},
		{"fields of 6", "$6$" + salt, "number of $ fields"},
		{"fields of 7", "$7$" + salt + "$" + sum, "number of $ fields"},
		{"no iterations", "$7$0$" + salt + "$" + sum, "not a number above 0"},
		{"negative", "$7$-5$" + salt + "$" + sum, "not a number above 0"},
		{"plus", "$7$+5$" + salt + "$" + sum, "not a number above 0"},
		{"leading zero", "$7$0101$" + salt + "$" + sum, "not a number above 0"},
		{"blank", "$7$ 101$" + salt + "$" + sum, "not a number above 0"},
		{"hostile iterations", "$7$4000000000$" + salt + "$" + sum, "above the limit"},
		{"beyond 32 bits", "$7$99999999999999999999$" + salt + "$" + sum, "not a number above 0"},
		{"salt", "$7$101$!$" + sum, "salt"},
		{"no salt", "$6$$" + sum, "salt"},
		{"long salt", "$6$" + base64.StdEncoding.EncodeToString(make([]byte, 65)) + "$" + sum, "salt"},
		{"short sum", "$6$" + salt + "$" + salt, "64 bytes"},
		{"version", "$argon2id$v=16$m=4096,t=3,p=1$" + raw16 + "$" + raw32, "version"},
		{"hostile memory", argon("m=4194304,t=1,p=1"), "m is above the limit"},
		{"hostile passes", argon("m=64,t=4000000,p=1"), "t is above the limit"},
		{"hostile work", argon("m=262144,t=5,p=1"), "m x t"},
		{"hostile lanes", argon("m=65536,t=1,p=255"), "p is above the limit"},
		{"lanes beyond a byte", argon("m=65536,t=1,p=257"), "p is above the limit"},
		{"no passes", argon("m=4096,t=0,p=1"), "not a number above 0"},
		{"no lanes", argon("m=4096,t=1,p=0"), "not a number above 0"},
		{"lanes missing", argon("m=4096,t=1"), "parameters"},
		{"order", argon("t=1,m=4096,p=1"), "parameters"},
		{"extra", argon("m=4096,t=1,p=1,keyid=x"), "parameters"},
		{"memory below lanes", argon("m=8,t=1,p=2"), "below 8 x p"},
		{"padded", "$argon2id$v=19$m=4096,t=1,p=1$" + raw16 + "==$" + raw32, "salt"},
		{"argon sum", "$argon2id$v=19$m=4096,t=1,p=1$" + raw16 + "$AAAA", "hash"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseHash(tt.hash)
			if !errors.Is(err, ErrBadHash) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// TestLargestCostIsBearable derives with the most expensive argon2id the parser lets through.
func TestLargestCostIsBearable(t *testing.T) {
	if testing.Short() || os.Getenv("MADANG_TEST_SLOW") == "" {
		t.Skip("takes 256 MiB; set MADANG_TEST_SLOW=1")
	}
	c := cost{kind: kindArgon2id, memory: maxArgon2Memory, passes: maxArgon2Work / maxArgon2Memory, lanes: 1, sum: 32}
	c.dummy().verify([]byte("x"))
	c = cost{kind: kindPBKDF2, passes: maxPBKDF2Iterations, sum: 64}
	c.dummy().verify([]byte("x"))
}

func FuzzParseHash(f *testing.F) {
	for _, s := range []string{
		"", "$", "$6$", "$7$101$AAAA$AAAA", "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parseHash(s)
		if err != nil {
			if !errors.Is(err, ErrBadHash) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if h.memory > maxArgon2Memory || h.passes > maxPBKDF2Iterations || h.lanes > maxArgon2Lanes ||
			len(h.salt) > maxSalt || len(h.sum) != h.cost.sum || h.cost.sum > sha512.Size ||
			h.kind == kindArgon2id && uint64(h.memory)*uint64(h.passes) > maxArgon2Work {
			t.Fatalf("cost out of bounds: %+v", h.cost)
		}
	})
}
