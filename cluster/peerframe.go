package cluster

import (
	"encoding/binary"
	"errors"
)

// appendPeerFrame appends a frame about a key.
func appendPeerFrame(dst []byte, kind byte, key, slot string, data []byte) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0, kind)
	dst = append(binary.AppendUvarint(dst, uint64(len(key))), key...)
	if kind == kindValue {
		dst = append(binary.AppendUvarint(dst, uint64(len(slot))), slot...)
		dst = append(dst, data...)
	}
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

// appendNumbered appends a question or an answer.
func appendNumbered(dst []byte, kind byte, number uint64, data []byte) []byte {
	at := len(dst)
	dst = append(binary.AppendUvarint(append(dst, 0, 0, 0, 0, kind), number), data...)
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

var errPeerFrame = errors.New("malformed frame of a node")

// saying is a frame, taken apart. data aliases the frame.
type saying struct {
	kind      byte
	key, slot string
	number    uint64
	data      []byte
}

func decodePeerFrame(b []byte) (s saying, err error) {
	if len(b) == 0 {
		return s, errPeerFrame
	}
	s.kind, b = b[0], b[1:]
	switch s.kind {
	case kindWant, kindUnwant:
		if s.key, b, err = cutText(b); err == nil && len(b) > 0 {
			err = errPeerFrame
		}
	case kindValue:
		if s.key, b, err = cutText(b); err == nil {
			s.slot, s.data, err = cutText(b)
		}
	case kindAsk, kindAnswer:
		n, size := binary.Uvarint(b)
		if size <= 0 {
			return s, errPeerFrame
		}
		s.number, s.data = n, b[size:]
	default:
		err = errPeerFrame
	}
	return s, err
}

// cutText takes a string behind its length from the front of b.
func cutText(b []byte) (text string, rest []byte, err error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return "", nil, errPeerFrame
	}
	return string(b[size : size+int(n)]), b[size+int(n):], nil
}
