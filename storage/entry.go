package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// Entry is one numbered item of a room's log. It is immutable; any number of readers share it.
type Entry struct {
	Seq      uint64 // place in the room, dense from 1
	N        uint64 // messages up to and including this entry
	Pos      uint64 // place over all rooms, rising
	TS       int64  // log time, ms since the epoch
	Total    uint64 // bytes of all entries of the room up to and including this one, trimmed ones included
	Expiry   int64  // log time (ms) after which the entry is not delivered late; 0 = never
	Collapse string // collapse_key: of messages with the same one only the newest is delivered late
	Erased   uint64 // bytes the JSON had before the message was deleted and a stub took its place; 0 = it is whole
	Was      uint64 // bytes the JSON had before the name of a deleted user was taken off it; 0 = it is as it was
	Type     string
	User     string // sender; with Device the sender's session (No Local)
	Device   string
	JSON     []byte // what is delivered, the same bytes to everyone
}

// Message reports whether the entry counts in n: everything people wrote, not what happened to it.
func (e *Entry) Message() bool { return countsAsMessage(e.Type) }

func countsAsMessage(typ string) bool {
	switch typ {
	case TypeSystem, "edit", "delete", "reaction":
		return false
	}
	return true
}

// TypeSystem is the type of entries the broker writes: joined, left.
const TypeSystem = "system"

// A stub, a message with a collapse_key, and an entry of a deleted user, have versions of their own: hardly any entry is one.
const (
	entryVersion     = 1
	entryVersionMore = 2
	entryVersionWas  = 3
)

// ErrEntry is returned for a stored entry that cannot be read.
var ErrEntry = errors.New("stored entry is damaged")

// appendTo appends the stored value: version, uvarints pos n ts total expiry, three names with length, the JSON;
// versions 2 and 3 have erased and the collapse_key with length
// before the names, and version 3 was before these.
func (e *Entry) appendTo(b []byte) []byte {
	version := byte(entryVersion)
	if e.Erased > 0 || e.Collapse != "" {
		version = entryVersionMore
	}
	if e.Was > 0 {
		version = entryVersionWas
	}
	b = append(b, version)
	for _, v := range [...]uint64{e.Pos, e.N, uint64(e.TS), e.Total, uint64(e.Expiry)} {
		b = binary.AppendUvarint(b, v)
	}
	if version == entryVersionWas {
		b = binary.AppendUvarint(b, e.Was)
	}
	if version != entryVersion {
		b = appendSized(binary.AppendUvarint(b, e.Erased), e.Collapse)
	}
	for _, s := range [...]string{e.Type, e.User, e.Device} {
		b = appendSized(b, s)
	}
	return append(b, e.JSON...)
}

// decodeEntry reads a stored value. The result does not alias b.
func decodeEntry(seq uint64, b []byte) (*Entry, error) {
	r := readRecord(b, versionOfEntry(b))
	e := &Entry{
		Seq: seq, Pos: r.uvarint(), N: r.uvarint(), TS: int64(r.uvarint()), Total: r.uvarint(), Expiry: int64(r.uvarint()),
	}
	if versionOfEntry(b) == entryVersionWas {
		e.Was = r.uvarint()
	}
	if versionOfEntry(b) != entryVersion {
		e.Erased, e.Collapse = r.uvarint(), string(r.sized())
	}
	e.Type, e.User, e.Device = string(r.sized()), string(r.sized()), string(r.sized())
	if r.bad {
		return nil, fmt.Errorf("%w: seq %d", ErrEntry, seq)
	}
	e.JSON = bytes.Clone(r.b)
	return e, nil
}

func versionOfEntry(b []byte) byte {
	if len(b) > 0 && (b[0] == entryVersionMore || b[0] == entryVersionWas) {
		return b[0]
	}
	return entryVersion
}

// entryPos reads the place of a stored entry and nothing else.
func entryPos(seq uint64, b []byte) (uint64, error) {
	r := readRecord(b, versionOfEntry(b))
	pos := r.uvarint()
	if r.bad {
		return 0, fmt.Errorf("%w: seq %d", ErrEntry, seq)
	}
	return pos, nil
}

// appendJSON writes the delivered form. Every name is free of characters that JSON must escape but name and device,
// which arrive escaped; tail is JSON members led by commas.
func appendJSON(dst []byte, r RoomKey, e *Entry, from Actor, role Role, tail []byte) []byte {
	dst = appendLogName(dst, r)
	dst = strconv.AppendUint(dst, e.Seq, 10)
	dst = append(dst, `,"n":`...)
	dst = strconv.AppendUint(dst, e.N, 10)
	dst = append(dst, `,"ts":`...)
	dst = strconv.AppendInt(dst, e.TS, 10)
	dst = append(dst, `,"type":"`...)
	dst = append(dst, e.Type...)
	dst = append(dst, '"')
	dst = appendFrom(dst, from, role, e.Device)
	dst = append(dst, tail...)
	return append(dst, '}')
}

// appendFrom writes the member "from" with a comma before it; nothing when nobody is named.
func appendFrom(dst []byte, from Actor, role Role, device string) []byte {
	if from.User == "" {
		return dst
	}
	dst = append(dst, `,"from":{"user":"`...)
	dst = append(dst, from.User...)
	dst = append(dst, '"')
	if from.Name != "" {
		dst = append(dst, `,"name":`...)
		dst = appendString(dst, from.Name)
	}
	if role != "" && from.User != DeletedUser {
		dst = append(dst, `,"role":"`...)
		dst = append(dst, role...)
		dst = append(dst, '"')
	}
	if from.Level != nil {
		dst = append(dst, `,"level":`...)
		dst = strconv.AppendInt(dst, *from.Level, 10)
	}
	if device != "" {
		dst = append(dst, `,"device":`...)
		dst = appendString(dst, device)
	}
	if from.User == DeletedUser {
		dst = append(dst, `,"deleted":true`...)
	}
	return append(dst, '}')
}

// appendString writes s as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', byte(c))
		case c < 0x20 || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, string(c)...)
		}
	}
	return append(dst, '"')
}
