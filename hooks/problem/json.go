package problem

import (
	"strconv"
	"unicode/utf8"
)

// ContentType is the media type of the RFC 9457 form.
const ContentType = "application/problem+json"

// typePrefix and a code make the RFC 9457 "type". It names the problem and is not meant to be fetched.
const typePrefix = "urn:madang:problem:"

// AppendJSON appends the RFC 9457 form, which is also the "error" of an rpc answer:
//
//	{"type","title","status","code","detail","retry_after"}
//
// detail and retry_after (whole seconds, rounded up) are absent when there is nothing to say.
func (p *Problem) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"type":`...)
	dst = AppendString(dst, typePrefix+string(p.Code))
	dst = append(dst, `,"title":`...)
	dst = AppendString(dst, p.Title)
	dst = append(dst, `,"status":`...)
	dst = strconv.AppendInt(dst, int64(p.Status), 10)
	dst = append(dst, `,"code":`...)
	dst = AppendString(dst, string(p.Code))
	if p.Detail != "" {
		dst = append(dst, `,"detail":`...)
		dst = AppendString(dst, p.Detail)
	}
	return append(p.appendRetry(dst), '}')
}

// MarshalJSON returns what AppendJSON appends.
func (p *Problem) MarshalJSON() ([]byte, error) { return p.AppendJSON(nil), nil }

func (p *Problem) appendRetry(dst []byte) []byte {
	s := p.RetryAfterSeconds()
	if s == 0 {
		return dst
	}
	dst = append(dst, `,"retry_after":`...)
	return strconv.AppendInt(dst, s, 10)
}

// Op says what was refused, in me/error.
type Op string

// The operations me/error knows.
const (
	OpPublish   Op = "publish"
	OpSubscribe Op = "subscribe"
	OpWill      Op = "will"
	OpSession   Op = "session"
)

// Event is the body of me/error: a refusal and what it refuses.
type Event struct {
	Op      Op
	Topic   string // or the filter; empty for a session
	CID     string // empty = none
	MID     uint16 // packet id; 0 = none (QoS 0, wills, sessions)
	Problem *Problem
}

// Append appends the event:
//
//	{"op","topic","cid","mid","status","code","title","retry_after"}
//
// What is empty or 0 is absent. The title is the problem's Sentence, for v3.1.1 clients see nothing else.
func (e Event) Append(dst []byte) []byte {
	dst = append(dst, `{"op":`...)
	dst = AppendString(dst, string(e.Op))
	if e.Topic != "" {
		dst = append(dst, `,"topic":`...)
		dst = AppendString(dst, e.Topic)
	}
	if e.CID != "" {
		dst = append(dst, `,"cid":`...)
		dst = AppendString(dst, e.CID)
	}
	if e.MID != 0 {
		dst = append(dst, `,"mid":`...)
		dst = strconv.AppendUint(dst, uint64(e.MID), 10)
	}
	p := e.Problem
	dst = append(dst, `,"status":`...)
	dst = strconv.AppendInt(dst, int64(p.Status), 10)
	dst = append(dst, `,"code":`...)
	dst = AppendString(dst, string(p.Code))
	dst = append(dst, `,"title":`...)
	dst = AppendString(dst, p.Sentence())
	return append(p.appendRetry(dst), '}')
}

const hex = "0123456789abcdef"

// AppendString appends s as a JSON string. UTF-8 stays as it is, without HTML escaping; quotes, backslashes, control
// characters and U+2028/U+2029 (line ends in JavaScript) are escaped; each invalid byte becomes U+FFFD.
func AppendString[S []byte | string](dst []byte, s S) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		b := s[i]
		if b < utf8.RuneSelf {
			if b >= 0x20 && b != '"' && b != '\\' && b != 0x7f {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			switch b {
			case '"', '\\':
				dst = append(dst, '\\', b)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hex[b>>4], hex[b&0xf])
			}
			i++
			start = i
			continue
		}
		// No rune is longer than UTFMax, so the conversion is of a few bytes and stays on the stack.
		r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		switch {
		case r == utf8.RuneError && n == 1:
			dst = append(dst, s[start:i]...)
			dst = append(dst, "\uFFFD"...)
		case r == '\u2028' || r == '\u2029':
			dst = append(dst, s[start:i]...)
			dst = append(dst, '\\', 'u', '2', '0', '2', hex[r&0xf])
		default:
			i += n
			continue
		}
		i += n
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
