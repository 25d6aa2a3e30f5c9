package storage

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Commands about users.
const (
	kindPutUser    commandKind = 40
	kindDeleteUser commandKind = 41
	kindDeletePage commandKind = 42
	kindLogout     commandKind = 43
)

// Bounds of what is kept of one user.
const (
	MaxAttributes     = 32
	MaxAttributeBytes = 4 << 10 // of all names and values
	maxEndings        = 64      // logouts of one device or one token whose tokens have not run out yet
	sessionsPerEnd    = 256     // sessions that one command ends by itself; the others end when their device comes
)

// AttributeLevel is the attribute that is shown beside the name of whoever writes, when it is an integer.
const AttributeLevel = "level"

// UserKey names a user.
type UserKey struct {
	NS   string `cbor:"1,keyasint"`
	User string `cbor:"2,keyasint"`
}

// Attribute is one member of a user's attributes.
type Attribute struct {
	Name  string `cbor:"1,keyasint"`
	Value []byte `cbor:"2,keyasint,omitempty"` // a JSON value; in a PutUser nil removes the attribute
}

// PutUser makes a user, or changes one. The user and admins may; what a user may not change of themselves is for the
// proposer to know, as are the passwords: Hash is one.
//
// Register is for a user who must not exist, nor have existed: the name of one who was deleted is given again by admins
// only (Again), since rooms and people still know it.
type PutUser struct {
	Key      UserKey     `cbor:"1,keyasint"`
	By       Actor       `cbor:"2,keyasint"`
	Register bool        `cbor:"3,keyasint,omitempty"`
	Again    bool        `cbor:"4,keyasint,omitempty"`
	Name     *string     `cbor:"5,keyasint,omitempty"` // display name, and
	Fold     string      `cbor:"6,keyasint,omitempty"` // what it is found by: in lower case
	Hash     *string     `cbor:"7,keyasint,omitempty"` // of the password; "" takes it away
	IfHash   *string     `cbor:"8,keyasint,omitempty"` // the hash it must have now: the old password was checked with it
	Set      []Attribute `cbor:"9,keyasint,omitempty"`
	Disabled *bool       `cbor:"10,keyasint,omitempty"` // keeps the user from logging in and from writing
}

// Logout ends what was issued to a user before: with All everything, else the tokens and the session of Device, or one
// Token by its id. What is ended for one device or token is remembered for Keep (ms), which is as long as a token lives.
type Logout struct {
	Key    UserKey `cbor:"1,keyasint"`
	All    bool    `cbor:"2,keyasint,omitempty"`
	Device string  `cbor:"3,keyasint,omitempty"`
	Token  string  `cbor:"4,keyasint,omitempty"`
	Keep   int64   `cbor:"5,keyasint,omitempty"`
}

func (*PutUser) kind() commandKind { return kindPutUser }
func (*Logout) kind() commandKind  { return kindLogout }

// userRecord is what is stored of a user. Of one who was deleted the name stays, and what logouts left.
type userRecord struct {
	Name       string      `cbor:"1,keyasint,omitempty"`
	Fold       string      `cbor:"2,keyasint,omitempty"`
	Hash       string      `cbor:"3,keyasint,omitempty"`
	Attributes []Attribute `cbor:"4,keyasint,omitempty"` // by name
	Created    int64       `cbor:"5,keyasint,omitempty"` // log time; 0 = there is no profile, only what logouts left
	Updated    int64       `cbor:"6,keyasint,omitempty"`
	Disabled   bool        `cbor:"7,keyasint,omitempty"`
	Deleted    DeleteMode  `cbor:"8,keyasint,omitempty"`
	Logouts    uint64      `cbor:"9,keyasint,omitempty"`  // so many times something was ended
	EndedAll   uint64      `cbor:"10,keyasint,omitempty"` // Logouts when everything was ended last
	NotBefore  int64       `cbor:"11,keyasint,omitempty"` // log time of that
	EndedEpoch uint64      `cbor:"12,keyasint,omitempty"` // sessions up to this epoch ended with it
	Endings    []Ending    `cbor:"13,keyasint,omitempty"` // oldest first
	Page       *DeletedTo  `cbor:"14,keyasint,omitempty"` // how far the deletion is; nil = it is done, or there is none
	GoneEpoch  uint64      `cbor:"15,keyasint,omitempty"` // sessions up to this epoch are of one who was deleted
}

// Ending is a logout of one device or one token.
type Ending struct {
	Device  string `cbor:"1,keyasint,omitempty"`
	Token   string `cbor:"2,keyasint,omitempty"` // id
	Logouts uint64 `cbor:"3,keyasint"`           // the user's count then
	At      int64  `cbor:"4,keyasint"`           // log time
	Until   int64  `cbor:"5,keyasint"`           // log time at which the last token it is about has run out
}

func userRecordKey(k UserKey) []byte { return last(key(prefixUser, k.NS), k.User) }

// userIndexKey is where a user is found by the beginning of their id or name, in lower case.
func userIndexKey(k UserKey, fold string) []byte {
	return last(key(prefixUserIndex, k.NS, fold), k.User)
}

// deletingKey says that a deletion is not done. No namespace is empty, so it is no index key.
func deletingKey(k UserKey) []byte { return last(key(prefixUserIndex, "", k.NS), k.User) }

// foldID is an id in lower case; ids are ASCII.
func foldID(user string) string { return strings.ToLower(user) }

func (t *tx) user(k UserKey) *userRecord {
	b := t.get(userRecordKey(k))
	if b == nil {
		return nil
	}
	rec := &userRecord{}
	if err := decodeRecord(b, rec); err != nil {
		t.fail(fmt.Errorf("%w: user %q: %w", ErrEntry, k.User, err))
		return nil
	}
	return rec
}

func (t *tx) setUser(k UserKey, rec *userRecord, ended bool) {
	t.set(userRecordKey(k), encodeRecord(rec))
	t.rememberAccount(k, rec)
	t.changed.user(UserKey{NS: strings.Clone(k.NS), User: strings.Clone(k.User)}, ended)
}

// account is what Apply needs of a user for each message.
type account struct {
	name    string
	level   *int64
	gone    string // why the user may do nothing, "" = they may
	deleted bool
	epoch   uint64 // userRecord.GoneEpoch
}

// accountsKept bounds the users remembered; beyond it the map starts anew.
const accountsKept = 100_000

func (t *tx) rememberAccount(k UserKey, rec *userRecord) *account {
	var p *account
	if rec != nil && (rec.Created != 0 || rec.Deleted != "") {
		p = &account{name: rec.Name, level: levelOf(rec.Attributes), epoch: rec.GoneEpoch}
		switch {
		case rec.Deleted != "":
			p.gone, p.deleted = "the user was deleted", true
		case rec.Disabled:
			p.gone = "the user is disabled"
		}
	}
	if _, ok := t.s.accounts[k]; !ok {
		if len(t.s.accounts) >= accountsKept {
			clear(t.s.accounts)
		}
		k = UserKey{NS: strings.Clone(k.NS), User: strings.Clone(k.User)}
	}
	t.s.accounts[k] = p
	return p
}

// account returns what is known of a user, nil where nothing is. Guests and service keys are no users.
func (t *tx) account(k UserKey) *account {
	if k.User == "" || strings.IndexByte(k.User, '~') >= 0 {
		return nil
	}
	if p, ok := t.s.accounts[k]; ok {
		return p
	}
	return t.rememberAccount(k, t.user(k))
}

// stamp returns who writes, as the log knows them: what is recorded of a user is newer than what their token says.
func (t *tx) stamp(ns string, from Actor) Actor {
	p := t.account(UserKey{NS: ns, User: from.User})
	if p == nil {
		return from
	}
	if p.name != "" {
		from.Name = p.name
	}
	if p.level != nil {
		from.Level = p.level
	}
	return from
}

// barred refuses whatever a user does who was deleted or is disabled.
func (t *tx) barred(ns, user string) Result {
	if p := t.account(UserKey{NS: ns, User: user}); p != nil && p.gone != "" {
		return Result{Outcome: Forbidden, Detail: p.gone}
	}
	return Result{}
}

// mayAct is barred for the one who asks for a command that says so. Those that write are asked with the rules of the room.
func (t *tx) mayAct(c Command) Result {
	switch c := c.(type) {
	case *RoomCreate:
		return t.barred(c.Room.NS, c.By.User)
	case *RoomSet:
		return t.barred(c.Room.NS, c.By.User)
	case *RoomDelete:
		return t.barred(c.Room.NS, c.By.User)
	case *Join:
		return t.barred(c.Room.NS, c.By.User)
	case *Moderate:
		if r := t.barred(c.Room.NS, c.By.User); r.Outcome != Done {
			return r
		}
		if p := t.account(UserKey{NS: c.Room.NS, User: c.User}); c.Act == ActInvite && p != nil && p.gone != "" {
			return Result{Outcome: NotFound, Detail: p.gone}
		}
	case *Take:
		return t.barred(c.Session.NS, c.Session.User)
	case *Contact:
		return t.barred(c.NS, c.User)
	case *Block:
		return t.barred(c.NS, c.User)
	case *InboxRead:
		return t.barred(c.NS, c.User)
	}
	return Result{}
}

func levelOf(all []Attribute) *int64 {
	i, ok := slices.BinarySearchFunc(all, AttributeLevel, byAttribute)
	if !ok {
		return nil
	}
	n, err := strconv.ParseInt(string(all[i].Value), 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

func byAttribute(a Attribute, name string) int { return cmp.Compare(a.Name, name) }

func (t *tx) putUser(c *PutUser) Result {
	if !c.By.Admin && (c.By.User != c.Key.User || c.By.Guest) {
		return Result{Outcome: Forbidden, Detail: "users change themselves, and admins others"}
	}
	rec := t.user(c.Key)
	if r := c.may(rec); r.Outcome != Done {
		return r
	}
	created := rec == nil || rec.Created == 0
	next := userRecord{}
	if rec != nil {
		next = *rec
	}
	if created {
		next.Created, next.Deleted, next.Disabled = max(t.now, 1), "", false
	}
	var r Result
	if next.Attributes, r = mergeAttributes(next.Attributes, c.Set); r.Outcome != Done {
		return r
	}
	if c.Name != nil {
		next.Name, next.Fold = *c.Name, c.Fold
	}
	if c.Hash != nil {
		next.Hash = *c.Hash
	}
	if c.Disabled != nil {
		next.Disabled = *c.Disabled
	}
	if rec != nil && !created && same(rec, &next) {
		return Result{Present: true, TS: rec.Updated}
	}
	next.Updated = max(t.now, next.Updated, 1)
	t.index(c.Key, rec, &next)
	t.setUser(c.Key, &next, next.Disabled)
	return Result{Created: created, TS: next.Updated}
}

// may holds a change against what is there.
func (c *PutUser) may(rec *userRecord) Result {
	switch {
	case rec != nil && rec.Deleted != "" && !(c.Register && c.Again && c.By.Admin):
		if c.Register {
			return Result{Outcome: Conflict, Detail: fmt.Sprintf("%q was deleted; an admin may give the name again", c.Key.User)}
		}
		return Result{Outcome: NotFound, Detail: "the user was deleted"}
	case rec != nil && rec.Page != nil:
		return Result{Outcome: Conflict, Detail: "the deletion is not done yet; try again later"}
	case c.Register && rec != nil && rec.Deleted == "" && (rec.Created != 0 || !c.By.Admin):
		return Result{Outcome: Conflict, Detail: fmt.Sprintf("there is a user %s already", c.Key.User)}
	case c.IfHash != nil && (rec == nil || rec.Hash != *c.IfHash):
		return Result{Outcome: Conflict, Detail: "the password was changed meanwhile; try again"}
	case rec != nil && rec.Disabled && !c.By.Admin:
		return Result{Outcome: Forbidden, Detail: "the user is disabled"}
	}
	return Result{}
}

func same(a, b *userRecord) bool {
	return a.Name == b.Name && a.Hash == b.Hash && a.Disabled == b.Disabled && a.Deleted == b.Deleted &&
		slices.EqualFunc(a.Attributes, b.Attributes, func(x, y Attribute) bool { return x.Name == y.Name && bytes.Equal(x.Value, y.Value) })
}

// mergeAttributes applies changes to attributes and returns them by name.
func mergeAttributes(old, set []Attribute) ([]Attribute, Result) {
	if len(set) == 0 {
		return old, Result{}
	}
	out := slices.Clone(old)
	for _, a := range set {
		i, has := slices.BinarySearchFunc(out, a.Name, byAttribute)
		switch {
		case has && a.Value == nil:
			out = slices.Delete(out, i, i+1)
		case has:
			out[i] = a
		case a.Value != nil:
			out = slices.Insert(out, i, a)
		}
	}
	size := 0
	for _, a := range out {
		size += len(a.Name) + len(a.Value)
	}
	if len(out) > MaxAttributes || size > MaxAttributeBytes {
		return nil, Result{Outcome: Limit, Detail: fmt.Sprintf("a user has at most %d attributes of together %d bytes", MaxAttributes, MaxAttributeBytes)}
	}
	return out, Result{}
}

// index moves a user to where they are found now. Either may be nil, for nowhere.
func (t *tx) index(k UserKey, was, is *userRecord) {
	places := func(rec *userRecord) (out []string) {
		if rec == nil || rec.Created == 0 {
			return nil
		}
		out = append(out, foldID(k.User))
		if rec.Fold != "" && rec.Fold != out[0] {
			out = append(out, rec.Fold)
		}
		return out
	}
	before, after := places(was), places(is)
	for _, fold := range before {
		if !slices.Contains(after, fold) {
			t.remove(userIndexKey(k, fold))
		}
	}
	for _, fold := range after {
		if !slices.Contains(before, fold) {
			t.write(userIndexKey(k, fold), []byte{recordVersion})
		}
	}
}

func (t *tx) logout(c *Logout) Result {
	rec := t.user(c.Key)
	if rec == nil {
		rec = &userRecord{}
	}
	next := *rec
	next.Logouts++
	switch {
	case c.All:
		t.endAll(c.Key, &next)
	case c.Device != "" || c.Token != "":
		next.Endings = slices.DeleteFunc(slices.Clone(next.Endings), func(e Ending) bool {
			return e.Until <= t.now || e.Device == c.Device && e.Token == c.Token
		})
		if len(next.Endings) >= maxEndings {
			return Result{Outcome: Limit, Detail: fmt.Sprintf("%d logouts are remembered at most; log out of everything", maxEndings)}
		}
		next.Endings = append(next.Endings, Ending{
			Device: c.Device, Token: c.Token, Logouts: next.Logouts, At: t.now, Until: t.now + min(max(c.Keep, 0), maxTTL),
		})
		if c.Device != "" {
			id := SessionID{NS: c.Key.NS, User: c.Key.User, Client: c.Device}
			if s := t.session(id); s != nil {
				t.endSession(id, s)
			}
		}
	default:
		return Result{Outcome: Conflict, Detail: "a logout is of a device, of a token, or of everything"}
	}
	t.setUser(c.Key, &next, true)
	return Result{TS: t.now}
}

// endAll ends everything that was issued to a user. Of their sessions the first are removed at once; the others are of no
// use to the devices that come for them, and expire.
func (t *tx) endAll(k UserKey, rec *userRecord) {
	rec.EndedAll, rec.NotBefore, rec.Endings, rec.EndedEpoch = rec.Logouts, t.now, nil, t.meta.Epoch
	prefix := key(prefixSession, k.NS, k.User)
	var clients []string
	t.each(prefix, end(prefix), func(k, _ []byte) { clients = append(clients, string(k[len(prefix):])) })
	slices.Sort(clients)
	for _, c := range clients[:min(len(clients), sessionsPerEnd)] {
		id := SessionID{NS: k.NS, User: k.User, Client: unescapeName(c)}
		if s := t.session(id); s != nil {
			t.endSession(id, s)
		}
	}
}

// ended reports whether a stored session ended with all others of its user.
func (t *tx) ended(id SessionID, s *sessionRecord) bool {
	rec := t.user(UserKey{NS: id.NS, User: id.User})
	return rec != nil && s.Epoch <= rec.EndedEpoch
}
