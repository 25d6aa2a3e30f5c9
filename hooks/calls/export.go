package calls

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// An export is lines of JSON: one that says what it is of, then what there is, a kind after the other, and one that says how
// many there were. Without the last it is not whole.
//
//	{"madang":"room","version":1,"room":{"room","kind","name",..},"head","first","at"}
//	{"entry":{..}}      as delivered, in order
//	{"state":{..}}      as delivered
//	{"reaction":{"seq","user","emoji"}}
//	{"member":{"user","role","since","joined_at","muted_until","banned_until"}}
//	{"mark":{"user","seq","delivered"}}
//	{"end":{"lines":n}}
const exportVersion = 1

// Sizes of what an export reads at a time; nothing is held open between two reads.
const (
	exportEntries = 256
	exportBytes   = 1 << 20
	exportRecords = 500
)

// ExportHead is the first line.
type ExportHead struct {
	Madang  string      `json:"madang"` // room or user
	Version int         `json:"version"`
	Room    *ExportRoom `json:"room,omitempty"`
	User    string      `json:"user,omitempty"`
	Head    uint64      `json:"head,omitempty"`  // seq of the newest entry in it
	First   uint64      `json:"first,omitempty"` // of the oldest
	At      int64       `json:"at,omitempty"`    // ms since the epoch
}

// ExportRoom is a room as it is set.
type ExportRoom struct {
	Room          string   `json:"room,omitempty"`
	Kind          string   `json:"kind"`
	Name          string   `json:"name,omitempty"`
	Guest         string   `json:"guest,omitempty"` // as set; absent = by kind
	Frozen        bool     `json:"frozen,omitempty"`
	SlowMode      int64    `json:"slow_mode,omitempty"`
	Pinned        []uint64 `json:"pinned,omitempty"`
	State         string   `json:"state,omitempty"`
	StateInterval int64    `json:"state_interval_ms,omitempty"`
	LiveInterval  int64    `json:"live_interval_ms,omitempty"`
	BeforeSend    string   `json:"before_send,omitempty"` // absent = as the configuration of the nodes says
	Owner         string   `json:"owner,omitempty"`       // who made it
	CreatedAt     int64    `json:"created_at,omitempty"`
}

// ExportMember is somebody the room knows.
type ExportMember struct {
	User        string       `json:"user"`
	Role        storage.Role `json:"role,omitempty"` // absent for one who is no member
	Since       uint64       `json:"since,omitempty"`
	JoinedAt    int64        `json:"joined_at,omitempty"`
	MutedUntil  int64        `json:"muted_until,omitempty"`
	BannedUntil int64        `json:"banned_until,omitempty"`
}

// ExportMark is how far a member has read.
type ExportMark struct {
	Room      string `json:"room,omitempty"` // in the export of a user
	User      string `json:"user,omitempty"` // in that of a room
	Seq       uint64 `json:"seq"`
	Delivered uint64 `json:"delivered,omitempty"`
}

// ExportReaction is a user's reaction to a message.
type ExportReaction struct {
	Seq   uint64 `json:"seq"`
	User  string `json:"user"`
	Emoji string `json:"emoji"`
}

// Export is one that may be written. It is of a moment: what comes into the room while it is written is not in it.
type Export struct {
	c     *Calls
	w     io.Writer
	lines int
	head  ExportHead
	run   func(ctx context.Context) error
}

// WriteTo writes the export. An error leaves it without its last line.
func (e *Export) WriteTo(ctx context.Context, w io.Writer) error {
	e.w = w
	if err := e.line("", e.head); err != nil {
		return err
	}
	if err := e.run(ctx); err != nil {
		return err
	}
	return e.line("end", map[string]int{"lines": e.lines + 1})
}

func (e *Export) line(name string, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if name != "" {
		b.WriteString(`{"` + name + `":`)
	}
	if err := enc.Encode(v); err != nil {
		return err
	}
	out := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if name != "" {
		out = append(out, '}')
	}
	e.lines++
	_, err := e.w.Write(append(out, '\n'))
	return err
}

// raw writes JSON as it is: line ends may stand between its tokens and nowhere else.
func (e *Export) raw(name string, form []byte) error {
	out := append(make([]byte, 0, len(form)+len(name)+8), `{"`+name+`":`...)
	out = append(out, form...)
	for i, c := range out {
		if c == '\n' || c == '\r' {
			out[i] = ' '
		}
	}
	e.lines++
	_, err := e.w.Write(append(out, '}', '\n'))
	return err
}

// ExportRoom returns the export of a room, for its owners, admins, auditors and service keys.
func (c *Calls) ExportRoom(id auth.Identity, name string) (*Export, error) {
	if err := noGuest(id, "export rooms"); err != nil {
		return nil, err
	}
	k, err := roomKey(id, name)
	if err != nil {
		return nil, err
	}
	room, err := c.cfg.Store.Room(k)
	if err != nil {
		return nil, c.broken(err)
	}
	if room == nil {
		return nil, noRoom(name)
	}
	m, err := c.cfg.Store.Member(k, id.User)
	if err != nil {
		return nil, c.broken(err)
	}
	switch {
	case m.Role == storage.RoleOwner:
	case id.Admin || id.Auditor || id.Service:
		c.cfg.Audit(AuditedRead{Reader: id, Room: k})
	default:
		return nil, problem.New(problem.Forbidden, "Owners of the room, admins, auditors and service keys export it.")
	}
	_, now := c.cfg.Store.Applied()
	e := &Export{c: c, head: ExportHead{
		Madang: "room", Version: exportVersion, Head: room.Head.Seq, First: room.Head.First, At: now,
		Room: &ExportRoom{
			Room: name, Kind: room.Kind.String(), Name: room.Name, Guest: room.Guest.String(), Frozen: room.Frozen, SlowMode: room.Slow,
			Pinned: room.Pinned, State: room.StateBy.String(), StateInterval: room.StateMS, LiveInterval: room.LiveMS,
			BeforeSend: beforeSendOf(room), Owner: room.Owner, CreatedAt: room.Made,
		},
	}}
	e.run = func(ctx context.Context) error { return e.room(ctx, room) }
	return e, nil
}

func (e *Export) room(ctx context.Context, room *storage.Room) error {
	s, k := e.c.cfg.Store, room.Key
	for from := room.Head.First; from <= room.Head.Seq; {
		es, err := s.Entries(k, from, room.Head.Seq, exportEntries, exportBytes)
		if err != nil {
			return err
		}
		now, err := s.Room(k)
		if err != nil {
			return err
		}
		if now == nil || now.MadePos != room.MadePos || now.Head.First > from || len(es) == 0 {
			return fmt.Errorf("entry %d of room %q went while it was exported", from, k.Room)
		}
		for _, x := range es {
			if err := e.raw("entry", x.JSON); err != nil {
				return err
			}
		}
		from = es[len(es)-1].Seq + 1
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	for after, n := "", exportRecords; n == exportRecords; {
		n = 0
		var values []storage.StateValue
		if err := s.States(k, after, false, func(v storage.StateValue) bool {
			values = append(values, v)
			n++
			return n < exportRecords
		}); err != nil {
			return err
		}
		for _, v := range values {
			if err := e.raw("state", v.JSON); err != nil {
				return err
			}
			after = v.Key
		}
	}
	for after, n := (storage.UserReaction{}), exportRecords; n == exportRecords; {
		all, err := s.Reactions(k, after, exportRecords)
		if err != nil {
			return err
		}
		for _, r := range all {
			if after = r; r.Seq > room.Head.Seq {
				break
			}
			if err := e.line("reaction", ExportReaction(r)); err != nil {
				return err
			}
		}
		n = len(all)
	}
	return e.people(k)
}

func (e *Export) people(k storage.RoomKey) error {
	s := e.c.cfg.Store
	for after, n := "", exportRecords; n == exportRecords; {
		all, err := s.Everybody(k, after, exportRecords)
		if err != nil {
			return err
		}
		for _, m := range all {
			after = m.User
			// One who came meanwhile came by an entry that is not in here.
			line := ExportMember{User: m.User, Role: m.Role, Since: min(m.Since, e.head.Head), JoinedAt: m.At, MutedUntil: m.Muted, BannedUntil: m.Banned}
			if err := e.line("member", line); err != nil {
				return err
			}
		}
		n = len(all)
	}
	for after, n := "", exportRecords; n == exportRecords; {
		all, err := s.Members(k, after, exportRecords)
		if err != nil {
			return err
		}
		for _, m := range all {
			after = m.User
			mark, err := s.Mark(k, m.User)
			if err != nil {
				return err
			}
			if err := e.line("mark", ExportMark{User: m.User, Seq: min(mark.Read, e.head.Head), Delivered: min(mark.Delivered, e.head.Head)}); err != nil {
				return err
			}
		}
		n = len(all)
	}
	return nil
}

// ExportUser returns what is kept of a user, for that user, admins and service keys: the profile, devices with a stored session, memberships, marks, and the messages the
// user wrote and did not delete, in all rooms, in their present form.
func (c *Calls) ExportUser(id auth.Identity, user string) (*Export, error) {
	if err := noGuest(id, "export users"); err != nil {
		return nil, err
	}
	if !topic.IsSender(user) {
		return nil, problem.New(problem.NotFound, "%.40q is no user.", user)
	}
	if user != id.User && !id.Admin && !id.Service {
		return nil, problem.New(problem.Forbidden, "A user, admins and service keys export what is kept of the user.")
	}
	_, now := c.cfg.Store.Applied()
	e := &Export{c: c, head: ExportHead{Madang: "user", Version: exportVersion, User: user, At: now}}
	e.run = func(ctx context.Context) error { return e.user(ctx, id.Namespace, user) }
	return e, nil
}

func (e *Export) user(ctx context.Context, ns, user string) error {
	s := e.c.cfg.Store
	u, err := s.User(ns, user)
	if err == nil && u != nil {
		err = e.line("profile", e.c.profile(u, true))
	}
	if err != nil {
		return err
	}
	devices, err := s.SessionsOf(ns, user, exportRecords)
	if err != nil {
		return err
	}
	for _, d := range devices {
		if err := e.line("device", map[string]string{"device": d.ID.Client}); err != nil {
			return err
		}
	}
	type membership struct {
		Room  string       `json:"room"`
		Role  storage.Role `json:"role"`
		Since uint64       `json:"since"`
	}
	for after, n := "", exportRecords; n == exportRecords; {
		all, err := s.UserRooms(ns, user, after, exportRecords)
		if err != nil {
			return err
		}
		for _, r := range all {
			after = r.Room
			if err := e.line("membership", membership(r)); err != nil {
				return err
			}
			m, err := s.Mark(storage.RoomKey{NS: ns, Room: r.Room}, user)
			if err == nil {
				err = e.line("mark", ExportMark{Room: r.Room, Seq: m.Read, Delivered: m.Delivered})
			}
			if err != nil {
				return err
			}
		}
		n = len(all)
	}
	var failed error
	err = s.RoomKeys(func(k storage.RoomKey) bool {
		if k.NS == ns && k.IsRoom() {
			failed = e.messagesOf(ctx, k, user)
		}
		return failed == nil && ctx.Err() == nil
	})
	if err == nil {
		err = failed
	}
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// messagesOf writes what the user wrote in a room, newest first, by the index where there is one.
func (e *Export) messagesOf(ctx context.Context, k storage.RoomKey, user string) error {
	room, err := e.c.cfg.Store.Room(k)
	if room == nil || err != nil {
		return err
	}
	for before := ^uint64(0); before != 0 && ctx.Err() == nil; {
		work := searchWork
		es, next, err := e.c.cfg.Store.Search(k, storage.Find{From: user, Limit: exportEntries, Work: &work}, before)
		if err != nil {
			return err
		}
		for _, x := range es {
			w := e.c.windowOf(room, true, math.MaxInt)
			err := w.fold([]*storage.Entry{x})
			if err == nil {
				err = e.raw("entry", w.jsonOf(x))
			}
			if err = errors.Join(err, w.err); err != nil {
				return err
			}
		}
		before = next
	}
	return ctx.Err()
}
