package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Types of control packets (MQTT 5, 2.1.2).
const (
	typeConnect    = 1
	typeConnack    = 2
	typePublish    = 3
	typePuback     = 4
	typePubrec     = 5
	typePubrel     = 6
	typePubcomp    = 7
	typeSubscribe  = 8
	typeSuback     = 9
	typePingreq    = 12
	typePingresp   = 13
	typeDisconnect = 14
)

const version5 = 5

// errMalformed is what a broker sent that no MQTT client could read.
var errMalformed = errors.New("the broker sent what is no MQTT packet")

// cut splits the first packet off b. size 0 means that more bytes are needed.
func cut(b []byte) (first byte, body []byte, size int, err error) {
	if len(b) < 2 {
		return 0, nil, 0, nil
	}
	n, shift := 0, 0
	for i := 1; ; i++ {
		if i == 5 {
			return 0, nil, 0, errMalformed
		}
		if i == len(b) {
			return 0, nil, 0, nil
		}
		n |= int(b[i]&0x7f) << shift
		shift += 7
		if b[i] < 0x80 {
			if len(b)-i-1 < n {
				return 0, nil, 0, nil
			}
			return b[0], b[i+1 : i+1+n], i + 1 + n, nil
		}
	}
}

// publication is a PUBLISH as it arrived. rest holds the properties, in version 5, and the payload.
type publication struct {
	qos  byte
	dup  bool
	id   uint16 // 0 with QoS 0
	at   []byte // topic
	rest []byte
}

func parsePublish(first byte, body []byte) (publication, error) {
	p := publication{qos: first >> 1 & 3, dup: first&8 != 0}
	if len(body) < 2 {
		return p, errMalformed
	}
	n := 2 + int(binary.BigEndian.Uint16(body))
	if p.qos > 2 || len(body) < n {
		return p, errMalformed
	}
	p.at, p.rest = body[2:n], body[n:]
	if p.qos > 0 {
		if len(p.rest) < 2 {
			return p, errMalformed
		}
		p.id, p.rest = binary.BigEndian.Uint16(p.rest), p.rest[2:]
	}
	return p, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// appendPacket appends a packet with the given first byte; body appends what follows the length.
func appendPacket(dst []byte, first byte, body []byte) []byte {
	dst = append(dst, first)
	n := len(body)
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(append(dst, byte(n)), body...)
}

// login is what a CONNECT says.
type login struct {
	version        byte
	id             string
	user, password string
	keepAlive      uint16 // s
	clean          bool
	expiry         uint32 // s, version 5 only
}

// who names the client in errors.
func (l *login) who() string {
	if l.user == "" {
		return l.id + " without a user name"
	}
	return fmt.Sprintf("%s as %q", l.id, l.user)
}

func (l *login) append(dst []byte) []byte {
	b := appendString(nil, "MQTT")
	if l.version == 3 {
		b = appendString(nil, "MQIsdp")
	}
	var flags byte
	if l.clean {
		flags |= 1 << 1
	}
	if l.user != "" {
		flags |= 1 << 7
	}
	if l.password != "" {
		flags |= 1 << 6
	}
	b = append(b, l.version, flags)
	b = binary.BigEndian.AppendUint16(b, l.keepAlive)
	if l.version == version5 {
		if l.expiry > 0 {
			b = binary.BigEndian.AppendUint32(append(b, 5, 0x11), l.expiry)
		} else {
			b = append(b, 0)
		}
	}
	b = appendString(b, l.id)
	if l.user != "" {
		b = appendString(b, l.user)
	}
	if l.password != "" {
		b = appendString(b, l.password)
	}
	return appendPacket(dst, typeConnect<<4, b)
}

func appendSubscribe(dst []byte, version byte, id uint16, filter string, qos byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	if version == version5 {
		b = append(b, 0)
	}
	b = append(appendString(b, filter), qos)
	return appendPacket(dst, typeSubscribe<<4|2, b)
}

// appendPublish appends a PUBLISH; id is left out with QoS 0.
func appendPublish(dst []byte, version byte, topic string, payload []byte, qos byte, id uint16, retain bool) []byte {
	n := 2 + len(topic) + len(payload)
	if qos > 0 {
		n += 2
	}
	if version == version5 {
		n++
	}
	first := byte(typePublish<<4) | qos<<1
	if retain {
		first |= 1
	}
	dst = append(dst, first)
	for ; n >= 0x80; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	dst = appendString(append(dst, byte(n)), topic)
	if qos > 0 {
		dst = binary.BigEndian.AppendUint16(dst, id)
	}
	if version == version5 {
		dst = append(dst, 0)
	}
	return append(dst, payload...)
}

// appendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP that says success.
func appendAck(dst []byte, kind byte, id uint16) []byte {
	first := kind << 4
	if kind == typePubrel {
		first |= 2
	}
	return append(dst, first, 2, byte(id>>8), byte(id))
}

// connackCode returns the code of a CONNACK and whether the broker had a session.
func connackCode(body []byte) (code byte, present bool, err error) {
	if len(body) < 2 {
		return 0, false, errMalformed
	}
	return body[1], body[0]&1 != 0, nil
}

// subackCode returns the code for the only filter of a SUBSCRIBE with an id: it is the last byte in every version.
func subackCode(version byte, id uint16, body []byte) (byte, error) {
	n := 3
	if version == version5 {
		n++ // length of properties
	}
	if len(body) < n || binary.BigEndian.Uint16(body) != id {
		return 0, errMalformed
	}
	return body[len(body)-1], nil
}

// ackOf returns packet id and reason code of a PUBACK, PUBREC, PUBREL or PUBCOMP.
func ackOf(body []byte) (id uint16, code byte, err error) {
	if len(body) < 2 {
		return 0, 0, errMalformed
	}
	if len(body) > 2 {
		code = body[2]
	}
	return binary.BigEndian.Uint16(body), code, nil
}
