package problem

// Code is a refusal's name on the wire: the same in HTTP bodies, me/error, rpc answers and metrics. Codes are never
// renamed.
type Code string

// The codes of the wire contract.
const (
	Unauthenticated Code = "unauthenticated"
	TokenExpired    Code = "token_expired"
	GuestReadOnly   Code = "guest_read_only"
	NotMember       Code = "not_member"
	Muted           Code = "muted"
	Banned          Code = "banned"
	RoomFrozen      Code = "room_frozen"
	SlowMode        Code = "slow_mode"
	RateLimited     Code = "rate_limited"
	TooLarge        Code = "too_large"
	BadPayload      Code = "bad_payload"
	CIDConflict     Code = "cid_conflict"
	Conflict        Code = "conflict"
	NotFound        Code = "not_found"
	Forbidden       Code = "forbidden"
	Unsupported     Code = "unsupported"
	Limit           Code = "limit"
	TokenExpiring   Code = "token_expiring"
	NoQuorum        Code = "no_quorum"
	StorageFull     Code = "storage_full"
	OutcomeUnknown  Code = "outcome_unknown"
)

// Internal is the code of a fault of the broker. It is not in the contract's list, since no client can do anything about
// it; its status is 500.
const Internal Code = "internal"

// MQTT v5 reason codes used in the table, by their names in the standard.
const (
	reasonUnspecified      = 0x80
	reasonImplementation   = 0x83
	reasonBadCredentials   = 0x86
	reasonNotAuthorized    = 0x87
	reasonUnavailable      = 0x88
	reasonConnectionBanned = 0x8A
	reasonFilterInvalid    = 0x8F
	reasonTopicInvalid     = 0x90
	reasonPacketTooLarge   = 0x95
	reasonQuota            = 0x97
	reasonPayloadInvalid   = 0x99
	reasonNoShared         = 0x9E
	reasonConnectRate      = 0x9F
)

// MQTT v3.1.1 CONNACK return codes.
const (
	v3Unavailable    = 3
	v3BadCredentials = 4
	v3NotAuthorized  = 5
)

// meaning is one row of the table.
type meaning struct {
	code    Code
	status  int  // HTTP
	puback  byte // v5 PUBACK and PUBREC
	suback  byte // v5 SUBACK
	connack byte // v5 CONNACK
	v3      byte // v3.1.1 CONNACK
	retry   bool // the same request, unchanged, may succeed later
	title   string
}

// table is the one place where a code gets its meaning.
//
// PUBACK knows no "packet too large": 0x97 is there "an implementation or administrative imposed limit". 0x90 says that
// the topic is well formed but not accepted, which is what an unknown room or a reserved topic is.
var table = [...]meaning{
	{
		Unauthenticated, 401, reasonNotAuthorized, reasonNotAuthorized, reasonBadCredentials, v3BadCredentials, false,
		"The user name, password or token was not accepted; check it and log in again.",
	},
	{
		TokenExpired, 401, reasonNotAuthorized, reasonNotAuthorized, reasonBadCredentials, v3BadCredentials, false,
		"The token has expired; get a new one and connect again.",
	},
	{
		GuestReadOnly, 403, reasonNotAuthorized, reasonNotAuthorized, reasonNotAuthorized, v3NotAuthorized, false,
		"Guests may only read here; log in to write.",
	},
	{
		NotMember, 403, reasonNotAuthorized, reasonNotAuthorized, reasonNotAuthorized, v3NotAuthorized, false,
		"You are not a member of this room; join it or ask for an invitation.",
	},
	{
		Muted, 403, reasonNotAuthorized, reasonNotAuthorized, reasonNotAuthorized, v3NotAuthorized, false,
		"You are muted in this room; wait until the mute ends or ask an operator.",
	},
	{
		Banned, 403, reasonNotAuthorized, reasonNotAuthorized, reasonConnectionBanned, v3NotAuthorized, false,
		"You are banned here; ask an operator to lift the ban.",
	},
	{
		RoomFrozen, 403, reasonNotAuthorized, reasonNotAuthorized, reasonNotAuthorized, v3NotAuthorized, false,
		"The room is frozen; write again when an operator has unfrozen it.",
	},
	{
		SlowMode, 429, reasonQuota, reasonQuota, reasonQuota, v3Unavailable, true,
		"The room is in slow mode; wait before you write again.",
	},
	{
		RateLimited, 429, reasonQuota, reasonQuota, reasonConnectRate, v3Unavailable, true,
		"Too much in a short time; slow down and try again later.",
	},
	{
		TooLarge, 413, reasonQuota, reasonQuota, reasonPacketTooLarge, v3NotAuthorized, false,
		"This is larger than allowed; send less, or a link to it.",
	},
	{
		BadPayload, 400, reasonPayloadInvalid, reasonFilterInvalid, reasonPayloadInvalid, v3NotAuthorized, false,
		"The request is not well formed; correct it and send it again.",
	},
	{
		CIDConflict, 409, reasonImplementation, reasonImplementation, reasonImplementation, v3NotAuthorized, false,
		"This cid was used before for another message; send this one with a new cid.",
	},
	{
		Conflict, 409, reasonImplementation, reasonImplementation, reasonImplementation, v3NotAuthorized, false,
		"It exists already or has changed since you read it; read it again, then repeat your change.",
	},
	{
		NotFound, 404, reasonTopicInvalid, reasonFilterInvalid, reasonTopicInvalid, v3NotAuthorized, false,
		"There is nothing under this name; check the spelling.",
	},
	{
		Forbidden, 403, reasonNotAuthorized, reasonNotAuthorized, reasonNotAuthorized, v3NotAuthorized, false,
		"You may not do this; ask an operator or an admin.",
	},
	{
		Unsupported, 400, reasonTopicInvalid, reasonFilterInvalid, reasonImplementation, v3NotAuthorized, false,
		"The broker does not offer this; use what the documentation names instead.",
	},
	{
		Limit, 403, reasonQuota, reasonQuota, reasonQuota, v3Unavailable, false,
		"A limit is reached; remove something first or ask an admin to raise it.",
	},
	{
		TokenExpiring, 401, reasonImplementation, reasonImplementation, reasonNotAuthorized, v3NotAuthorized, false,
		"The token expires soon; renew it with me/rpc/auth.renew to stay connected.",
	},
	{
		NoQuorum, 503, reasonImplementation, reasonImplementation, reasonUnavailable, v3Unavailable, true,
		"The cluster has no leader at the moment; try again in a few seconds.",
	},
	{
		StorageFull, 503, reasonQuota, reasonQuota, reasonQuota, v3Unavailable, true,
		"The cluster's disk is nearly full; try again when an admin has made room.",
	},
	{
		OutcomeUnknown, 503, reasonUnspecified, reasonUnspecified, reasonUnavailable, v3Unavailable, true,
		"It is not known whether this was stored; send it again with the same cid.",
	},
}

// unknown is the meaning of a code that is not in the table: a fault of the broker.
var unknown = meaning{
	"", 500, reasonUnspecified, reasonUnspecified, reasonUnspecified, v3Unavailable, false,
	"Something went wrong inside the broker; tell an admin, its log says more.",
}

var byCode = func() map[Code]*meaning {
	m := make(map[Code]*meaning, len(table))
	for i := range table {
		m[table[i].code] = &table[i]
	}
	return m
}()

func (c Code) meaning() *meaning {
	if m := byCode[c]; m != nil {
		return m
	}
	return &unknown
}

// Codes returns every code, in the order of the contract.
func Codes() []Code {
	all := make([]Code, len(table))
	for i := range table {
		all[i] = table[i].code
	}
	return all
}

// Known reports whether c is in the table.
func (c Code) Known() bool { return byCode[c] != nil }

// Status is the HTTP status; 500 for a code that is not in the table.
func (c Code) Status() int { return c.meaning().status }

// Title is one sentence that says what is wrong and what to do about it. It is the same for every refusal with this code.
func (c Code) Title() string { return c.meaning().title }

// Reason is the MQTT v5 reason code for PUBACK and PUBREC; always one that the standard allows there and never a
// success. An outcome_unknown must not be acknowledged at all, whatever Reason says.
func (c Code) Reason() byte { return c.meaning().puback }

// SubackReason is the MQTT v5 reason code for SUBACK; v3.1.1 knows only 0x80.
func (c Code) SubackReason() byte { return c.meaning().suback }

// ConnackReason is the MQTT v5 reason code for CONNACK.
func (c Code) ConnackReason() byte { return c.meaning().connack }

// V3Connack is the return code for a v3.1.1 CONNACK.
func (c Code) V3Connack() byte { return c.meaning().v3 }

// Retry reports whether the same request, unchanged, may succeed later. Everything that becomes a message should be
// repeated with its cid.
func (c Code) Retry() bool { return c.meaning().retry }
