package storage

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
)

// Act is what somebody who runs a room does to it, or to somebody in it. The names are those of the calls (mod.freeze).
type Act string

// The acts. Each leaves a system entry in the room and a record in its audit log, unless everything is so already.
const (
	ActFreeze   Act = "freeze"
	ActUnfreeze Act = "unfreeze"
	ActSlow     Act = "slow" // Seconds between two messages of a member, 0 ends it
	ActMute     Act = "mute" // for Seconds, 0 = until unmuted; as ban
	ActUnmute   Act = "unmute"
	ActBan      Act = "ban" // ends the membership too, and keeps the user from reading
	ActUnban    Act = "unban"
	ActKick     Act = "kick"     // ends the membership
	ActPin      Act = "pin"      // Target
	ActUnpin    Act = "unpin"    // Target
	ActAnnounce Act = "announce" // Data, also in a frozen room
	ActRole     Act = "role"     // of a member: Role
	ActInvite   Act = "invite"   // makes User a member
)

// MaxPinned is how many messages of a room may be pinned.
const MaxPinned = 50

// maxSeconds keeps an end below Forever.
const maxSeconds = 1 << 42

// Moderate carries out an act. Owners, operators and admins of the namespace may; on somebody who stands as high as
// oneself only admins, and roles are given by owners.
type Moderate struct {
	Room       RoomKey `cbor:"1,keyasint"`
	By         Actor   `cbor:"2,keyasint"`
	Act        Act     `cbor:"3,keyasint"`
	User       string  `cbor:"4,keyasint,omitempty"`
	Seconds    int64   `cbor:"5,keyasint,omitempty"`
	Role       Role    `cbor:"6,keyasint,omitempty"`
	Target     uint64  `cbor:"7,keyasint,omitempty"`  // seq
	Reason     string  `cbor:"8,keyasint,omitempty"`  // for people; shown in the room and kept in its audit log
	Data       []byte  `cbor:"9,keyasint,omitempty"`  // a JSON value
	MaxMembers uint64  `cbor:"10,keyasint,omitempty"` // of the room, for an invitation; 0 = no limit
}

func (*Moderate) kind() commandKind { return kindModerate }

// rule is who may do an act, and what it does. do returns nil when everything is so already.
type rule struct {
	event string // of the system entry
	least rank
	user  bool // the act is about somebody
	do    func(t *tx, d *draft, c *Moderate, m Member) (*done, Result)
}

// done is what an act has done, for the entry and the audit log.
type done struct {
	extra   []byte // JSON members of the entry's data, each led by a comma
	until   int64
	seconds int64
	after   func(e *Entry) (outbox uint64) // what needs the entry's seq
}

// rank orders those who are in a room.
type rank int

const (
	rankNone rank = iota
	rankMember
	rankOperator
	rankOwner
	rankAdmin
)

func rankOf(r Role) rank {
	switch r {
	case RoleOwner:
		return rankOwner
	case RoleOperator:
		return rankOperator
	case RoleMember:
		return rankMember
	}
	return rankNone
}

func (t *tx) rank(d *draft, by Actor) rank {
	switch {
	case by.Admin:
		return rankAdmin
	case by.Guest:
		return rankNone
	}
	return rankOf(t.member(d, by.User).Role)
}

var acts = map[Act]rule{
	ActFreeze:   {event: "frozen", least: rankOperator, do: freezing(true)},
	ActUnfreeze: {event: "unfrozen", least: rankOperator, do: freezing(false)},
	ActSlow:     {event: "slow", least: rankOperator, do: (*tx).slow},
	ActMute:     {event: "muted", least: rankOperator, user: true, do: (*tx).mute},
	ActUnmute:   {event: "unmuted", least: rankOperator, user: true, do: (*tx).unmute},
	ActBan:      {event: "banned", least: rankOperator, user: true, do: (*tx).ban},
	ActUnban:    {event: "unbanned", least: rankOperator, user: true, do: (*tx).unban},
	ActKick:     {event: "removed", least: rankOperator, user: true, do: (*tx).kick},
	ActPin:      {event: "pinned", least: rankOperator, do: (*tx).pin},
	ActUnpin:    {event: "unpinned", least: rankOperator, do: (*tx).unpin},
	ActAnnounce: {event: "announced", least: rankOperator, do: (*tx).announce},
	ActRole:     {event: "role", least: rankOwner, user: true, do: (*tx).setRole},
	ActInvite:   {event: "invited", least: rankOperator, user: true, do: (*tx).invite},
}

func (t *tx) moderate(c *Moderate) Result {
	d := t.room(c.Room)
	if !d.exists() {
		return noRoom(c.Room)
	}
	a, ok := acts[c.Act]
	if !ok {
		return Result{Outcome: Conflict, Detail: "there is no such act"}
	}
	by := t.rank(d, c.By)
	if by < a.least {
		who := "owners and operators of the room"
		if a.least == rankOwner {
			who = "owners of the room"
		}
		return Result{Outcome: Forbidden, Detail: who + ", and admins, do that"}
	}
	var m Member
	if a.user {
		if c.User == "" {
			return Result{Outcome: NotFound, Detail: "the user is not named"}
		}
		m = t.member(d, c.User)
		if own := c.Act == ActRole && c.User == c.By.User; by != rankAdmin && by <= rankOf(m.Role) && !own {
			return Result{Outcome: Forbidden, Detail: fmt.Sprintf("%q is %s here: only who stands above may do that", c.User, m.Role)}
		}
	}
	did, refused := a.do(t, d, c, m)
	if refused.Outcome != Done {
		return refused
	}
	if did == nil {
		return Result{Present: true, Seq: d.head.Seq}
	}
	tail := append([]byte(`,"data":{"event":"`), a.event...)
	tail = append(tail, '"')
	if a.user {
		tail = append(append(append(tail, `,"user":"`...), c.User...), '"')
	}
	tail = append(tail, did.extra...)
	if c.Reason != "" {
		tail = appendString(append(tail, `,"reason":`...), c.Reason)
	}
	e := t.push(d, TypeSystem, c.By, "", t.member(d, c.By.User).Role, append(tail, '}'), 0)
	r := Result{Seq: e.Seq, TS: e.TS}
	if did.after != nil {
		r.Outbox = did.after(e)
	}
	t.audit(d, e, AuditRecord{
		By: c.By.User, Act: string(c.Act), User: c.User, Reason: c.Reason, Until: did.until, Seconds: did.seconds,
		Role: c.Role, Target: c.Target,
	})
	return r
}

// end is when something that is to last for seconds ends; 0 = Forever.
func (t *tx) end(seconds int64) int64 {
	if seconds <= 0 {
		return Forever
	}
	return t.now + min(seconds, maxSeconds)*1000
}

func untilJSON(until int64) []byte {
	if until == Forever {
		return nil
	}
	return strconv.AppendInt([]byte(`,"until":`), until, 10)
}

func freezing(on bool) func(*tx, *draft, *Moderate, Member) (*done, Result) {
	return func(_ *tx, d *draft, _ *Moderate, _ Member) (*done, Result) {
		if d.settings.Frozen == on {
			return nil, Result{}
		}
		d.change().Frozen = on
		return &done{}, Result{}
	}
}

const saidVersion = 1

// said returns the log time of a user's last message in a room in slow mode, 0 = none.
func (t *tx) said(k RoomKey, user string) int64 {
	b := t.get(saidKey(k, user))
	if b == nil {
		return 0
	}
	r := readRecord(b, saidVersion)
	v := r.fixed(seqBytes)
	if !r.end() {
		t.fail(fmt.Errorf("%w: last message of %q in room %q", ErrEntry, user, k.Room))
		return 0
	}
	return int64(binary.BigEndian.Uint64(v))
}

// slowed refuses a message that comes too soon in slow mode, which is for whoever does not run the room.
func (t *tx) slowed(d *draft, c *Append, role Role) Result {
	if d.settings.Slow == 0 || c.From.Admin || rankOf(role) >= rankOperator || !countsAsMessage(c.Type) {
		return Result{}
	}
	if last := t.said(d.key, c.From.User); last != 0 && t.now < last+d.settings.Slow*1000 {
		return Result{
			Outcome: SlowMode, TS: last + d.settings.Slow*1000 - t.now,
			Detail: fmt.Sprintf("the room is in slow mode: one message every %d seconds", d.settings.Slow),
		}
	}
	t.set(saidKey(d.key, c.From.User), withNumber([]byte{saidVersion}, uint64(max(t.now, 1))))
	return Result{}
}

func (t *tx) forgetSaid(k RoomKey) {
	p := key(prefixSaid, k.NS, k.Room)
	t.forgetRange(p, end(p))
}

func (t *tx) slow(d *draft, c *Moderate, _ Member) (*done, Result) {
	if c.Seconds < 0 || c.Seconds > maxSeconds {
		return nil, Result{Outcome: Conflict, Detail: "slow mode is a number of seconds"}
	}
	if d.settings.Slow == c.Seconds {
		return nil, Result{}
	}
	d.change().Slow = c.Seconds
	if c.Seconds == 0 {
		t.forgetSaid(d.key)
	}
	return &done{extra: strconv.AppendInt([]byte(`,"seconds":`), c.Seconds, 10), seconds: c.Seconds}, Result{}
}

// maxRestricted bounds the users of a room who are muted or banned.
const maxRestricted = 10_000

// sweepEach is how often, in ms of log time, a room that is full of ended mutes and bans forgets them.
const sweepEach = 60 * 60 * 1000

// restrictable refuses one more mute or ban where there are as many as are allowed.
func (t *tx) restrictable(d *draft, m Member) Result {
	if m.restricted() || d.settings.Restricted < maxRestricted {
		return Result{}
	}
	if t.now >= d.settings.Swept+sweepEach {
		d.change().Swept = t.now
		for _, u := range t.known(d) {
			old := t.member(d, u)
			left := old
			if left.Muted <= t.now {
				left.Muted = 0
			}
			if left.Banned <= t.now {
				left.Banned = 0
			}
			if left != old {
				t.setMember(d, u, left)
			}
		}
	}
	if d.settings.Restricted < maxRestricted {
		return Result{}
	}
	return Result{Outcome: Limit, Detail: fmt.Sprintf("%d users are muted or banned here, which is the limit; lift some first", maxRestricted)}
}

func (t *tx) mute(d *draft, c *Moderate, m Member) (*done, Result) {
	if r := t.restrictable(d, m); r.Outcome != Done {
		return nil, r
	}
	m.Muted = t.end(c.Seconds)
	t.setMember(d, c.User, m)
	return &done{extra: untilJSON(m.Muted), until: m.Muted}, Result{}
}

func (t *tx) unmute(d *draft, c *Moderate, m Member) (*done, Result) {
	if m.Muted <= t.now {
		return nil, Result{}
	}
	m.Muted = 0
	t.setMember(d, c.User, m)
	return &done{}, Result{}
}

func (t *tx) ban(d *draft, c *Moderate, m Member) (*done, Result) {
	if r := t.restrictable(d, m); r.Outcome != Done {
		return nil, r
	}
	until := t.end(c.Seconds)
	if d.settings.Kind == Direct { // which keeps its two
		m.Banned = until
		t.setMember(d, c.User, m)
		return &done{extra: untilJSON(until), until: until}, Result{}
	}
	return &done{extra: untilJSON(until), until: until, after: func(e *Entry) uint64 {
		more := append([]byte(`,"event":"banned"`), untilJSON(until)...)
		n := noteOf(InboxRemoved, d.key, c.By, c.User, e.Seq, more).because(c.Reason)
		return t.expel(d, c.User, m, Member{Since: e.Seq, At: t.now, Muted: m.Muted, Banned: until}, n)
	}}, Result{}
}

// expel ends a membership, where there is one, and writes what is left of it. The user is told, also one who was no member
// and is known: of a public room they are kept out all the same.
func (t *tx) expel(d *draft, user string, was, left Member, n *note) (outbox uint64) {
	t.setMember(d, user, left)
	if was.Role != "" {
		d.change().Members--
		return t.post(d.key, user, Member{Since: left.Since}, n)
	}
	if n == nil || !t.acquainted(d.key.NS, user) {
		return 0
	}
	return t.postItem(&outboxItem{Do: followNote, Room: d.key, User: user, Seq: left.Since, Note: n})
}

func (t *tx) unban(d *draft, c *Moderate, m Member) (*done, Result) {
	if m.Banned <= t.now {
		return nil, Result{}
	}
	m.Banned = 0
	t.setMember(d, c.User, m)
	return &done{}, Result{}
}

func (t *tx) kick(d *draft, c *Moderate, m Member) (*done, Result) {
	if m.Role == "" {
		return nil, Result{}
	}
	if d.settings.Kind == Direct {
		return nil, directKeepsItsTwo()
	}
	return &done{after: func(e *Entry) uint64 {
		n := noteOf(InboxRemoved, d.key, c.By, c.User, e.Seq, []byte(`,"event":"removed"`)).because(c.Reason)
		return t.expel(d, c.User, m, Member{Since: e.Seq, At: t.now, Muted: m.Muted}, n)
	}}, Result{}
}

func directKeepsItsTwo() Result {
	return Result{Outcome: Conflict, Detail: "a direct room has its two users, always"}
}

func (t *tx) setRole(d *draft, c *Moderate, m Member) (*done, Result) {
	if rankOf(c.Role) == rankNone {
		return nil, Result{Outcome: Conflict, Detail: "a role is owner, operator or member"}
	}
	if m.Role == "" {
		return nil, Result{Outcome: NotMember, Detail: fmt.Sprintf("%q is not a member; invite them first", c.User)}
	}
	if m.Role == c.Role {
		return nil, Result{}
	}
	extra := append(append([]byte(`,"role":"`), c.Role...), '"')
	return &done{extra: extra, after: func(e *Entry) uint64 {
		m.Role = c.Role
		t.setMember(d, c.User, m)
		return t.postItem(&outboxItem{
			Room: d.key, User: c.User, Role: m.Role, Seq: m.Since, At: m.At, Quiet: true,
			Note: noteOf(InboxRole, d.key, c.By, c.User, e.Seq, extra),
		})
	}}, Result{}
}

func (t *tx) invite(d *draft, c *Moderate, m Member) (*done, Result) {
	if m.Role != "" {
		return nil, Result{}
	}
	if d.settings.Kind == Direct {
		return nil, directKeepsItsTwo()
	}
	if m.Banned > t.now {
		return nil, Result{Outcome: Conflict, Detail: fmt.Sprintf("%q is banned; lift the ban first", c.User)}
	}
	if hasInbox(c.By.User) && t.blocked(d.key.NS, c.User, c.By.User) {
		return nil, Result{Outcome: Forbidden, Detail: fmt.Sprintf("%q cannot be invited", c.User)}
	}
	if r := t.full(d, c.MaxMembers); r.Outcome != Done {
		return nil, r
	}
	return &done{after: func(e *Entry) uint64 {
		d.change().Members++
		m = Member{Role: RoleMember, Since: e.Seq, At: t.now, Muted: m.Muted}
		t.setMember(d, c.User, m)
		return t.post(d.key, c.User, m, noteOf(InboxInvited, d.key, c.By, c.User, e.Seq, nil).because(c.Reason))
	}}, Result{}
}

// full refuses one more member of a room that has as many as are allowed.
func (t *tx) full(d *draft, limit uint64) Result {
	if limit > 0 && d.settings.Members >= limit {
		return Result{Outcome: Limit, Detail: fmt.Sprintf("the room has %d members, which is the limit (rooms.members)", d.settings.Members)}
	}
	return Result{}
}

func targetJSON(seq uint64) []byte { return strconv.AppendUint([]byte(`,"target":`), seq, 10) }

func (t *tx) pin(d *draft, c *Moderate, _ Member) (*done, Result) {
	if slices.Contains(d.settings.Pinned, c.Target) {
		return nil, Result{}
	}
	if len(d.settings.Pinned) >= MaxPinned {
		return nil, Result{Outcome: Limit, Detail: fmt.Sprintf("%d messages are pinned, which is the limit; unpin one first", MaxPinned)}
	}
	e, r := t.standing(d, c.Target)
	if e == nil {
		return nil, r
	}
	if e.Erased > 0 {
		return nil, Result{Outcome: Conflict, Detail: fmt.Sprintf("message %d is deleted", c.Target)}
	}
	st := d.change()
	st.Pinned = append([]uint64{c.Target}, st.Pinned...)
	return &done{extra: targetJSON(c.Target)}, Result{}
}

func (t *tx) unpin(d *draft, c *Moderate, _ Member) (*done, Result) {
	if !d.unpin(c.Target) {
		return nil, Result{}
	}
	return &done{extra: targetJSON(c.Target)}, Result{}
}

// unpin reports whether the message was pinned.
func (d *draft) unpin(seq uint64) bool {
	i := slices.Index(d.settings.Pinned, seq)
	if i < 0 {
		return false
	}
	st := d.change()
	st.Pinned = slices.Delete(slices.Clone(st.Pinned), i, i+1)
	return true
}

func (t *tx) announce(d *draft, c *Moderate, _ Member) (*done, Result) {
	if r := t.silenced(t.member(d, c.By.User)); r.Outcome != Done && !c.By.Admin {
		return nil, r
	}
	return &done{extra: append([]byte(`,"announcement":`), c.Data...)}, Result{}
}
