package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
	"unicode/utf8"
)

// frame makes one client frame. first is FIN, reserved bits and opcode.
func frame(first byte, payload []byte) []byte {
	key := [4]byte{0x11, 0x9c, 0x3e, 0xf1}
	b := appendFrameHeader(nil, 0, len(payload))
	b[0] = first
	b[1] |= 0x80
	b = append(b, key[:]...)
	for i, c := range payload {
		b = append(b, c^key[i%4])
	}
	return b
}

// claim makes the header of a client frame that announces any length.
func claim(first byte, length uint64) []byte {
	b := binary.BigEndian.AppendUint64([]byte{first, 0x80 | 127}, length)
	return append(b, 1, 2, 3, 4)
}

// recorder keeps what a frameReader tells about control frames.
type recorder struct {
	got  []string
	fail error
}

func (r *recorder) onControl(op byte, payload []byte) error {
	r.got = append(r.got, string(rune('0'+op))+string(payload))
	return r.fail
}

// feedAll feeds in, in pieces of step bytes, and returns the payload.
func feedAll(f *frameReader, in []byte, step int, sink controlSink) ([]byte, error) {
	var out []byte
	for len(in) > 0 {
		p := bytes.Clone(in[:min(step, len(in))])
		in = in[len(p):]
		n, err := f.feed(p, sink)
		out = append(out, p[:n]...)
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

func TestFrames(t *testing.T) {
	join := func(b ...[]byte) []byte { return bytes.Join(b, nil) }
	long := []byte(strings.Repeat("0123456789", 7000))
	for _, tc := range []struct {
		name     string
		in       []byte
		data     string
		controls int
		err      error
		code     int
	}{
		{"empty frame", frame(0x82, nil), "", 0, nil, 0},
		{"short", frame(0x82, []byte("hello")), "hello", 0, nil, 0},
		{"126", frame(0x82, long[:126]), string(long[:126]), 0, nil, 0},
		{"64 kB", frame(0x82, long[:65535]), string(long[:65535]), 0, nil, 0},
		{"above 64 kB", frame(0x82, long), string(long), 0, nil, 0},
		{"fragments", join(frame(2, []byte("a")), frame(0, nil), frame(0, []byte("b")), frame(0x80, []byte("c"))), "abc", 0, nil, 0},
		{"control between fragments", join(frame(2, []byte("a")), frame(0x89, []byte("ping")), frame(0x80, []byte("b"))), "ab", 1, nil, 0},
		{"two messages", join(frame(0x82, []byte("a")), frame(2, []byte("b")), frame(0x80, nil), frame(0x82, []byte("c"))), "abc", 0, nil, 0},
		{"pong and close", join(frame(0x8a, nil), frame(0x88, nil)), "", 2, nil, 0},
		{"text", frame(0x81, []byte("hello")), "", 0, ErrTextFrame, CloseUnsupported},
		{"text in fragments", frame(1, []byte("hello")), "", 0, ErrTextFrame, CloseUnsupported},
		{"not masked", []byte{0x82, 1, 'a'}, "", 0, ErrFrame, CloseProtocol},
		{"ping not masked", []byte{0x89, 0}, "", 0, ErrFrame, CloseProtocol},
		{"reserved bit", frame(0xc2, []byte("a")), "", 0, ErrFrame, CloseProtocol},
		{"continuation of nothing", frame(0x80, []byte("a")), "", 0, ErrFrame, CloseProtocol},
		{"continuation after the end", join(frame(2, nil), frame(0x80, nil), frame(0x80, nil)), "", 0, ErrFrame, CloseProtocol},
		{"message within a message", join(frame(2, []byte("a")), frame(0x82, []byte("b"))), "a", 0, ErrFrame, CloseProtocol},
		{"control in fragments", frame(0x09, nil), "", 0, ErrFrame, CloseProtocol},
		{"control too long", frame(0x89, make([]byte, 126)), "", 0, ErrFrame, CloseProtocol},
		{"control at its longest", frame(0x89, make([]byte, 125)), "", 1, nil, 0},
		{"unknown data opcode", frame(0x83, nil), "", 0, ErrFrame, CloseProtocol},
		{"unknown control opcode", frame(0x8b, nil), "", 0, ErrFrame, CloseProtocol},
		{"data before the fault counts", join(frame(0x82, []byte("a")), frame(0x81, nil)), "a", 0, ErrTextFrame, CloseUnsupported},
		{"above the limit", claim(0x82, 80_001), "", 0, ErrFrameTooLarge, CloseTooLarge},
		{"absurd length", claim(0x82, math.MaxUint64), "", 0, ErrFrameTooLarge, CloseTooLarge},
		{"above the limit in fragments", join(frame(2, long), frame(0, long[:10_000]), frame(0x80, []byte("x"))), string(long) + string(long[:10_000]), 0, ErrFrameTooLarge, CloseTooLarge},
		{"the limit counts anew", join(frame(0x82, long), frame(0x82, long)), string(long) + string(long), 0, nil, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, step := range []int{1, 2, 3, 7, 4096, 1 << 20} {
				f := frameReader{limit: 80_000}
				var rec recorder
				got, err := feedAll(&f, tc.in, step, &rec)
				if string(got) != tc.data || len(rec.got) != tc.controls {
					t.Fatalf("step %d: %d bytes and controls %q, want %d and %d", step, len(got), rec.got, len(tc.data), tc.controls)
				}
				if !errors.Is(err, tc.err) {
					t.Fatalf("step %d: error %v, want %v", step, err, tc.err)
				}
				var fe *frameError
				if tc.err != nil && (!errors.As(err, &fe) || fe.code != tc.code) {
					t.Fatalf("step %d: %#v, want code %d", step, err, tc.code)
				}
			}
		})
	}
}

func TestCloseFrames(t *testing.T) {
	for _, tc := range []struct {
		payload string
		code    int
		ok      bool
	}{
		{"", CloseNormal, true},
		{"\x03", 0, false},
		{"\x03\xe8", 1000, true},
		{"\x03\xe9bye", 1001, true},
		{"\x03\xe9\xff\xfe", 1001, false}, // the reason is not UTF-8
		{"\x03\xe7", 0, false},            // 999
		{"\x03\xec", 0, false},            // 1004
		{"\x03\xed", 0, false},            // 1005
		{"\x03\xee", 0, false},            // 1006
		{"\x03\xf7", 0, false},            // 1015
		{"\x0b\xb8", 3000, true},
		{"\x13\x87", 4999, true},
		{"\x13\x88", 0, false}, // 5000
	} {
		if code, ok := closeStatus([]byte(tc.payload)); ok != tc.ok || (ok && code != tc.code) {
			t.Errorf("closeStatus(%q) = %d %v, want %d %v", tc.payload, code, ok, tc.code, tc.ok)
		}
	}
	for _, reason := range []string{"", "short", strings.Repeat("é", 100), "\xff\xfe"} {
		b := appendCloseFrame(nil, CloseGoingAway, reason)
		if len(b) > 2+maxControl || int(b[1]) != len(b)-2 || !utf8.Valid(b[4:]) || !strings.HasPrefix(reason, string(b[4:])) {
			t.Errorf("close frame for %q: %q", reason, b)
		}
	}
}

// plainFrames is the frame format told again in the simplest way: whole input, no state, no work in place.
func plainFrames(in []byte, limit uint64) (data []byte, controls []string, broken bool) {
	fragmented, message := false, uint64(0)
	for len(in) >= 2 {
		op, fin, length, at := in[0]&15, in[0]&0x80 != 0, uint64(in[1]&0x7f), 2
		control := op >= 8
		if in[0]&0x70 != 0 || in[1]&0x80 == 0 || op == 1 || (op > 2 && op < 8) || op > 10 ||
			(control && (!fin || length > 125)) || (op == 0 && !fragmented) || (op == 2 && fragmented) {
			return data, controls, true
		}
		switch {
		case length == 126 && len(in) >= 4:
			length, at = uint64(in[2])<<8|uint64(in[3]), 4
		case length == 127 && len(in) >= 10:
			length, at = binary.BigEndian.Uint64(in[2:]), 10
		case length >= 126:
			return data, controls, false
		}
		if len(in) < at+4 {
			return data, controls, false
		}
		if !control {
			if op == 2 {
				message = 0
			}
			if length > limit || message+length > limit {
				return data, controls, true
			}
			message += length
			fragmented = !fin
		}
		key, body := in[at:at+4], in[at+4:]
		whole := uint64(len(body)) >= length
		body = bytes.Clone(body[:min(length, uint64(len(body)))])
		for i := range body {
			body[i] ^= key[i%4]
		}
		if !control {
			data = append(data, body...)
		} else if whole {
			controls = append(controls, string(rune('0'+op))+string(body))
		}
		if !whole {
			return data, controls, false
		}
		in = in[at+4+len(body):]
	}
	return data, controls, false
}

func FuzzFrames(f *testing.F) {
	f.Add(frame(0x82, []byte("hello world")), uint16(100), uint8(3))
	f.Add(bytes.Join([][]byte{frame(2, []byte("a")), frame(0x89, []byte("ping")), frame(0x80, []byte("bcd"))}, nil), uint16(9), uint8(1))
	f.Add(append(frame(0x82, make([]byte, 300)), frame(0x88, []byte{3, 232})...), uint16(1000), uint8(50))
	f.Add(claim(0x82, math.MaxUint64), uint16(1000), uint8(4))
	f.Add([]byte{0x82, 1, 'a'}, uint16(0), uint8(0))
	f.Fuzz(func(t *testing.T, in []byte, limit uint16, step uint8) {
		want, controls, broken := plainFrames(in, uint64(limit))
		fr := frameReader{limit: uint64(limit)}
		var rec recorder
		got, err := feedAll(&fr, in, int(step)+1, &rec)
		if !bytes.Equal(got, want) || (err != nil) != broken {
			t.Fatalf("%q, %v, want %q, broken %v", got, err, want, broken)
		}
		if strings.Join(rec.got, "|") != strings.Join(controls, "|") {
			t.Fatalf("controls %q, want %q", rec.got, controls)
		}
		if cap(fr.control) > 2*maxControl {
			t.Fatalf("%d bytes held", cap(fr.control))
		}
		for _, c := range controls {
			if code, ok := closeStatus([]byte(c[1:])); ok && (code < 1000 || code > 4999) {
				t.Fatalf("close code %d", code)
			}
		}
	})
}

// A claimed length takes no memory, and no frame is copied to be unmasked.
func TestFramesTakeNoMemory(t *testing.T) {
	head := claim(0x82, 256<<20)
	body := make([]byte, 8<<10)
	allocs := testing.AllocsPerRun(10, func() {
		f := frameReader{limit: 256 << 20}
		if _, err := f.feed(head, nil); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if n, err := f.feed(body, nil); n != len(body) || err != nil {
				t.Fatal(n, err)
			}
		}
	})
	if allocs > 1 { // the frameReader itself
		t.Fatalf("%v allocations", allocs)
	}
}
