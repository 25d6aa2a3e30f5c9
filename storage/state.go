package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// SetState sets or deletes a state key of a room: its last value, replicated, beside the log. Members write it, where the
// room says so only those who run it; what keeps somebody from sending messages keeps them from this too.
type SetState struct {
	Room    RoomKey `cbor:"1,keyasint"`
	From    Actor   `cbor:"2,keyasint"`
	Key     string  `cbor:"3,keyasint"`
	Data    []byte  `cbor:"4,keyasint,omitempty"` // a JSON value; nil deletes the key
	Base64  bool    `cbor:"5,keyasint,omitempty"` // the string in Data holds bytes in base64
	IfVer   *uint64 `cbor:"6,keyasint,omitempty"` // the version it must have; 0 = it must not be set
	MaxKeys uint64  `cbor:"7,keyasint,omitempty"` // of the room; 0 = no limit

	Session string `cbor:"8,keyasint,omitempty"` // client id of the stored session that sends,
	Epoch   uint64 `cbor:"9,keyasint,omitempty"` // and its epoch, 0 = none
}

func (*SetState) kind() commandKind { return kindSetState }

// maxTombs bounds the deleted keys whose version a room remembers, so that one set again goes on counting.
const maxTombs = 1000

const (
	stateVersion     = 1
	stateVersionTomb = 2
)

func stateKey(r RoomKey, name string) []byte { return last(key(prefixState, r.NS, r.Room), name) }

// decodeState reads a stored value: version, uvarint ver, the JSON as delivered, which of a key that was deleted says so.
func decodeState(b []byte) (v StateValue, err error) {
	if b == nil {
		return v, nil
	}
	v.Deleted = len(b) > 0 && b[0] == stateVersionTomb
	version := byte(stateVersion)
	if v.Deleted {
		version = stateVersionTomb
	}
	r := readRecord(b, version)
	v.Ver, v.JSON = r.uvarint(), r.b
	if r.bad || len(r.b) == 0 {
		return v, fmt.Errorf("%w: state key", ErrEntry)
	}
	return v, nil
}

// set reports whether the key has a value.
func (v *StateValue) set() bool { return v.JSON != nil && !v.Deleted }

func (t *tx) setState(c *SetState) Result {
	if c.Epoch != 0 && t.fenced(SessionID{NS: c.Room.NS, User: c.From.User, Client: c.Session}, c.Epoch) {
		return Result{Outcome: Fenced}
	}
	if r := t.barred(c.Room.NS, c.From.User); r.Outcome != Done {
		return r
	}
	d := t.room(c.Room)
	if !d.exists() {
		return noRoom(c.Room)
	}
	role, refused := t.mayWrite(d, c.From)
	if refused.Outcome == Done {
		refused = t.apart(d.key, c.From)
	}
	if refused.Outcome != Done {
		return refused
	}
	switch standing := t.rank(d, c.From); {
	case standing < rankMember:
		return Result{Outcome: NotMember, Detail: "members set the state of a room; join it first"}
	case d.settings.StateBy == StateByOperators && standing < rankOperator:
		return Result{Outcome: Forbidden, Detail: "those who run the room set its state"}
	}
	old := t.get(stateKey(d.key, c.Key))
	was, err := decodeState(old)
	if err != nil {
		t.fail(fmt.Errorf("room %q, %w %q", c.Room.Room, err, c.Key))
		return Result{}
	}
	ver, has := was.Ver, uint64(0)
	if was.set() {
		has = ver
	}
	if c.IfVer != nil && *c.IfVer != has {
		return Result{Outcome: Conflict, Detail: fmt.Sprintf("state %s has version %d, not %d", c.Key, has, *c.IfVer), Epoch: has}
	}
	if c.Data == nil && !was.set() {
		return Result{Present: true, Seq: d.head.Seq, TS: d.head.TS, Epoch: ver}
	}
	if !was.set() && c.Data != nil && c.MaxKeys > 0 && d.settings.States >= c.MaxKeys {
		return Result{Outcome: Limit, Detail: fmt.Sprintf("the room has %d state keys, which is the limit; delete one first (limits.state_keys)", d.settings.States)}
	}
	t.countState(d, old != nil, was.set(), c.Data != nil)
	ver++
	ts := max(t.now, d.head.TS)
	b := stateJSON(t, d, c, ver, ts, role)
	k := stateKey(d.key, c.Key)
	switch {
	case c.Data != nil:
		t.set(k, append(binary.AppendUvarint([]byte{stateVersion}, ver), b...))
	default:
		if d.settings.Tombs > maxTombs {
			t.forgetTombs(d)
		}
		t.set(k, append(binary.AppendUvarint([]byte{stateVersionTomb}, ver), b...))
	}
	t.changed.state(StateName{Room: d.key, Key: strings.Clone(c.Key)})
	return Result{Seq: d.head.Seq, TS: ts, Epoch: ver}
}

// forgetTombs forgets the deleted keys of a room, but for the one in hand, which is not written yet.
func (t *tx) forgetTombs(d *draft) {
	d.change().Tombs = 1
	prefix := key(prefixState, d.key.NS, d.key.Room)
	t.each(prefix, end(prefix), func(k, b []byte) {
		if b[0] == stateVersionTomb {
			t.del(k)
		}
	})
}

// countState keeps the room's counts of keys that are set and that are remembered as deleted.
func (t *tx) countState(d *draft, known, was, is bool) {
	if was == is {
		return
	}
	st := d.change()
	if is {
		st.States++
		if known {
			st.Tombs--
		}
	} else {
		st.States--
		st.Tombs++
	}
}

// stateJSON is the value as delivered (design.md section 3, Topics).
func stateJSON(t *tx, d *draft, c *SetState, ver uint64, ts int64, role Role) []byte {
	b := append(t.json[:0], `{"room":"`...)
	b = append(append(b, d.key.Room...), `","key":"`...)
	b = append(append(b, c.Key...), `","ver":`...)
	b = strconv.AppendUint(b, ver, 10)
	b = strconv.AppendUint(append(b, `,"seq":`...), d.head.Seq, 10)
	b = strconv.AppendInt(append(b, `,"ts":`...), ts, 10)
	b = appendFrom(b, t.stamp(d.key.NS, c.From), role, "")
	if c.Data == nil {
		b = append(b, `,"deleted":true`...)
	} else {
		if c.Base64 {
			b = append(b, `,"encoding":"base64"`...)
		}
		b = append(append(b, `,"data":`...), c.Data...)
	}
	b = append(b, '}')
	t.json = b
	return bytes.Clone(b)
}

// forgetStates removes the state of a room that ends.
func (t *tx) forgetStates(k RoomKey) {
	p := key(prefixState, k.NS, k.Room)
	t.forgetRange(p, end(p))
}

// StateValue is the last value of a state key, as it is delivered. One that was deleted is known for a while.
type StateValue struct {
	Key     string
	Ver     uint64
	JSON    []byte
	Deleted bool
}

// State returns the value of a state key, nil when nothing is known of it.
func (s *Store) State(k RoomKey, name string) (*StateValue, error) {
	b, err := s.read(stateKey(k, name))
	if b == nil || err != nil {
		return nil, err
	}
	v, err := decodeState(b)
	if err != nil {
		return nil, fmt.Errorf("room %q, %w %q", k.Room, err, name)
	}
	v.Key, v.JSON = name, slices.Clone(v.JSON)
	return &v, nil
}

// States calls f for every state key that is set in the room, or with deleted that is known, in byte order, from the one
// after the given name, until f says stop. f must not use the store.
func (s *Store) States(k RoomKey, after string, deleted bool, f func(StateValue) (more bool)) error {
	prefix := key(prefixState, k.NS, k.Room)
	start := prefix
	if after != "" {
		start = append(stateKey(k, after), 0)
	}
	return s.snapshot(func(r pebble.Reader) error {
		return scan(r, prefix, start, func(key, b []byte) (bool, error) {
			v, err := decodeState(b)
			if err != nil {
				return false, fmt.Errorf("room %q, %w %q", k.Room, err, key)
			}
			v.Key, v.JSON = string(key[len(prefix):]), slices.Clone(v.JSON)
			return v.Deleted && !deleted || f(v), nil
		})
	})
}
