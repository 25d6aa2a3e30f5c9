package storage

import (
	"bytes"
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
		if r.Added != 0 {
			t.ask(&Contact{NS: k.NS, User: k.User, Other: other}, followNo)
		}
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
