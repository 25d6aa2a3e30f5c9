package storage

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Kinds of commands of imports: 80 to 89.
const kindImport commandKind = 80

// Import carries some lines of an export into a room. The first makes the room, which must never have had an entry: so every
// entry keeps its number, and what it refers to is what it referred to. Until the last line the room is private and has no
// members before it has all entries.
//
// Lines are counted, and each names the file up to it, so that an import that was interrupted goes on where it was, and one
// that is repeated changes nothing. Result.Seq is how many lines are in, whatever the outcome; of those of a command the
// ones before the first that is refused are.
type Import struct {
	Room  RoomKey      `cbor:"1,keyasint"`
	By    Actor        `cbor:"2,keyasint"`
	File  [16]byte     `cbor:"3,keyasint"` // hash of its first line
	From  uint64       `cbor:"4,keyasint"` // which line of the file the first one is, from 1
	Lines []ImportLine `cbor:"5,keyasint"`
}

// ImportLine is one line: one of its fields but Upto is set.
type ImportLine struct {
	Upto     [16]byte        `cbor:"1,keyasint"` // hash of the file up to and including this line
	Room     *ImportRoom     `cbor:"2,keyasint,omitempty"`
	Entry    *ImportEntry    `cbor:"3,keyasint,omitempty"`
	State    *ImportState    `cbor:"4,keyasint,omitempty"`
	Member   *ImportMember   `cbor:"5,keyasint,omitempty"`
	Mark     *ImportMark     `cbor:"6,keyasint,omitempty"`
	Reaction *ImportReaction `cbor:"7,keyasint,omitempty"`
	End      bool            `cbor:"8,keyasint,omitempty"`
}

// ImportRoom is the first line: what the room becomes at the end.
type ImportRoom struct {
	Kind    RoomKind    `cbor:"1,keyasint"`
	Name    string      `cbor:"2,keyasint,omitempty"`
	Guest   GuestAccess `cbor:"3,keyasint,omitempty"`
	Frozen  bool        `cbor:"4,keyasint,omitempty"`
	Slow    int64       `cbor:"5,keyasint,omitempty"`
	Pinned  []uint64    `cbor:"6,keyasint,omitempty"`
	StateBy StateBy     `cbor:"7,keyasint,omitempty"`
	StateMS int64       `cbor:"8,keyasint,omitempty"`
	LiveMS  int64       `cbor:"9,keyasint,omitempty"`
	Made    int64       `cbor:"10,keyasint,omitempty"` // ms; 0 = now
	Owner   string      `cbor:"11,keyasint,omitempty"`

	BeforeSend BeforeSend `cbor:"12,keyasint,omitempty"`
}

// ImportEntry is an entry as it was. Seq 0 takes the next number, N 0 the count of messages so far.
type ImportEntry struct {
	Seq      uint64 `cbor:"1,keyasint,omitempty"`
	N        uint64 `cbor:"2,keyasint,omitempty"`
	TS       int64  `cbor:"3,keyasint"`
	Type     string `cbor:"4,keyasint"`
	From     Actor  `cbor:"5,keyasint,omitempty"`
	Role     Role   `cbor:"6,keyasint,omitempty"`
	Device   string `cbor:"7,keyasint,omitempty"`
	Tail     []byte `cbor:"8,keyasint"` // JSON members that follow "from", each led by a comma
	TTL      int64  `cbor:"9,keyasint,omitempty"`
	Collapse string `cbor:"10,keyasint,omitempty"`
	Target   uint64 `cbor:"11,keyasint,omitempty"`
	ReplyTo  uint64 `cbor:"12,keyasint,omitempty"`
	Emoji    string `cbor:"13,keyasint,omitempty"`
	Off      bool   `cbor:"14,keyasint,omitempty"`
	Erased   bool   `cbor:"15,keyasint,omitempty"`
}

// ImportState is a state key.
type ImportState struct {
	Key  string `cbor:"1,keyasint"`
	Ver  uint64 `cbor:"2,keyasint"`
	Tail []byte `cbor:"3,keyasint"` // its JSON after the room
}

// ImportMember is somebody the room knows: a member, or one who is muted or banned.
type ImportMember struct {
	User   string `cbor:"1,keyasint"`
	Member Member `cbor:"2,keyasint"`
}

// ImportMark is the mark of a member.
type ImportMark struct {
	User      string `cbor:"1,keyasint"`
	Read      uint64 `cbor:"2,keyasint"`
	Delivered uint64 `cbor:"3,keyasint,omitempty"`
}

// ImportReaction is a reaction that may have no entry.
type ImportReaction struct {
	Seq   uint64 `cbor:"1,keyasint"`
	User  string `cbor:"2,keyasint"`
	Emoji string `cbor:"3,keyasint"`
}

// Imported says how far an import into a room got.
type Imported struct {
	File  [16]byte    `cbor:"1,keyasint"`
	Lines uint64      `cbor:"2,keyasint"`
	Upto  [16]byte    `cbor:"3,keyasint"`
	Room  *ImportRoom `cbor:"4,keyasint,omitempty"` // what it becomes; nil = the import has ended

	MadePos uint64 `cbor:"5,keyasint"` // of the room that it made
}

func (*Import) kind() commandKind { return kindImport }

// maxHoles bounds the holes of a room that an import makes: they are in its head.
const maxHoles = 100

func importKey(k RoomKey) []byte { return indexPrefix(importPlaces, k) }

// Import returns how far the newest import into the room got; nil when there was none.
func (s *Store) Import(k RoomKey) (*Imported, error) {
	b, err := s.read(importKey(k))
	if b == nil || err != nil {
		return nil, err
	}
	p := new(Imported)
	if err := decodeRecord(b, p); err != nil {
		return nil, fmt.Errorf("%w: import into room %q: %w", ErrEntry, k.Room, err)
	}
	return p, nil
}

func (t *tx) importLines(c *Import) Result {
	if !c.By.Admin {
		return Result{Outcome: Forbidden, Detail: "admins import rooms"}
	}
	d := t.room(c.Room)
	var p Imported
	if b := t.get(importKey(d.key)); b != nil {
		if err := decodeRecord(b, &p); err != nil {
			t.fail(fmt.Errorf("%w: import into room %q: %w", ErrEntry, c.Room.Room, err))
			return Result{}
		}
	}
	same := p.Lines > 0 && p.File == c.File && d.exists() && d.settings.MadePos == p.MadePos
	if c.From == 1 && !same {
		if d.exists() || d.head.Seq > 0 {
			return Result{Outcome: Conflict, Detail: fmt.Sprintf("there is, or was, a room %q: an import makes a new one; give it another name", c.Room.Room)}
		}
		p = Imported{File: c.File}
	} else if !same {
		return Result{Outcome: Conflict, Detail: "the room is not of this import any more"}
	}
	if c.From > p.Lines+1 {
		return Result{Outcome: Conflict, Seq: p.Lines, Detail: fmt.Sprintf("line %d is the next", p.Lines+1)}
	}
	r := Result{Duplicate: true}
	for i := range c.Lines {
		if n := c.From + uint64(i); n <= p.Lines {
			continue
		}
		r.Duplicate = false
		if refused := t.importLine(d, &p, &c.Lines[i], c.By); refused.Outcome != Done || t.err != nil {
			r = refused
			r.Detail = fmt.Sprintf("line %d: %s", p.Lines+1, refused.Detail)
			break
		}
		p.Lines++
		p.Upto = c.Lines[i].Upto
	}
	if p.Lines > 0 {
		t.set(importKey(d.key), encodeRecord(p))
	}
	r.Seq = p.Lines
	return r
}

func refused(format string, args ...any) Result {
	return Result{Outcome: Conflict, Detail: fmt.Sprintf(format, args...)}
}

func (t *tx) importLine(d *draft, p *Imported, l *ImportLine, by Actor) Result {
	if (l.Room != nil) != (p.Lines == 0) {
		return refused("the first line, and no other, says what room it is")
	}
	if p.Room == nil && p.Lines > 0 {
		return refused("something follows the end")
	}
	switch {
	case l.Room != nil:
		return t.importRoom(d, p, l.Room, by)
	case l.Entry != nil:
		return t.importEntry(d, l.Entry)
	case l.State != nil:
		return t.importState(d, l.State)
	case l.Member != nil:
		return t.importMember(d, l.Member)
	case l.Mark != nil:
		if t.member(d, l.Mark.User).Role != "" {
			read := min(l.Mark.Read, d.head.Seq)
			t.setMark(d.key, l.Mark.User, Mark{Read: read, N: t.countUpTo(d, read), Delivered: max(read, min(l.Mark.Delivered, d.head.Seq))})
		}
	case l.Reaction != nil:
		t.importReaction(d, l.Reaction.Seq, l.Reaction.User, l.Reaction.Emoji)
	case l.End:
		r, st := p.Room, d.change()
		if a, b, direct := directPair(d.key.Room); direct {
			for _, u := range []string{a, b} {
				if was := t.member(d, u); was.Role == "" {
					t.importMember(d, &ImportMember{User: u, Member: Member{Role: RoleMember, Since: d.head.First, At: t.now}})
				}
			}
		}
		st.Kind, st.Guest, st.Frozen, st.Slow = r.Kind, r.Guest, r.Frozen, max(r.Slow, 0)
		st.Pinned = slices.DeleteFunc(slices.Clone(r.Pinned), func(seq uint64) bool {
			e, _ := t.target(d, seq)
			return e == nil || e.Erased > 0
		})
		st.Pinned = st.Pinned[:min(len(st.Pinned), MaxPinned)]
		d.access = true
		p.Room = nil
	default:
		return refused("it says nothing that this version knows")
	}
	return Result{}
}

func (t *tx) importRoom(d *draft, p *Imported, r *ImportRoom, by Actor) Result {
	a, b, pair := directPair(d.key.Room)
	switch {
	case !d.key.IsRoom() || r.Kind != Public && r.Kind != Private && r.Kind != Direct || !r.Guest.known() || r.StateBy > StateByOperators || r.BeforeSend > BeforeSendClosed || r.StateMS < 0 || r.LiveMS < 0 || r.Made < 0:
		return refused("there is no such room")
	case (r.Kind == Direct) != pair:
		return refused("a direct room has the name of its two users, and no other room has")
	case pair && (!good(a) || !good(b)):
		return Result{Outcome: Forbidden, Detail: "a name holds a character that names cannot have"}
	}
	t.makeRoom(d, "", Private, r.Name, GuestDefault)
	st := d.change()
	st.Owner, st.StateBy, st.StateMS, st.LiveMS, st.BeforeSend = r.Owner, r.StateBy, r.StateMS, r.LiveMS, r.BeforeSend
	if r.Made > 0 {
		st.Made = min(r.Made, t.now)
	}
	p.Room, p.MadePos = r, st.MadePos
	t.write(auditKey(d.key, t.meta.Pos+1), encodeRecord(AuditRecord{At: t.now, By: by.User, Act: "import"}))
	t.meta.Pos++ // the record's own
	return Result{}
}

// maxImported bounds the numbers of what is imported, so that the room can go on, over eras too, below 2^53.
const maxImported = 1 << 52

// importEntry writes an entry under the number and the time it had.
func (t *tx) importEntry(d *draft, c *ImportEntry) Result {
	h := &d.head
	seq := c.Seq
	if seq == 0 {
		seq = h.Seq + 1
	}
	first := h.Seq == 0
	switch {
	case !good(c.From.User) || !good(c.Type) || c.Type == "" || !good(string(c.Role)):
		return Result{Outcome: Forbidden, Detail: "a name holds a character that names cannot have"}
	case seq <= h.Seq:
		return refused("seq %d is taken, or does not come after %d", seq, h.Seq)
	case seq >= maxImported || c.N > seq:
		return refused("seq %d with n %d cannot be", seq, c.N)
	case c.TS < h.TS:
		return refused("its ts %d is below that of the entry before, %d", c.TS, h.TS)
	case c.TS > t.now:
		return refused("its ts %d lies in the future", c.TS)
	case !first && seq > h.Seq+1 && len(h.Holes) >= maxHoles:
		return refused("numbers are missing before seq %d, for the %dth time", seq, maxHoles+1)
	}
	e := &Entry{Type: c.Type, User: c.From.User, Device: c.Device, Collapse: c.Collapse}
	switch {
	case first:
		h.First = seq
		if c.N > 0 {
			h.N = c.N - one(e.Message())
		}
	case seq > h.Seq+1:
		h.Holes = append(slices.Clip(h.Holes), Hole{h.Seq + 1, seq - 1})
		if d.erased == nil {
			d.erased = map[uint64]*Entry{}
		}
		for _, e := range d.entries { // those of a batch follow each other
			d.erased[e.Seq] = e
		}
		d.entries = nil
	}
	h.Seq = seq - 1
	e.Erased = one(c.Erased)
	t.pushAt(d, e, c.TS, c.From, c.Role, c.Tail, c.TTL)
	t.refold(d, e, c)
	return Result{}
}

// refold does to an earlier message what its entry says, as far as it is not done.
func (t *tx) refold(d *draft, e *Entry, c *ImportEntry) {
	if c.ReplyTo > 0 {
		if m, _ := t.target(d, c.ReplyTo); m != nil && m.Seq != e.Seq {
			t.replied(d, c.ReplyTo)
		}
	}
	if c.Target == 0 || e.Message() || e.Type == TypeSystem {
		return
	}
	m, _ := t.target(d, c.Target)
	if m == nil || m.Erased > 0 || m.Seq == e.Seq {
		return
	}
	switch e.Type {
	case TypeEdit:
		if f := t.fold(d.key, m.Seq); len(f.Edits) < maxEdits && m.User == e.User {
			f.Edits = append(f.Edits, e.Seq)
			t.says(d.key, m.Seq)
			t.setFold(d.key, m.Seq, &f)
		}
	case TypeDelete:
		t.erase(d, m, e, &Append{From: Actor{User: m.User}})
	case TypeReaction:
		if c.Off {
			t.endReaction(d, m.Seq, e.User, c.Emoji)
		} else {
			t.importReaction(d, m.Seq, e.User, c.Emoji)
		}
	}
}

func (t *tx) importReaction(d *draft, seq uint64, user, emoji string) {
	k := reactionKey(d.key, seq, user, emoji)
	if m, _ := t.target(d, seq); m == nil || m.Erased > 0 || emoji == "" || !good(user) || t.get(k) != nil {
		return
	}
	f := t.fold(d.key, seq)
	i := slices.IndexFunc(f.Reactions, func(r Reaction) bool { return r.Emoji == emoji })
	switch {
	case i >= 0:
		f.Reactions[i].N++
	case len(f.Reactions) >= maxEmojis:
		return
	default:
		f.Reactions = append(f.Reactions, Reaction{Emoji: emoji, N: 1})
	}
	t.set(k, []byte{recordVersion})
	t.setFold(d.key, seq, &f)
}

func (t *tx) endReaction(d *draft, seq uint64, user, emoji string) {
	k := reactionKey(d.key, seq, user, emoji)
	if t.get(k) == nil {
		return
	}
	f := t.fold(d.key, seq)
	i := slices.IndexFunc(f.Reactions, func(r Reaction) bool { return r.Emoji == emoji })
	if i < 0 {
		return
	}
	t.del(k)
	if f.Reactions[i].N--; f.Reactions[i].N == 0 {
		f.Reactions = slices.Delete(f.Reactions, i, i+1)
	}
	t.setFold(d.key, seq, &f)
}

func (t *tx) importState(d *draft, c *ImportState) Result {
	k := stateKey(d.key, c.Key)
	switch {
	case !good(c.Key) || c.Key == "" || len(c.Tail) == 0:
		return Result{Outcome: Forbidden, Detail: "a name holds a character that names cannot have"}
	case t.get(k) != nil:
		return refused("state %s is there twice", c.Key)
	}
	b := append([]byte(`{"room":"`), d.key.Room...)
	b = append(append(b, '"'), c.Tail...)
	t.countState(d, false, false, true)
	t.set(k, append(binary.AppendUvarint([]byte{stateVersion}, c.Ver), b...))
	t.changed.state(StateName{Room: d.key, Key: c.Key})
	return Result{}
}

// mayBeIn reports whether a user may have a role in a room of that name: a direct room has two members and no others.
func mayBeIn(room, user string, role Role) bool {
	a, b, direct := directPair(room)
	return !direct || role == "" || role == RoleMember && (user == a || user == b)
}

func (t *tx) importMember(d *draft, c *ImportMember) Result {
	m := c.Member
	was := t.member(d, c.User)
	switch {
	case !good(c.User) || c.User == "":
		return Result{Outcome: Forbidden, Detail: "a name holds a character that names cannot have"}
	case was.known():
		return refused("member %s is there twice", c.User)
	case !mayBeIn(d.key.Room, c.User, m.Role):
		return refused("a direct room has its two users and no owner; %s is neither", c.User)
	case m.Role != "" && m.Role != RoleOwner && m.Role != RoleOperator && m.Role != RoleMember, !m.known(), m.Since > d.head.Seq,
		m.Muted < 0, m.Banned < 0:
		return refused("nobody can stand in the room as %s does", c.User)
	}
	t.setMember(d, c.User, m)
	if m.Role != "" {
		d.change().Members++
		t.post(d.key, c.User, m, nil) // who was a member is not told of it
	}
	return Result{}
}
