package calls

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// maxSyncRooms is how many rooms one Sync covers.
const maxSyncRooms = 100

// SyncInput are the params of Sync.
type SyncInput struct {
	Rooms map[string]uint64 `json:"rooms"`           // by room the newest seq the caller has, 0 = nothing
	Limit int               `json:"limit,omitempty"` // entries per room; 0 = 50, at most 1000

	budget int // bytes of JSON; 0 = the default
}

// UnmarshalJSON also takes the rooms alone: {"general":41}.
func (in *SyncInput) UnmarshalJSON(b []byte) error {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(b, &keys); err != nil {
		return err
	}
	if r, ok := keys["rooms"]; !ok || r[0] != '{' {
		return json.Unmarshal(b, &in.Rooms)
	}
	type plain SyncInput
	return strictJSON(b, (*plain)(in))
}

// SyncedRoom is what a caller missed in one room.
type SyncedRoom struct {
	Room     string            `json:"room"`
	From     uint64            `json:"from"`  // first entry that was missing
	To       uint64            `json:"to"`    // the caller has everything up to here now
	Gap      bool              `json:"gap"`   // entries between are not kept any more, or seq was of another time
	First    uint64            `json:"first"` // oldest entry kept
	Live     bool              `json:"live"`  // To is the head
	Messages []json.RawMessage `json:"messages"`
	Error    *problem.Problem  `json:"error,omitempty"` // why there is nothing of this room; the other fields are zero
}

// Synced is the result of Sync: a room each, direct rooms first, then in byte order of their names. More says that not
// every room is live; then call again with each To.
type Synced struct {
	Rooms []SyncedRoom `json:"rooms"`
	More  bool         `json:"more"`
}

// AppendJSON appends the result with its messages byte for byte.
func (s Synced) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"rooms":[`...)
	for i := range s.Rooms {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = s.Rooms[i].appendJSON(dst)
	}
	dst = append(dst, `],"more":`...)
	dst = strconv.AppendBool(dst, s.More)
	return append(dst, '}')
}

func (r *SyncedRoom) appendJSON(dst []byte) []byte {
	dst = append(dst, `{"room":`...)
	dst = problem.AppendString(dst, r.Room)
	if r.Error != nil {
		dst = append(dst, `,"error":`...)
		return append(r.Error.AppendJSON(dst), '}')
	}
	dst = append(dst, `,"from":`...)
	dst = strconv.AppendUint(dst, r.From, 10)
	dst = append(dst, `,"to":`...)
	dst = strconv.AppendUint(dst, r.To, 10)
	dst = append(dst, `,"gap":`...)
	dst = strconv.AppendBool(dst, r.Gap)
	dst = append(dst, `,"first":`...)
	dst = strconv.AppendUint(dst, r.First, 10)
	dst = append(dst, `,"live":`...)
	dst = strconv.AppendBool(dst, r.Live)
	dst = append(dst, `,"messages":`...)
	return append(appendRaw(dst, r.Messages), '}')
}

// syncedBytes is the most a room takes in the answer beside its name and messages.
const syncedBytes = 160

// Sync returns what the caller misses in some rooms, within bounds. A room that cannot be read has an Error and does not
// fail the others.
func (c *Calls) Sync(_ context.Context, id auth.Identity, in SyncInput) (Synced, error) {
	limit, err := pageLimit(in.Limit, defaultHistory, maxHistory)
	if err != nil {
		return Synced{}, err
	}
	if len(in.Rooms) > maxSyncRooms {
		return Synced{}, problem.New(problem.BadPayload, "rooms: at most %d rooms at a time.", maxSyncRooms)
	}
	setDefault(&in.budget, pageBytes)
	out := Synced{Rooms: make([]SyncedRoom, 0, len(in.Rooms))}
	readable := make([]*storage.Room, 0, len(in.Rooms))
	for _, name := range syncOrder(in.Rooms) {
		room, err := c.readLog(id, name)
		r := SyncedRoom{Room: name}
		if err != nil {
			r.Room, r.Error = name[:min(len(name), topic.MaxRoom)], ProblemFrom(err)
			in.budget -= len(r.appendJSON(nil))
		} else {
			in.budget -= len(name) + syncedBytes
		}
		out.Rooms, readable = append(out.Rooms, r), append(readable, room)
	}
	w := c.windowOf(nil, false, in.budget)
	w.late = true
	for i, room := range readable {
		if room == nil {
			continue
		}
		w.room = room
		live, err := w.syncRoom(&out.Rooms[i], in.Rooms[room.Key.Room], limit)
		if err != nil {
			return Synced{}, c.broken(err)
		}
		out.More = out.More || !live
	}
	return out, nil
}

// syncRoom fills in r for a caller who has the room up to and including have.
func (w *window) syncRoom(r *SyncedRoom, have uint64, limit int) (live bool, err error) {
	head := w.room.Head
	if have > head.Seq { // of a room that was set back; the head is the only place that is certain
		have, r.Gap = head.Seq, true
	}
	r.From, r.To, r.First, r.Live = have+1, head.Seq, head.First, true
	r.Gap = r.Gap || have+1 < head.First || head.HoleAfter(have+1)
	if have == head.Seq {
		return true, nil
	}
	if w.work <= 0 {
		r.To, r.Live = have, false
		return false, nil
	}
	got, next, more, err := w.forward(have+1, head.Seq, limit)
	if err != nil {
		return false, err
	}
	if more {
		r.To, r.Live = max(next, have), false
	}
	r.Messages = w.raw(got)
	return r.Live, nil
}

// syncOrder has direct rooms first, as a person would read them.
func syncOrder(rooms map[string]uint64) []string {
	names := make([]string, 0, len(rooms))
	for name := range rooms {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if da, db := topic.IsDirect(a), topic.IsDirect(b); da != db {
			if da {
				return -1
			}
			return 1
		}
		if a < b {
			return -1
		}
		return 1
	})
	return names
}
