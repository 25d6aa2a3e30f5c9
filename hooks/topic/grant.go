package topic

import (
	"slices"
	"strings"

	"github.com/madang-chat/madang/hooks/problem"
)

// reads is the set of readable topics a filter can match.
type reads uint16

const (
	readsMsg reads = 1 << iota
	readsLive
	readsState
	readsRoomValue // meta, head, presence, occupancy, tally
	readsReceipts
	readsInbox
	readsPresence // of users
	readsBroadcast
	readsMe
	readsSys

	readsRoom = readsMsg | readsLive | readsState | readsRoomValue | readsReceipts
)

// form is the grammar of one readable topic after its namespace, one check per level.
type form struct {
	reads  reads
	levels []func(string) bool
}

func is(names ...string) func(string) bool {
	return func(s string) bool {
		return slices.Contains(names, s)
	}
}

// forms is the "who reads" column of the contract, but for $SYS.
var forms = []form{
	{readsMsg, []func(string) bool{is("rooms"), IsRoom, is("msg"), ValidType}},
	{readsLive, []func(string) bool{is("rooms"), IsRoom, is("live"), ValidType, IsSender}},
	{readsState, []func(string) bool{is("rooms"), IsRoom, is("state"), ValidType}},
	{readsRoomValue, []func(string) bool{is("rooms"), IsRoom, is(Meta, Head, Presence, Occupancy, Tally)}},
	{readsReceipts, []func(string) bool{is("rooms"), IsRoom, is(Receipts)}},
	{readsInbox, []func(string) bool{is("users"), IsSender, is(Inbox)}},
	{readsPresence, []func(string) bool{is("users"), IsSender, is(Presence)}},
	{readsBroadcast, []func(string) bool{is("broadcast"), ValidType}},
	{readsMe, []func(string) bool{is("me"), is(MeReply, MeAck, MeError, MeSync, MeRead)}},
}

// readable finds what a well-formed pattern can match for anybody at all.
func readable(pattern string) reads {
	w := walk{pattern}
	ns, _ := w.next()
	switch {
	case ns == "$SYS":
		return readsSys
	case ns == "#":
		return readsRoom | readsInbox | readsPresence | readsBroadcast | readsMe
	case ns != "+" && !ValidNamespace(ns):
		return 0
	}
	var all reads
	for _, f := range forms {
		if f.meets(w) {
			all |= f.reads
		}
	}
	return all
}

// meets reports whether some topic of the form matches the rest of the pattern.
func (f form) meets(w walk) bool {
	for _, valid := range f.levels {
		want, more := w.next()
		if !more {
			return false
		}
		if want == "#" {
			return true
		}
		if want != "+" && !valid(want) {
			return false
		}
	}
	want, more := w.next()
	return !more || want == "#"
}

// Reader is what a grant depends on and does not change while the reader is connected.
type Reader struct {
	Namespace string
	User      string
	Guest     bool // joins nothing, has no inbox and no contacts
	Audit     bool // admin or auditor of the namespace: may use $all/
	SYS       bool // admin of the default namespace: may read $SYS
}

// CanMatch reports whether the filter can ever match something r may read.
func (f Filter) CanMatch(r Reader) bool {
	if f.reads&readsSys != 0 {
		return r.SYS
	}
	if !f.InNamespace(r.Namespace) {
		return false
	}
	if f.All {
		return r.Audit && f.reads != 0
	}
	can := f.reads
	if r.Guest {
		can &^= readsInbox | readsPresence | readsBroadcast | readsReceipts
	}
	if f.place != "" {
		if f.place != r.User {
			can &^= readsInbox
		}
		if IsDirect(f.place) && !InDirect(f.place, r.User) {
			can &^= readsRoom
		}
	} else if r.Guest {
		can &^= readsRoom
	}
	return can != 0
}

// Grant returns nil if the filter can ever match something r may read, else why it cannot. What changes while r is
// connected is not asked here: a room may be made, joined and left, and a subscription sleeps and wakes with it. The one
// exception is the caller's: a guest is refused a room that does not exist.
func (f Filter) Grant(r Reader) *problem.Problem {
	if f.CanMatch(r) {
		return nil
	}
	switch {
	case f.reads&readsSys != 0:
		return problem.New(problem.Forbidden, "Only admins of the default namespace read $SYS.")
	case f.All && !r.Audit:
		return problem.New(problem.Forbidden, "Only admins and auditors may use $all; subscribe without it.")
	case f.reads == 0:
		return f.unreadable()
	case !f.InNamespace(r.Namespace):
		return problem.New(problem.Forbidden, "You are in namespace %s and read only there; subscribe to %s/rooms/{room}/#.",
			r.Namespace, r.Namespace)
	case r.Guest && f.wildRoom():
		return problem.New(problem.Forbidden, "Guests join no rooms, so name one: %s/rooms/{room}/#.", r.Namespace)
	case r.Guest:
		return problem.New(problem.Forbidden, "Guests may not read this; log in first.")
	case f.reads&readsInbox != 0:
		return problem.New(problem.Forbidden, "An inbox is read by its user only; yours is %s/users/%s/inbox.",
			r.Namespace, r.User)
	}
	return problem.New(problem.Forbidden, "A direct room is read by its two users only.")
}

// unreadable explains a filter that matches nothing for anybody.
func (f Filter) unreadable() *problem.Problem {
	w := walk{f.pattern}
	_, _ = w.next()
	area, _ := w.next()
	place, ok := w.next()
	switch area {
	case "rooms", "+":
		if area == "rooms" && ok && place != "+" && place != "#" && !IsRoom(place) {
			return badRoom(place)
		}
		verb, _ := w.next()
		switch verb {
		case "send", "read", "cheer":
			return problem.New(problem.Forbidden, "Nobody reads %s; messages arrive on {ns}/rooms/{room}/msg/{type}.", verb)
		}
		return problem.New(problem.NotFound, "No topic of a room matches this; subscribe to {ns}/rooms/{room}/#.")
	case "users":
		verb, _ := w.next()
		if strings.HasPrefix(verb, "send") {
			return problem.New(problem.Forbidden, "Nobody reads send; messages arrive on {ns}/rooms/{room}/msg/{type}.")
		}
		return problem.New(problem.NotFound, "No topic of a user matches this; there are users/{user}/inbox and presence.")
	case "me":
		return problem.New(problem.NotFound, "No topic under me matches this; there are reply, ack, error, sync and read.")
	case "broadcast":
		return problem.New(problem.NotFound, "Broadcasts arrive on {ns}/broadcast/{type}; subscribe to {ns}/broadcast/#.")
	}
	return problem.New(problem.Unsupported,
		"Topics outside {ns}/rooms, users, me and broadcast are reserved; subscribe to {ns}/rooms/{room}/#.")
}
