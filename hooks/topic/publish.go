package topic

import (
	"strings"
	"unicode/utf8"

	"github.com/madang-chat/madang/hooks/problem"
)

// Kind says what a published topic asks for.
type Kind uint8

// The kinds. Unknown, Reserved and Plain come only together with a refusal.
const (
	Unknown   Kind = iota // no topic of the contract, or a malformed name in one
	Send                  // Room, Type
	Live                  // Room, Name, User
	State                 // Room, Key
	Read                  // Room
	Cheer                 // Room, Name
	UserSend              // User, Type: the direct room of the sender and User
	Broadcast             // Type
	RPC                   // Method
	Reserved              // a topic only the broker writes
	Plain                 // outside the contract, kept for plain MQTT
)

var kindNames = [...]string{
	"unknown", "send", "live", "state", "read", "cheer", "user_send", "broadcast", "rpc", "reserved", "plain",
}

// String names the kind, as metrics and logs do.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[Unknown]
}

// Publish is a topic a client publishes to, taken apart. Its strings are parts of the topic.
type Publish struct {
	Kind      Kind
	Namespace string // set for every kind but Unknown and Plain
	Room      string // a valid room id, direct rooms included
	Type      string // DefaultType if the topic names none
	Name      string // of a live value or a cheer
	User      string // of a live value or a direct message, as the topic says; the rules compare it with who publishes
	Key       string // of a state value
	Method    string // of a call
}

// ParsePublish takes the topic of a PUBLISH apart and refuses what nobody may write to:
//
//   - not_found: a malformed name or no topic of the contract, since nothing can ever be there
//   - forbidden: a topic the broker writes; the detail says where to write instead
//   - unsupported: a topic outside rooms, users, me and broadcast
//   - bad_payload: no MQTT topic name at all
//
// It allocates nothing when it accepts. With a refusal only Kind is meaningful.
func ParsePublish(t string) (Publish, *problem.Problem) {
	if p := checkTopic(t); p != nil {
		return Publish{}, p
	}
	if t[0] == '$' {
		return dollar(t)
	}
	ns, rest, _ := strings.Cut(t, "/")
	area, rest, _ := strings.Cut(rest, "/")
	parse := areaOf(area)
	if parse == nil {
		return Publish{Kind: Plain}, problem.New(problem.Unsupported,
			"Topics outside {ns}/rooms, users, me and broadcast are reserved; write to {ns}/rooms/{room}/send.")
	}
	if !ValidNamespace(ns) {
		return Publish{}, problem.New(problem.NotFound,
			"%q is no namespace: 1-%d characters of A-Z a-z 0-9 . _ : - are.", cut(ns), MaxNamespace)
	}
	return parse(ns, rest)
}

// checkTopic repeats what the codec must have checked, for callers that have none.
func checkTopic(t string) *problem.Problem {
	switch {
	case t == "":
		return problem.New(problem.BadPayload, "The topic is empty; write to {ns}/rooms/{room}/send.")
	case len(t) > maxBytes:
		return problem.New(problem.BadPayload, "The topic is longer than %d bytes.", maxBytes)
	case strings.ContainsAny(t, "+#\x00"):
		return problem.New(problem.BadPayload, "A topic to write to may not hold +, # or NUL; name one room.")
	case !utf8.ValidString(t):
		return problem.New(problem.BadPayload, "The topic is not valid UTF-8.")
	}
	return nil
}

func dollar(t string) (Publish, *problem.Problem) {
	if t == "$SYS" || strings.HasPrefix(t, "$SYS/") {
		return Publish{Kind: Reserved}, problem.New(problem.Forbidden,
			"The broker alone writes $SYS; write to {ns}/rooms/{room}/send.")
	}
	return Publish{Kind: Plain}, problem.New(problem.Unsupported,
		"Topics that begin with $ are not for publishing; write to {ns}/rooms/{room}/send.")
}

// areaOf returns what parses the levels after {ns}/{area}/, nil for an area outside the contract.
func areaOf(area string) func(ns, rest string) (Publish, *problem.Problem) {
	switch area {
	case "rooms":
		return parseRooms
	case "users":
		return parseUsers
	case "broadcast":
		return parseBroadcast
	case "me":
		return parseMe
	}
	return nil
}

func parseRooms(ns, rest string) (Publish, *problem.Problem) {
	room, rest, _ := strings.Cut(rest, "/")
	if !IsRoom(room) {
		return Publish{}, badRoom(room)
	}
	verb, arg, more := strings.Cut(rest, "/")
	p := Publish{Namespace: ns, Room: room}
	switch verb {
	case "send":
		if p.Type = arg; !more {
			p.Type = DefaultType
		}
		if p.Kind = Send; ValidType(p.Type) {
			return p, nil
		}
		return Publish{}, badName("message type", p.Type)
	case "live":
		name, user, ok := strings.Cut(arg, "/")
		if !ok {
			return Publish{}, problem.New(problem.NotFound,
				"A live topic ends in a name and your user: %s/rooms/%s/live/{name}/{user}.", ns, room)
		}
		p.Kind, p.Name, p.User = Live, name, user
		if !ValidType(name) {
			return Publish{}, badName("live name", name)
		}
		if !IsSender(user) {
			return Publish{}, badUser(user)
		}
		return p, nil
	case "state":
		if p.Kind, p.Key = State, arg; ValidType(arg) {
			return p, nil
		}
		return Publish{}, badName("state key", arg)
	case "cheer":
		if p.Kind, p.Name = Cheer, arg; ValidType(arg) {
			return p, nil
		}
		return Publish{}, badName("cheer", arg)
	case "read":
		if p.Kind = Read; !more {
			return p, nil
		}
	case "msg":
		return Publish{Kind: Reserved, Namespace: ns}, problem.New(problem.Forbidden,
			"The broker alone writes msg; write to %s/rooms/%s/send/{type} instead.", ns, room)
	case Tally:
		return Publish{Kind: Reserved, Namespace: ns}, problem.New(problem.Forbidden,
			"The broker alone writes tally; write to %s/rooms/%s/cheer/{name} instead.", ns, room)
	case Receipts:
		return Publish{Kind: Reserved, Namespace: ns}, problem.New(problem.Forbidden,
			"The broker alone writes receipts; write your read mark to %s/rooms/%s/read instead.", ns, room)
	case Meta:
		return Publish{Kind: Reserved, Namespace: ns}, problem.New(problem.Forbidden,
			"The broker alone writes meta; call %s/me/rpc/room.set instead.", ns)
	case Presence:
		return Publish{Kind: Reserved, Namespace: ns}, problem.New(problem.Forbidden,
			"Presence comes from connections; what you show of yourself goes to %s/rooms/%s/live/{name}/{user}.", ns, room)
	case Head, Occupancy:
		return Publish{Kind: Reserved, Namespace: ns}, problem.New(problem.Forbidden,
			"The broker alone writes %s; messages go to %s/rooms/%s/send.", verb, ns, room)
	}
	return Publish{}, problem.New(problem.NotFound,
		"A room has no such topic; it takes send, read, live/{name}/{user}, state/{key} and cheer/{name}.")
}

func parseUsers(ns, rest string) (Publish, *problem.Problem) {
	user, rest, _ := strings.Cut(rest, "/")
	verb, arg, more := strings.Cut(rest, "/")
	if !IsSender(user) {
		return Publish{}, badUser(user)
	}
	switch verb {
	case "send":
		if !ValidUser(user) {
			return Publish{}, problem.New(problem.NotFound, "%s is a guest or a key; only users have direct rooms.", user)
		}
		typ := arg
		if !more {
			typ = DefaultType
		}
		if !ValidType(typ) {
			return Publish{}, badName("message type", typ)
		}
		return Publish{Kind: UserSend, Namespace: ns, User: user, Type: typ}, nil
	case Inbox:
		return Publish{Kind: Reserved, Namespace: ns}, problem.New(problem.Forbidden,
			"The broker alone writes inboxes; write to %s/users/%s/send instead.", ns, user)
	case Presence:
		return Publish{Kind: Reserved, Namespace: ns}, problem.New(problem.Forbidden,
			"Presence comes from connections and is not written; messages go to %s/users/%s/send.", ns, user)
	}
	return Publish{}, problem.New(problem.NotFound, "A user has no such topic; write to %s/users/%s/send.", ns, user)
}

func parseBroadcast(ns, typ string) (Publish, *problem.Problem) {
	if !ValidType(typ) {
		return Publish{}, badName("message type", typ)
	}
	return Publish{Kind: Broadcast, Namespace: ns, Type: typ}, nil
}

func parseMe(ns, rest string) (Publish, *problem.Problem) {
	verb, arg, _ := strings.Cut(rest, "/")
	switch verb {
	case "rpc":
		if !ValidType(arg) {
			return Publish{}, badName("method", arg)
		}
		return Publish{Kind: RPC, Namespace: ns, Method: arg}, nil
	case MeReply, MeAck, MeError, MeSync:
		return Publish{Kind: Reserved, Namespace: ns}, problem.New(problem.Forbidden,
			"The broker alone writes me/%s; calls go to %s/me/rpc/{method}.", verb, ns)
	case MeRead:
		return Publish{Kind: Reserved, Namespace: ns}, problem.New(problem.Forbidden,
			"The broker alone writes me/read; write your read mark to %s/rooms/{room}/read instead.", ns)
	}
	return Publish{}, problem.New(problem.NotFound, "There is no such topic under me; calls go to %s/me/rpc/{method}.", ns)
}

func badRoom(room string) *problem.Problem {
	if rest, ok := strings.CutPrefix(room, directPrefix); ok {
		a, b, _ := strings.Cut(rest, "~")
		if a > b && ValidUser(a) && ValidUser(b) {
			return problem.New(problem.NotFound, "The direct room of %s and %s is %s.", a, b, DirectRoom(a, b))
		}
		return problem.New(problem.NotFound, "A direct room is dm~{a}~{b} with two different users in byte order.")
	}
	return problem.New(problem.NotFound,
		"%q is no room: 1-%d characters of A-Z a-z 0-9 . _ : - are.", cut(room), MaxRoom)
}

func badUser(user string) *problem.Problem {
	return problem.New(problem.NotFound,
		"%q is no user: 1-%d characters of A-Z a-z 0-9 . _ : @ | = - are.", cut(user), MaxUser)
}

func badName(what, name string) *problem.Problem {
	return problem.New(problem.NotFound,
		"%q is no %s: 1-%d characters of A-Z a-z 0-9 . _ : - are.", cut(name), what, MaxType)
}

// cut shortens a name for quoting.
func cut(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	n := most
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}
