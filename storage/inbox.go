package storage

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The types of an inbox's entries (design.md section 3, "Topics").
const (
	InboxInvited   = "invited"
	InboxRemoved   = "removed"
	InboxRole      = "role"
	InboxMentioned = "mentioned"
	InboxContact   = "contact"
)

// Bounds of inboxes. An inbox keeps its newest entries; trimming goes in steps, so that most entries trim nothing.
const (
	inboxKept   = 1000
	inboxStep   = 100
	maxMentions = 50 // told of one message
	// maxWaiting is how many items the outbox may hold before mentions are left out of it. Everything else that is put
	// there is a call of somebody; of mentions one client can ask for thousands a second.
	maxWaiting = 100_000
)

// note is what an inbox is told. It travels in the outbox.
type note struct {
	Type string `cbor:"1,keyasint"`
	Data []byte `cbor:"2,keyasint"`           // JSON object
	By   string `cbor:"3,keyasint,omitempty"` // whose doing it is

	Reason string `cbor:"4,keyasint,omitempty"` // in their words, put at the end of Data
}

// hasInbox reports whether a name is that of somebody who can have an inbox: guests and service keys have none.
func hasInbox(user string) bool { return user != "" && !strings.Contains(user, "~") }

// noteOf makes the note of what somebody did to another in a room: {"room","by","at"} and more. nil when nobody is to be
// told: of what one does oneself, and where there is no inbox.
func noteOf(typ string, k RoomKey, by Actor, user string, at uint64, more []byte) *note {
	if by.User == user || !hasInbox(user) {
		return nil
	}
	data := append(append([]byte(`{"room":"`), k.Room...), '"')
	if by.User != "" {
		data = append(append(append(data, `,"by":{"user":"`...), by.User...), '"')
		if by.Name != "" {
			data = appendString(append(data, `,"name":`...), by.Name)
		}
		data = append(data, '}')
	}
	data = strconv.AppendUint(append(data, `,"at":`...), at, 10)
	return &note{Type: typ, Data: append(append(data, more...), '}'), By: by.User}
}

// reasonJSON is the member that says why, nothing without a reason.
func reasonJSON(reason string) []byte {
	if reason == "" {
		return nil
	}
	return appendString([]byte(`,"reason":`), reason)
}

// because adds the words of whoever did it.
func (n *note) because(reason string) *note {
	if n != nil {
		n.Reason = reason
	}
	return n
}

// mention puts in the outbox that members of the room are mentioned in a message.
func (t *tx) mention(d *draft, c *Append, e *Entry) {
	for i, u := range c.Mentions[:min(len(c.Mentions), maxMentions)] {
		if t.meta.Outbox-t.meta.FollowedUp >= maxWaiting {
			return
		}
		if slices.Contains(c.Mentions[:i], u) || t.member(d, u).Role == "" {
			continue
		}
		if n := noteOf(InboxMentioned, d.key, c.From, u, e.Seq, nil); n != nil {
			t.postItem(&outboxItem{Do: followNote, Room: d.key, User: u, Seq: e.Seq, Note: n})
		}
	}
}

// tell puts a note in an inbox. Who has blocked whose doing it is hears nothing that these want of them, and none of their
// words; what has become of the user's own membership is a fact that they need.
func (t *tx) tell(ns, user string, n *note) {
	if t.deleted(ns, user) {
		return
	}
	data := n.Data
	if n.By != "" && t.relation(ns, user, n.By).Blocked != 0 {
		if n.Type == InboxMentioned || n.Type == InboxInvited {
			return
		}
	} else if n.Reason != "" {
		data = append(append(data[:len(data)-1:len(data)-1], reasonJSON(n.Reason)...), '}')
	}
	t.inbox(ns, user, n.Type, data, false)
}

// acquainted reports whether a user is known by what one look each tells: an account, stored sessions, rooms made, contacts,
// or an inbox that has begun. Others may exist, by a token alone; but of a name that somebody has made up nothing is kept.
func (t *tx) acquainted(ns, user string) bool {
	return t.get(userRecordKey(UserKey{NS: ns, User: user})) != nil || t.counts(ns, user) != (userCounts{}) || t.person(ns, user) != (person{}) ||
		t.room(InboxLog(ns, user)).exists()
}

// inbox appends to a user's inbox. What the user did on another device is read as soon as everything before it is.
func (t *tx) inbox(ns, user, typ string, data []byte, own bool) *Entry {
	d := t.ownLog(InboxLog(ns, user), Inbox)
	p := t.person(ns, user)
	read := p.ReadN == d.head.N
	e := t.push(d, typ, Actor{}, "", "", append([]byte(`,"data":`), data...), 0)
	if own && read {
		t.readInbox(d, user, p, e.Seq)
	}
	if kept := d.head.Kept(); kept >= inboxKept+inboxStep {
		t.trim(&Trim{Room: d.key, Upto: d.head.At(kept - inboxKept - 1), MaxCount: inboxKept})
	}
	return e
}

// person is what is known of a user beside what is in rooms.
type person struct {
	Read     uint64 `cbor:"1,keyasint,omitempty"` // seq up to which the inbox was read
	ReadN    uint64 `cbor:"2,keyasint,omitempty"` // and how many entries that are
	Contacts int    `cbor:"3,keyasint,omitempty"`
	Asked    int    `cbor:"4,keyasint,omitempty"` // others who have added the user, and not the other way round
	Blocks   int    `cbor:"5,keyasint,omitempty"`
	Day      int64  `cbor:"6,keyasint,omitempty"` // days since the epoch, of log time
	Added    int    `cbor:"7,keyasint,omitempty"` // contacts added on that day
}

func personKey(ns, user string) []byte { return last(key(prefixPerson, ns), user) }

func (t *tx) person(ns, user string) (p person) {
	if b := t.get(personKey(ns, user)); b != nil {
		if err := decodeRecord(b, &p); err != nil {
			t.fail(fmt.Errorf("%w: user %q: %w", ErrEntry, user, err))
		}
	}
	return p
}

func (t *tx) setPerson(ns, user string, p person) {
	k := personKey(ns, user)
	if p == (person{}) {
		t.del(k)
		return
	}
	t.set(k, encodeRecord(p))
}

// InboxRead moves the read mark of an inbox forward. What is beyond the head means the head.
type InboxRead struct {
	NS   string `cbor:"1,keyasint"`
	User string `cbor:"2,keyasint"`
	Seq  uint64 `cbor:"3,keyasint"`
}

func (*InboxRead) kind() commandKind { return kindInboxRead }

func (t *tx) inboxRead(c *InboxRead) Result {
	d := t.room(InboxLog(c.NS, c.User))
	if !d.exists() {
		return Result{Present: true}
	}
	p := t.person(c.NS, c.User)
	seq := min(c.Seq, d.head.Seq)
	if seq <= p.Read {
		return Result{Present: true, Seq: p.Read}
	}
	t.readInbox(d, c.User, p, seq)
	return Result{Seq: seq}
}

func (t *tx) readInbox(d *draft, user string, p person, seq uint64) {
	p.Read, p.ReadN = seq, t.countUpTo(d, seq)
	t.setPerson(d.key.NS, user, p)
	t.changed.Marks = append(t.changed.Marks, MarkChange{
		Room: d.key, User: strings.Clone(user), Mark: Mark{Read: p.Read, N: p.ReadN, Delivered: p.Read},
	})
}

// InboxMark returns how far a user has read the inbox.
func (s *Store) InboxMark(ns, user string) (Mark, error) {
	p, err := s.person(ns, user)
	return Mark{Read: p.Read, N: p.ReadN, Delivered: p.Read}, err
}

func (s *Store) person(ns, user string) (p person, err error) {
	b, err := s.read(personKey(ns, user))
	if b == nil || err != nil {
		return p, err
	}
	if err := decodeRecord(b, &p); err != nil {
		return p, fmt.Errorf("%w: user %q: %w", ErrEntry, user, err)
	}
	return p, nil
}
