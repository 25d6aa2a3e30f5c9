package envelope

import (
	"strings"
	"unicode/utf8"

	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
)

// ParseHTTP makes a message of the body of a POST. A body of type application/json must be an envelope and may carry
// its type; any other body is the bytes of an MQTT payload. typeParam and cidParam are the query's type and cid,
// idempotencyKey the header; empty = not given, and what is given twice must be the same.
func ParseHTTP(contentType, typeParam, cidParam, idempotencyKey string, body []byte) (Message, *problem.Problem) {
	opt := Options{CID: cidParam}
	if idempotencyKey != "" {
		if cidParam != "" && cidParam != idempotencyKey {
			return Message{}, problem.New(problem.BadPayload,
				"Idempotency-Key and the cid in the query differ; give one, or the same.")
		}
		opt.CID = idempotencyKey
	}
	media, _, _ := strings.Cut(contentType, ";")
	if typeParam != "" && !topic.ValidType(typeParam) {
		return Message{}, badType(typeParam)
	}
	if !strings.EqualFold(strings.TrimSpace(media), "application/json") {
		return Parse(typeParam, body, opt)
	}
	return parseJSON(typeParam, body, opt)
}

func parseJSON(typ string, body []byte, opt Options) (Message, *problem.Problem) {
	body = trim(body)
	if len(body) == 0 || body[0] != '{' || !utf8.Valid(body) {
		return Message{}, notEnvelope()
	}
	o, v := readObject(body, opt.depth(), true)
	switch {
	case v == deep:
		return Message{}, tooDeep(opt.depth())
	case v == invalid:
		return Message{}, notEnvelope()
	case o.unknown != nil:
		return Message{}, problem.New(problem.BadPayload,
			"The body has an unknown key %s; it takes type, cid, target, reply_to, thread, mentions, ttl, collapse_key, "+
				"if_ver, meta and data.", shortKey(o.unknown))
	case !o.has(keyData):
		return Message{}, problem.New(problem.BadPayload, `The body has no data; send {"data":{"text":"hello"}}.`)
	}
	if v, ok := o.given(keyType); ok {
		said := ""
		if v[0] == '"' {
			said = unquote(v)
		}
		if said == "" {
			return Message{}, problem.New(problem.BadPayload, `type is a string, as in "type":"text".`)
		}
		if typ != "" && typ != said {
			return Message{}, problem.New(problem.BadPayload,
				"The type in the query and the type in the body differ; give one, or the same.")
		}
		if !topic.ValidType(said) {
			return Message{}, badType(said)
		}
		typ = said
	}
	typ, p := checkType(typ)
	if p != nil {
		return Message{}, p
	}
	m := Message{Type: typ}
	if p := m.open(&o); p != nil {
		return Message{}, p
	}
	if p := m.finish(opt); p != nil {
		return Message{}, p
	}
	return m, nil
}

// badType is bad_payload where a topic would be not_found: the path of the request names only the room, and that exists.
func badType(typ string) *problem.Problem {
	return problem.New(problem.BadPayload, "%.40q is no message type: 1-%d characters of A-Z a-z 0-9 . _ : - are.", typ, topic.MaxType)
}

func notEnvelope() *problem.Problem {
	return problem.New(problem.BadPayload,
		`A body of type application/json is an envelope in UTF-8, as in {"data":{"text":"hello"}}; send other bytes as text/plain.`)
}
