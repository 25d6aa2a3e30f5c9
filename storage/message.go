package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
)

// append puts a message at the end of its room, or says why not. Order of the checks: a fenced sender is nobody; what was
// appended before is answered as it was then; then the rules of the room.
func (t *tx) append(c *Append) Result {
	if c.Epoch != 0 && t.fenced(c.session(), c.Epoch) {
		return Result{Outcome: Fenced}
	}
	return t.appendMessage(c)
}

func (c *Append) session() SessionID {
	return SessionID{NS: c.Room.NS, User: c.From.User, Client: c.Device}
}

func (t *tx) appendMessage(c *Append) Result {
	if c.Room.IsBroadcast() {
		if r := mayBroadcast(c); r.Outcome != Done {
			return r
		}
	}
	if r := t.barred(c.Room.NS, c.From.User); r.Outcome != Done {
		return r
	}
	d := t.room(c.Room)
	create := !d.exists()
	if !create {
		if r, again := t.again(c); again {
			return r
		}
	}
	if r := t.apart(d.key, c.From); r.Outcome != Done {
		if c.Type != TypeDelete {
			return r
		}
		c = c.wordless()
	}
	if create {
		if r := t.autoCreate(d, c); r.Outcome != Done {
			return r
		}
	}
	role, refusal := t.mayWrite(d, c.From)
	if refusal.Outcome != Done {
		return refusal
	}
	do, again, refusal := t.refer(d, c, role)
	if refusal.Outcome != Done || again {
		return refusal
	}
	if refusal = t.slowed(d, c, role); refusal.Outcome != Done {
		return refusal
	}
	e := t.pushEntry(d, &Entry{Type: c.Type, User: c.From.User, Device: c.Device, Collapse: c.Collapse}, c.From, role, c.Tail, c.TTL)
	if c.CID != "" {
		t.rememberCID(d, c, e)
	}
	if do != nil {
		do(e)
	}
	if len(c.Mentions) > 0 && e.Message() {
		t.mention(d, c, e)
	}
	return Result{Seq: e.Seq, TS: e.TS, Created: create}
}

// wordless is a delete that says nothing but what is deleted. What one has said oneself one may take back, also from somebody
// whom a block sets apart, or who was deleted; of what the client has sent with it, its own name included, nothing reaches them.
func (c *Append) wordless() *Append {
	w := *c
	w.Tail, w.Reason, w.Device, w.Collapse = append(targetJSON(c.Target), `,"data":{}`...), "", "", ""
	return &w
}

// mayWrite applies the rules of the room to a sender and returns the role shown with the message.
func (t *tx) mayWrite(d *draft, from Actor) (Role, Result) {
	if d.settings.Kind == Broadcast { // mayBroadcast was asked
		return "", Result{}
	}
	if from.Guest {
		if (&Room{Kind: d.settings.Kind, Guest: d.settings.Guest}).GuestMay() != GuestWrite {
			return "", Result{Outcome: GuestReadOnly}
		}
		if d.settings.Frozen {
			return "", Result{Outcome: Frozen}
		}
		if r := t.silenced(t.member(d, from.User)); r.Outcome != Done {
			return "", r
		}
		return RoleGuest, Result{}
	}
	m := t.member(d, from.User)
	if m.Banned > t.now && !from.Admin {
		return "", t.silenced(m)
	}
	if m.Role == "" && d.settings.Kind != Public && !from.Admin {
		return "", Result{Outcome: NotMember, Detail: fmt.Sprintf("room %q is %s: its members write in it", d.key.Room, d.settings.Kind)}
	}
	if d.settings.Frozen && !from.Admin && m.Role != RoleOwner && m.Role != RoleOperator {
		return "", Result{Outcome: Frozen}
	}
	if r := t.silenced(m); r.Outcome != Done && !from.Admin {
		return "", r
	}
	if m.Role == "" {
		return RoleMember, Result{}
	}
	return m.Role, Result{}
}

// silenced refuses one who is banned or muted now.
func (t *tx) silenced(m Member) Result {
	is, ms := m.Silenced(t.now)
	return Result{Outcome: is, TS: ms}
}

// maxTTL (seconds) keeps what a ttl leads to below 2^53 ms.
const maxTTL = 1 << 42

// push writes the next entry of the room.
func (t *tx) push(d *draft, typ string, from Actor, device string, role Role, tail []byte, ttl int64) *Entry {
	return t.pushEntry(d, &Entry{Type: typ, User: from.User, Device: device}, from, role, tail, ttl)
}

// pushEntry is push of an entry that says its type, user and device, and may have a collapse_key.
func (t *tx) pushEntry(d *draft, e *Entry, from Actor, role Role, tail []byte, ttl int64) *Entry {
	t.pushAt(d, e, max(t.now, d.head.TS), t.stamp(d.key.NS, from), role, tail, ttl)
	t.tellEntry(d, e)
	return e
}

// pushAt is pushEntry at a time that is not before that of the newest entry, from a writer as given, and told to nobody.
func (t *tx) pushAt(d *draft, e *Entry, ts int64, from Actor, role Role, tail []byte, ttl int64) *Entry {
	t.meta.Pos++
	h := &d.head
	h.Seq++
	if e.Message() {
		h.N++
	}
	h.TS = ts
	h.Pos = t.meta.Pos
	e.Seq, e.N, e.Pos, e.TS = h.Seq, h.N, h.Pos, h.TS
	if ttl > 0 {
		e.Expiry = h.TS + min(ttl, maxTTL)*1000
	}
	t.json = appendJSON(t.json[:0], d.key, e, from, role, tail)
	e.JSON = bytes.Clone(t.json)
	if e.Erased > 0 { // of an import: what it was is not known
		e.Erased = uint64(len(e.JSON))
	}
	h.Total += uint64(len(e.JSON))
	e.Total = h.Total
	d.headChanged = true
	d.entries = append(d.entries, e)
	t.buf = e.appendTo(t.buf[:0])
	t.write(entryKey(d.key, e.Seq), t.buf)
	if e.Collapse != "" {
		t.rememberCollapse(d, e)
	}
	return e
}

// autoCreate makes the room a first message asks for, where the sender's broker allows it.
func (t *tx) autoCreate(d *draft, c *Append) Result {
	if c.AutoCreate == Broadcast && c.Room.IsBroadcast() {
		t.makeRoom(d, "", Broadcast, "", GuestNone)
		return Result{}
	}
	if c.AutoCreate == 0 || c.From.Guest || c.From.User == "" {
		return Result{Outcome: NotFound, Detail: fmt.Sprintf("room %q does not exist", c.Room.Room)}
	}
	if !c.AutoCreate.known() {
		return Result{Outcome: Conflict, Detail: "there is no such kind of room"}
	}
	if c.AutoCreate == Direct {
		if a, b, ok := directPair(c.Room.Room); !ok || c.From.User != a && c.From.User != b {
			return Result{Outcome: Forbidden, Detail: "a direct room is made by one of its two users"}
		} else if r := t.barred(c.Room.NS, other(a, b, c.From.User)); r.Outcome != Done {
			return Result{Outcome: NotFound, Detail: r.Detail}
		}
	}
	if c.RoomsPerDay > 0 && !t.countRoomMade(c.Room.NS, c.From.User, c.RoomsPerDay) {
		return Result{Outcome: Limit, Detail: fmt.Sprintf("%d rooms made today are the limit; try again tomorrow (limits.rooms_per_day)", c.RoomsPerDay)}
	}
	if c.AutoCreate == Direct {
		return t.makeDirect(d, c.From.User)
	}
	t.makeRoom(d, c.From.User, c.AutoCreate, "", GuestDefault)
	return Result{}
}

// again answers a message that was appended before: by cid, or by DUP when that is certain.
func (t *tx) again(c *Append) (Result, bool) {
	if c.CID != "" {
		if b := t.get(cidKey(c.Room, c.From.User, c.CID)); b != nil {
			seq, ts, hash, err := decodeCID(b)
			if err != nil {
				t.fail(fmt.Errorf("room %q: %w", c.Room.Room, err))
				return Result{}, true
			}
			if hash != c.Hash {
				return Result{Outcome: CIDConflict, Detail: fmt.Sprintf("cid %q was used for another message (seq %d)", c.CID, seq), Seq: seq}, true
			}
			return Result{Seq: seq, TS: ts, Duplicate: true}, true
		}
		return Result{}, false
	}
	if !c.Dup || c.Epoch == 0 {
		return Result{}, false
	}
	rec := t.session(c.session())
	if rec == nil {
		return Result{}, false
	}
	for _, u := range rec.Previous {
		if u.PacketID == c.PacketID && u.Hash == c.Hash && u.Room == c.Room.Room {
			if !slices.Contains(rec.Repeated, u.PacketID) {
				rec.Repeated = append(rec.Repeated, u.PacketID)
				t.setSession(c.session(), rec)
			}
			return Result{Seq: u.Seq, TS: u.TS, Duplicate: true}, true
		}
	}
	return Result{}, false
}

const (
	cidVersion   = 1
	bySeqVersion = 1
)

// rememberCID stores a cid: version, hash, uvarint seq, uvarint ts; and beside it, by seq, who sent which cid.
func (t *tx) rememberCID(d *draft, c *Append, e *Entry) {
	b := append(make([]byte, 0, 32), cidVersion)
	b = append(b, c.Hash[:]...)
	b = binary.AppendUvarint(b, e.Seq)
	b = binary.AppendUvarint(b, uint64(e.TS))
	t.set(cidKey(c.Room, c.From.User, c.CID), b)
	x := bySeq{seq: e.Seq, ts: e.TS, user: c.From.User, cid: c.CID}
	t.buf = x.appendTo(t.buf[:0])
	t.write(bySeqKey(d.key, e.Seq), t.buf)
	d.cids = append(d.cids, x)
}

func decodeCID(b []byte) (seq uint64, ts int64, hash [16]byte, err error) {
	r := readRecord(b, cidVersion)
	copy(hash[:], r.fixed(uint64(len(hash))))
	seq, ts = r.uvarint(), int64(r.uvarint())
	if !r.end() {
		return 0, 0, hash, fmt.Errorf("%w: cid", ErrEntry)
	}
	return seq, ts, hash, nil
}

// bySeq finds the cid of an entry, to forget it by age: version, uvarint ts, user with length, cid.
type bySeq struct {
	seq  uint64
	ts   int64
	user string
	cid  string
}

func bySeqKey(k RoomKey, seq uint64) []byte {
	return withNumber(key(prefixCIDBySeq, k.NS, k.Room), seq)
}

func (x *bySeq) appendTo(b []byte) []byte {
	b = binary.AppendUvarint(append(b, bySeqVersion), uint64(x.ts))
	return append(appendSized(b, x.user), x.cid...)
}

func decodeBySeq(seq uint64, b []byte) (bySeq, error) {
	r := readRecord(b, bySeqVersion)
	x := bySeq{seq: seq, ts: int64(r.uvarint()), user: string(r.sized()), cid: string(r.b)}
	if r.bad {
		return bySeq{}, fmt.Errorf("%w: cid of seq %d", ErrEntry, seq)
	}
	return x, nil
}
