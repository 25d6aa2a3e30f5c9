package topic

import "strings"

// done marks a walk that has given its last level; it cannot be a rest, for no topic holds NUL.
const done = "\x00"

// walk gives the levels of a topic or filter one after the other.
type walk struct{ rest string }

func (w *walk) next() (level string, ok bool) {
	if w.rest == done {
		return "", false
	}
	if i := strings.IndexByte(w.rest, '/'); i >= 0 {
		level, w.rest = w.rest[:i], w.rest[i+1:]
		return level, true
	}
	level, w.rest = w.rest, done
	return level, true
}

// Match reports whether the filter matches the topic, by the rules of MQTT alone: + is one level, # the level above and
// everything below, and neither stands for a first level that begins with $.
func (f Filter) Match(topic string) bool {
	t, p := walk{topic}, walk{f.pattern}
	dollar := strings.HasPrefix(topic, "$")
	for first := true; ; first = false {
		want, more := p.next()
		if more && want == "#" {
			return !first || !dollar
		}
		level, ok := t.next()
		if !ok || !more {
			return !ok && !more
		}
		if want == "+" {
			if first && dollar {
				return false
			}
		} else if want != level {
			return false
		}
	}
}

// matchLevels is Match of a topic given by its levels, which do not begin with $.
func matchLevels(pattern string, levels ...string) bool {
	p := walk{pattern}
	for _, level := range levels {
		want, more := p.next()
		if !more {
			return false
		}
		if want == "#" {
			return true
		}
		if want != "+" && want != level {
			return false
		}
	}
	want, more := p.next()
	return !more || want == "#"
}

// The matchers below are Match of the topic that the builder of the same name makes from valid names, without making it.
// A wildcard namespace matches any: the caller asks only about the reader's own.

// MatchMsg reports whether the filter matches messages of that type in that room.
func (f Filter) MatchMsg(ns, room, typ string) bool {
	return f.reads&readsMsg != 0 && matchLevels(f.pattern, ns, "rooms", room, "msg", typ)
}

// MatchLive reports whether the filter matches that live value.
func (f Filter) MatchLive(ns, room, name, user string) bool {
	return f.reads&readsLive != 0 && matchLevels(f.pattern, ns, "rooms", room, "live", name, user)
}

// MatchState reports whether the filter matches that state key.
func (f Filter) MatchState(ns, room, key string) bool {
	return f.reads&readsState != 0 && matchLevels(f.pattern, ns, "rooms", room, "state", key)
}

// ReadsState reports whether the filter can match state keys.
func (f Filter) ReadsState() bool { return f.reads&readsState != 0 }

// MatchRoom reports whether the filter matches Meta, Head, Presence, Receipts, Occupancy or Tally of that room.
func (f Filter) MatchRoom(ns, room, name string) bool {
	return f.reads&readsRoom != 0 && matchLevels(f.pattern, ns, "rooms", room, name)
}

// MatchUser reports whether the filter matches that user's Inbox or Presence.
func (f Filter) MatchUser(ns, user, name string) bool {
	return f.reads&(readsInbox|readsPresence) != 0 && matchLevels(f.pattern, ns, "users", user, name)
}

// MatchBroadcast reports whether the filter matches broadcasts of that type.
func (f Filter) MatchBroadcast(ns, typ string) bool {
	return f.reads&readsBroadcast != 0 && matchLevels(f.pattern, ns, "broadcast", typ)
}

// ReadsBroadcasts reports whether the filter can match broadcasts.
func (f Filter) ReadsBroadcasts() bool { return f.reads&readsBroadcast != 0 }

// MatchMe reports whether the filter matches MeReply, MeAck, MeError, MeSync or MeRead of its holder, whose namespace is
// the filter's own or it would not have been granted.
func (f Filter) MatchMe(name string) bool {
	return f.reads&readsMe != 0 && matchLevels(f.pattern, f.Namespace, "me", name)
}
