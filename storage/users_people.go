package storage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// forgetPeople takes a deleted user out of what people know of each other: contacts, requests and blocks of their own, the
// inbox and its mark, when they were active and the tokens of their devices. Those they were a contact of are told as if the user had done it. There are as many as a user may
// have contacts, requests and blocks.
func (t *tx) forgetPeople(k UserKey) {
	prefix := key(prefixRelation, k.NS, k.User)
	var others []string
	t.each(prefix, end(prefix), func(name, _ []byte) { others = append(others, string(bytes.TrimPrefix(name, prefix))) })
	slices.Sort(others) // numbers of the outbox are drawn in this order, on every node the same
	for _, other := range others {
		r := t.relation(k.NS, k.User, other)
		t.postItem(&outboxItem{Do: followGone, Room: RoomKey{NS: k.NS}, User: other, Other: k.User})
		if r.Blocked != 0 {
			t.unblock(k.NS, k.User, other)
		}
		t.changed.related(k.NS, k.User, other)
		t.del(relationKey(k.NS, k.User, other))
	}
	t.del(personKey(k.NS, k.User))
	t.del(activeKey(k.NS, k.User))
	t.del(pushKey(k.NS, k.User))
	t.roomDelete(&RoomDelete{Room: InboxLog(k.NS, k.User), By: Actor{Admin: true}})
}

// forgetContact takes a deleted user off somebody's list, and a request either has made of the other. The id is in what the
// inbox is told: by it those who show contacts find whom to take off.
func (t *tx) forgetContact(it *outboxItem) {
	ns := it.Room.NS
	r := t.relation(ns, it.User, it.Other)
	if t.deleted(ns, it.User) || r.Added == 0 && r.Asked == 0 {
		return
	}
	r.Added, r.Asked = 0, 0
	t.setRelation(ns, it.User, it.Other, r)
	if r.Blocked == 0 {
		t.tellContact(ns, it.User, it.Other, "", eventWithdrawn, r, false)
	}
}

// eventWithdrawn is what an inbox is told of a contact who has gone.
const eventWithdrawn = "withdrawn"

// takeReaction ends the reaction that an entry of a deleted user made: who reacts is in its key, and the count goes by keys.
func (t *tx) takeReaction(d *draft, e *Entry, user string) {
	var j struct {
		Target uint64
		Data   struct{ Emoji string }
	}
	if err := json.Unmarshal(e.JSON, &j); err != nil {
		t.fail(fmt.Errorf("%w: seq %d of room %q: %w", ErrEntry, e.Seq, d.key.Room, err))
		return
	}
	t.endReaction(d, j.Target, user, j.Data.Emoji)
}

// nameOffNote takes a name off what an inbox was told: whose doing it is, or whom as a contact it is about. That the contact
// has gone is about nobody else, and keeps the id. ok says that the note has the name.
func nameOffNote(tail []byte, user string) (next []byte, ok bool) {
	const data = `,"data":`
	rest, ok := bytes.CutPrefix(tail, []byte(data))
	if !ok || !bytes.Contains(rest, fmt.Appendf(nil, `"user":"%s"`, user)) {
		return tail, false
	}
	var note map[string]json.RawMessage
	if json.Unmarshal(rest, &note) != nil {
		return tail, false
	}
	about := note
	if by := note["by"]; by != nil {
		about = nil
		_ = json.Unmarshal(by, &about) // an object, as noteOf makes it
	}
	if string(about["user"]) != `"`+user+`"` || string(note["event"]) == `"`+eventWithdrawn+`"` {
		return tail, false
	}
	before, after, found := bytes.Cut(rest, []byte(`{"user":"`+user+`"`))
	if !found {
		return tail, false
	}
	if name := about["name"]; name != nil {
		after, _ = bytes.CutPrefix(after, append([]byte(`,"name":`), name...))
	}
	return slices.Concat([]byte(data), before, []byte(`{"user":"`+DeletedUser+`"`), after), true
}

// unblock takes back what a pair's record says for one of them.
func (t *tx) unblock(ns, by, other string) {
	p := t.pair(ns, by, other)
	if *p.by(by < other) = 0; p == (pair{}) {
		t.del(pairKey(ns, by, other))
		return
	}
	t.set(pairKey(ns, by, other), encodeRecord(p))
}

// deleted reports whether a user was deleted: nothing is told or asked of them any more.
func (t *tx) deleted(ns, user string) bool {
	a := t.account(UserKey{NS: ns, User: user})
	return a != nil && a.deleted
}
