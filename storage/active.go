package storage

import (
	"encoding/binary"
	"fmt"
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
