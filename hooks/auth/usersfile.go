package auth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	maxUsersFile = 64 << 20
	maxUsersLine = 4096
)

// UsersFile is a file of users and password hashes in the format of mosquitto_passwd, one "name:hash" per line; lines
// that are blank or begin with # are comments. It is edited in memory and written back by Save; every line it was not
// asked to change keeps its bytes and its place, also one it does not understand. It is not safe for concurrent use.
type UsersFile struct {
	path   string
	loaded []byte // what Load read, nil for a new file; Save compares with it
	lines  []usersLine
	byName map[string]int // name -> index in lines; a name that stands twice is the first one's
}

// usersLine is one line; name and hash are set when it is understood, problem when it should have been.
type usersLine struct {
	raw     string // with its line end
	name    string
	hash    *passwordHash
	problem error
}

// NewUsersFile returns an empty users file that Save creates at path. Save fails if there is one by then.
func NewUsersFile(path string) *UsersFile {
	return &UsersFile{path: path, byName: map[string]int{}}
}

// LoadUsersFile reads the users file at path. Lines with faults do not make it fail: Check tells. The error wraps
// fs.ErrNotExist when there is no file.
func LoadUsersFile(path string) (*UsersFile, error) {
	data, err := readLimited(path, maxUsersFile)
	if err != nil {
		return nil, fmt.Errorf("users file: %w", err)
	}
	f := parseUsers(path, data)
	f.loaded = data
	return f, nil
}

func parseUsers(path string, data []byte) *UsersFile {
	f := NewUsersFile(path)
	for raw := range strings.Lines(string(data)) {
		l := parseUsersLine(raw)
		if l.name != "" {
			if first, twice := f.byName[l.name]; twice {
				l.problem = fmt.Errorf("user %q is on line %d already", l.name, first+1)
			} else {
				f.byName[l.name] = len(f.lines)
			}
		}
		f.lines = append(f.lines, l)
	}
	return f
}

func parseUsersLine(raw string) usersLine {
	l := usersLine{raw: raw}
	text := strings.TrimRight(raw, "\r\n")
	if strings.TrimSpace(text) == "" || text[0] == '#' {
		return l
	}
	if len(text) > maxUsersLine {
		l.problem = fmt.Errorf("longer than %d bytes", maxUsersLine)
		return l
	}
	// A name may hold colons, a hash cannot. As long as the right side is no hash the left side may be part of a
	// password, so it is neither shown nor taken for a name.
	at := strings.LastIndex(text, ":$")
	if at < 0 || !knownKind(text[at+1:]) {
		l.problem = fmt.Errorf("%w: not name:hash with a hash of a known kind ($7$, $6$, $argon2id$); "+
			"use mosquitto_passwd -U or madang user passwd", ErrBadHash)
		return l
	}
	name := text[:at]
	if _, _, err := SplitLogin(name, defaultNamespace); err != nil {
		l.problem = err
		return l
	}
	l.name = name
	if l.hash, l.problem = parseHash(text[at+1:]); l.problem != nil {
		l.problem = fmt.Errorf("user %q: %w", name, l.problem)
	}
	return l
}

// Check returns nil when every line is understood, else the first ten faults, each as "path:line: what".
func (f *UsersFile) Check() error {
	const most = 10
	var faults []error
	for i := range f.lines {
		if f.lines[i].problem == nil {
			continue
		}
		if len(faults) == most {
			faults = append(faults, fmt.Errorf("%s: more lines with faults follow", f.path))
			break
		}
		faults = append(faults, fmt.Errorf("%s:%d: %w", f.path, i+1, f.lines[i].problem))
	}
	return errors.Join(faults...)
}

// List returns the names of all users, sorted, those with a faulty hash included.
func (f *UsersFile) List() []string {
	names := make([]string, 0, len(f.byName))
	for name := range f.byName {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Has reports whether there is a line for the user, "alice" or "ns/alice".
func (f *UsersFile) Has(name string) bool {
	_, ok := f.byName[name]
	return ok
}

// Set gives the user a password, making the user if need be; it hashes with HashPassword. A faulty line of that name
// is thereby repaired. The errors are ErrBadName and ErrBadPassword.
func (f *UsersFile) Set(name string, password []byte) error {
	if _, _, err := SplitLogin(name, defaultNamespace); err != nil {
		return err
	}
	hash, err := HashPassword(password)
	if err != nil {
		return err
	}
	return f.SetHash(name, hash)
}

// SetHash is Set for a password that is hashed already, in one of the forms a users file may hold.
func (f *UsersFile) SetHash(name, hash string) error {
	raw := name + ":" + hash + "\n"
	if strings.ContainsAny(hash, "\r\n") {
		return fmt.Errorf("%w: it holds a line break", ErrBadHash)
	}
	l := parseUsersLine(raw)
	if l.problem != nil {
		return l.problem
	}
	if l.name != name {
		return fmt.Errorf("%w: %q", ErrBadName, name)
	}
	if i, ok := f.byName[name]; ok {
		f.lines[i] = l
		return nil
	}
	if n := len(f.lines); n > 0 && !strings.HasSuffix(f.lines[n-1].raw, "\n") {
		f.lines[n-1].raw += "\n"
	}
	f.byName[name] = len(f.lines)
	f.lines = append(f.lines, l)
	return nil
}

// Delete removes the user, from every line that has the name. ErrNoUser: there is none.
func (f *UsersFile) Delete(name string) error {
	if !f.Has(name) {
		return fmt.Errorf("%w: %q", ErrNoUser, name)
	}
	f.lines = slices.DeleteFunc(f.lines, func(l usersLine) bool { return l.name == name })
	clear(f.byName)
	for i, l := range f.lines {
		if _, twice := f.byName[l.name]; l.name != "" && !twice {
			f.byName[l.name] = i
		}
	}
	return nil
}

// Bytes returns the file as Save would write it.
func (f *UsersFile) Bytes() []byte {
	var b bytes.Buffer
	for _, l := range f.lines {
		b.WriteString(l.raw)
	}
	return b.Bytes()
}

// Save writes the file so that a reader sees the old one or the new one, whole, also after a power cut: a temporary
// file beside it, fsync, rename, fsync of the directory. An existing file keeps its mode and, where this process may
// set it, its owner; a new one gets 0600. Through a symbolic link the file it points to is replaced. ErrChanged: the
// file on disk is not the one that was loaded.
func (f *UsersFile) Save() error {
	path := f.path
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	mode := fs.FileMode(0o600)
	old, err := os.Stat(path)
	switch {
	case err == nil:
		mode = old.Mode().Perm()
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("users file: %w", err)
	}
	if err := f.unchanged(path); err != nil {
		return err
	}
	data := f.Bytes()
	if err := replaceFile(path, data, mode, old); err != nil {
		return fmt.Errorf("write users file: %w", err)
	}
	f.loaded = data
	return nil
}

// unchanged returns ErrChanged when the file at path is not what f was loaded from.
func (f *UsersFile) unchanged(path string) error {
	now, err := readLimited(path, maxUsersFile)
	switch {
	case errors.Is(err, fs.ErrNotExist) && f.loaded == nil:
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("users file: %w", err)
	case err != nil, f.loaded == nil, !bytes.Equal(now, f.loaded):
		return fmt.Errorf("%s: %w", f.path, ErrChanged)
	}
	return nil
}

func replaceFile(path string, data []byte, mode fs.FileMode, old fs.FileInfo) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tmp.Close() // closed already when a later step failed
			_ = os.Remove(tmp.Name())
		}
	}()
	if old != nil {
		keepOwner(tmp, old)
	}
	if err := tmp.Chmod(mode); err != nil {
		return err
	}
	if _, err := tmp.Write(data); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// readLimited reads a whole file of at most limit bytes. The bytes are never nil without an error.
func readLimited(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, limit)
	}
	return data, nil
}
