package topic

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/madang-chat/madang/hooks/problem"
)

// Prefixes of a filter that are instructions or rights, not levels of a topic.
const (
	lastPrefix  = "$last/"
	sincePrefix = "$since/"
	allPrefix   = "$all/"
)

// Bounds of replay.
const (
	MaxLast = 1000
	MaxSeq  = 1<<53 - 1 // also of n and ts: numbers every JSON reader holds exactly
)

// ReplayMode says what of the past a SUBSCRIBE asks for.
type ReplayMode uint8

// The modes.
const (
	ReplayNone  ReplayMode = iota
	ReplayLast             // the last Replay.Last entries of each room
	ReplaySince            // everything after Replay.Since
)

// Replay is an instruction of one SUBSCRIBE, not part of the subscription.
type Replay struct {
	Mode  ReplayMode
	Last  int    // 1..MaxLast
	Since uint64 // 0..MaxSeq
}

// Filter is a parsed subscription. Two filters are the same subscription if their Raw is equal. A Filter is a value; it
// may be compared and copied.
type Filter struct {
	Raw       string // without replay prefix: the subscription's identity; $all/ belongs to it
	Replay    Replay
	All       bool   // $all/: everything the namespace's admins and auditors may see
	Namespace string // empty = a wildcard, which means the reader's own namespace

	pattern string // Raw without $all/
	place   string // level 2, the place of a room or user; empty = a wildcard or absent
	reads   reads
}

// ParseFilter parses the filter of a SUBSCRIBE: a plain MQTT filter, $last/{n}/F, $since/{seq}/F or $all/F. The prefixes
// do not nest. It checks form; Grant says whether the filter can match anything.
func ParseFilter(s string) (Filter, *problem.Problem) {
	switch {
	case s == "":
		return Filter{}, problem.New(problem.BadPayload, "The filter is empty; subscribe to {ns}/rooms/{room}/#.")
	case len(s) > maxBytes:
		return Filter{}, problem.New(problem.BadPayload, "The filter is longer than %d bytes.", maxBytes)
	case strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s):
		return Filter{}, problem.New(problem.BadPayload, "The filter is not valid UTF-8 without NUL.")
	}
	f := Filter{Raw: s}
	if s[0] == '$' {
		if p := f.prefix(s); p != nil {
			return Filter{}, p
		}
	}
	f.pattern = f.Raw
	if f.All {
		f.pattern = f.Raw[len(allPrefix):]
	}
	if p := f.levels(); p != nil {
		return Filter{}, p
	}
	if f.Replay.Mode == ReplaySince && !f.oneLog() {
		return Filter{}, sinceNeedsRoom()
	}
	return f, nil
}

// prefix takes a leading $last, $since or $all away and sets Raw, Replay and All.
func (f *Filter) prefix(s string) *problem.Problem {
	if p := refuseDollar(s); p != nil {
		return p
	}
	rest := ""
	switch {
	case strings.HasPrefix(s, allPrefix):
		f.All, rest = true, s[len(allPrefix):]
	case strings.HasPrefix(s, lastPrefix), strings.HasPrefix(s, sincePrefix):
		name, after, _ := strings.Cut(s[1:], "/")
		value, filter, ok := strings.Cut(after, "/")
		if !ok || filter == "" {
			return problem.New(problem.BadPayload, "A replay is $last/{n}/{filter} or $since/{seq}/{filter}.")
		}
		r, p := ParseReplay(name, value)
		if p != nil {
			return p
		}
		f.Replay, f.Raw, rest = r, filter, filter
	default: // $SYS
		return nil
	}
	switch {
	case rest == "":
		return problem.New(problem.BadPayload, "After $all/ comes a filter, as in $all/#.")
	case strings.HasPrefix(rest, lastPrefix), strings.HasPrefix(rest, sincePrefix), strings.HasPrefix(rest, allPrefix):
		return problem.New(problem.Unsupported, "$last, $since and $all do not combine; use one of them.")
	case rest[0] == '$':
		return refuseDollar(rest)
	}
	return nil
}

// refuseDollar refuses the filters with a $ that mean nothing here.
func refuseDollar(s string) *problem.Problem {
	first, _, _ := strings.Cut(s, "/")
	switch first {
	case "$SYS", "$last", "$since", "$all":
		return nil
	}
	if strings.EqualFold(first, "$share") {
		return problem.SharedSubscription()
	}
	return problem.New(problem.Unsupported, "%q is not known; filters may begin with $last, $since, $all or $SYS.", cut(first))
}

// levels checks where the wildcards stand and finds what the filter can match.
func (f *Filter) levels() *problem.Problem {
	if n := strings.Count(f.pattern, "/") + 1; n > maxLevels {
		return problem.New(problem.Limit, "The filter has %d levels; %d are allowed and no topic has as many.", n, maxLevels)
	}
	w := walk{f.pattern}
	for i := 0; ; i++ {
		level, ok := w.next()
		if !ok {
			break
		}
		if len(level) > 1 && strings.ContainsAny(level, "+#") {
			return problem.New(problem.BadPayload, "A wildcard stands alone in its level: %q is neither + nor #.", cut(level))
		}
		if level == "#" && w.rest != done {
			return problem.New(problem.BadPayload, "# stands at the end of a filter only; use + in between.")
		}
		if wild := level == "+" || level == "#"; !wild {
			switch i {
			case 0:
				f.Namespace = level
			case 2:
				f.place = level
			}
		}
	}
	f.reads = readable(f.pattern)
	return nil
}

// ParseReplay parses the v5 user property of a SUBSCRIBE that asks for replay, or a prefix's parts: name is "last" or
// "since".
func ParseReplay(name, value string) (Replay, *problem.Problem) {
	switch name {
	case "last":
		if n, ok := decimal(value); ok && n >= 1 && n <= MaxLast {
			return Replay{Mode: ReplayLast, Last: int(n)}, nil
		}
		return Replay{}, problem.New(problem.BadPayload, "last takes a number from 1 to %d, not %q.", MaxLast, cut(value))
	case "since":
		if n, ok := decimal(value); ok && n <= MaxSeq {
			return Replay{Mode: ReplaySince, Since: n}, nil
		}
		return Replay{}, problem.New(problem.BadPayload, "since takes the seq you have, 0 for none, not %q.", cut(value))
	}
	return Replay{}, problem.New(problem.BadPayload, "%q is no replay; last and since are.", cut(name))
}

// decimal parses digits and nothing else.
func decimal(s string) (uint64, bool) {
	if len(s) == 0 || len(s) > 16 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

func sinceNeedsRoom() *problem.Problem {
	return problem.New(problem.BadPayload, "since needs a filter that names one room, an inbox or broadcast, as in $since/42/{ns}/rooms/{room}/#.")
}

// WithReplay returns f with the replay that a user property asks for, f itself if it asks for none. A different replay in the filter itself is a
// contradiction and refused.
func (f Filter) WithReplay(r Replay) (Filter, *problem.Problem) {
	if r.Mode == ReplayNone {
		return f, nil
	}
	if f.Replay.Mode != ReplayNone && f.Replay != r {
		return f, problem.New(problem.BadPayload, "The filter and the user property ask for different replays; use one.")
	}
	if f.All {
		return f, problem.New(problem.Unsupported, "$last, $since and $all do not combine; use one of them.")
	}
	if r.Mode == ReplaySince && !f.oneLog() {
		return f, sinceNeedsRoom()
	}
	f.Replay = r
	return f, nil
}

// Identity returns the Raw of a filter of an UNSUBSCRIBE: the filter without a $last/{n}/ or $since/{seq}/, whatever
// the number is.
func Identity(s string) string {
	if !strings.HasPrefix(s, lastPrefix) && !strings.HasPrefix(s, sincePrefix) {
		return s
	}
	parts := strings.SplitN(s, "/", 3)
	if len(parts) < 3 || parts[2] == "" {
		return s
	}
	return parts[2]
}

// oneLog reports whether the filter is about one log, in which a seq is a place: a room it names, the reader's inbox, the
// broadcasts.
func (f Filter) oneLog() bool {
	if _, named := f.Room(); named {
		return true
	}
	return f.reads == readsInbox || f.reads == readsInbox|readsPresence || f.reads == readsBroadcast
}

// Room returns the room the filter names. It is false where a wildcard stands at the room's place, and where the filter
// can match nothing of a room.
func (f Filter) Room() (room string, named bool) {
	if f.reads&readsRoom == 0 || f.place == "" {
		return "", false
	}
	return f.place, true
}

// JoinedRooms reports whether the filter covers the rooms its reader has joined, now and later: a wildcard at the
// room's place. With $all/ it means every room instead, see AllRooms.
func (f Filter) JoinedRooms() bool { return !f.All && f.wildRoom() }

// Broadcasts reports whether the filter covers what goes to everybody.
func (f Filter) Broadcasts() bool { return f.reads&readsBroadcast != 0 }

// AllRooms reports whether the filter covers every room of the namespace: $all/ and a wildcard at the room's place.
func (f Filter) AllRooms() bool { return f.All && f.wildRoom() }

func (f Filter) wildRoom() bool { return f.reads&readsRoom != 0 && f.place == "" }

// HasMessages reports whether the filter can match msg topics of rooms, and so needs a cursor on their logs.
func (f Filter) HasMessages() bool { return f.reads&readsMsg != 0 }

// InNamespace reports whether the filter, held by a reader of namespace ns, is about ns.
func (f Filter) InNamespace(ns string) bool { return f.Namespace == "" || f.Namespace == ns }
