// Package envelope turns the bytes a client sent into what a room stores, and that into the JSON every reader gets.
//
// Any bytes are accepted. What they become:
//
//	sent                                   type text              any other type
//	{"data":D,"cid":..} (an envelope)      D if an object,        D, byte for byte
//	                                       else {"text":D}
//	{..} any other JSON object             byte for byte          byte for byte
//	[..] a JSON array                      {"text":"[..]"}        byte for byte
//	"{..}" a string holding an object      as the object          as the object
//	any other UTF-8                        {"text":"<as sent>"}   "<as sent>"
//	not UTF-8                              {"text":"<base64>"}    "<base64>", both with "encoding":"base64"
//
// White space around a JSON value is no part of it. Only what is well formed and contradicts itself is refused.
package envelope

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"

	"github.com/madang-chat/madang/hooks/problem"
)

// Limits of a message's parts.
const (
	MaxCID         = 64 // characters
	MaxCollapseKey = 128
	MaxMentions    = 50
	MaxMeta        = 4096      // bytes
	MaxTTL         = 1<<32 - 1 // seconds; the range of MQTT's Message Expiry Interval
	MaxNumber      = 1<<53 - 1 // of target, reply_to, thread and if_ver
	MaxEmoji       = 64        // bytes, of a reaction
	MaxDepth       = 64        // containers in each other, the default of Options.MaxDepth
)

// Types with a meaning to the broker. All others are the clients' own.
const (
	TypeText     = "text"
	TypeEdit     = "edit"
	TypeDelete   = "delete"
	TypeReaction = "reaction"
	TypeSystem   = "system"
)

// Message is a message as its sender meant it, checked. Data and Meta may be parts of the payload it was parsed from:
// they are valid as long as that is not changed.
type Message struct {
	Type        string
	CID         string // empty = none
	Data        []byte // valid JSON; an object if Type is text
	Base64      bool   // the string in Data holds bytes in base64
	Target      uint64 // seq; 0 = none, as for the next two
	ReplyTo     uint64
	Thread      uint64
	Mentions    []string // valid users, each once, in the order sent
	TTL         int64    // seconds; 0 = forever
	CollapseKey string   // empty = none
	IfVer       *uint64  // nil = unconditional; 0 = only if the key is not set
	Meta        []byte   // a JSON object, byte for byte; nil = none
}

// AppendTail appends the members that follow "from" in the delivered form, beginning with a comma: cid, the other keys
// that were given, encoding, and data last, byte for byte. The closing brace is the caller's.
func (m *Message) AppendTail(dst []byte) []byte {
	if m.CID != "" {
		dst = append(dst, `,"cid":`...)
		dst = AppendString(dst, m.CID)
	}
	dst = appendNumber(dst, `,"target":`, m.Target)
	dst = appendNumber(dst, `,"reply_to":`, m.ReplyTo)
	dst = appendNumber(dst, `,"thread":`, m.Thread)
	if len(m.Mentions) > 0 {
		dst = append(dst, `,"mentions":`...)
		sep := byte('[')
		for _, u := range m.Mentions {
			dst = AppendString(append(dst, sep), u)
			sep = ','
		}
		dst = append(dst, ']')
	}
	dst = appendNumber(dst, `,"ttl":`, uint64(max(m.TTL, 0)))
	if m.CollapseKey != "" {
		dst = append(dst, `,"collapse_key":`...)
		dst = AppendString(dst, m.CollapseKey)
	}
	if m.IfVer != nil {
		dst = append(dst, `,"if_ver":`...)
		dst = strconv.AppendUint(dst, *m.IfVer, 10)
	}
	if len(m.Meta) > 0 {
		dst = append(dst, `,"meta":`...)
		dst = append(dst, m.Meta...)
	}
	if m.Base64 {
		dst = append(dst, `,"encoding":"base64"`...)
	}
	dst = append(dst, `,"data":`...)
	if len(m.Data) == 0 {
		return append(dst, "null"...)
	}
	return append(dst, m.Data...)
}

func appendNumber(dst []byte, key string, n uint64) []byte {
	if n == 0 {
		return dst
	}
	dst = append(dst, key...)
	return strconv.AppendUint(dst, n, 10)
}

// Hash identifies type and content for "the same cid": two messages with one cid and different hashes are a
// cid_conflict. The cid is no part of it. Neither is the ttl: a sender that tries again gives the time that is left.
// Hashes are stored, so what they are made of never changes.
//
//	sha256( len type | len collapse_key | target | reply_to | thread | 0 or 1+if_ver | base64
//	      | count, len mention ... | sha256(meta) | sha256(data) ), the first 16 bytes; numbers as uvarint
func (m *Message) Hash() [16]byte {
	var room [512]byte
	b := room[:0]
	b = appendSized(b, m.Type)
	b = appendSized(b, m.CollapseKey)
	b = binary.AppendUvarint(b, m.Target)
	b = binary.AppendUvarint(b, m.ReplyTo)
	b = binary.AppendUvarint(b, m.Thread)
	if m.IfVer == nil {
		b = append(b, 0)
	} else {
		b = binary.AppendUvarint(b, *m.IfVer+1)
	}
	if m.Base64 {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Mentions)))
	for _, u := range m.Mentions {
		b = appendSized(b, u)
	}
	sum := sha256.Sum256(m.Meta)
	b = append(b, sum[:]...)
	sum = sha256.Sum256(m.Data)
	b = append(b, sum[:]...)
	sum = sha256.Sum256(b)
	return [16]byte(sum[:16])
}

func appendSized(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// AppendString appends s as a JSON string: UTF-8 as it is and no HTML escaping, control characters and U+2028/U+2029
// escaped, each invalid byte as U+FFFD.
func AppendString(dst []byte, s string) []byte { return problem.AppendString(dst, s) }
