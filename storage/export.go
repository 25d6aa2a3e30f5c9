package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Everybody returns at most limit users of whom the room knows something, members and those who are muted or banned, in byte
// order of their names, from the one after the given name.
func (s *Store) Everybody(k RoomKey, after string, limit int) (out []RoomMember, err error) {
	prefix := key(prefixMember, k.NS, k.Room)
	start := prefix
	if after != "" {
		start = append(memberKey(k, after), separator)
	}
	err = s.scan(prefix, start, func(key, v []byte) (bool, error) {
		m := RoomMember{User: string(key[len(prefix):])}
		if err := decodeRecord(v, &m.Member); err != nil {
			return false, fmt.Errorf("%w: member %q of room %q: %w", ErrEntry, m.User, k.Room, err)
		}
		out = append(out, m)
		return len(out) < limit, nil
	})
	return out, err
}

// UserReaction is a user's reaction to a message.
type UserReaction struct {
	Seq   uint64
	User  string
	Emoji string
}

// Reactions returns at most limit reactions to messages of the room, in order of the messages, from the one after the given
// one on.
func (s *Store) Reactions(k RoomKey, after UserReaction, limit int) (out []UserReaction, err error) {
	prefix := key(prefixReaction, k.NS, k.Room)
	start := prefix
	if after.Seq > 0 {
		start = append(reactionKey(k, after.Seq, after.User, after.Emoji), separator)
	}
	err = s.scan(prefix, start, func(key, _ []byte) (bool, error) {
		rest := key[len(prefix):]
		if len(rest) < seqBytes {
			return false, fmt.Errorf("%w: reaction in room %q", ErrEntry, k.Room)
		}
		user, emoji, _ := bytes.Cut(rest[seqBytes:], []byte{separator})
		out = append(out, UserReaction{Seq: binary.BigEndian.Uint64(rest), User: string(user), Emoji: string(emoji)})
		return len(out) < limit, nil
	})
	return out, err
}
