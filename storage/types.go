package storage

// RoomKind says who may read and write a room.
type RoomKind byte

// Kinds of rooms (design.md section 3, "Who may"). The zero value is no kind.
const (
	Public  RoomKind = iota + 1 // any user reads and writes without joining
	Private                     // members only
	Direct                      // two users
)

var kindNames = [...]string{"", "public", "private", "direct"}

// String returns the name used on the wire, "" for no kind.
func (k RoomKind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return ""
}

// ParseRoomKind reads a name of the wire; ok is false for any other text.
func ParseRoomKind(s string) (k RoomKind, ok bool) {
	for i, n := range kindNames {
		if i > 0 && n == s {
			return RoomKind(i), true
		}
	}
	return 0, false
}

// GuestAccess says what guests may do in a room.
type GuestAccess byte

// Guest access. GuestDefault is: read in a public room, nothing in any other.
const (
	GuestDefault GuestAccess = iota
	GuestNone
	GuestRead
	GuestWrite
)

var guestNames = [...]string{"", "none", "read", "write"}

// String returns the name used on the wire, "" for the default.
func (g GuestAccess) String() string {
	if int(g) < len(guestNames) {
		return guestNames[g]
	}
	return ""
}

// ParseGuestAccess reads a name of the wire; ok is false for any other text.
func ParseGuestAccess(s string) (g GuestAccess, ok bool) {
	for i, n := range guestNames {
		if i > 0 && n == s {
			return GuestAccess(i), true
		}
	}
	return 0, false
}

// StateBy says who sets the state of a room.
type StateBy byte

// Who sets it. The zero value is every member.
const (
	StateByMembers StateBy = iota
	StateByOperators
)

var stateByNames = [...]string{"members", "operators"}

// String returns the name used on the wire.
func (s StateBy) String() string {
	if int(s) < len(stateByNames) {
		return stateByNames[s]
	}
	return ""
}

// ParseStateBy reads a name of the wire; ok is false for any other text.
func ParseStateBy(s string) (by StateBy, ok bool) {
	for i, n := range stateByNames {
		if n == s {
			return StateBy(i), true
		}
	}
	return 0, false
}

// BeforeSend says whether the hook before a send is asked about a room's messages, and what holds when it does not answer.
type BeforeSend byte

// Whether it is asked. The zero value is: as the configuration says.
const (
	BeforeSendDefault BeforeSend = iota
	BeforeSendOff
	BeforeSendOpen   // without an answer the message is taken
	BeforeSendClosed // without an answer it is refused
)

var beforeSendNames = [...]string{"default", "off", "open", "closed"}

// String returns the name used on the wire.
func (b BeforeSend) String() string {
	if int(b) < len(beforeSendNames) {
		return beforeSendNames[b]
	}
	return ""
}

// ParseBeforeSend reads a name of the wire; ok is false for any other text.
func ParseBeforeSend(s string) (b BeforeSend, ok bool) {
	for i, n := range beforeSendNames {
		if n == s {
			return BeforeSend(i), true
		}
	}
	return 0, false
}

// Role is a user's place in a room.
type Role string

// Roles of rooms.
const (
	RoleOwner    Role = "owner"
	RoleOperator Role = "operator"
	RoleMember   Role = "member"
	RoleGuest    Role = "guest"
)

// Settings of a room, as stored.
type settings struct {
	Kind    RoomKind    `cbor:"1,keyasint"`
	Name    string      `cbor:"2,keyasint,omitempty"`
	Guest   GuestAccess `cbor:"3,keyasint,omitempty"`
	Frozen  bool        `cbor:"4,keyasint,omitempty"`
	Owner   string      `cbor:"5,keyasint,omitempty"` // who made it
	Made    int64       `cbor:"6,keyasint"`           // log time, ms
	Members uint64      `cbor:"7,keyasint,omitempty"`
	Deleted bool        `cbor:"8,keyasint,omitempty"`
	Slow    int64       `cbor:"9,keyasint,omitempty"`  // seconds between two messages of one member, 0 = no slow mode
	Pinned  []uint64    `cbor:"10,keyasint,omitempty"` // seqs, the one pinned last in front. Immutable once stored

	Restricted uint64 `cbor:"11,keyasint,omitempty"` // users with a mute or a ban, ended ones included

	States  uint64  `cbor:"12,keyasint,omitempty"` // keys of state that are set
	Tombs   uint64  `cbor:"13,keyasint,omitempty"` // and those that are remembered as deleted
	StateBy StateBy `cbor:"14,keyasint,omitempty"`
	StateMS int64   `cbor:"15,keyasint,omitempty"` // each key is told at most once in that time, 0 = with every change
	LiveMS  int64   `cbor:"16,keyasint,omitempty"` // the same of live values

	MadePos uint64 `cbor:"17,keyasint,omitempty"` // place over all rooms at which it was made
	Swept   int64  `cbor:"18,keyasint,omitempty"` // log time (ms) when ended mutes and bans were forgotten last

	BeforeSend BeforeSend `cbor:"70,keyasint,omitempty"`
}

// Head is the end of a room's log.
type Head struct {
	Seq   uint64
	N     uint64
	TS    int64
	First uint64 // oldest entry kept; Seq+1 when none is
	Pos   uint64 // of the newest entry
	Total uint64 // bytes appended since the room began
	Gone  uint64 // of these, trimmed

	GonePos uint64 // of the newest entry trimmed: a place below it has missed something

	Holes []Hole // in ascending order, between First and Seq; only eras make them (era.go)
}

func (k RoomKind) known() bool { return k >= Public && k <= Direct }

func (g GuestAccess) known() bool { return g <= GuestWrite }

// Room is an immutable picture of a room: its settings and its head, from one moment.
type Room struct {
	Key     RoomKey
	Kind    RoomKind
	Name    string
	Guest   GuestAccess // as set; GuestMay applies the default
	Frozen  bool
	Owner   string
	Made    int64 // ms
	Members uint64
	Slow    int64    // seconds between two messages of one member, 0 = no slow mode
	Pinned  []uint64 // seqs, the one pinned last in front; not to be changed

	Restricted bool // somebody may be muted or banned: Member says who

	States  uint64 // keys of state that are set
	StateBy StateBy
	StateMS int64  // each key of state is told at most once in that time, 0 = with every change
	LiveMS  int64  // the same of live values
	MadePos uint64 // place over all rooms at which it was made: what is older is of a room of that name before

	BeforeSend BeforeSend

	Head Head
}

// GuestMay returns what guests may do here, the default applied.
func (r *Room) GuestMay() GuestAccess {
	if r.Guest != GuestDefault {
		return r.Guest
	}
	if r.Kind == Public {
		return GuestRead
	}
	return GuestNone
}

// Member is where a user stands in a room: the membership, and what operators have decided. Muted and Banned are log times
// (ms) until which that holds, Forever without an end, 0 not at all; a user who is no member has them too.
type Member struct {
	Role   Role   `cbor:"1,keyasint"`
	Since  uint64 `cbor:"2,keyasint"` // seq of the entry that says so; the head when the room was made
	At     int64  `cbor:"3,keyasint"` // log time, ms
	Muted  int64  `cbor:"4,keyasint,omitempty"`
	Banned int64  `cbor:"5,keyasint,omitempty"`
}

// Forever is a time that does not come. It is below 2^53 (design.md, "Sending").
const Forever = 1<<53 - 1

// restricted reports whether operators have decided something, in force or not any more.
func (m Member) restricted() bool { return m.Muted != 0 || m.Banned != 0 }

// Silenced says whether a user is Banned or Muted at a log time, else Done, and for how many ms more, 0 = without an end.
func (m Member) Silenced(now int64) (is Outcome, ms int64) {
	until := m.Banned
	switch {
	case m.Banned > now:
		is = Banned
	case m.Muted > now:
		is, until = Muted, m.Muted
	default:
		return Done, 0
	}
	if until == Forever {
		return is, 0
	}
	return is, until - now
}

// known reports whether there is something to store.
func (m Member) known() bool { return m.Role != "" || m.Muted != 0 || m.Banned != 0 }

// Session is a stored session. What a live connection has done since its node last wrote its place is not in it.
type Session struct {
	ID        SessionID
	Epoch     uint64
	Connected bool // held by a current boot of a node that is up
	Node      string
	Boot      uint64
	Expiry    uint32 // seconds
	EndedAt   int64  // log time (ms) since when it has no connection; 0 while connected
	Place     uint64 // pos up to which everything was delivered and acknowledged, but for Lag
	Lag       []RoomSeq
	Filters   []Subscription
	Backlog   uint64
	Previous  []Unfinished // what the connection that holds it may repeat; see Unfinished
	HasWill   bool
	WillDue   int64 // log time (ms) when its will is to be published; meaningful with HasWill and without a connection
}
