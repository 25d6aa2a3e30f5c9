package envelope

import (
	"bytes"
	"encoding/base64"
	"unicode/utf8"

	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
)

// Options is what comes with a payload besides its bytes.
type Options struct {
	CID           string // v5 user property cid, ?cid= or Idempotency-Key; empty = none
	MessageExpiry uint32 // v5 Message Expiry Interval in seconds; 0 = none
	MaxDepth      int    // of nested objects and arrays; 0 = the constant MaxDepth
}

func (o Options) depth() int {
	if o.MaxDepth > 0 {
		return o.MaxDepth
	}
	return MaxDepth
}

// Parse makes a message of an MQTT payload. typ comes from the topic; empty means text. It refuses
//
//   - not_found: a type that is no name
//   - forbidden: type system
//   - bad_payload: an envelope with a bad value, a key twice, or data, cid and an unknown key; JSON nested too deep; a
//     bad or contradicting cid; an edit, delete or reaction that does not say of what
//
// and nothing else, whatever the bytes are.
func Parse(typ string, payload []byte, opt Options) (Message, *problem.Problem) {
	typ, p := checkType(typ)
	if p != nil {
		return Message{}, p
	}
	m := Message{Type: typ}
	if p := m.read(payload, opt); p != nil {
		return Message{}, p
	}
	if p := m.finish(opt); p != nil {
		return Message{}, p
	}
	return m, nil
}

func checkType(typ string) (string, *problem.Problem) {
	switch {
	case typ == "":
		return TypeText, nil
	case typ == TypeSystem:
		return "", problem.New(problem.Forbidden, "Messages of type system come from the broker only; use another type.")
	case !topic.ValidType(typ):
		return "", problem.New(problem.NotFound, "%.40q is no message type: 1-%d characters of A-Z a-z 0-9 . _ : - are.",
			typ, topic.MaxType)
	}
	return typ, nil
}

// read fills in what the payload says.
func (m *Message) read(payload []byte, opt Options) *problem.Problem {
	if !utf8.Valid(payload) {
		m.Base64, m.Data = true, m.base64(payload)
		return nil
	}
	body, depth := trim(payload), opt.depth()
	if inner, ok := unwrap(body, depth); ok {
		body = inner
	}
	if len(body) > 0 {
		switch body[0] {
		case '{':
			o, v := readObject(body, depth, false)
			switch {
			case v == deep:
				return tooDeep(depth)
			case v == invalid: // text that happens to begin with a brace
			case o.isEnvelope():
				return m.open(&o)
			case o.has(keyData) && o.has(keyCID):
				return problem.New(problem.BadPayload,
					"An envelope has no key %s; it takes cid, target, reply_to, thread, mentions, ttl, collapse_key, if_ver, "+
						"meta and data.", shortKey(o.unknown))
			default:
				m.Data = body
				return nil
			}
		case '[':
			if m.Type == TypeText {
				break
			}
			switch scanWhole(body, depth) {
			case deep:
				return tooDeep(depth)
			case valid:
				m.Data = body
				return nil
			case invalid:
			}
		}
	}
	m.Data = m.text(payload)
	return nil
}

// unwrap returns the object that a JSON string holds. What is not such a string is left alone.
func unwrap(body []byte, depth int) ([]byte, bool) {
	if len(body) < 4 || body[0] != '"' || bytes.IndexByte(body, '{') < 0 && bytes.IndexByte(body, '\\') < 0 {
		return nil, false
	}
	if scanWhole(body, depth) != valid {
		return nil, false
	}
	inner := trim([]byte(unquote(body)))
	if len(inner) == 0 || inner[0] != '{' || scanWhole(inner, depth) == invalid {
		return nil, false
	}
	return inner, true
}

const (
	textOpen  = `{"text":`
	textClose = `}`
)

// text is the data of UTF-8 that is no JSON object: an object in type text, else a string.
func (m *Message) text(payload []byte) []byte {
	size := len(payload) + len(payload)/16 + len(textOpen) + len(textClose) + 2
	if m.Type != TypeText {
		return problem.AppendString(make([]byte, 0, size), payload)
	}
	b := append(make([]byte, 0, size), textOpen...)
	return append(problem.AppendString(b, payload), textClose...)
}

// base64 is the data of other bytes.
func (m *Message) base64(payload []byte) []byte {
	b := make([]byte, 0, base64.StdEncoding.EncodedLen(len(payload))+len(textOpen)+len(textClose)+2)
	if m.Type == TypeText {
		b = append(b, textOpen...)
	}
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, payload)
	b = append(b, '"')
	if m.Type == TypeText {
		b = append(b, textClose...)
	}
	return b
}

// finish adds what came beside the payload and checks what no part can see alone.
func (m *Message) finish(opt Options) *problem.Problem {
	if opt.CID != "" {
		if p := checkCID(opt.CID); p != nil {
			return p
		}
		if m.CID != "" && m.CID != opt.CID {
			return problem.New(problem.BadPayload, "The cid beside the message and the cid in it differ; give one, or the same.")
		}
		m.CID = opt.CID
	}
	if e := int64(opt.MessageExpiry); e > 0 && (m.TTL == 0 || e < m.TTL) {
		m.TTL = e
	}
	switch m.Type {
	case TypeEdit, TypeDelete, TypeReaction:
		if m.Target == 0 {
			return problem.New(problem.BadPayload, `A message of type %s needs its target's seq: {"target":42,"data":{..}}.`, m.Type)
		}
		if m.TTL != 0 { // late readers would find the message as it was before
			return problem.New(problem.BadPayload,
				"A message of type %s takes no ttl, nor a Message Expiry Interval: what it changes stays changed.", m.Type)
		}
	}
	if m.Type == TypeReaction {
		return checkReaction(m.Data)
	}
	return nil
}

func tooDeep(depth int) *problem.Problem {
	return problem.New(problem.BadPayload, "The JSON is nested deeper than %d levels; flatten it, or send it as a string.", depth)
}

// shortKey is a key with its quotes, cut for a sentence.
func shortKey(quoted []byte) string {
	const most = 60
	if len(quoted) <= most {
		return string(quoted)
	}
	n := most
	for n > 0 && !utf8.RuneStart(quoted[n]) {
		n--
	}
	return string(quoted[:n]) + `.."`
}
