package broker

import (
	"encoding/binary"
	"strconv"

	"github.com/madang-chat/madang/storage"
)

// Types of control packets (MQTT 5, 2.1.2), shifted to their place in the first byte.
const (
	typeConnect     = 1 << 4
	typePublish     = 3 << 4
	typePuback      = 4 << 4
	typePubrec      = 5 << 4
	typePubrel      = 6 << 4
	typePubcomp     = 7 << 4
	typeSubscribe   = 8 << 4
	typeUnsubscribe = 10 << 4
	typePingreq     = 12 << 4
	typePingresp    = 13 << 4
	typeDisconnect  = 14 << 4
	typeAuth        = 15 << 4
	typeMask        = 0xf0

	flagDup     = 1 << 3
	flagQoS1    = 1 << 1
	flagRetain  = 1
	flagsPubrel = 2
)

// Properties of MQTT 5 (2.2.2.2) that are written here.
const (
	propPayloadFormat  = 0x01
	propMessageExpiry  = 0x02
	propCorrelation    = 0x09
	propSubscriptionID = 0x0b
	propReasonString   = 0x1f
	propUser           = 0x26
)

const version5 = 5

// frame is one PUBLISH ready for the wire. The two bytes of the packet id, at pid, differ from client to client.
type frame struct {
	bytes []byte
	pid   int // offset of the packet id, 0 = QoS 0
}

// publish is what a PUBLISH to a client is made of.
type publish struct {
	topic       string
	payload     []byte
	qos         byte
	dup, retain bool
	ids         []uint32 // subscription identifiers
	correlation []byte
	expiry      uint32 // seconds, 0 = none
	text        bool   // payload is UTF-8
	user        []byte // encoded user properties
}

func appendVarint(b []byte, n int) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

func varintLen(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	}
	return 4
}

func appendUTF8(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func appendUserProperty(b []byte, name, value string) []byte {
	return appendUTF8(appendUTF8(append(b, propUser), name), value)
}

// encode appends the packet to dst for a client of the given protocol version.
func (p *publish) encode(dst []byte, version byte) frame {
	first := byte(typePublish)
	if p.dup {
		first |= flagDup
	}
	if p.qos > 0 {
		first |= flagQoS1
	}
	if p.retain {
		first |= flagRetain
	}
	remaining := 2 + len(p.topic) + len(p.payload)
	if p.qos > 0 {
		remaining += 2
	}
	props := 0
	if version == version5 {
		props = p.propertyBytes()
		remaining += varintLen(props) + props
	}
	dst = appendVarint(append(dst, first), remaining)
	dst = appendUTF8(dst, p.topic)
	pid := 0
	if p.qos > 0 {
		pid = len(dst)
		dst = append(dst, 0, 0)
	}
	if version == version5 {
		dst = p.appendProperties(appendVarint(dst, props))
	}
	return frame{bytes: append(dst, p.payload...), pid: pid}
}

func (p *publish) propertyBytes() int {
	n := len(p.user)
	if p.text {
		n += 2
	}
	if p.expiry > 0 {
		n += 5
	}
	if p.correlation != nil {
		n += 3 + len(p.correlation)
	}
	for _, id := range p.ids {
		n += 1 + varintLen(int(id))
	}
	return n
}

func (p *publish) appendProperties(b []byte) []byte {
	if p.text {
		b = append(b, propPayloadFormat, 1)
	}
	if p.expiry > 0 {
		b = binary.BigEndian.AppendUint32(append(b, propMessageExpiry), p.expiry)
	}
	if p.correlation != nil {
		b = binary.BigEndian.AppendUint16(append(b, propCorrelation), uint16(len(p.correlation)))
		b = append(b, p.correlation...)
	}
	for _, id := range p.ids {
		b = appendVarint(append(b, propSubscriptionID), int(id))
	}
	return append(b, p.user...)
}

// entryProperties returns the user properties that mirror what an entry's payload says: seq, ts, from.
func entryProperties(dst []byte, e *storage.Entry) []byte {
	var num [20]byte
	dst = appendUserProperty(dst, "seq", string(strconv.AppendUint(num[:0], e.Seq, 10)))
	dst = appendUserProperty(dst, "ts", string(strconv.AppendInt(num[:0], e.TS, 10)))
	if e.User != "" {
		dst = appendUserProperty(dst, "from", e.User)
	}
	return dst
}

// maxAckProperties bounds a reason string, so that no acknowledgement grows beyond what any client takes.
const maxAckProperties = 512

// appendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP. limit is the client's Maximum Packet Size, 0 = none: what does
// not fit is left out, properties first (MQTT 5, 3.4.2.2.2).
func appendAck(dst []byte, first byte, pid uint16, version, reason byte, why string, seq uint64, limit uint32) []byte {
	if version != version5 || reason == 0 && seq == 0 {
		return append(dst, first, 2, byte(pid>>8), byte(pid))
	}
	var props []byte
	if seq > 0 {
		props = appendUserProperty(props, "seq", strconv.FormatUint(seq, 10))
	}
	if why != "" && len(why) <= maxAckProperties {
		props = appendUTF8(append(props, propReasonString), why)
	}
	if limit > 0 && len(props)+8 > int(limit) {
		props = nil
	}
	if len(props) == 0 {
		if reason == 0 {
			return append(dst, first, 2, byte(pid>>8), byte(pid))
		}
		return append(dst, first, 3, byte(pid>>8), byte(pid), reason)
	}
	dst = appendVarint(append(dst, first), 3+varintLen(len(props))+len(props))
	dst = append(dst, byte(pid>>8), byte(pid), reason)
	return append(appendVarint(dst, len(props)), props...)
}
