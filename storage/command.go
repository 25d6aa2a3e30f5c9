package storage

import (
	"bytes"
	"errors"
	"fmt"
)

// Command is one change of the replicated state. Each touches one room, or one user, or one session, so that rooms can
// later live in several Raft groups; what a room's change means for users travels as a FollowUp.
//
// Encoding: one byte version (1), one byte kind, then the struct as CBOR with integer keys, which are never reused; Append
// has a form of its own (command_append.go).
type Command interface{ kind() commandKind }

type commandKind byte

const (
	kindAppend commandKind = iota + 1
	kindRoomCreate
	kindRoomSet
	kindRoomDelete
	kindJoin
	kindLeave
	kindFollowUp
	kindTake
	kindDrop
	kindSubscribe
	kindRelease
	kindPlaces
	kindExpire
	kindFireWill
	kindNodeUp
	kindTrim
	kindForget
	kindSecret
	kindNodeLost
	kindModerate
	kindMarks
	kindSetState
)

const commandVersion = 1

// SessionID names a session: one device of one user.
type SessionID struct {
	NS     string `cbor:"1,keyasint"`
	User   string `cbor:"2,keyasint"`
	Client string `cbor:"3,keyasint"`
}

// RoomKey names a room.
type RoomKey struct {
	NS   string `cbor:"1,keyasint"`
	Room string `cbor:"2,keyasint"`
}

// Actor is who asks for a change, as the broker knows them; Apply adds what the log knows (their role in the room).
type Actor struct {
	User  string `cbor:"1,keyasint"`
	Name  string `cbor:"2,keyasint,omitempty"`
	Level *int64 `cbor:"3,keyasint,omitempty"`
	Admin bool   `cbor:"4,keyasint,omitempty"` // of the namespace: may what an owner may
	Guest bool   `cbor:"5,keyasint,omitempty"`
}

// Append puts a message at the end of a room's log.
type Append struct {
	Room   RoomKey  `cbor:"1,keyasint"`
	From   Actor    `cbor:"2,keyasint"`
	Device string   `cbor:"3,keyasint,omitempty"` // client id, shown as from.device
	Type   string   `cbor:"4,keyasint"`
	Tail   []byte   `cbor:"5,keyasint"` // JSON members that follow "from", each led by a comma
	CID    string   `cbor:"6,keyasint,omitempty"`
	Hash   [16]byte `cbor:"7,keyasint,omitempty"` // of type and content, for cid and DUP
	TTL    int64    `cbor:"8,keyasint,omitempty"` // seconds, 0 = for ever

	Epoch    uint64 `cbor:"9,keyasint,omitempty"`  // of the stored session that sends, 0 = none; a lower one is not appended
	Dup      bool   `cbor:"10,keyasint,omitempty"` // the PUBLISH had DUP=1
	PacketID uint16 `cbor:"11,keyasint,omitempty"`

	AutoCreate  RoomKind `cbor:"12,keyasint,omitempty"` // kind of the room made when it does not exist, 0 = refuse; Broadcast: the sender may broadcast
	RoomsPerDay int      `cbor:"13,keyasint,omitempty"` // limit of rooms so made per user, 0 = none

	Target   uint64 `cbor:"14,keyasint,omitempty"` // seq of the message meant, of an edit, a delete and a reaction
	Reason   string `cbor:"15,keyasint,omitempty"` // of a delete by those who run the room, for its audit log
	ReplyTo  uint64 `cbor:"16,keyasint,omitempty"` // seq of the message answered
	Collapse string `cbor:"20,keyasint,omitempty"`
	Emoji    string `cbor:"18,keyasint,omitempty"` // of a reaction
	Off      bool   `cbor:"19,keyasint,omitempty"` // of a reaction: it ends
	Many     bool   `cbor:"31,keyasint,omitempty"` // of a reaction: many are online, so it is no entry

	Mentions []string `cbor:"30,keyasint,omitempty"` // users; those of them who are members are told in their inbox
}

// RoomCreate makes a room and its first owner. It appends nothing: the first message has the next seq.
type RoomCreate struct {
	Room  RoomKey     `cbor:"1,keyasint"`
	By    Actor       `cbor:"2,keyasint"` // becomes owner; an empty user makes a room without one
	Kind  RoomKind    `cbor:"3,keyasint"`
	Name  string      `cbor:"4,keyasint,omitempty"`
	Guest GuestAccess `cbor:"5,keyasint,omitempty"`
}

// RoomSet changes settings of a room; nil leaves one as it is. Owners and admins only.
type RoomSet struct {
	Room  RoomKey      `cbor:"1,keyasint"`
	By    Actor        `cbor:"2,keyasint"`
	Name  *string      `cbor:"3,keyasint,omitempty"`
	Guest *GuestAccess `cbor:"4,keyasint,omitempty"`
	Kind  *RoomKind    `cbor:"5,keyasint,omitempty"`

	StateBy *StateBy `cbor:"6,keyasint,omitempty"`
	StateMS *int64   `cbor:"7,keyasint,omitempty"`
	LiveMS  *int64   `cbor:"8,keyasint,omitempty"`

	BeforeSend *BeforeSend `cbor:"70,keyasint,omitempty"`
}

// RoomDelete ends a room: its entries and members go, its head stays, so that a room made again under the name goes on after it.
type RoomDelete struct {
	Room RoomKey `cbor:"1,keyasint"`
	By   Actor   `cbor:"2,keyasint"`
}

// Join makes a user a member of a public room (or of any room for an admin) and appends a system entry. Joining twice changes nothing.
type Join struct {
	Room       RoomKey `cbor:"1,keyasint"`
	By         Actor   `cbor:"2,keyasint"`
	MaxMembers uint64  `cbor:"3,keyasint,omitempty"` // of the room; 0 = no limit
}

// Leave ends a membership and appends a system entry. Leaving twice changes nothing.
type Leave struct {
	Room RoomKey `cbor:"1,keyasint"`
	By   Actor   `cbor:"2,keyasint"`
}

// FollowUp carries one item of a room's outbox to the user it concerns. An item is applied once, and in the order of the
// numbers: one that is not the next is a Conflict, one that was carried before a Duplicate.
type FollowUp struct {
	ID uint64 `cbor:"1,keyasint"`
}

// Take makes (Node, Boot) the owner of a stored session, making it if need be. Result.Epoch is its new epoch,
// Result.Present whether it existed and was kept.
type Take struct {
	Session     SessionID `cbor:"1,keyasint"`
	Node        string    `cbor:"2,keyasint"`
	Boot        uint64    `cbor:"3,keyasint"`
	Clean       bool      `cbor:"4,keyasint,omitempty"` // Clean Start: forget what was stored
	Expiry      uint32    `cbor:"5,keyasint"`           // seconds after the connection ends
	Will        *Append   `cbor:"6,keyasint,omitempty"`
	WillDelay   uint32    `cbor:"7,keyasint,omitempty"` // seconds
	MaxSessions int       `cbor:"8,keyasint,omitempty"` // per user, 0 = no limit
	Backlog     uint64    `cbor:"9,keyasint,omitempty"` // entries per room the client wants at most on return, 0 = all
}

// Drop removes a stored session, whoever owns it: its user connects with a session that ends with the connection.
type Drop struct {
	Session SessionID `cbor:"1,keyasint"`
}

// Subscription is one filter of a session.
type Subscription struct {
	Filter  string `cbor:"1,keyasint"`
	QoS     byte   `cbor:"2,keyasint,omitempty"`
	ID      uint32 `cbor:"3,keyasint,omitempty"` // MQTT 5 Subscription Identifier, 0 = none
	NoLocal bool   `cbor:"4,keyasint,omitempty"`
	RAP     bool   `cbor:"5,keyasint,omitempty"` // Retain As Published
	Pos     uint64 `cbor:"6,keyasint,omitempty"` // where the subscription began; set by Apply, kept when the filter is repeated
}

// RoomSeq is a place in a room's log.
type RoomSeq struct {
	Room string `cbor:"1,keyasint"`
	Seq  uint64 `cbor:"2,keyasint"`
}

// Subscribe changes the subscriptions of a stored session and may set its place in rooms back (or forward) for a replay.
type Subscribe struct {
	Session SessionID      `cbor:"1,keyasint"`
	Epoch   uint64         `cbor:"2,keyasint"`
	Add     []Subscription `cbor:"3,keyasint,omitempty"`
	Remove  []string       `cbor:"4,keyasint,omitempty"`
	Places  []RoomSeq      `cbor:"5,keyasint,omitempty"` // next entry wanted, by room
}

// Unfinished is a publish of a connection that ended before its acknowledgement was handed to the socket (QoS 1) or before
// its PUBREL came (QoS 2). A DUP of the next connection that matches one is certainly the same message; of later ones only
// if each connection in between repeated it. What the previous connection left (Session.Previous) and this one did not
// repeat is in doubt from then on: Apply drops it from a Release.
type Unfinished struct {
	PacketID uint16   `cbor:"1,keyasint"`
	Hash     [16]byte `cbor:"2,keyasint"`
	Room     string   `cbor:"3,keyasint"`
	Seq      uint64   `cbor:"4,keyasint"`
	TS       int64    `cbor:"5,keyasint"`
}

// Release ends a connection's hold on a stored session and stores its place.
type Release struct {
	Session    SessionID    `cbor:"1,keyasint"`
	Epoch      uint64       `cbor:"2,keyasint"`
	Place      uint64       `cbor:"3,keyasint"`           // pos up to which everything is done, but for Lag; may go back. 0 = as stored, Lag on top
	Lag        []RoomSeq    `cbor:"4,keyasint,omitempty"` // lowest entry not acknowledged; with Place, in place of what was stored
	Unfinished []Unfinished `cbor:"5,keyasint,omitempty"`
	Expiry     *uint32      `cbor:"6,keyasint,omitempty"` // of a v5 DISCONNECT; 0 ends the session now
	KeepWill   bool         `cbor:"7,keyasint,omitempty"` // the connection ended without a normal DISCONNECT: the will is due
}

// LagOf is a session's place in a room where it is behind its node's common place.
type LagOf struct {
	Session SessionID `cbor:"1,keyasint"`
	Epoch   uint64    `cbor:"2,keyasint"`
	Room    string    `cbor:"3,keyasint"`
	Seq     uint64    `cbor:"4,keyasint,omitempty"` // 0 = caught up
}

// Places says: the sessions of (Node, Boot) whose epoch is at most Epoch have everything up to Pos, except where a lag is
// known. Lags are applied first. Pos 0 carries lags alone. Neither Pos nor Epoch goes back: a command in which one is
// lower than before changes lags only.
//
// Epoch is the newest take the node had looked at when it made the command. Without it a session whose take was
// committed a moment before would be carried past everything it missed while it was away.
type Places struct {
	Node  string  `cbor:"1,keyasint"`
	Boot  uint64  `cbor:"2,keyasint"`
	Pos   uint64  `cbor:"3,keyasint"`
	Lags  []LagOf `cbor:"4,keyasint,omitempty"`
	Epoch uint64  `cbor:"5,keyasint,omitempty"`
}

// Expire removes a session that has been without a connection for its expiry interval; checked against log time.
type Expire struct {
	Session SessionID `cbor:"1,keyasint"`
	Epoch   uint64    `cbor:"2,keyasint"`
}

// FireWill appends the stored will of a session whose connection ended without a normal DISCONNECT, once, when its delay
// has passed in log time.
type FireWill struct {
	Session SessionID `cbor:"1,keyasint"`
	Epoch   uint64    `cbor:"2,keyasint"`
}

// NodeUp is the first command of every boot. Sessions held by an older boot of the node count as disconnected from here.
// A node that finds itself declared lost proposes it again and is back, with the sessions nobody took meanwhile.
type NodeUp struct {
	Node string `cbor:"1,keyasint"`
	Boot uint64 `cbor:"2,keyasint"`
}

// NodeLost says that a node has not been heard of: its sessions count as disconnected from here, until its NodeUp.
type NodeLost struct {
	Node string `cbor:"1,keyasint"`
	Boot uint64 `cbor:"2,keyasint"`
}

// Trim removes the entries up to and including Upto that a bound allows to go: older than MaxAge (ms), beyond MaxCount
// entries or MaxBytes of the newest; 0 = that bound does not apply. Checked again in Apply.
type Trim struct {
	Room     RoomKey `cbor:"1,keyasint"`
	Upto     uint64  `cbor:"2,keyasint"`
	MaxAge   int64   `cbor:"3,keyasint,omitempty"`
	MaxCount uint64  `cbor:"4,keyasint,omitempty"`
	MaxBytes uint64  `cbor:"5,keyasint,omitempty"`
}

// Forget drops the cids of entries up to Upto that are older than Window (ms of log time) and not among the newest Keep of the room.
type Forget struct {
	Room   RoomKey `cbor:"1,keyasint"`
	Upto   uint64  `cbor:"2,keyasint"`
	Window int64   `cbor:"3,keyasint"`
	Keep   uint64  `cbor:"4,keyasint"`
}

// Secret sets a cluster-wide secret that has no value yet. The first wins.
type Secret struct {
	Name  string `cbor:"1,keyasint"`
	Value []byte `cbor:"2,keyasint"`
}

func (*Append) kind() commandKind     { return kindAppend }
func (*RoomCreate) kind() commandKind { return kindRoomCreate }
func (*RoomSet) kind() commandKind    { return kindRoomSet }
func (*RoomDelete) kind() commandKind { return kindRoomDelete }
func (*Join) kind() commandKind       { return kindJoin }
func (*Leave) kind() commandKind      { return kindLeave }
func (*FollowUp) kind() commandKind   { return kindFollowUp }
func (*Take) kind() commandKind       { return kindTake }
func (*Drop) kind() commandKind       { return kindDrop }
func (*Subscribe) kind() commandKind  { return kindSubscribe }
func (*Release) kind() commandKind    { return kindRelease }
func (*Places) kind() commandKind     { return kindPlaces }
func (*Expire) kind() commandKind     { return kindExpire }
func (*FireWill) kind() commandKind   { return kindFireWill }
func (*NodeUp) kind() commandKind     { return kindNodeUp }
func (*Trim) kind() commandKind       { return kindTrim }
func (*Forget) kind() commandKind     { return kindForget }
func (*Secret) kind() commandKind     { return kindSecret }
func (*NodeLost) kind() commandKind   { return kindNodeLost }

// newCommand returns an empty command of a kind that travels as CBOR, nil for any other.
func newCommand(k commandKind) Command {
	switch k {
	case kindRoomCreate:
		return new(RoomCreate)
	case kindRoomSet:
		return new(RoomSet)
	case kindRoomDelete:
		return new(RoomDelete)
	case kindJoin:
		return new(Join)
	case kindLeave:
		return new(Leave)
	case kindFollowUp:
		return new(FollowUp)
	case kindTake:
		return new(Take)
	case kindDrop:
		return new(Drop)
	case kindSubscribe:
		return new(Subscribe)
	case kindRelease:
		return new(Release)
	case kindPlaces:
		return new(Places)
	case kindExpire:
		return new(Expire)
	case kindFireWill:
		return new(FireWill)
	case kindNodeUp:
		return new(NodeUp)
	case kindTrim:
		return new(Trim)
	case kindForget:
		return new(Forget)
	case kindSecret:
		return new(Secret)
	case kindNodeLost:
		return new(NodeLost)
	case kindModerate:
		return new(Moderate)
	case kindMarks:
		return new(Marks)
	case kindSetState:
		return new(SetState)
	case kindPutUser:
		return new(PutUser)
	case kindDeleteUser:
		return new(DeleteUser)
	case kindDeletePage:
		return new(DeletePage)
	case kindLogout:
		return new(Logout)
	case kindActive:
		return new(Active)
	case kindSetPush:
		return new(SetPush)
	case kindEndDevice:
		return new(EndDevice)
	case kindImport:
		return new(Import)
	}
	if c := newPeopleCommand(k); c != nil {
		return c
	}
	return newFeedCommand(k)
}

// ErrCommand is returned for bytes that are no command of this build. A node that meets it in the log must stop: the
// command was committed and cannot be skipped.
var ErrCommand = errors.New("command cannot be decoded; it was written by a newer madang or is damaged")

// Encode returns the bytes of c for the log.
func Encode(c Command) []byte {
	if a, ok := c.(*Append); ok {
		size := 64 + len(a.Room.NS) + len(a.Room.Room) + len(a.From.User) + len(a.From.Name) + len(a.Device) +
			len(a.Type) + len(a.CID) + len(a.Tail)
		return a.appendTo(append(make([]byte, 0, size), commandVersion, byte(kindAppend)))
	}
	body := mustCBOR(c)
	out := make([]byte, 0, 2+len(body))
	return append(append(out, commandVersion, byte(c.kind())), body...)
}

// Decode reads a command. The result does not alias data.
func Decode(data []byte) (Command, error) {
	c, err := decodeShared(data, new(Append))
	if a, ok := c.(*Append); ok && err == nil {
		a.Tail = bytes.Clone(a.Tail)
	}
	return c, err
}

// decodeShared is Decode into a when the command is an Append, whose Tail then aliases data.
func decodeShared(data []byte, a *Append) (Command, error) {
	if len(data) < 2 || data[0] != commandVersion {
		return nil, ErrCommand
	}
	if commandKind(data[1]) == kindAppend {
		return a, a.decode(data[2:])
	}
	c := newCommand(commandKind(data[1]))
	if c == nil {
		return nil, fmt.Errorf("%w (kind %d)", ErrCommand, data[1])
	}
	if err := cborDec.Unmarshal(data[2:], c); err != nil {
		return nil, fmt.Errorf("%w: kind %d: %w", ErrCommand, data[1], err)
	}
	return c, nil
}
