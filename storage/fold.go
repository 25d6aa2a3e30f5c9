package storage

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// Types of entries that change how an earlier message looks (Append.Target). They are entries of the log like any other;
// what comes of them is folded per target, so that a page of messages needs no look at what follows it.
const (
	TypeEdit     = "edit"
	TypeReaction = "reaction"
)

// Bounds of what is folded into one message.
const (
	maxEmojis = 50  // different reactions
	maxEdits  = 100 // which are entries, and have to be found again when the message is deleted
)

// Fold is what later entries made of a message.
type Fold struct {
	Seq       uint64     `cbor:"-"`
	Edits     []uint64   `cbor:"1,keyasint,omitempty"` // seqs of its edits; what the newest says is in that entry
	Reactions []Reaction `cbor:"4,keyasint,omitempty"` // in the order in which they came first
	Replies   uint64     `cbor:"5,keyasint,omitempty"`
}

// Reaction is how many users react with something.
type Reaction struct {
	Emoji string `cbor:"1,keyasint"`
	N     uint64 `cbor:"2,keyasint"`
}

func foldKey(k RoomKey, seq uint64) []byte { return withNumber(key(prefixFold, k.NS, k.Room), seq) }

// reactionKey says that a user reacts to a message with an emoji, which may hold any UTF-8.
func reactionKey(k RoomKey, seq uint64, user, emoji string) []byte {
	b := append(withNumber(key(prefixReaction, k.NS, k.Room), seq), user...)
	return last(append(b, separator), emoji)
}

func (t *tx) fold(k RoomKey, seq uint64) (f Fold) {
	f.Seq = seq
	if b := t.get(foldKey(k, seq)); b != nil {
		if err := decodeRecord(b, &f); err != nil {
			t.fail(fmt.Errorf("%w: fold of message %d of room %q: %w", ErrEntry, seq, k.Room, err))
		}
	}
	return f
}

func (t *tx) setFold(k RoomKey, seq uint64, f *Fold) { t.set(foldKey(k, seq), encodeRecord(f)) }

// forgetFolds removes what was folded into the messages from..to-1 of a room.
func (t *tx) forgetFolds(k RoomKey, from, to uint64) {
	t.forgetRange(foldKey(k, from), foldKey(k, to))
	p := key(prefixReaction, k.NS, k.Room)
	t.forgetRange(withNumber(slices.Clone(p), from), withNumber(slices.Clone(p), to))
}

// refer checks what an entry of a type with a meaning is about, and says what it will do. again is set when all is so
// already, and nothing is to be appended.
func (t *tx) refer(d *draft, c *Append, role Role) (do func(e *Entry), again bool, r Result) {
	switch c.Type {
	case TypeDelete:
		target, r := t.mayErase(d, c, role)
		if target == nil {
			return nil, false, r
		}
		return func(e *Entry) { t.erase(d, target, e, c) }, false, Result{}
	case TypeEdit:
		return t.edit(d, c)
	case TypeReaction:
		return t.react(d, c)
	}
	if c.ReplyTo == 0 {
		return nil, false, Result{}
	}
	if _, r := t.target(d, c.ReplyTo); r.Outcome != Done { // an answer to what is gone is a message all the same
		return nil, false, Result{}
	}
	return func(*Entry) { t.replied(d, c.ReplyTo) }, false, Result{}
}

// replied counts a reply to a message.
func (t *tx) replied(d *draft, seq uint64) {
	f := t.fold(d.key, seq)
	f.Replies++
	t.setFold(d.key, seq, &f)
}

// edit gives a message of one's own other data. Operators delete what others write, and do not put words in their mouth.
func (t *tx) edit(d *draft, c *Append) (do func(e *Entry), again bool, r Result) {
	target, r := t.standing(d, c.Target)
	switch {
	case target == nil:
		return nil, false, r
	case target.Erased > 0:
		return nil, false, Result{Outcome: Conflict, Detail: fmt.Sprintf("message %d is deleted", c.Target)}
	case target.User != c.From.User:
		return nil, false, Result{Outcome: Forbidden, Detail: "only its writer edits a message"}
	}
	f := t.fold(d.key, c.Target)
	if len(f.Edits) >= maxEdits {
		return nil, false, Result{Outcome: Limit, Detail: fmt.Sprintf("a message is edited at most %d times; write a new one", maxEdits)}
	}
	return func(e *Entry) {
		f.Edits = append(f.Edits, e.Seq)
		t.says(d.key, c.Target)
		t.setFold(d.key, c.Target, &f)
	}, false, Result{}
}

// react begins or ends a user's reaction to a message.
func (t *tx) react(d *draft, c *Append) (do func(e *Entry), again bool, r Result) {
	target, r := t.standing(d, c.Target)
	if target == nil {
		return nil, false, r
	}
	if target.Erased > 0 {
		return nil, false, Result{Outcome: Conflict, Detail: fmt.Sprintf("message %d is deleted", c.Target)}
	}
	if c.Emoji == "" {
		return nil, false, Result{Outcome: Conflict, Detail: "a reaction needs an emoji"}
	}
	k := reactionKey(d.key, c.Target, c.From.User, c.Emoji)
	has := t.get(k) != nil
	if has != c.Off {
		return nil, true, Result{Seq: d.head.Seq, TS: d.head.TS, Present: true}
	}
	f := t.fold(d.key, c.Target)
	i := slices.IndexFunc(f.Reactions, func(r Reaction) bool { return r.Emoji == c.Emoji })
	if i < 0 && len(f.Reactions) >= maxEmojis {
		return nil, false, Result{Outcome: Limit, Detail: fmt.Sprintf("a message has at most %d different reactions", maxEmojis)}
	}
	apply := func(*Entry) {
		switch {
		case c.Off:
			t.del(k)
			if f.Reactions[i].N--; f.Reactions[i].N == 0 {
				f.Reactions = slices.Delete(f.Reactions, i, i+1)
			}
		case i < 0:
			t.set(k, []byte{recordVersion})
			f.Reactions = append(f.Reactions, Reaction{Emoji: strings.Clone(c.Emoji), N: 1})
		default:
			t.set(k, []byte{recordVersion})
			f.Reactions[i].N++
		}
		t.setFold(d.key, c.Target, &f)
	}
	if d.settings.Members <= largeRoom && !c.Many {
		return apply, false, Result{}
	}
	apply(nil)
	t.changed.reacted(Reacted{Room: d.key, Seq: c.Target})
	return nil, true, Result{Seq: d.head.Seq, TS: d.head.TS}
}

// largeRoom is from how many members on reactions are no entries: they are counted, and told in tallies (design.md section
// 3, Sending). How many are online Apply does not know: the command says it.
const largeRoom = 100

// Fold returns what was folded into a message; the zero Fold when nothing was.
func (s *Store) Fold(k RoomKey, seq uint64) (f Fold, err error) {
	f.Seq = seq
	b, err := s.read(foldKey(k, seq))
	if b == nil || err != nil {
		return f, err
	}
	if err := decodeRecord(b, &f); err != nil {
		return f, fmt.Errorf("%w: fold of message %d of room %q: %w", ErrEntry, seq, k.Room, err)
	}
	return f, nil
}

// Folds returns what was folded into the messages from..to of a room, in order of their seq, those without any left out.
func (s *Store) Folds(k RoomKey, from, to uint64) (out []Fold, err error) {
	err = s.snapshot(func(r pebble.Reader) error {
		prefix := key(prefixFold, k.NS, k.Room)
		return scan(r, prefix, foldKey(k, from), func(key, v []byte) (bool, error) {
			f := Fold{Seq: binary.BigEndian.Uint64(key[len(key)-seqBytes:])}
			if f.Seq > to {
				return false, nil
			}
			if err := decodeRecord(v, &f); err != nil {
				return false, fmt.Errorf("%w: fold of message %d of room %q: %w", ErrEntry, f.Seq, k.Room, err)
			}
			out = append(out, f)
			return true, nil
		})
	})
	return out, err
}
