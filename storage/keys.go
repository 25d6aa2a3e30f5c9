package storage

import (
	"bytes"
	"encoding/binary"
)

// Keys order as their fields do. 00 ends a name (no name holds it: client ids may, so theirs are escaped); seq, pos and
// numbers are 8 bytes big endian.
//
//	M                              meta: applied index, log time, pos, epoch, outbox (store.go)
//	N node 00                      node: boot, last number, groups, log time of the boot, lost (numbering.go)
//	G node 00 slot                 results of one group (ring of resultSlots per node)
//	B node 00 boot                 common place of the boot's live sessions
//	R ns 00 room 00                room settings
//	H ns 00 room 00                head: seq, n, ts, first, pos, bytes
//	E ns 00 room 00 seq            entry (entry.go)
//	J ns 00 room 00 user           membership, mute and ban, as the room has them
//	L ns 00 room 00 user           log time of the user's last message, while the room is in slow mode
//	A ns 00 room 00 pos            what operators did (audit.go)
//	F ns 00 room 00 seq            what later entries made of a message (fold.go)
//	V ns 00 room 00 seq user 00 emoji  a user's reaction to a message
//	T ns 00 room 00 key            last value of a state key (state.go)
//	Y ns 00 room 00 user 00 collapse key  seq of the newest message with it (collapse.go)
//	Z ns 00 room 00 seq            its writer and collapse key
//	W ns 00 user 00 room           how far a member has read (marks.go)
//	U ns 00 user 00 room           membership, as the user's list has it (by FollowUp)
//	D ns 00 room 00 user 00 cid    cid -> seq, hash
//	C ns 00 room 00 seq            seq -> user, cid (to forget cids by age)
//	S ns 00 user 00 client         session
//	X ns 00 user 00 client 00 room lag of a session in a room: next entry wanted
//	Q ns 00 user                   counts of a user: sessions, rooms made today
//	P ns 00 user                   user: name, password, attributes, what logouts ended (users.go)
//	p ns 00 fold 00 user           a user by the beginning of their id or name, in lower case
//	p 00 ns 00 user                a user whose deletion is not done
//	O id                           outbox
//	c ns 00 user 00 other          how a user stands with another: contact, request, block (contacts.go)
//	b ns 00 dm~a~b                 which of the two has blocked the other (blocks.go)
//	i ns 00 user                   how far the inbox was read; counts of contacts and blocks (inbox.go)
//	K name                         cluster-wide secret
//	a ns 00 user                   when a user was active last (active.go)
//	d ns 00 user                   tokens that wake a user's devices (devices.go)
//	w name                         webhook: how far it is (feed.go)
//	x                              ends of the feed
//	x 'f' id                       item of the feed
//	x 'd' name 00 id               what a webhook did not take
//	m                              chain of Apply's batches: each node's own (chain.go)
//	g ...                          index of what is searched: each node's own, derived from the others (index.go)
const (
	prefixMeta          = 'M'
	prefixNode          = 'N'
	prefixGroup         = 'G'
	prefixBootPlace     = 'B'
	prefixRoom          = 'R'
	prefixHead          = 'H'
	prefixEntry         = 'E'
	prefixMember        = 'J'
	prefixSaid          = 'L'
	prefixFold          = 'F'
	prefixReaction      = 'V'
	prefixMark          = 'W'
	prefixState         = 'T'
	prefixCollapse      = 'Y'
	prefixCollapseBySeq = 'Z'
	prefixAudit         = 'A'
	prefixUserRoom      = 'U'
	prefixCID           = 'D'
	prefixCIDBySeq      = 'C'
	prefixSession       = 'S'
	prefixLag           = 'X'
	prefixUserCounts    = 'Q'
	prefixOutbox        = 'O'
	prefixRelation      = 'c'
	prefixPair          = 'b'
	prefixPerson        = 'i'
	prefixSecret        = 'K'
	prefixUser          = 'P'
	prefixUserIndex     = 'p'
	prefixActive        = 'a'
	prefixPush          = 'd'
	prefixWebhook       = 'w'
	prefixFeed          = 'x'
	prefixIndex         = 'g'
	prefixChain         = 'm'
	separator           = 0x00
	escape              = 0x01 // in a client id: 00 -> 01 01, 01 -> 01 02
	escapedSeparator    = 0x01
	escapedEscape       = 0x02
	seqBytes            = 8
	keyMetaApplied      = "M"
	keyCapacity         = 96
)

// key builds a key of names, each ended by the separator.
func key(prefix byte, names ...string) []byte {
	k := make([]byte, 1, keyCapacity)
	k[0] = prefix
	for _, n := range names {
		k = append(append(k, n...), separator)
	}
	return k
}

// last appends a final name, which needs no separator.
func last(k []byte, name string) []byte { return append(k, name...) }

func withNumber(k []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(k, v) }

func entryKey(r RoomKey, seq uint64) []byte {
	return withNumber(key(prefixEntry, r.NS, r.Room), seq)
}

func cidKey(r RoomKey, user, cid string) []byte {
	return last(key(prefixCID, r.NS, r.Room, user), cid)
}

func memberKey(r RoomKey, user string) []byte { return last(key(prefixMember, r.NS, r.Room), user) }

func saidKey(r RoomKey, user string) []byte { return last(key(prefixSaid, r.NS, r.Room), user) }

func auditKey(r RoomKey, pos uint64) []byte { return withNumber(key(prefixAudit, r.NS, r.Room), pos) }

func userRoomKey(ns, user, room string) []byte { return last(key(prefixUserRoom, ns, user), room) }

func sessionKey(s SessionID) []byte {
	return last(key(prefixSession, s.NS, s.User), escapeName(s.Client))
}

func lagPrefix(s SessionID) []byte { return key(prefixLag, s.NS, s.User, escapeName(s.Client)) }

func lagKey(s SessionID, room string) []byte { return last(lagPrefix(s), room) }

// end returns the first key after all keys that start with p.
func end(p []byte) []byte {
	e := append([]byte(nil), p...)
	for i := len(e) - 1; i >= 0; i-- {
		if e[i] != 0xff {
			e[i]++
			return e[:i+1]
		}
	}
	return nil
}

// escapeName keeps the separator out of a client id, which may hold any UTF-8.
func escapeName(s string) string {
	clean := true
	for i := range len(s) {
		if s[i] <= escape {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	out := make([]byte, 0, len(s)+4)
	for i := range len(s) {
		switch s[i] {
		case separator:
			out = append(out, escape, escapedSeparator)
		case escape:
			out = append(out, escape, escapedEscape)
		default:
			out = append(out, s[i])
		}
	}
	return string(out)
}

// unescapeName undoes escapeName.
func unescapeName(s string) string {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == escape && i+1 < len(s) {
			i++
			if s[i] == escapedSeparator {
				out = append(out, separator)
			} else {
				out = append(out, escape)
			}
			continue
		}
		out = append(out, s[i])
	}
	return string(out)
}

// split cuts a key after its prefix byte into names; the last is what follows the n-th separator.
func split(k []byte, n int) []string {
	names := make([]string, 0, n+1)
	k = k[1:]
	for range n {
		name, rest, ok := bytes.Cut(k, []byte{separator})
		if !ok {
			return nil
		}
		names, k = append(names, string(name)), rest
	}
	return append(names, string(k))
}
