package auth

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	hashA = "$7$101$ZQkhPnIm2+fuBp8x$EXiHnZ0tRTwu2hkZ03QSZja+p7jRl3vZmh9eHFdZVR+3RX9z7g6cLRfcM1Y72PwwyUEamjzrAeZo+/HThnMVMw=="
	hashB = "$6$jIhzRp4c7Ebnw0AU$n/e6HATjj3A8Lb/PcLVAIM7ik9/Pe32hOoeG4P9ODyoiU5EC51hKvFUdcvITLV2F/Gw2n9a5FIFRkvDUBYC4OA=="
)

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestUsersFileCheck(t *testing.T) {
	tests := []struct {
		name, content string
		users         []string
		want          string // in the error, "" = none
	}{
		{"empty", "", nil, ""},
		{"comments", "# hello\n\n   \n#alice:" + hashA + "\n", nil, ""},
		{"two", "bob:" + hashB + "\nalice:" + hashA + "\n", []string{"alice", "bob"}, ""},
		{"windows", "alice:" + hashA + "\r\nbob:" + hashB + "\r\n", []string{"alice", "bob"}, ""},
		{"no last line end", "alice:" + hashA, []string{"alice"}, ""},
		{"namespace", "acme/alice:" + hashA + "\nalice:" + hashA + "\n", []string{"acme/alice", "alice"}, ""},
		{"colons in the name", "urn:dev:7:" + hashA + "\n", []string{"urn:dev:7"}, ""},
		{"plain password", "# x\nalice:s3cret\n", nil, ":2: invalid password hash: not name:hash"},
		{"plain password with colons", "alice:s3:cret\n", nil, ":1: invalid password hash: not name:hash"},
		{"plain password like a hash", "alice:s3cret:$x$\n", nil, ":1: invalid password hash: not name:hash"},
		{"no colon", "alice\n", nil, ":1:"},
		{"hostile cost", "alice:$7$4294967295$AAAA$AAAA\n", []string{"alice"}, `:1: user "alice": invalid password hash: iterations is above`},
		{"broker's name", "guest~x:" + hashA + "\n", nil, ":1: invalid name: names with ~"},
		{"no name", ":" + hashA + "\n", nil, ":1: invalid name"},
		{"dash", "-:" + hashA + "\n", nil, ":1: invalid name"},
		{"blank in the name", "al ice:" + hashA + "\n", nil, ":1: invalid name"},
		{"twice", "alice:" + hashA + "\nbob:" + hashB + "\nalice:" + hashB + "\n", []string{"alice", "bob"}, `:3: user "alice" is on line 1 already`},
		{"long line", "alice:$7$101$" + strings.Repeat("A", maxUsersLine) + "\n", nil, ":1: longer than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := writeFile(t, "users", tt.content)
			f, err := LoadUsersFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.List(); !slices.Equal(got, tt.users) {
				t.Errorf("users %q, want %q", got, tt.users)
			}
			err = f.Check()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), path+tt.want)) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if err != nil {
				text := strings.ReplaceAll(err.Error(), path, "") // the path holds random digits
				if strings.Contains(text, "s3") || strings.Contains(text, "cret") {
					t.Errorf("the error shows the password: %v", err)
				}
			}
			if got := string(f.Bytes()); got != tt.content {
				t.Errorf("bytes changed: %q", got)
			}
		})
	}
}

func TestUsersFileCheckIsBounded(t *testing.T) {
	f := parseUsers("u", []byte(strings.Repeat("x\n", 10_000)))
	if n := strings.Count(f.Check().Error(), "\n"); n != 10 {
		t.Errorf("%d lines of errors", n+1)
	}
}

func TestUsersFileEdit(t *testing.T) {
	before := "# staff\nalice:" + hashA + "\n\nnonsense\nbob:" + hashB // no line end at the end
	path := writeFile(t, "users", before)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	f, err := LoadUsersFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.SetHash("alice", hashB); err != nil {
		t.Fatal(err)
	}
	if err := f.SetHash("acme/zoe", hashA); err != nil {
		t.Fatal(err)
	}
	if err := f.Save(); err != nil {
		t.Fatal(err)
	}
	want := "# staff\nalice:" + hashB + "\n\nnonsense\nbob:" + hashB + "\nacme/zoe:" + hashA + "\n"
	if got := readFile(t, path); got != want {
		t.Errorf("file is\n%s\nwant\n%s", got, want)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v", info.Mode())
	}
	if err := f.Delete("alice"); err != nil {
		t.Fatal(err)
	}
	if err := f.Delete("alice"); !errors.Is(err, ErrNoUser) {
		t.Errorf("second delete: %v", err)
	}
	if err := f.Save(); err != nil { // a second Save of the same value
		t.Fatal(err)
	}
	if got, want := readFile(t, path), "# staff\n\nnonsense\nbob:"+hashB+"\nacme/zoe:"+hashA+"\n"; got != want {
		t.Errorf("file is\n%s\nwant\n%s", got, want)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestUsersFileNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	if _, err := LoadUsersFile(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("missing file: %v", err)
	}
	f := NewUsersFile(path)
	if err := f.Set("alice", []byte("pw")); err != nil {
		t.Fatal(err)
	}
	if err := f.Save(); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	f, err := LoadUsersFile(path)
	if err != nil || f.Check() != nil || !f.lines[0].hash.verify([]byte("pw")) {
		t.Errorf("what was saved is not what is loaded: %v", err)
	}
}

func TestUsersFileRefusesToOverwrite(t *testing.T) {
	path := writeFile(t, "users", "alice:"+hashA+"\n")
	ours, _ := LoadUsersFile(path)
	theirs, _ := LoadUsersFile(path)
	fresh := NewUsersFile(path)
	if err := errors.Join(theirs.SetHash("bob", hashB), theirs.Save(), ours.SetHash("carol", hashB)); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*UsersFile{ours, fresh} {
		if err := f.Save(); !errors.Is(err, ErrChanged) {
			t.Errorf("save over another's edit: %v", err)
		}
	}
	if got := readFile(t, path); !strings.Contains(got, "bob:") || strings.Contains(got, "carol:") {
		t.Errorf("file is %s", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := theirs.Save(); !errors.Is(err, ErrChanged) {
		t.Errorf("save over a removed file: %v", err)
	}
}

func TestUsersFileThroughSymlink(t *testing.T) {
	path := writeFile(t, "users", "alice:"+hashA+"\n")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Skip(err)
	}
	f, err := LoadUsersFile(link)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.SetHash("bob", hashB), f.Save()); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Lstat(link); info.Mode()&fs.ModeSymlink == 0 {
		t.Error("the link was replaced by a file")
	}
	if !strings.Contains(readFile(t, path), "bob:") {
		t.Error("the file behind the link was not written")
	}
}

func TestUsersFileSetRefuses(t *testing.T) {
	f := NewUsersFile("unused")
	for _, name := range []string{"", "-", "a b", "guest~x", "a/b/c", "#x", "a\nb", strings.Repeat("x", 61), "/x", "x/", "$s/x"} {
		if err := f.Set(name, []byte("pw")); !errors.Is(err, ErrBadName) {
			t.Errorf("Set(%q): %v", name, err)
		}
		if err := f.SetHash(name, hashA); err == nil {
			t.Errorf("SetHash(%q) is accepted", name)
		}
	}
	for _, hash := range []string{"", "plain", hashA + "\n", hashA + "\nmallory:" + hashB, "$7$9999999999$A$A"} {
		if err := f.SetHash("alice", hash); err == nil {
			t.Errorf("SetHash(alice, %q) is accepted", hash)
		}
	}
	if err := f.Set("alice", nil); !errors.Is(err, ErrBadPassword) {
		t.Errorf("empty password: %v", err)
	}
	if len(f.Bytes()) != 0 {
		t.Errorf("refused edits left %q", f.Bytes())
	}
}

func TestUsersFileSetRepairs(t *testing.T) {
	f := parseUsers("u", []byte("alice:$7$1$broken\nalice:"+hashA+"\n"))
	if f.Check() == nil {
		t.Fatal("no fault found")
	}
	if err := f.Delete("alice"); err != nil || len(f.Bytes()) != 0 {
		t.Errorf("delete leaves %q: %v", f.Bytes(), err)
	}
	f = parseUsers("u", []byte("alice:$7$1$broken\n"))
	if err := errors.Join(f.SetHash("alice", hashA), f.Check()); err != nil {
		t.Error(err)
	}
}

func FuzzUsersFile(f *testing.F) {
	f.Add([]byte("# c\nalice:" + hashA + "\n\nacme/bob:" + hashB))
	f.Add([]byte("alice:plain\r\n:$\n$:$6$\n"))
	f.Add([]byte("a:$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		u := parseUsers("users", data)
		if string(u.Bytes()) != string(data) {
			t.Fatal("the lines are not what was read")
		}
		for _, name := range u.List() {
			if _, _, err := SplitLogin(name, "chat"); err != nil {
				t.Fatalf("user %q: %v", name, err)
			}
		}
		if err := u.SetHash("fuzz", hashA); err != nil {
			t.Fatal(err)
		}
		again := parseUsers("users", u.Bytes())
		if !again.Has("fuzz") || len(again.List()) != len(u.List()) {
			t.Fatalf("users %q became %q", u.List(), again.List())
		}
		clean := u.Check() == nil
		if clean != (again.Check() == nil) {
			t.Fatal("an edit changed whether the file is right")
		}
		if err := u.Delete("fuzz"); err != nil {
			t.Fatal(err)
		}
		if u.Has("fuzz") {
			t.Fatal("a deleted user is still there")
		}
	})
}
