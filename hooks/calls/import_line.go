package calls

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/madang-chat/madang/hooks/envelope"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// importLine is a line of an export of a room after the first.
type importLine struct {
	Entry    json.RawMessage `json:"entry"`
	State    json.RawMessage `json:"state"`
	Reaction *ExportReaction `json:"reaction"`
	Member   *ExportMember   `json:"member"`
	Mark     *ExportMark     `json:"mark"`
	End      json.RawMessage `json:"end"`
}

// parseImportHead reads the first line.
func parseImportHead(b []byte) (*storage.ImportRoom, error) {
	var h ExportHead
	if err := strictLine(b, &h); err != nil {
		return nil, err
	}
	if h.Madang != "room" || h.Version != exportVersion {
		return nil, fmt.Errorf(`it is no export of a room of version %d: the first line is {"madang":"room","version":%d,"room":{"kind":"private"}}`,
			exportVersion, exportVersion)
	}
	if h.Room == nil {
		h.Room = &ExportRoom{}
	}
	r := h.Room
	out := &storage.ImportRoom{
		Kind: storage.Private, Name: r.Name, Frozen: r.Frozen, Slow: r.SlowMode, Pinned: r.Pinned, StateMS: r.StateInterval,
		LiveMS: r.LiveInterval, Made: r.CreatedAt, Owner: r.Owner,
	}
	ok := true
	if r.Kind != "" {
		out.Kind, ok = storage.ParseRoomKind(r.Kind)
	}
	if ok && r.Guest != "" {
		out.Guest, ok = storage.ParseGuestAccess(r.Guest)
	}
	if ok && r.State != "" {
		out.StateBy, ok = storage.ParseStateBy(r.State)
	}
	if ok && r.BeforeSend != "" {
		out.BeforeSend, ok = storage.ParseBeforeSend(r.BeforeSend)
	}
	if !ok {
		return nil, errors.New("room: kind is public, private or direct, guest none, read or write, state members or operators, " +
			"before_send off, open or closed")
	}
	if r.StateInterval < 0 || r.StateInterval > maxInterval || r.LiveInterval < 0 || r.LiveInterval > maxInterval || r.SlowMode < 0 || r.SlowMode > maxSeconds {
		return nil, errors.New("room: an interval is out of its bounds")
	}
	if r.Owner != "" && !topic.IsSender(r.Owner) {
		return nil, errors.New("room: owner is no user")
	}
	if err := checkName(r.Name); err != nil {
		return nil, errors.New(ProblemFrom(err).Sentence())
	}
	return out, nil
}

// strictLine decodes a line of JSON without unknown keys.
func strictLine(b []byte, into any) error {
	if !utf8.Valid(b) {
		return errors.New("it is not UTF-8")
	}
	if err := strictJSON(b, into); err != nil {
		return errors.New(jsonFault(err))
	}
	return nil
}

// parseImportLine reads a line after the first. The result does not alias b. lines is how many lines the file has, where the
// line is the last one and says so; else 0.
func parseImportLine(b []byte) (l storage.ImportLine, lines uint64, err error) {
	var in importLine
	if err := strictLine(b, &in); err != nil {
		return l, 0, err
	}
	given := 0
	for _, is := range []bool{in.Entry != nil, in.State != nil, in.Reaction != nil, in.Member != nil, in.Mark != nil, in.End != nil} {
		if is {
			given++
		}
	}
	if given != 1 {
		return l, 0, errors.New("a line has one of entry, state, reaction, member, mark and end")
	}
	switch {
	case in.Entry != nil:
		l.Entry, err = parseImportEntry(in.Entry)
	case in.State != nil:
		l.State, err = parseImportState(in.State)
	case in.Reaction != nil:
		r := in.Reaction
		if !topic.IsSender(r.User) || r.Emoji == "" || len(r.Emoji) > envelope.MaxEmoji {
			return l, 0, errors.New("reaction: seq, user and emoji are needed")
		}
		l.Reaction = &storage.ImportReaction{Seq: r.Seq, User: r.User, Emoji: r.Emoji}
	case in.Member != nil:
		m := in.Member
		if !topic.IsSender(m.User) {
			return l, 0, fmt.Errorf("member: %.40q is no user", m.User)
		}
		l.Member = &storage.ImportMember{User: m.User, Member: storage.Member{
			Role: m.Role, Since: m.Since, At: m.JoinedAt, Muted: m.MutedUntil, Banned: m.BannedUntil,
		}}
	case in.Mark != nil:
		if !topic.IsSender(in.Mark.User) {
			return l, 0, fmt.Errorf("mark: %.40q is no user", in.Mark.User)
		}
		l.Mark = &storage.ImportMark{User: in.Mark.User, Read: in.Mark.Seq, Delivered: in.Mark.Delivered}
	default:
		l.End = true
		lines, err = parseImportEnd(in.End)
	}
	return l, lines, err
}

// parseImportEnd returns how many lines the file has, 0 where its end does not say.
func parseImportEnd(b []byte) (lines uint64, err error) {
	if b[0] != '{' {
		return 0, nil
	}
	var end struct {
		Lines *uint64 `json:"lines"`
	}
	switch err := json.Unmarshal(b, &end); {
	case err != nil:
		return 0, fmt.Errorf("end: %s", jsonFault(err))
	case end.Lines == nil:
		return 0, nil
	case *end.Lines == 0:
		return 0, errors.New("end: a file has lines")
	}
	return *end.Lines, nil
}

// field is a member of a JSON object as it is written.
type field struct {
	name  string
	value json.RawMessage
}

// fieldsOf returns the members of a JSON object in their order; one that is there twice is an error.
func fieldsOf(object []byte) (out []field, err error) {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errNoObject
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		f := field{name: t.(string)} // JSON knows no other keys
		if err := d.Decode(&f.value); err != nil {
			return nil, err
		}
		for _, o := range out {
			if o.name == f.name {
				return nil, fmt.Errorf("%.40q is there twice", f.name)
			}
		}
		if out = append(out, f); len(out) > maxFields {
			return nil, fmt.Errorf("it has more than %d members", maxFields)
		}
	}
	return out, nil
}

const maxFields = 64 // of an entry

// parseImportEntry takes a delivered entry apart. What a message says is put at its end, where it is looked for.
func parseImportEntry(b []byte) (*storage.ImportEntry, error) {
	fields, err := fieldsOf(b)
	if err != nil {
		return nil, fmt.Errorf("entry: %w", err)
	}
	e := &storage.ImportEntry{Type: envelope.TypeText}
	var from struct {
		User   string       `json:"user"`
		Name   string       `json:"name"`
		Role   storage.Role `json:"role"`
		Level  *int64       `json:"level"`
		Device string       `json:"device"`
	}
	var tail, encoding, data, deleted []byte
	var mentions json.RawMessage
	for _, f := range fields {
		as := func(into any) error { return json.Unmarshal(f.value, into) }
		put := append(append([]byte{','}, problem.AppendString(nil, f.name)...), ':')
		put = append(put, f.value...)
		switch f.name {
		case "room":
			continue
		case "seq":
			err = as(&e.Seq)
			continue
		case "n":
			err = as(&e.N)
			continue
		case "ts":
			err = as(&e.TS)
			continue
		case "type":
			err = as(&e.Type)
			continue
		case "from":
			err = strictJSON(f.value, &from)
			continue
		case "target":
			err = as(&e.Target)
		case "reply_to":
			err = as(&e.ReplyTo)
		case "ttl":
			err = as(&e.TTL)
		case "collapse_key":
			err = as(&e.Collapse)
		case "mentions":
			mentions = f.value
		case "encoding":
			encoding = put
			continue
		case "data":
			data = put
			continue
		case "deleted":
			err = as(&e.Erased)
			deleted = put
			continue
		case "cid", "thread", "if_ver", "meta":
		default:
			return nil, fmt.Errorf("entry: there is no member %.40q", f.name)
		}
		if err != nil {
			return nil, fmt.Errorf("entry: %s: %s", f.name, jsonFault(err))
		}
		tail = append(tail, put...)
	}
	if err != nil {
		return nil, fmt.Errorf("entry: %s", jsonFault(err))
	}
	switch {
	case data == nil:
		return nil, errors.New("entry: data is missing")
	case e.TS <= 0 || e.TTL < 0:
		return nil, errors.New("entry: ts, in ms since the epoch, is missing, or ttl below 0")
	case !topic.ValidType(e.Type):
		return nil, fmt.Errorf("entry: %.40q is no type", e.Type)
	case from.User != "" && !topic.IsSender(from.User) && from.User != storage.DeletedUser, from.User == "" && e.Type != storage.TypeSystem:
		return nil, fmt.Errorf("entry: %.40q is no user", from.User)
	case !validRole(from.Role) || !topic.ValidClientID(from.Device) || len(e.Collapse) > 256 || !validMentions(mentions):
		return nil, errors.New("entry: the role, the device, the mentions or the collapse_key is none")
	}
	if from.User == "" {
		from.Name, from.Role, from.Level, from.Device = "", "", nil, ""
	}
	e.From, e.Role, e.Device = storage.Actor{User: from.User, Name: from.Name, Level: from.Level}, from.Role, from.Device
	if e.Type == storage.TypeReaction {
		var r struct {
			Emoji string `json:"emoji"`
			On    *bool  `json:"on"`
		}
		value := data[len(`,"data":`):]
		if json.Unmarshal(value, &r) == nil && len(r.Emoji) <= envelope.MaxEmoji {
			e.Emoji, e.Off = r.Emoji, r.On != nil && !*r.On
		}
	}
	e.Tail = append(append(append(tail, encoding...), data...), deleted...)
	if !e.Erased && deleted != nil {
		return nil, errors.New("entry: deleted is true, or absent")
	}
	return e, nil
}

func validRole(r storage.Role) bool {
	switch r {
	case "", storage.RoleOwner, storage.RoleOperator, storage.RoleMember, storage.RoleGuest:
		return true
	}
	return false
}

func validMentions(b json.RawMessage) bool {
	var users []string
	return b == nil || json.Unmarshal(b, &users) == nil && len(users) <= envelope.MaxMentions
}

// parseImportState takes a state key apart: its JSON follows the room's name as it was.
func parseImportState(b []byte) (*storage.ImportState, error) {
	fields, err := fieldsOf(b)
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	c := &storage.ImportState{}
	for _, f := range fields {
		switch f.name {
		case "room":
			continue
		case "key":
			err = json.Unmarshal(f.value, &c.Key)
		case "ver":
			err = json.Unmarshal(f.value, &c.Ver)
		case "seq", "ts", "from", "encoding", "data":
		default:
			err = fmt.Errorf("there is no member %.40q", f.name)
		}
		if err != nil {
			return nil, fmt.Errorf("state: %s", strings.TrimPrefix(err.Error(), "json: "))
		}
		c.Tail = append(append(c.Tail, ','), problem.AppendString(nil, f.name)...)
		c.Tail = append(append(c.Tail, ':'), f.value...)
	}
	if !topic.ValidType(c.Key) || c.Ver == 0 {
		return nil, errors.New("state: key and ver are needed")
	}
	c.Tail = append(c.Tail, '}')
	return c, nil
}
