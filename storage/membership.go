package storage

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// makeRoom creates the room, or makes it again under an old name: its numbers go on after the old head.
func (t *tx) makeRoom(d *draft, owner string, kind RoomKind, name string, guest GuestAccess) (outbox uint64) {
	st := d.change()
	*st = settings{Kind: kind, Name: name, Guest: guest, Owner: owner, Made: t.now, MadePos: t.meta.Pos}
	d.head.First, d.head.Holes = d.head.Seq+1, nil
	d.head.Gone = d.head.Total
	d.headChanged, d.access = true, true
	if owner == "" {
		if kind != Direct { // which has its two users to name yet
			t.tellRoom(d, FeedCreated, "")
		}
		return 0
	}
	t.tellRoom(d, FeedCreated, owner)
	st.Members = 1
	m := Member{Role: RoleOwner, Since: d.head.Seq, At: t.now}
	t.setMember(d, owner, m)
	return t.post(d.key, owner, m, nil)
}

// directPair returns the two users of a direct room, whose name is dm~{a}~{b} in byte order (design.md section 2).
func directPair(room string) (a, b string, ok bool) {
	rest, ok := strings.CutPrefix(room, "dm~")
	if !ok {
		return "", "", false
	}
	a, b, ok = strings.Cut(rest, "~")
	return a, b, ok && a != "" && a < b && !strings.Contains(b, "~")
}

// other returns the one of two that is not the user.
func other(a, b, user string) string {
	if a == user {
		return b
	}
	return a
}

// makeDirect makes the direct room of two users, both members from its first entry on.
func (t *tx) makeDirect(d *draft, by string) Result {
	a, b, _ := directPair(d.key.Room)
	t.makeRoom(d, "", Direct, "", GuestDefault)
	st := d.change()
	st.Members, st.Owner = 2, by
	t.tellRoom(d, FeedCreated, by)
	for _, u := range [...]string{a, b} {
		m := Member{Role: RoleMember, Since: d.head.Seq, At: t.now}
		t.setMember(d, u, m)
		t.post(d.key, u, m, nil)
	}
	return Result{}
}

func (t *tx) roomCreate(c *RoomCreate) Result {
	d := t.room(c.Room)
	if d.exists() {
		return Result{Outcome: Conflict, Detail: fmt.Sprintf("room %q exists", c.Room.Room)}
	}
	if c.By.Guest {
		return Result{Outcome: GuestReadOnly, Detail: "guests own no rooms; log in to make one"}
	}
	if !c.Kind.known() || !c.Guest.known() {
		return Result{Outcome: Conflict, Detail: "there is no such kind of room or guest access"}
	}
	return Result{Created: true, Seq: d.head.Seq, Outbox: t.makeRoom(d, c.By.User, c.Kind, c.Name, c.Guest)}
}

// mayGovern reports whether the actor may change the room itself.
func (t *tx) mayGovern(d *draft, by Actor) bool {
	return by.Admin || !by.Guest && t.member(d, by.User).Role == RoleOwner
}

func noRoom(k RoomKey) Result {
	return Result{Outcome: NotFound, Detail: fmt.Sprintf("room %q does not exist", k.Room)}
}

func (t *tx) roomSet(c *RoomSet) Result {
	d := t.room(c.Room)
	if !d.exists() {
		return noRoom(c.Room)
	}
	if !t.mayGovern(d, c.By) {
		return Result{Outcome: Forbidden, Detail: "owners of the room and admins change its settings"}
	}
	if c.Kind != nil && *c.Kind != d.settings.Kind && (d.settings.Kind == Direct || *c.Kind == Direct) {
		return Result{Outcome: Conflict, Detail: "a direct room stays one, and no other room becomes one"}
	}
	if c.Kind != nil && !c.Kind.known() || c.Guest != nil && !c.Guest.known() {
		return Result{Outcome: Conflict, Detail: "there is no such kind of room or guest access"}
	}
	if c.BeforeSend != nil && *c.BeforeSend > BeforeSendClosed {
		return Result{Outcome: Conflict, Detail: "there is no such setting of before_send"}
	}
	if c.StateBy != nil && *c.StateBy > StateByOperators || c.StateMS != nil && *c.StateMS < 0 || c.LiveMS != nil && *c.LiveMS < 0 {
		return Result{Outcome: Conflict, Detail: "there is no such setting of state"}
	}
	st := d.change()
	if c.StateBy != nil {
		st.StateBy = *c.StateBy
	}
	if c.StateMS != nil {
		st.StateMS = *c.StateMS
	}
	if c.LiveMS != nil {
		st.LiveMS = *c.LiveMS
	}
	if c.Name != nil {
		st.Name = *c.Name
	}
	if c.Guest != nil {
		st.Guest, d.access = *c.Guest, true
	}
	if c.Kind != nil {
		d.kindChanged = d.kindChanged || st.Kind != *c.Kind
		st.Kind, d.access = *c.Kind, true
	}
	if c.BeforeSend != nil {
		st.BeforeSend = *c.BeforeSend
	}
	t.tellRoom(d, FeedUpdated, c.By.User)
	return Result{Seq: d.head.Seq}
}

func (t *tx) roomDelete(c *RoomDelete) Result {
	d := t.room(c.Room)
	if !d.exists() {
		return noRoom(c.Room)
	}
	if !t.mayGovern(d, c.By) {
		return Result{Outcome: Forbidden, Detail: "owners of the room and admins delete it"}
	}
	for _, u := range t.known(d) {
		was, m := t.member(d, u), Member{Since: d.head.Seq, At: t.now}
		t.setMember(d, u, m)
		if was.Role != "" {
			t.post(d.key, u, m, noteOf(InboxRemoved, d.key, c.By, u, d.head.Seq, []byte(`,"event":"deleted"`)))
		}
	}
	t.forgetSaid(d.key)
	t.forgetStates(d.key)
	from := key(prefixEntry, c.Room.NS, c.Room.Room)
	t.delRange(from, end(from))
	for _, p := range []byte{prefixCID, prefixCIDBySeq} {
		from := key(p, c.Room.NS, c.Room.Room)
		t.forgetRange(from, end(from))
	}
	d.cids = nil
	t.forgetFolds(c.Room, 0, ^uint64(0))
	for _, p := range []byte{prefixCollapse, prefixCollapseBySeq} {
		from := key(p, c.Room.NS, c.Room.Room)
		t.forgetRange(from, end(from))
	}
	st := d.change()
	st.Deleted, st.Members, st.States, st.Tombs = true, 0, 0, 0
	d.head.First, d.head.Gone, d.head.GonePos = d.head.Seq+1, d.head.Total, d.head.Pos
	d.head.Holes = nil
	d.headChanged, d.access = true, true
	t.tellRoom(d, FeedDeleted, c.By.User)
	t.changed.indexed(d.key)
	return Result{Seq: d.head.Seq}
}

// known returns the users of whom something is known as the batch leaves the room, in byte order.
func (t *tx) known(d *draft) []string {
	all := map[string]bool{}
	prefix := key(prefixMember, d.key.NS, d.key.Room)
	if err := scan(t.s.db, prefix, nil, func(k, _ []byte) (bool, error) {
		all[string(k[len(prefix):])] = true
		return true, nil
	}); err != nil {
		t.fail(err)
	}
	for u, m := range d.members {
		if m.known() {
			all[u] = true
		} else {
			delete(all, u)
		}
	}
	return slices.Sorted(maps.Keys(all))
}

func (t *tx) join(c *Join) Result {
	d := t.room(c.Room)
	if !d.exists() {
		return noRoom(c.Room)
	}
	if c.By.Guest {
		return Result{Outcome: GuestReadOnly, Detail: "guests are not members; log in to join"}
	}
	was := t.member(d, c.By.User)
	if was.Role != "" {
		return Result{Present: true, Seq: was.Since}
	}
	if was.Banned > t.now && !c.By.Admin {
		return t.silenced(was)
	}
	if d.settings.Kind != Public && !c.By.Admin {
		return Result{Outcome: Forbidden, Detail: fmt.Sprintf("room %q is %s: an owner adds its members", c.Room.Room, d.settings.Kind)}
	}
	if d.settings.Kind == Direct { // of its two users, whoever asks
		return directKeepsItsTwo()
	}
	if r := t.full(d, c.MaxMembers); r.Outcome != Done {
		return r
	}
	d.change().Members++
	e := t.system(d, c.By, RoleMember, "joined")
	m := Member{Role: RoleMember, Since: e.Seq, At: t.now, Muted: was.Muted}
	t.setMember(d, c.By.User, m)
	return Result{Seq: e.Seq, TS: e.TS, Outbox: t.post(d.key, c.By.User, m, nil)}
}

func (t *tx) leave(c *Leave) Result {
	d := t.room(c.Room)
	if !d.exists() {
		return noRoom(c.Room)
	}
	was := t.member(d, c.By.User)
	if was.Role == "" {
		return Result{Seq: d.head.Seq}
	}
	if d.settings.Kind == Direct {
		return directKeepsItsTwo()
	}
	d.change().Members--
	e := t.system(d, c.By, was.Role, "left")
	t.setMember(d, c.By.User, Member{Since: e.Seq, At: t.now, Muted: was.Muted})
	return Result{Present: true, Seq: e.Seq, TS: e.TS, Outbox: t.post(d.key, c.By.User, Member{Since: e.Seq}, nil)}
}

// system appends what happened to the room, with who did it as sender.
func (t *tx) system(d *draft, by Actor, role Role, event string) *Entry {
	tail := append([]byte(`,"data":{"event":"`), event...)
	tail = append(append(append(tail, `","user":"`...), by.User...), `"}`...)
	return t.push(d, TypeSystem, by, "", role, tail, 0)
}

// outboxItem is what a change of a room means for one user's room list. It leaves the outbox with its FollowUp.
type outboxItem struct {
	Room RoomKey `cbor:"1,keyasint"`
	User string  `cbor:"2,keyasint"`
	Role Role    `cbor:"3,keyasint,omitempty"` // "" = no longer a member
	Seq  uint64  `cbor:"4,keyasint"`
	At   int64   `cbor:"5,keyasint,omitempty"`
	// Role alone changed: who reads the user's rooms goes on where it is.
	Quiet bool `cbor:"6,keyasint,omitempty"`

	Note  *note  `cbor:"7,keyasint,omitempty"` // what the user's inbox is told
	Do    follow `cbor:"8,keyasint,omitempty"`
	Other string `cbor:"9,keyasint,omitempty"` // whose doing it is, of what is about contacts; Room then names a namespace alone
	Name  string `cbor:"10,keyasint,omitempty"`
}

// follow is what a FollowUp does beside telling the inbox.
type follow byte

const (
	followMember  follow = iota // the user's list of rooms
	followNote                  // nothing
	followAsk                   // Other has put the user on their list,
	followYes                   // had them there when the user did so,
	followNo                    // has taken them off
	followBlock                 // the user has blocked Other
	followUnblock               // or lifted that
	followGone                  // was deleted
)

func outboxKey(id uint64) []byte { return withNumber(key(prefixOutbox), id) }

// post puts in the outbox what a membership is now, with what the user is to be told of it (nil = nothing), and returns the
// item's number.
func (t *tx) post(r RoomKey, user string, m Member, n *note) uint64 {
	return t.postItem(&outboxItem{Room: r, User: user, Role: m.Role, Seq: m.Since, At: m.At, Note: n})
}

func (t *tx) postItem(it *outboxItem) uint64 {
	t.meta.Outbox++
	t.set(outboxKey(t.meta.Outbox), encodeRecord(it))
	t.changed.Outbox = true
	return t.meta.Outbox
}

func (t *tx) followUp(c *FollowUp) Result {
	if c.ID <= t.meta.FollowedUp {
		return Result{Duplicate: true}
	}
	if c.ID != t.meta.FollowedUp+1 || c.ID > t.meta.Outbox {
		return Result{Outcome: Conflict, Detail: fmt.Sprintf("outbox item %d is the next", t.meta.FollowedUp+1)}
	}
	k := outboxKey(c.ID)
	b := t.get(k)
	if b == nil {
		t.fail(fmt.Errorf("%w: outbox item %d is missing", ErrEntry, c.ID))
		return Result{}
	}
	var it outboxItem
	if err := decodeRecord(b, &it); err != nil {
		t.fail(fmt.Errorf("%w: outbox item %d: %w", ErrEntry, c.ID, err))
		return Result{}
	}
	switch it.Do {
	case followMember:
		t.followMember(&it)
	case followNote:
	case followGone:
		t.forgetContact(&it)
	default:
		t.followContact(&it)
	}
	if it.Note != nil {
		t.tell(it.Room.NS, it.User, it.Note)
	}
	t.del(k)
	t.meta.FollowedUp = c.ID
	t.changed.FollowedUp = true
	return Result{Seq: it.Seq}
}

// followMember carries a membership to the user's list of rooms.
func (t *tx) followMember(it *outboxItem) {
	uk := userRoomKey(it.Room.NS, it.User, it.Room.Room)
	if it.Role == "" {
		t.remove(uk)
		return
	}
	t.write(uk, encodeRecord(Member{Role: it.Role, Since: it.Seq, At: it.At}))
	if !it.Quiet { // said again: who read the user's list since the join did not find the room there
		t.changed.Members = append(t.changed.Members, MemberChange{Room: it.Room, User: it.User, Role: it.Role, Since: it.Seq})
	}
}

// userCounts are small numbers kept per user for limits.
type userCounts struct {
	Sessions int   `cbor:"1,keyasint,omitempty"`
	Day      int64 `cbor:"2,keyasint,omitempty"` // days since the epoch, of log time
	Made     int   `cbor:"3,keyasint,omitempty"` // rooms made by a first message on that day
}

const msPerDay = 24 * 60 * 60 * 1000

func (t *tx) counts(ns, user string) userCounts {
	var n userCounts
	if b := t.get(last(key(prefixUserCounts, ns), user)); b != nil {
		if err := decodeRecord(b, &n); err != nil {
			t.fail(fmt.Errorf("%w: counts of user %q: %w", ErrEntry, user, err))
		}
	}
	return n
}

func (t *tx) setCounts(ns, user string, n userCounts) {
	k := last(key(prefixUserCounts, ns), user)
	if n == (userCounts{}) {
		t.del(k)
		return
	}
	t.set(k, encodeRecord(n))
}

func (t *tx) countRoomMade(ns, user string, limit int) bool {
	n := t.counts(ns, user)
	if day := t.now / msPerDay; n.Day != day {
		n.Day, n.Made = day, 0
	}
	if n.Made >= limit {
		return false
	}
	n.Made++
	t.setCounts(ns, user, n)
	return true
}
