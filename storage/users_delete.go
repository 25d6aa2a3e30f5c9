package storage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// DeleteMode says what becomes of the messages of a user who is deleted.
type DeleteMode string

// Modes of a deletion. Either way who wrote them is not known any more.
const (
	Anonymise DeleteMode = "anonymise" // what they say stays
	Erase     DeleteMode = "erase"     // stubs stay in their places, as of deleted messages
)

// DeletedUser is whom messages of deleted users are from. It is one name for all of them.
const DeletedUser = "deleted~"

// Bounds of one DeletePage.
const (
	MaxPageRooms   = 16
	MaxPageEntries = 256
)

// DeleteUser deletes a user: from here on the name logs in and does nothing, and nobody finds it. What it has left in rooms
// goes with the DeletePages that follow, in pages, since it may be any number of rooms and messages.
type DeleteUser struct {
	Key  UserKey    `cbor:"1,keyasint"`
	By   Actor      `cbor:"2,keyasint"`
	Mode DeleteMode `cbor:"3,keyasint"`
}

// DeletePage is one step of a deletion: it ends memberships, and takes the name off entries and state of one room. The place up to
// which all is done is kept, so that another leader goes on from there. A page of an older deletion changes nothing.
type DeletePage struct {
	Key     UserKey   `cbor:"1,keyasint"`
	Run     uint64    `cbor:"2,keyasint"`           // Deletion.Run
	Leave   []string  `cbor:"3,keyasint,omitempty"` // rooms
	Room    string    `cbor:"4,keyasint,omitempty"` // of
	Entries []uint64  `cbor:"5,keyasint,omitempty"` // these,
	States  []string  `cbor:"8,keyasint,omitempty"` // and these state keys
	To      DeletedTo `cbor:"6,keyasint"`
	Done    bool      `cbor:"7,keyasint,omitempty"`
}

// DeletedTo is how far a deletion is: rooms in byte order, and the entries of one of them.
type DeletedTo struct {
	Room string `cbor:"1,keyasint,omitempty"` // "" = memberships have not ended yet
	Seq  uint64 `cbor:"2,keyasint,omitempty"`
}

func (*DeleteUser) kind() commandKind { return kindDeleteUser }
func (*DeletePage) kind() commandKind { return kindDeletePage }

func (t *tx) deleteUser(c *DeleteUser) Result {
	if !c.By.Admin && (c.By.User != c.Key.User || c.By.Guest) {
		return Result{Outcome: Forbidden, Detail: "users delete themselves, and admins others"}
	}
	if c.Mode != Anonymise && c.Mode != Erase {
		return Result{Outcome: Conflict, Detail: "a deletion is anonymise or erase"}
	}
	rec := t.user(c.Key)
	if rec == nil {
		rec = &userRecord{}
	}
	if rec.Deleted == Anonymise && c.Mode == Erase {
		return Result{Outcome: Conflict, Detail: "the user was deleted with anonymise: who wrote what is not known any more, so nothing is found to erase; delete the messages themselves"}
	}
	if rec.Deleted != "" && (rec.Deleted == c.Mode || c.Mode == Anonymise) {
		return Result{Present: true}
	}
	next := &userRecord{
		Deleted: c.Mode, Updated: max(t.now, 1), Logouts: rec.Logouts + 1, Page: &DeletedTo{}, GoneEpoch: t.meta.Epoch,
	}
	t.rememberAccount(c.Key, next) // before their sessions end, so that no will is published
	t.endAll(c.Key, next)
	t.index(c.Key, rec, nil)
	t.write(deletingKey(c.Key), []byte{recordVersion})
	t.setUser(c.Key, next, true)
	t.forgetPeople(c.Key)
	t.changed.Deletions = true
	return Result{TS: t.now}
}

func (t *tx) deletePage(c *DeletePage) Result {
	rec := t.user(c.Key)
	if rec == nil || rec.Page == nil || rec.Logouts != c.Run {
		return Result{Outcome: Conflict, Detail: "there is no such deletion"}
	}
	if len(c.Leave) > MaxPageRooms || len(c.Entries)+len(c.States) > MaxPageEntries {
		return Result{Outcome: Limit, Detail: "a page of a deletion is smaller"}
	}
	for _, name := range c.Leave {
		t.leaveForGood(RoomKey{NS: c.Key.NS, Room: name}, c.Key.User)
	}
	if len(c.Entries)+len(c.States) > 0 {
		d := t.room(RoomKey{NS: c.Key.NS, Room: c.Room})
		for _, name := range c.States {
			t.takeNameOffState(d, name, c.Key.User, rec.Deleted)
		}
		for _, seq := range c.Entries {
			t.takeNameOff(d, seq, c.Key.User, rec.Deleted)
		}
	}
	next := *rec
	next.Page = &c.To
	if c.Done {
		next.Page = nil
		t.remove(deletingKey(c.Key))
	}
	t.setUser(c.Key, &next, false)
	return Result{}
}

// leaveForGood ends a membership. Rooms are told, so that those who show their members need not ask; the name goes off that
// entry too. The other one of a direct room keeps it.
func (t *tx) leaveForGood(k RoomKey, user string) {
	d := t.room(k)
	if !d.exists() {
		return
	}
	was := t.member(d, user)
	if was.Role == "" {
		return
	}
	d.change().Members--
	left := Member{Since: d.head.Seq, At: t.now, Muted: was.Muted, Banned: was.Banned}
	if d.settings.Kind != Direct {
		left.Since = t.system(d, Actor{User: user}, was.Role, "left").Seq
	}
	t.setMember(d, user, left)
	t.post(k, user, Member{Since: left.Since}, nil)
}

// Concerns reports whether an entry of a log is by a user, or says something about them that the broker wrote.
func (e *Entry) Concerns(k RoomKey, user string) bool {
	if _, inbox := k.InboxUser(); inbox {
		_, _, tail, ok := splitJSON(k, e)
		if ok {
			_, ok = nameOffNote(tail, user)
		}
		return ok
	}
	return e.User == user || e.Type == TypeSystem && bytes.Contains(e.JSON, fmt.Appendf(nil, `"user":"%s"`, user))
}

// takeNameOff rewrites an entry of a deleted user, or one about them. It is the same when it is done again.
func (t *tx) takeNameOff(d *draft, seq uint64, user string, mode DeleteMode) {
	if h := &d.head; !d.exists() || seq < h.First || seq > h.Seq || h.Index(seq) == h.Index(seq+1) {
		return // retention was faster
	}
	e := t.entry(d, seq)
	if e == nil || !e.Concerns(d.key, user) {
		return
	}
	prefix, from, tail, ok := splitJSON(d.key, e)
	if !ok {
		t.fail(fmt.Errorf("%w: seq %d of room %q", ErrEntry, seq, d.key.Room))
		return
	}
	next := *e
	if e.User == user {
		next.User, next.Device = DeletedUser, ""
		from = appendFrom(nil, Actor{User: DeletedUser}, "", "")
		if e.Collapse != "" {
			next.Collapse = t.disownCollapsed(d.key, seq, user, e.Collapse)
		}
		if mode == Erase && e.Erased == 0 && (e.Message() || e.Type == TypeEdit) {
			tail = t.erased(d, e, next.Collapse)
			next.Erased = e.size()
		}
		if e.Type == TypeReaction {
			t.takeReaction(d, e, user)
		}
	}
	if _, inbox := d.key.InboxUser(); inbox {
		tail, _ = nameOffNote(tail, user)
	} else if e.Type == TypeSystem {
		tail = nameOffEvent(tail, user)
	}
	if next.Erased == 0 {
		next.Was = e.size()
	} else {
		next.Was = 0
	}
	next.JSON = slices.Concat(prefix, from, tail, []byte("}"))
	if !bytes.Equal(next.JSON, e.JSON) {
		t.replace(d, &next)
		d.rewritten = true
	}
}

// erased forgets what hangs on an entry whose stub is about to take its place, and returns what the stub says.
func (t *tx) erased(d *draft, e *Entry, collapse string) (tail []byte) {
	if e.Type == TypeEdit {
		var j struct{ Target uint64 }
		if err := json.Unmarshal(e.JSON, &j); err != nil {
			t.fail(fmt.Errorf("%w: seq %d of room %q: %w", ErrEntry, e.Seq, d.key.Room, err))
		}
		return append(targetJSON(j.Target), stubTail("")...)
	}
	t.unfold(d, e)
	t.replyGone(d, e)
	return stubTail(collapse)
}

// splitJSON takes the delivered form of an entry apart: what stands before "from", that member with a comma in front, and
// what follows but for the last brace.
func splitJSON(k RoomKey, e *Entry) (prefix, from, tail []byte, ok bool) {
	prefix = appendJSON(nil, k, e, Actor{}, "", nil)
	prefix = prefix[:len(prefix)-1]
	rest, ok := bytes.CutPrefix(e.JSON, prefix)
	if !ok || len(rest) == 0 || rest[len(rest)-1] != '}' {
		return nil, nil, nil, false
	}
	from, tail, ok = cutFrom(rest[:len(rest)-1])
	return prefix, from, tail, ok
}

const fromMember = `,"from":{`

// cutFrom cuts the member "from" off the front of what begins with it, or with something else.
func cutFrom(b []byte) (from, tail []byte, ok bool) {
	if !bytes.HasPrefix(b, []byte(fromMember)) {
		return nil, b, true
	}
	inString := false
	for i := len(fromMember); i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case !inString && c == '}':
			return b[:i+1], b[i+1:], true
		}
	}
	return nil, nil, false
}

// By reports whether the state key was set, or deleted, by a user.
func (v *StateValue) By(user string) bool {
	_, _, after := v.split()
	return bytes.HasPrefix(after, fmt.Appendf(nil, `%s"user":"%s"`, fromMember, user))
}

// split returns what stands before "from", and the rest. Nothing before it can hold a quote but its own.
func (v *StateValue) split() (before []byte, found bool, rest []byte) {
	i := bytes.Index(v.JSON, []byte(fromMember))
	if i < 0 {
		return v.JSON, false, nil
	}
	return v.JSON[:i], true, v.JSON[i:]
}

// takeNameOffState rewrites a state key that a deleted user set. To erase it is to delete it, which readers are told.
func (t *tx) takeNameOffState(d *draft, name, user string, mode DeleteMode) {
	k := stateKey(d.key, name)
	stored := t.get(k)
	v, err := decodeState(stored)
	if err != nil {
		t.fail(fmt.Errorf("room %q, %w %q", d.key.Room, err, name))
		return
	}
	if !d.exists() || !v.By(user) {
		return
	}
	if mode == Erase && v.set() {
		t.setState(&SetState{Room: d.key, From: Actor{User: DeletedUser, Admin: true}, Key: name})
		return
	}
	before, _, rest := v.split()
	_, tail, ok := cutFrom(rest)
	if !ok {
		t.fail(fmt.Errorf("%w: state key %q of room %q", ErrEntry, name, d.key.Room))
		return
	}
	head := stored[:len(stored)-len(v.JSON)]
	t.set(k, slices.Concat(head, before, appendFrom(nil, Actor{User: DeletedUser}, "", ""), tail))
	t.changed.state(StateName{Room: d.key, Key: strings.Clone(name)})
}

// nameOffEvent takes a name off what the broker said in a room: data of an entry of type system begins with the event and
// whom it is about.
func nameOffEvent(tail []byte, user string) []byte {
	const begin = `,"data":{"event":"`
	rest, ok := bytes.CutPrefix(tail, []byte(begin))
	event, _, quoted := bytes.Cut(rest, []byte{'"'})
	about := fmt.Appendf(nil, `","user":"%s"`, user)
	if !ok || !quoted || !bytes.HasPrefix(rest[len(event):], about) {
		return tail
	}
	return slices.Concat([]byte(begin), event, []byte(`","user":"`+DeletedUser+`"`), rest[len(event)+len(about):])
}
