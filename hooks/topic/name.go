package topic

import (
	"strings"
	"unicode/utf8"
)

// DefaultNamespace is the namespace of a login that names none.
const DefaultNamespace = "chat"

// Lengths of names, in bytes.
const (
	MaxUser      = 60
	MaxRoom      = 128
	MaxType      = 128
	MaxNamespace = 60
	MaxClientID  = 128
)

// Prefixes of the names only the broker gives. No name a person may choose holds a '~'.
const (
	directPrefix  = "dm~"
	guestPrefix   = "guest~"
	servicePrefix = "svc~"
)

// class says in which names a byte may stand.
type class uint8

const (
	inUser class = 1 << iota
	inName       // rooms, types, namespaces
)

// classes is indexed by byte: [A-Za-z0-9._:@|=-] for users, [A-Za-z0-9._:-] for the rest.
var classes = func() (t [256]class) {
	for b := range t {
		switch c := byte(b); {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("._:-", c) >= 0:
			t[b] = inUser | inName
		case strings.IndexByte("@|=", c) >= 0:
			t[b] = inUser
		}
	}
	return t
}()

func made(s string, of class, maxLen int) bool {
	if len(s) == 0 || len(s) > maxLen {
		return false
	}
	for i := range len(s) {
		if classes[s[i]]&of == 0 {
			return false
		}
	}
	return true
}

// ValidUser reports whether s may be a user's name: [A-Za-z0-9._:@|=-]{1,60}.
func ValidUser(s string) bool { return made(s, inUser, MaxUser) }

// ValidRoom reports whether people may name a room s: [A-Za-z0-9._:-]{1,128}. Direct rooms, which the broker names, are
// not among them; see IsRoom.
func ValidRoom(s string) bool { return made(s, inName, MaxRoom) }

// MayName reports whether a new room may be named s: what ValidRoom allows, but for the two names that a path has a meaning of
// its own for, so that clients take them out of a URL. A room that has one keeps it.
func MayName(s string) bool { return ValidRoom(s) && s != "." && s != ".." }

// ValidType reports whether s may be a message type, a state key, or the name of a live topic or a cheer:
// [A-Za-z0-9._:-]{1,128}.
func ValidType(s string) bool { return made(s, inName, MaxType) }

// ValidNamespace reports whether s may name a namespace: [A-Za-z0-9._:-]{1,60}.
func ValidNamespace(s string) bool { return made(s, inName, MaxNamespace) }

// ValidClientID reports whether s may be a client id: UTF-8 up to 128 bytes without NUL. The empty id is valid; the
// broker then makes one up.
func ValidClientID(s string) bool {
	return len(s) <= MaxClientID && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

// IsRoom reports whether a room may have the id s: a room people named or a direct room.
func IsRoom(s string) bool {
	if ValidRoom(s) {
		return true
	}
	_, _, ok := SplitDirect(s)
	return ok
}

// IsDirect reports whether s is the id of a direct room.
func IsDirect(s string) bool {
	_, _, ok := SplitDirect(s)
	return ok
}

// IsGuest reports whether s is a guest's name, guest~x.
func IsGuest(s string) bool {
	x, ok := strings.CutPrefix(s, guestPrefix)
	return ok && ValidUser(x)
}

// IsService reports whether s is the name of a service key, svc~x.
func IsService(s string) bool {
	x, ok := strings.CutPrefix(s, servicePrefix)
	return ok && ValidUser(x)
}

// IsSender reports whether s can stand in a message's from.user: a user, a guest or a service key.
func IsSender(s string) bool { return ValidUser(s) || IsGuest(s) || IsService(s) }

// DirectRoom returns the id of the room of two users, the same whoever asks: dm~{a}~{b} in byte order. It is a valid id
// if a and b are two different valid users.
func DirectRoom(a, b string) string {
	if b < a {
		a, b = b, a
	}
	return directPrefix + a + "~" + b
}

// AfterDirect stands, in byte order, after all direct rooms and before whatever follows them.
const AfterDirect = "dm\x7f"

// SplitDirect returns the two users of a direct room, a before b in byte order. It is false for any other id, also for
// one with the users in the wrong order: a direct room has one id only.
func SplitDirect(room string) (a, b string, ok bool) {
	rest, ok := strings.CutPrefix(room, directPrefix)
	if !ok {
		return "", "", false
	}
	a, b, ok = strings.Cut(rest, "~")
	if !ok || a >= b || !ValidUser(a) || !ValidUser(b) {
		return "", "", false
	}
	return a, b, true
}

// InDirect reports whether user is one of the two of the direct room.
func InDirect(room, user string) bool {
	a, b, ok := SplitDirect(room)
	return ok && (user == a || user == b)
}

// SplitLogin takes an MQTT or HTTP login apart: "ns/user", or "user" in the default namespace. It checks nothing else.
func SplitLogin(login string) (ns, user string) {
	if ns, user, ok := strings.Cut(login, "/"); ok {
		return ns, user
	}
	return DefaultNamespace, login
}
