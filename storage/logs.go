package storage

import "strings"

// Besides the rooms of people there are logs of the broker's own: an inbox per user, and the broadcasts of a namespace. They
// are numbered, kept, trimmed, read and resumed as rooms are, by the same code, under names that no room can have. Nobody
// is a member of one, and no command of a client makes, joins, governs or deletes one.

// Kinds of the broker's own logs. They are not of the wire: no room is made of them.
const (
	Inbox     RoomKind = iota + 64 // what concerns one user, read by that user alone
	Broadcast                      // what is said to everybody in a namespace
)

const (
	inboxPrefix   = "inbox~"
	broadcastName = "broadcast~"
)

// InboxLog names the inbox of a user.
func InboxLog(ns, user string) RoomKey { return RoomKey{NS: ns, Room: inboxPrefix + user} }

// BroadcastLog names the broadcasts of a namespace.
func BroadcastLog(ns string) RoomKey { return RoomKey{NS: ns, Room: broadcastName} }

// InboxUser returns whose inbox the log is; ok is false of any other.
func (k RoomKey) InboxUser() (user string, ok bool) { return strings.CutPrefix(k.Room, inboxPrefix) }

// IsBroadcast reports whether the log holds the broadcasts of its namespace.
func (k RoomKey) IsBroadcast() bool { return k.Room == broadcastName }

// IsRoom reports whether it is a room of people, and no log of the broker's own.
func (k RoomKey) IsRoom() bool { return !k.IsBroadcast() && !strings.HasPrefix(k.Room, inboxPrefix) }

// ownLog returns the draft of one of the broker's own logs, which begins with its first entry.
func (t *tx) ownLog(k RoomKey, kind RoomKind) *draft {
	d := t.room(k)
	if !d.exists() {
		t.makeRoom(d, "", kind, "", GuestNone)
	}
	return d
}

// appendLogName begins the delivered form of an entry: with its room, with the user whose inbox it is in, with neither when
// it is for everybody.
func appendLogName(dst []byte, k RoomKey) []byte {
	name, inbox := k.InboxUser()
	switch {
	case inbox:
		dst = append(append(dst, `{"user":"`...), name...)
	case k.IsBroadcast():
		return append(dst, `{"seq":`...)
	default:
		dst = append(append(dst, `{"room":"`...), k.Room...)
	}
	return append(dst, `","seq":`...)
}

// mayBroadcast refuses an Append to the broadcasts that its broker has not allowed, or that is no message.
func mayBroadcast(c *Append) Result {
	if c.AutoCreate != Broadcast {
		return Result{Outcome: Forbidden, Detail: "admins and service keys of the namespace broadcast"}
	}
	if !countsAsMessage(c.Type) {
		return Result{Outcome: Forbidden, Detail: "a broadcast is neither changed nor taken back; send another one"}
	}
	return Result{}
}
