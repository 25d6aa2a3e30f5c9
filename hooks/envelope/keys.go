package envelope

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
)

// key numbers the keys of an envelope.
type key uint8

const (
	keyCID key = iota
	keyTarget
	keyReplyTo
	keyThread
	keyMentions
	keyTTL
	keyCollapseKey
	keyIfVer
	keyMeta
	keyData
	keyType // HTTP only
	keyCount
)

var keyNames = [keyCount]string{
	"cid", "target", "reply_to", "thread", "mentions", "ttl", "collapse_key", "if_ver", "meta", "data", "type",
}

func keyOf(name string) (key, bool) {
	for k, n := range keyNames {
		if n == name {
			return key(k), true
		}
	}
	return 0, false
}

// object is a JSON object looked at as an envelope.
type object struct {
	values  [keyCount][]byte // nil = the key is absent
	twice   string           // a known key that is there twice
	unknown []byte           // the first other key, with quotes
}

func (o *object) has(k key) bool { return o.values[k] != nil }

func (o *object) isEnvelope() bool { return o.has(keyData) && o.unknown == nil }

// given returns the value of an optional key. null is the same as absent, for many libraries write it so.
func (o *object) given(k key) ([]byte, bool) {
	v := o.values[k]
	return v, v != nil && string(v) != "null"
}

// readObject reads b, which begins with a brace and ends without white space. withType makes "type" a known key.
func readObject(b []byte, depth int, withType bool) (object, verdict) {
	var o object
	m := members{b: b, depth: depth}
	for {
		name, value, v, more := m.next()
		if !more {
			if v == valid && m.i != len(b) {
				v = invalid
			}
			return o, settle(b, v)
		}
		k, known := keyOf(string(name[1 : len(name)-1]))
		if !known && bytes.IndexByte(name, '\\') >= 0 {
			k, known = keyOf(unquote(name))
		}
		switch {
		case !known || (k == keyType && !withType):
			if o.unknown == nil {
				o.unknown = name
			}
		case o.has(k):
			o.twice = keyNames[k]
		default:
			o.values[k] = value
		}
	}
}

// open fills in what an envelope says.
func (m *Message) open(o *object) *problem.Problem {
	if o.twice != "" {
		return problem.New(problem.BadPayload, "The envelope has the key %q twice; send it once.", o.twice)
	}
	if v, ok := o.given(keyCID); ok {
		if v[0] != '"' {
			return problem.New(problem.BadPayload, "cid is a string of 1-%d characters.", MaxCID)
		}
		m.CID = unquote(v)
		if p := checkCID(m.CID); p != nil {
			return p
		}
	}
	for _, n := range [...]struct {
		key key
		to  *uint64
	}{{keyTarget, &m.Target}, {keyReplyTo, &m.ReplyTo}, {keyThread, &m.Thread}} {
		if v, ok := o.given(n.key); ok {
			seq, ok := whole(v)
			if !ok || seq == 0 {
				return problem.New(problem.BadPayload, "%s is the seq of an entry: a whole number from 1.", keyNames[n.key])
			}
			*n.to = seq
		}
	}
	if v, ok := o.given(keyTTL); ok {
		ttl, ok := whole(v)
		if !ok || ttl == 0 || ttl > MaxTTL {
			return problem.New(problem.BadPayload, "ttl is a whole number of seconds from 1 to %d.", uint64(MaxTTL))
		}
		m.TTL = int64(ttl)
	}
	if v, ok := o.given(keyIfVer); ok {
		ver, ok := whole(v)
		if !ok {
			return problem.New(problem.BadPayload, "if_ver is the ver you have read: a whole number, 0 if there was none.")
		}
		m.IfVer = &ver
	}
	if v, ok := o.given(keyCollapseKey); ok {
		if v[0] == '"' {
			m.CollapseKey = unquote(v)
		}
		if !printable(m.CollapseKey, MaxCollapseKey) {
			return problem.New(problem.BadPayload, "collapse_key is a string of 1-%d characters without control characters.",
				MaxCollapseKey)
		}
	}
	if v, ok := o.given(keyMeta); ok {
		if v[0] != '{' || len(v) > MaxMeta {
			return problem.New(problem.BadPayload, "meta is a JSON object of at most %d bytes.", MaxMeta)
		}
		m.Meta = v
	}
	if v, ok := o.given(keyMentions); ok {
		if p := m.readMentions(v); p != nil {
			return p
		}
	}
	m.Data = o.values[keyData]
	if m.Type == TypeText && m.Data[0] != '{' {
		m.wrapData()
	}
	return nil
}

// wrapData makes data an object: a string as it is written, another value as the text it was written as.
func (m *Message) wrapData() {
	if m.Data[0] != '"' {
		m.Data = m.text(m.Data)
		return
	}
	b := append(make([]byte, 0, len(textOpen)+len(m.Data)+len(textClose)), textOpen...)
	m.Data = append(append(b, m.Data...), textClose...)
}

func (m *Message) readMentions(v []byte) *problem.Problem {
	bad := func() *problem.Problem {
		return problem.New(problem.BadPayload, `mentions is a list of at most %d users, as in ["alice","bob"].`, MaxMentions)
	}
	if v[0] != '[' {
		return bad()
	}
	seen := 0
	e := elements{b: v, depth: 1}
next:
	for {
		name, verdict, more := e.next()
		if !more {
			if verdict != valid { // a list in the list
				return bad()
			}
			return nil
		}
		if seen++; seen > MaxMentions || name[0] != '"' {
			return bad()
		}
		user := unquote(name)
		if !topic.ValidUser(user) {
			return problem.New(problem.BadPayload, "mentions holds %.40q, which is no user.", user)
		}
		for _, u := range m.Mentions {
			if u == user {
				continue next
			}
		}
		m.Mentions = append(m.Mentions, user)
	}
}

// whole parses a whole number up to MaxNumber, written with digits only.
func whole(v []byte) (uint64, bool) {
	if len(v) > 16 {
		return 0, false
	}
	var n uint64
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, len(v) > 0 && n <= MaxNumber
}

func checkCID(cid string) *problem.Problem {
	if printable(cid, MaxCID) {
		return nil
	}
	return problem.New(problem.BadPayload, "A cid has 1-%d characters and no control characters; this one does not fit.", MaxCID)
}

// printable reports whether s is UTF-8 of 1 to most characters without control characters.
func printable(s string, most int) bool {
	return s != "" && len(s) <= most*utf8.UTFMax && utf8.ValidString(s) && utf8.RuneCountInString(s) <= most &&
		!strings.ContainsFunc(s, unicode.IsControl)
}

// Reaction returns the emoji of a reaction that was checked, and whether it ends.
func (m *Message) Reaction() (emoji string, off bool) {
	all := members{b: m.Data, depth: len(m.Data)}
	for {
		name, value, _, more := all.next()
		if !more {
			return emoji, off
		}
		switch unquote(name) {
		case "emoji":
			emoji = unquote(value)
		case "on":
			off = string(value) == "false"
		}
	}
}

// checkReaction checks {"emoji":"👍","on":true}; without "on" it is on.
func checkReaction(data []byte) *problem.Problem {
	bad := func() *problem.Problem {
		return problem.New(problem.BadPayload,
			`The data of a reaction is {"emoji":"👍","on":true}; emoji has at most %d bytes.`, MaxEmoji)
	}
	if data[0] != '{' {
		return bad()
	}
	emoji, on := false, false
	m := members{b: data, depth: len(data)} // data has been scanned and is as deep as it may be
	for {
		name, value, _, more := m.next()
		if !more {
			break
		}
		switch unquote(name) {
		case "emoji":
			if emoji || value[0] != '"' {
				return bad()
			}
			s := unquote(value)
			emoji = len(s) <= MaxEmoji && printable(s, MaxEmoji)
			if !emoji {
				return bad()
			}
		case "on":
			if on || (string(value) != "true" && string(value) != "false") {
				return bad()
			}
			on = true
		}
	}
	if !emoji {
		return bad()
	}
	return nil
}
