package storage

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// User is a user as the log knows them. It is a copy of its own.
type User struct {
	Key        UserKey
	There      bool // there is a profile; otherwise only what logouts and a deletion left
	Name       string
	Hash       string // of the password, "" = none
	Attributes []Attribute
	Level      *int64
	Created    int64 // ms
	Updated    int64 // ms; of one who was deleted, when
	Disabled   bool
	Deleted    DeleteMode
	Deletion   *Deletion // while it is not done

	Logouts   uint64 // how many times something of theirs was ended
	EndedAll  uint64 // Logouts when everything was ended last
	NotBefore int64  // log time (ms) of that
	Endings   []Ending
}

// Deletion is one that is not done.
type Deletion struct {
	Key  UserKey
	Mode DeleteMode
	Run  uint64 // which of the deletions of this name
	To   DeletedTo
}

// Gone returns why the user may neither log in nor do anything, "" when they may.
func (u *User) Gone() string {
	switch {
	case u.Deleted != "":
		return "the user was deleted"
	case u.Disabled:
		return "the user is disabled"
	}
	return ""
}

// User returns what is known of a user, nil when nothing is.
func (s *Store) User(ns, user string) (*User, error) {
	k := UserKey{NS: ns, User: user}
	b, err := s.read(userRecordKey(k))
	if b == nil || err != nil {
		return nil, err
	}
	return decodeUser(k, b)
}

func decodeUser(k UserKey, b []byte) (*User, error) {
	var rec userRecord
	if err := decodeRecord(b, &rec); err != nil {
		return nil, fmt.Errorf("%w: user %q: %w", ErrEntry, k.User, err)
	}
	u := &User{
		Key: k, There: rec.Created != 0, Name: rec.Name, Hash: rec.Hash, Attributes: rec.Attributes, Level: levelOf(rec.Attributes),
		Created: rec.Created, Updated: rec.Updated, Disabled: rec.Disabled, Deleted: rec.Deleted,
		Logouts: rec.Logouts, EndedAll: rec.EndedAll, NotBefore: rec.NotBefore, Endings: rec.Endings,
	}
	if rec.Page != nil {
		u.Deletion = &Deletion{Key: k, Mode: rec.Deleted, Run: rec.Logouts, To: *rec.Page}
	}
	return u, nil
}

// FoundUsers is a page of users. Next, when it is not empty, is where the page after it begins.
type FoundUsers struct {
	Users  []*User
	Places []string // of each, to go on after it
	Next   string
}

// FindUsers returns at most limit users whose id or name begins with fold, in lower case; "" finds all. They come in the order
// of what was found, each once. after is Next of the page before.
func (s *Store) FindUsers(ns, fold, after string, limit int) (out FoundUsers, err error) {
	prefix := key(prefixUserIndex, ns)
	low := append(slices.Clone(prefix), fold...)
	from := low
	if i := strings.LastIndexByte(after, '/'); i >= 0 {
		from = append(last(key(prefixUserIndex, ns, after[:i]), after[i+1:]), separator)
		if slices.Compare(from, low) < 0 {
			from = low
		}
	}
	if limit <= 0 || ns == "" {
		return out, nil
	}
	err = s.snapshot(func(r pebble.Reader) error {
		seen := "" // place of the last one
		return scanRange(r, from, end(low), func(k, _ []byte) (bool, error) {
			if len(out.Users) == limit {
				out.Next = seen
				return false, nil
			}
			n := split(k, 2)
			if n == nil {
				return false, fmt.Errorf("%w: user index %q", ErrEntry, k)
			}
			found, id := n[1], UserKey{NS: ns, User: n[2]}
			if by := foldID(id.User); found != by && strings.HasPrefix(by, fold) {
				return true, nil // found by the name, and by the id as well
			}
			b, err := get(r, userRecordKey(id))
			if err == nil && b == nil {
				err = fmt.Errorf("%w: user %q is missing", ErrEntry, id.User)
			}
			if err != nil {
				return false, err
			}
			u, err := decodeUser(id, b)
			if err != nil {
				return false, err
			}
			seen = found + "/" + id.User
			out.Users, out.Places = append(out.Users, u), append(out.Places, seen)
			return true, nil
		})
	})
	return out, err
}

// Deletions returns at most limit deletions that are not done.
func (s *Store) Deletions(limit int) (out []Deletion, err error) {
	err = s.snapshot(func(r pebble.Reader) error {
		return scan(r, key(prefixUserIndex, ""), nil, func(k, _ []byte) (bool, error) {
			n := split(k, 2)
			if n == nil {
				return false, fmt.Errorf("%w: deletion %q", ErrEntry, k)
			}
			id := UserKey{NS: n[1], User: n[2]}
			b, err := get(r, userRecordKey(id))
			if err != nil {
				return false, err
			}
			u, err := decodeUser(id, b)
			if err != nil {
				return false, err
			}
			if u.Deletion != nil {
				out = append(out, *u.Deletion)
			}
			return len(out) < limit, nil
		})
	})
	return out, err
}

// ClientsOf returns the client ids of at most limit stored sessions of a user.
func (s *Store) ClientsOf(ns, user string, limit int) (out []string, err error) {
	prefix := key(prefixSession, ns, user)
	if limit <= 0 {
		return nil, nil
	}
	err = s.scan(prefix, nil, func(k, _ []byte) (bool, error) {
		out = append(out, unescapeName(string(k[len(prefix):])))
		return len(out) < limit, nil
	})
	return out, err
}
