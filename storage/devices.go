package storage

import (
	"fmt"
	"slices"
)

// Where a device can be reached while it has no connection is kept per user, in one record: it is read as a whole, and a
// user has few devices.

const (
	kindSetPush   commandKind = 61
	kindEndDevice commandKind = 62
)

// Bounds of what a user may leave here.
const (
	PushDevices   = 32 // of a user; the one that was set longest ago makes way, those without a stored session first
	PushPerDevice = 4  // tokens, each of another provider; the same
)

// Push is a token of a service that wakes a device.
type Push struct {
	Provider string `cbor:"1,keyasint"`
	Token    string `cbor:"2,keyasint"`
	At       int64  `cbor:"3,keyasint"` // log time (ms) at which it was set; set by Apply
}

// PushOf are the tokens of one device.
type PushOf struct {
	Device string `cbor:"1,keyasint"` // client id
	Tokens []Push `cbor:"2,keyasint"` // the one set last at the end
}

// pushRecord are the devices of a user, the one set last at the end.
type pushRecord struct {
	Devices []PushOf `cbor:"1,keyasint"`
}

// SetPush sets the token of one provider for a device; an empty one removes it.
type SetPush struct {
	Session  SessionID `cbor:"1,keyasint"` // whether stored or not
	Provider string    `cbor:"2,keyasint"`
	Token    string    `cbor:"3,keyasint,omitempty"`
}

// EndDevice ends the stored session of a device, if there is one, and forgets its tokens. Result.Present: there was
// something of it.
type EndDevice struct {
	Session SessionID `cbor:"1,keyasint"`
}

func (*SetPush) kind() commandKind   { return kindSetPush }
func (*EndDevice) kind() commandKind { return kindEndDevice }

func pushKey(ns, user string) []byte { return last(key(prefixPush, ns), user) }

func (t *tx) pushes(ns, user string) (rec pushRecord) {
	if b := t.get(pushKey(ns, user)); b != nil {
		if err := decodeRecord(b, &rec); err != nil {
			t.fail(fmt.Errorf("%w: devices of %q: %w", ErrEntry, user, err))
		}
	}
	return rec
}

func (t *tx) setPushes(ns, user string, rec pushRecord) {
	if len(rec.Devices) == 0 {
		t.del(pushKey(ns, user))
		return
	}
	t.set(pushKey(ns, user), encodeRecord(rec))
}

func (t *tx) setPush(c *SetPush) Result {
	rec := t.pushes(c.Session.NS, c.Session.User)
	of := PushOf{Device: c.Session.Client}
	if i := indexPush(rec, c.Session.Client); i >= 0 {
		of = rec.Devices[i]
		rec.Devices = slices.Delete(rec.Devices, i, i+1)
	}
	of.Tokens = slices.DeleteFunc(of.Tokens, func(p Push) bool { return p.Provider == c.Provider })
	if c.Token != "" {
		of.Tokens = append(of.Tokens, Push{Provider: c.Provider, Token: c.Token, At: t.now})
	}
	if n := len(of.Tokens); n > PushPerDevice {
		of.Tokens = of.Tokens[n-PushPerDevice:]
	}
	if len(of.Tokens) > 0 {
		rec.Devices = append(rec.Devices, of)
	}
	if len(rec.Devices) > PushDevices {
		oldest := slices.IndexFunc(rec.Devices, func(o PushOf) bool {
			return t.session(SessionID{NS: c.Session.NS, User: c.Session.User, Client: o.Device}) == nil
		})
		oldest = max(oldest, 0)
		rec.Devices = slices.Delete(rec.Devices, oldest, oldest+1)
	}
	t.setPushes(c.Session.NS, c.Session.User, rec)
	return Result{TS: t.now}
}

func indexPush(rec pushRecord, device string) int {
	return slices.IndexFunc(rec.Devices, func(o PushOf) bool { return o.Device == device })
}

// forgetPush removes the tokens of a device and reports whether there were some.
func (t *tx) forgetPush(id SessionID) bool {
	rec := t.pushes(id.NS, id.User)
	i := indexPush(rec, id.Client)
	if i >= 0 {
		rec.Devices = slices.Delete(rec.Devices, i, i+1)
		t.setPushes(id.NS, id.User, rec)
	}
	return i >= 0
}

func (t *tx) endDevice(c *EndDevice) Result {
	had := t.forgetPush(c.Session)
	rec := t.session(c.Session)
	if rec != nil {
		t.endSession(c.Session, rec)
	}
	return Result{Present: had || rec != nil}
}

// Pushes returns the devices of a user that can be woken, with their tokens.
func (s *Store) Pushes(ns, user string) ([]PushOf, error) {
	b, err := s.read(pushKey(ns, user))
	if b == nil || err != nil {
		return nil, err
	}
	var rec pushRecord
	if err := decodeRecord(b, &rec); err != nil {
		return nil, fmt.Errorf("%w: devices of %q: %w", ErrEntry, user, err)
	}
	return rec.Devices, nil
}

// SessionsOf returns the stored sessions of a user, at most limit, without their lags.
func (s *Store) SessionsOf(ns, user string, limit int) (out []*Session, err error) {
	clients, err := s.ClientsOf(ns, user, limit)
	if err != nil {
		return nil, err
	}
	for _, client := range clients {
		sess, err := s.Session(SessionID{NS: ns, User: user, Client: client})
		if err != nil {
			return nil, err
		}
		if sess != nil { // else it ended meanwhile
			out = append(out, sess)
		}
	}
	return out, nil
}
