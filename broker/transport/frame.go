package transport

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// WebSocket close codes that this package sends.
const (
	CloseNormal      = 1000
	CloseGoingAway   = 1001
	CloseProtocol    = 1002
	CloseUnsupported = 1003
	CloseTooLarge    = 1009
)

const (
	opContinue = 0x0
	opText     = 0x1
	opBinary   = 0x2
	opClose    = 0x8
	opPing     = 0x9
	opPong     = 0xA

	maxControl = 125 // bytes in a control frame
)

// frameError is a broken rule and the close code that tells the client about it.
type frameError struct {
	code   int
	reason string
	err    error
}

func (e *frameError) Error() string { return fmt.Sprintf("%v: %s", e.err, e.reason) }
func (e *frameError) Unwrap() error { return e.err }

func protocolError(reason string) error {
	return &frameError{code: CloseProtocol, reason: reason, err: ErrFrame}
}

// frameReader takes the frames off a client's byte stream. It needs no buffer of its own: feed works in place, and
// what is kept from call to call is a header in the making.
//
//	byte 0     FIN RSV1-3 opcode
//	byte 1     MASK length (126: 2 more bytes, 127: 8 more bytes)
//	...        masking key, 4 bytes
//	...        payload, masked
type frameReader struct {
	limit      uint64 // payload bytes of one message, over all its frames
	message    uint64 // payload bytes that the frames of the current message announced
	left       uint64 // payload bytes of the current frame still to come
	head       [14]byte
	have       uint8 // bytes in head
	key        [4]byte
	keyPos     uint8
	op         uint8 // of the current frame
	inFrame    bool  // head is complete and left counts
	fragmented bool  // a binary message is not finished
	control    []byte
}

// controlSink is told of every control frame. payload is valid during the call. An error ends the stream.
type controlSink interface {
	onControl(op byte, payload []byte) error
}

// feed takes the next bytes of the stream, moves the unmasked payload of data frames to the front of p and returns its
// length. Bytes before an error are valid.
func (f *frameReader) feed(p []byte, sink controlSink) (n int, err error) {
	for at := 0; ; {
		if !f.inFrame {
			used, done, err := f.header(p[at:])
			at += used
			if err != nil || !done {
				return n, err
			}
		}
		k := int(min(uint64(len(p)-at), f.left))
		b := p[at : at+k]
		at += k
		f.left -= uint64(k)
		if f.op < opClose {
			n += f.unmask(p[n:], b)
		} else if k > 0 {
			size := len(f.control)
			f.control = append(f.control, b...)
			f.unmask(f.control[size:], b)
		}
		if f.left > 0 {
			return n, nil
		}
		f.inFrame = false
		if f.op >= opClose {
			err := sink.onControl(f.op, f.control)
			f.control = nil
			if err != nil {
				return n, err
			}
		}
	}
}

// header gathers the header from the front of p. done means that it is complete and the frame has begun.
func (f *frameReader) header(p []byte) (used int, done bool, err error) {
	for {
		need := 2
		if f.have >= 2 {
			need = headerSize(f.head[1])
		}
		if int(f.have) == need {
			break
		}
		k := copy(f.head[f.have:need], p[used:])
		if k == 0 {
			return used, false, nil
		}
		f.have += uint8(k)
		used += k
		if f.have == 2 {
			if err := f.check(f.head[0], f.head[1]); err != nil {
				return used, false, err
			}
		}
	}
	key := f.have - 4
	switch f.head[1] & 0x7f {
	case 126:
		f.left = uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		f.left = binary.BigEndian.Uint64(f.head[2:])
	default:
		f.left = uint64(f.head[1] & 0x7f)
	}
	copy(f.key[:], f.head[key:f.have])
	f.have, f.keyPos = 0, 0
	f.op = f.head[0] & 0x0f
	if f.op < opClose {
		if f.op != opContinue {
			f.message = 0
		}
		if f.left > f.limit-f.message {
			return used, false, &frameError{
				code: CloseTooLarge, err: ErrFrameTooLarge,
				reason: fmt.Sprintf("frame of %d bytes after %d, limit %d", f.left, f.message, f.limit),
			}
		}
		f.message += f.left
		f.fragmented = f.head[0]&0x80 == 0
	}
	f.inFrame = true
	return used, true, nil
}

// headerSize is the size of a masked frame's header by its second byte.
func headerSize(second byte) int {
	switch second & 0x7f {
	case 126:
		return 2 + 2 + 4
	case 127:
		return 2 + 8 + 4
	}
	return 2 + 4
}

// check judges the first two bytes of a frame.
func (f *frameReader) check(b0, b1 byte) error {
	switch op := b0 & 0x0f; {
	case b0&0x70 != 0:
		return protocolError("reserved bits are set; no extension was agreed")
	case b1&0x80 == 0:
		return protocolError("frame is not masked")
	case op == opText:
		return &frameError{code: CloseUnsupported, reason: "send binary frames", err: ErrTextFrame}
	case op == opContinue && !f.fragmented:
		return protocolError("continuation without a message")
	case op == opBinary && f.fragmented:
		return protocolError("new message before the last one ended")
	case op >= opClose && op <= opPong && (b0&0x80 == 0 || b1&0x7f > maxControl):
		return protocolError("control frame is fragmented or too long")
	case op > opPong || (op > opBinary && op < opClose):
		return protocolError("unknown opcode")
	}
	return nil
}

// unmask moves src to the front of dst, unmasked. dst may begin before src in the same memory.
func (f *frameReader) unmask(dst, src []byte) int {
	n := copy(dst, src)
	b := dst[:n]
	for len(b) > 0 && f.keyPos != 0 {
		b[0] ^= f.key[f.keyPos]
		f.keyPos = (f.keyPos + 1) & 3
		b = b[1:]
	}
	word := uint64(binary.LittleEndian.Uint32(f.key[:]))
	word |= word << 32
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^word)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= f.key[f.keyPos]
		f.keyPos = (f.keyPos + 1) & 3
	}
	return n
}

// appendFrameHeader appends the header of an unfragmented, unmasked frame.
func appendFrameHeader(b []byte, op byte, length int) []byte {
	b = append(b, 0x80|op)
	switch {
	case length <= 125:
		return append(b, byte(length))
	case length <= 0xffff:
		return binary.BigEndian.AppendUint16(append(b, 126), uint16(length))
	}
	return binary.BigEndian.AppendUint64(append(b, 127), uint64(length))
}

// appendCloseFrame appends a close frame. A reason that does not fit is cut at a character.
func appendCloseFrame(b []byte, code int, reason string) []byte {
	for len(reason) > maxControl-2 || !utf8.ValidString(reason) {
		_, size := utf8.DecodeLastRuneInString(reason)
		reason = reason[:len(reason)-size]
	}
	b = appendFrameHeader(b, opClose, 2+len(reason))
	b = binary.BigEndian.AppendUint16(b, uint16(code))
	return append(b, reason...)
}

// closeStatus reads the code of a close frame's payload. ok is false when the payload breaks a rule.
func closeStatus(payload []byte) (code int, ok bool) {
	switch len(payload) {
	case 0:
		return CloseNormal, true
	case 1:
		return 0, false
	}
	code = int(binary.BigEndian.Uint16(payload))
	known := code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006
	if !known && (code < 3000 || code > 4999) {
		return 0, false
	}
	return code, utf8.Valid(payload[2:])
}
