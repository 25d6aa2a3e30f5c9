package storage

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// When a user was active last is one number per user. Nodes tell it for many users at once, at most once a minute for
// each: a connection costs the log nothing.

const kindActive commandKind = 60

// ActiveAt is when a user was active last, as a node saw it.
type ActiveAt struct {
	NS   string `cbor:"1,keyasint"`
	User string `cbor:"2,keyasint"`
	At   int64  `cbor:"3,keyasint"` // ms
}

// Active moves the times forward at which users were active last; they never go back, and never beyond log time.
type Active struct {
	Users []ActiveAt `cbor:"1,keyasint"`
}

func (*Active) kind() commandKind { return kindActive }

const activeVersion = 1

func activeKey(ns, user string) []byte { return last(key(prefixActive, ns), user) }

func decodeActive(b []byte) (int64, error) {
	if b == nil {
		return 0, nil
	}
	r := readRecord(b, activeVersion)
	at := int64(r.uvarint())
	if !r.end() {
		return 0, fmt.Errorf("%w: last activity", ErrEntry)
	}
	return at, nil
}

func (t *tx) active(c *Active) Result {
	for _, u := range c.Users {
		k := activeKey(u.NS, u.User)
		was, err := decodeActive(t.get(k))
		if err != nil {
			t.fail(fmt.Errorf("user %q: %w", u.User, err))
			return Result{}
		}
		if at := min(u.At, t.now); at > was {
			t.set(k, binary.AppendUvarint([]byte{activeVersion}, uint64(at)))
		}
	}
	return Result{}
}

// LastActive returns when a user was active last as the log knows it, in ms; 0 = never.
func (s *Store) LastActive(ns, user string) (int64, error) {
	b, err := s.read(activeKey(ns, user))
	if err != nil {
		return 0, err
	}
	at, err := decodeActive(b)
	if err != nil {
		return 0, fmt.Errorf("user %q: %w", user, err)
	}
	return at, nil
}

// Namespaces returns, in byte order, the namespaces in which somebody was active, or that have a room, a session or a user.
func (s *Store) Namespaces() (out []string, err error) {
	found := map[string]struct{}{}
	err = s.snapshot(func(r pebble.Reader) error {
		for _, prefix := range []byte{prefixActive, prefixRoom, prefixSession, prefixUser} {
			from, to := []byte{prefix}, []byte{prefix + 1}
			for more := true; more; { // one key of each namespace is looked at
				more = false
				if err := scanRange(r, from, to, func(k, _ []byte) (bool, error) {
					n, err := names(k, 1)
					if err != nil {
						return false, err
					}
					found[n[0]] = struct{}{}
					from, more = end(key(prefix, n[0])), true
					return false, nil
				}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return slices.Sorted(maps.Keys(found)), err
}
