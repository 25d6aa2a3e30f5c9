package bench

import (
	"bytes"
	"crypto/rand"
	"fmt"
)

// stamp is what a message says of itself, in letters that no broker changes on the way:
//
//	m#RRRRRR TTTTTTTTTTTTTTTT PPPP QQQQQQ NNNNNNNN GGGGGGGGGG   (without the blanks, hexadecimal)
//	run      due, ns          pub  room   n        message
//
// n counts 1, 2, 3, ... per publisher and room, so that a reader sees a loss or a wrong order; message counts all
// messages of a run.
type stamp struct {
	due       int64
	publisher int
	room      int
	n         uint32
	message   uint64
}

const (
	markLen  = 2 + 6
	stampLen = markLen + 16 + 4 + 6 + 8 + 10

	maxPublishers = 1 << 16
	maxRooms      = 1 << 24
)

// stamper makes and finds the stamps of one run. A stamp of another run, or of none, is not found.
type stamper struct {
	mark []byte
	at   int // where the last one was: the next is most often there too
}

func newStamper() *stamper {
	var run [3]byte
	_, _ = rand.Read(run[:]) // never fails
	return &stamper{mark: fmt.Appendf(nil, "m#%x", run)}
}

// append appends a message of size bytes, at least stampLen.
func (s *stamper) append(dst []byte, st stamp, size int) []byte {
	dst = append(dst, s.mark...)
	dst = appendHex(dst, uint64(st.due), 16)
	dst = appendHex(dst, uint64(st.publisher), 4)
	dst = appendHex(dst, uint64(st.room), 6)
	dst = appendHex(dst, uint64(st.n), 8)
	dst = appendHex(dst, st.message, 10)
	for range size - stampLen {
		dst = append(dst, '.')
	}
	return dst
}

// find returns the stamp in the bytes of a PUBLISH.
func (s *stamper) find(b []byte) (stamp, bool) {
	if len(b) < s.at+stampLen || !bytes.Equal(b[s.at:s.at+markLen], s.mark) {
		at := bytes.Index(b, s.mark)
		if at < 0 || len(b) < at+stampLen {
			return stamp{}, false
		}
		s.at = at
	}
	b = b[s.at+markLen:]
	return stamp{
		due:       int64(parseHex(b[:16])),
		publisher: int(parseHex(b[16:20])),
		room:      int(parseHex(b[20:26])),
		n:         uint32(parseHex(b[26:34])),
		message:   parseHex(b[34:44]),
	}, true
}

const digits = "0123456789abcdef"

func appendHex(dst []byte, v uint64, width int) []byte {
	for shift := 4 * (width - 1); shift >= 0; shift -= 4 {
		dst = append(dst, digits[v>>shift&15])
	}
	return dst
}

var digitOf = func() (t [256]uint8) {
	for i := range digits {
		t[digits[i]] = uint8(i)
	}
	return t
}()

// parseHex reads digits; what is none counts as 0.
func parseHex(b []byte) (v uint64) {
	for _, c := range b {
		v = v<<4 | uint64(digitOf[c])
	}
	return v
}
