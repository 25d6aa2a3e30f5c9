package storage

import "fmt"

// Commands about people.
const (
	kindContact commandKind = iota + 50
	kindBlock
	kindInboxRead
)

// newPeopleCommand is newCommand for the commands about people.
func newPeopleCommand(k commandKind) Command {
	switch k {
	case kindContact:
		return new(Contact)
	case kindBlock:
		return new(Block)
	case kindInboxRead:
		return new(InboxRead)
	}
	return nil
}

// Contact puts somebody on a user's list, or takes them off. To the other one the first is a request: a follow-up tells
// their inbox, and their list. Two who have both done it are mutual contacts. Doing it twice changes nothing.
type Contact struct {
	NS    string `cbor:"1,keyasint"`
	User  string `cbor:"2,keyasint"`
	Name  string `cbor:"3,keyasint,omitempty"` // display name of the user, shown with the request
	Other string `cbor:"4,keyasint"`
	On    bool   `cbor:"5,keyasint"`
	Max   int    `cbor:"6,keyasint,omitempty"` // contacts of one user, 0 = no limit

	PerDay int `cbor:"7,keyasint,omitempty"` // limit of those put on the list in a day, 0 = none
}

func (*Contact) kind() commandKind { return kindContact }

// maxAsked bounds the requests that wait for a user's answer; those that come while there are as many are lost.
const maxAsked = 1000

// relation is what a user's own records say of another one, with the log time (ms) since when, 0 = not so. Asked and
// Blocked follow what was decided elsewhere: Asked by the other's list, Blocked by the record of the pair (blocks.go).
type relation struct {
	Added   int64 `cbor:"1,keyasint,omitempty"` // the user has the other on the list
	Asked   int64 `cbor:"2,keyasint,omitempty"` // the other has the user on theirs
	Blocked int64 `cbor:"3,keyasint,omitempty"` // the user wants to hear nothing of the other
}

func relationKey(ns, user, other string) []byte { return last(key(prefixRelation, ns, user), other) }

func (t *tx) relation(ns, user, other string) (r relation) {
	if b := t.get(relationKey(ns, user, other)); b != nil {
		if err := decodeRecord(b, &r); err != nil {
			t.fail(fmt.Errorf("%w: contact %q of %q: %w", ErrEntry, other, user, err))
		}
	}
	return r
}

func (t *tx) setRelation(ns, user, other string, r relation) {
	t.changed.related(ns, user, other)
	was, p := t.relation(ns, user, other), t.person(ns, user)
	was.count(&p, -1)
	r.count(&p, 1)
	t.setPerson(ns, user, p)
	k := relationKey(ns, user, other)
	if r == (relation{}) {
		t.del(k)
		return
	}
	t.set(k, encodeRecord(r))
}

// count adds the relation n times to what a user's record counts.
func (r relation) count(p *person, n int) {
	if r.Added != 0 {
		p.Contacts += n
	} else if r.Asked != 0 {
		p.Asked += n
	}
	if r.Blocked != 0 {
		p.Blocks += n
	}
}

// ContactStatus says how a user and another one stand.
type ContactStatus string

// The states. A user lists Pending, Requested and Mutual ones.
const (
	ContactNone      ContactStatus = "none"
	ContactPending   ContactStatus = "pending"   // the user has asked
	ContactRequested ContactStatus = "requested" // the other has asked
	ContactMutual    ContactStatus = "mutual"
	ContactBlocked   ContactStatus = "blocked"
)

func (r relation) status() ContactStatus {
	switch {
	case r.Blocked != 0:
		return ContactBlocked
	case r.Added != 0 && r.Asked != 0:
		return ContactMutual
	case r.Added != 0:
		return ContactPending
	case r.Asked != 0:
		return ContactRequested
	}
	return ContactNone
}

func (t *tx) contact(c *Contact) Result {
	if c.User == c.Other {
		return Result{Outcome: Conflict, Detail: "that is your own name"}
	}
	r := t.relation(c.NS, c.User, c.Other)
	if !c.On {
		return t.dropContact(c, r)
	}
	if r.Blocked != 0 {
		return Result{Outcome: Conflict, Detail: fmt.Sprintf("you have blocked %s; lift the block first", c.Other)}
	}
	if r.Added != 0 {
		if r.Asked != 0 {
			return Result{Present: true}
		}
		// The request may have met a block that is lifted by now, or a list that was full.
		return Result{Present: true, Outbox: t.ask(c, followAsk)}
	}
	p := t.person(c.NS, c.User)
	if c.Max > 0 && p.Contacts >= c.Max {
		return Result{Outcome: Limit, Detail: fmt.Sprintf("you have %d contacts, which is the limit; remove some (limits.contacts)", p.Contacts)}
	}
	if day := t.now / msPerDay; p.Day != day {
		p.Day, p.Added = day, 0
	}
	if c.PerDay > 0 && p.Added >= c.PerDay {
		return Result{Outcome: Limit, Detail: fmt.Sprintf("%d contacts added today are the limit; try again tomorrow (limits.contacts_per_day)", c.PerDay)}
	}
	p.Added++
	t.setPerson(c.NS, c.User, p)
	r.Added = max(t.now, 1)
	t.setRelation(c.NS, c.User, c.Other, r)
	e := t.tellContact(c.NS, c.User, c.Other, "", "added", r, true)
	return Result{Seq: e.Seq, TS: e.TS, Outbox: t.ask(c, followAsk)}
}

// dropContact takes the other off the user's list, a request of theirs included.
func (t *tx) dropContact(c *Contact, r relation) Result {
	if r.Added == 0 && r.Asked == 0 {
		return Result{Present: true}
	}
	was := r
	r.Added, r.Asked = 0, 0
	t.setRelation(c.NS, c.User, c.Other, r)
	e := t.tellContact(c.NS, c.User, c.Other, "", "removed", r, true)
	out := Result{Seq: e.Seq, TS: e.TS}
	if was.Added != 0 {
		out.Outbox = t.ask(c, followNo)
	}
	return out
}

// ask puts in the outbox what the command means for the other's list.
func (t *tx) ask(c *Contact, do follow) uint64 {
	return t.postItem(&outboxItem{Do: do, Room: RoomKey{NS: c.NS}, User: c.Other, Other: c.User, Name: c.Name})
}

// tellContact puts in a user's inbox what became of a contact.
func (t *tx) tellContact(ns, user, other, name, event string, r relation, own bool) *Entry {
	data := append(append([]byte(`{"user":"`), other...), '"')
	if name != "" {
		data = appendString(append(data, `,"name":`...), name)
	}
	data = append(append(append(data, `,"event":"`...), event...), `","status":"`...)
	data = append(append(data, r.status()...), `"}`...)
	return t.inbox(ns, user, InboxContact, data, own)
}

// followContact carries what somebody else's list, or the pair's record, says to the user's own.
func (t *tx) followContact(it *outboxItem) {
	ns := it.Room.NS
	if t.deleted(ns, it.User) {
		return
	}
	r := t.relation(ns, it.User, it.Other)
	was, event, own := r, "", false
	switch it.Do {
	case followAsk:
		switch {
		case r.Blocked != 0 && r.Added == 0:
			return
		case r.Blocked != 0: // the user hears of it when the block is lifted: the two are mutual then
		case r.Asked != 0:
		case r.Added != 0:
			event = "accepted"
		case t.person(ns, it.User).Asked >= maxAsked:
			return
		default:
			event = "requested"
		}
		if r.Asked == 0 {
			r.Asked = max(t.now, 1)
		}
		if r.Added != 0 { // the other may have turned down the request that this one accepts
			t.postItem(&outboxItem{Do: followYes, Room: it.Room, User: it.Other, Other: it.User})
		}
	case followYes:
		if r.Added == 0 || r.Asked != 0 {
			return
		}
		if r.Asked = max(t.now, 1); r.Blocked == 0 {
			event = "accepted"
		}
	case followNo:
		if r.Asked == 0 {
			return
		}
		if r.Asked = 0; r.Blocked == 0 {
			event = "withdrawn"
		}
	case followBlock:
		if r.Blocked, event, own = it.At, "blocked", true; r.Added == 0 {
			r.Asked = 0
		}
	case followUnblock:
		r.Blocked, event, own = 0, "unblocked", true
	}
	if r != was {
		t.setRelation(ns, it.User, it.Other, r)
	}
	if event != "" {
		t.tellContact(ns, it.User, it.Other, it.Name, event, r, own)
	}
}

// ContactOf is one contact of a user, or a request.
type ContactOf struct {
	User   string
	Status ContactStatus // ContactPending, ContactRequested or ContactMutual
	Since  int64         // log time (ms) of the older half of it
}

// Contacts returns at most limit contacts of the user, requests that wait for an answer included, in byte order of their
// names, from the one after the given name. Who is blocked is left out.
func (s *Store) Contacts(ns, user, after string, limit int) (out []ContactOf, err error) {
	err = s.relations(ns, user, after, func(other string, r relation) bool {
		if st := r.status(); st != ContactNone && st != ContactBlocked && len(out) < limit {
			since := r.Added
			if since == 0 || r.Asked != 0 && r.Asked < since {
				since = r.Asked
			}
			out = append(out, ContactOf{User: other, Status: st, Since: since})
		}
		return len(out) < limit
	})
	return out, err
}

// ContactStatus returns how a user stands with another one, as the user's own records have it.
func (s *Store) ContactStatus(ns, user, other string) (ContactStatus, error) {
	r, err := s.relation(ns, user, other)
	return r.status(), err
}

func (s *Store) relation(ns, user, other string) (r relation, err error) {
	b, err := s.read(relationKey(ns, user, other))
	if b == nil || err != nil {
		return r, err
	}
	if err := decodeRecord(b, &r); err != nil {
		return r, fmt.Errorf("%w: contact %q of %q: %w", ErrEntry, other, user, err)
	}
	return r, nil
}

// MutualContacts reports whether both users have each other on their lists. A block does not change that; see Blocked.
func (s *Store) MutualContacts(ns, a, b string) (bool, error) {
	one, err := s.relation(ns, a, b)
	if err != nil || one.Added == 0 {
		return false, err
	}
	other, err := s.relation(ns, b, a)
	return other.Added != 0, err
}

// EachContact calls f with the mutual contacts of a user, as the user's own records have them, until it says stop.
func (s *Store) EachContact(ns, user string, f func(other string) (more bool)) error {
	return s.relations(ns, user, "", func(other string, r relation) bool {
		return r.status() != ContactMutual || f(other)
	})
}

// relations calls f for everybody a user's records name, in byte order, from the one after the given name, until f says stop.
func (s *Store) relations(ns, user, after string, f func(other string, r relation) (more bool)) error {
	prefix := key(prefixRelation, ns, user)
	var start []byte
	if after != "" {
		start = append(append(append([]byte(nil), prefix...), after...), separator)
	}
	return s.scan(prefix, start, func(k, v []byte) (bool, error) {
		var r relation
		if err := decodeRecord(v, &r); err != nil {
			return false, fmt.Errorf("%w: contact %q: %w", ErrEntry, k, err)
		}
		return f(string(k[len(prefix):]), r), nil
	})
}
