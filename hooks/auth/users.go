package auth

import (
	"fmt"
	"hash/maphash"
	"log/slog"
	"os"
	"slices"
	"strings"
)

// userTable is a users file as it is looked up. It is immutable but for the seed, which is fixed at making.
type userTable struct {
	byLogin map[string]*passwordHash // "ns/user"
	dummies []*passwordHash          // one per user, of that user's cost
	seed    maphash.Seed
}

// loadUsers reads and checks the users file; the error names file and line of everything that is wrong.
func loadUsers(path, namespace string, log *slog.Logger) (*userTable, error) {
	f, err := LoadUsersFile(path)
	if err != nil {
		return nil, err
	}
	if err := f.Check(); err != nil {
		return nil, err
	}
	t := &userTable{byLogin: make(map[string]*passwordHash, len(f.byName)), seed: maphash.MakeSeed()}
	byCost := map[cost]*passwordHash{}
	weak := 0
	for i, l := range f.lines {
		if l.hash == nil {
			continue
		}
		ns, user, err := SplitLogin(l.name, namespace)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
		login := ns + "/" + user
		if t.byLogin[login] != nil {
			return nil, fmt.Errorf("%s:%d: user %q is on an earlier line already, with and without its namespace",
				path, i+1, l.name)
		}
		t.byLogin[login] = l.hash
		if byCost[l.hash.cost] == nil {
			byCost[l.hash.cost] = l.hash.dummy()
		}
		t.dummies = append(t.dummies, byCost[l.hash.cost])
		if l.hash.weak() {
			weak++
		}
	}
	if len(t.dummies) == 0 {
		t.dummies = []*passwordHash{defaultCost.dummy()}
	}
	if weak > 0 {
		log.Warn("users file holds weak password hashes; set these passwords again with madang user passwd",
			"file", path, "users", weak)
	}
	warnReadable(path, log)
	return t, nil
}

// lookup returns the hash to verify against. For a user who does not exist it is one that never matches, as costly as
// that of some user in the file; always the same one for the same name, so that asking twice tells nothing.
func (t *userTable) lookup(login string) (hash *passwordHash, known bool) {
	if h := t.byLogin[login]; h != nil {
		return h, true
	}
	return t.dummies[maphash.String(t.seed, login)%uint64(len(t.dummies))], false
}

// mostCosts is how many costs a failing login pays one after the other. With more in a users file it pays one, that of some
// user.
const mostCosts = 4

// costs returns a hash of each cost there is, that no password matches.
func (t *userTable) costs() (all []*passwordHash) {
	for _, d := range t.dummies {
		if !slices.ContainsFunc(all, func(h *passwordHash) bool { return h.cost == d.cost }) {
			all = append(all, d)
		}
	}
	if len(all) > mostCosts {
		return nil
	}
	return all
}

// has reports whether the user exists. A nil table has nobody.
func (t *userTable) has(login string) bool { return t != nil && t.byLogin[login] != nil }

// warnReadable logs when everybody on this machine may read a file that holds secrets.
func warnReadable(path string, log *slog.Logger) {
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o007 != 0 && !strings.HasPrefix(path, "/dev/") {
		log.Warn("every user of this machine may read a file with secrets; use chmod o= on it", "file", path)
	}
}
