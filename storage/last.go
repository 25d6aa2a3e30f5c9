package storage

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// lastLook bounds how far LastMessage goes back: beyond it a room shows no last message.
const (
	lastLook  = 256
	lastChunk = 16
)

// LastMessage returns the newest message of the room that is neither deleted nor expired, and its newest edit, nil where
// there is none among its newest 256 entries.
func (s *Store) LastMessage(k RoomKey) (last, edit *Entry, err error) {
	r, err := s.Room(k)
	if err != nil || r == nil {
		return nil, nil, err
	}
	now := s.Now()
	for before, looked := r.Head.Seq+1, 0; looked < lastLook; {
		es, err := s.EntriesBefore(k, before, lastChunk, int(^uint(0)>>1))
		if err != nil || len(es) == 0 {
			return nil, nil, err
		}
		for _, e := range slices.Backward(es) {
			if e.Message() && e.Erased == 0 && (e.Expiry == 0 || e.Expiry > now) {
				f, err := s.Fold(k, e.Seq)
				if err == nil {
					edit, err = s.EditOf(k, &f)
				}
				return e, edit, err
			}
		}
		before, looked = es[0].Seq, looked+len(es)
	}
	return nil, nil, nil
}

// EditOf returns the newest edit of the message that f is of, nil when there is none.
func (s *Store) EditOf(k RoomKey, f *Fold) (*Entry, error) {
	if len(f.Edits) == 0 {
		return nil, nil
	}
	newest := f.Edits[len(f.Edits)-1]
	es, err := s.Entries(k, newest, newest, 1, 1)
	if err != nil || len(es) == 0 {
		return nil, err
	}
	return es[0], nil
}

// Looked is what PublicRooms found.
type Looked struct {
	Rooms []string
	Next  string // from where to look on, "" = everything has been looked at
}

// PublicRooms returns the ids of public rooms that match says yes to, in byte order, from the one after the given id, at
// most limit of them, and looks at no more than so many rooms.
func (s *Store) PublicRooms(ns, after string, look int, match func(room, name string) bool, limit int) (out Looked, err error) {
	public := func(st *settings) bool { return !st.Deleted && st.Kind == Public }
	return s.roomsLike(ns, after, look, public, match, limit)
}

func (s *Store) roomsLike(
	ns, after string, look int, of func(*settings) bool, match func(room, name string) bool, limit int,
) (out Looked, err error) {
	prefix := key(prefixRoom, ns)
	var start []byte
	if after != "" {
		start = append(key(prefixRoom, ns, after), 0)
	}
	for most := 10 * look; ; {
		jump := ""
		err = s.scan(prefix, start, func(k, v []byte) (bool, error) {
			room := string(bytes.TrimSuffix(k[len(prefix):], []byte{separator}))
			if !(RoomKey{NS: ns, Room: room}).IsRoom() { // one inbox per user: they are passed over at once
				jump, _, _ = strings.Cut(room, "~")
				return false, nil
			}
			var st settings
			if err := decodeRecord(v, &st); err != nil {
				return false, fmt.Errorf("%w: settings of room %q: %w", ErrEntry, room, err)
			}
			is := of(&st)
			if is && match(room, st.Name) {
				out.Rooms = append(out.Rooms, room)
			}
			look--
			most--
			// Next is told to whoever asks, so that it is a room they may hear of, unless none comes for long.
			if len(out.Rooms) >= limit || look <= 0 && is || most <= 0 {
				out.Next = room
				return false, nil
			}
			return true, nil
		})
		if jump == "" || err != nil {
			break
		}
		start = append(bytes.Clone(prefix), jump+"\x7f"...)
	}
	return out, err
}
