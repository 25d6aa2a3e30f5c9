package transport

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

func TestPacketReader(t *testing.T) {
	pkt := func(n int) []byte { return publish(n, 'x') }
	for _, tc := range []struct {
		name  string
		in    []byte
		limit int
		want  []int // body lengths
		err   error
	}{
		{"empty", nil, 10, nil, io.EOF},
		{"ping", []byte{0xc0, 0}, 10, []int{0}, io.EOF},
		{"two", append(pkt(3), pkt(4)...), 10, []int{3, 4}, io.EOF},
		{
			"edges", bytes.Join([][]byte{pkt(127), pkt(128), pkt(16383), pkt(16384), pkt(300_000)}, nil), 1 << 20,
			[]int{127, 128, 16383, 16384, 300_000},
			io.EOF,
		},
		{"at the limit", pkt(10), 10, []int{10}, io.EOF},
		{"above the limit", append(pkt(11), pkt(2)...), 10, []int{-11, 2}, io.EOF},
		{"far above the limit", append(pkt(100_000), pkt(2)...), 10, []int{-100_000, 2}, io.EOF},
		{"length in more bytes than needed", []byte{0x30, 0x82, 0x80, 0x00, 'x', 'x'}, 10, []int{2}, io.EOF},
		{"five length bytes", []byte{0x30, 0x80, 0x80, 0x80, 0x80, 0x01}, 10, nil, ErrMalformed},
		{"four endless length bytes", []byte{0x30, 0xff, 0xff, 0xff, 0xff}, 10, nil, ErrMalformed},
		{"end in the header", []byte{0x30}, 10, nil, io.ErrUnexpectedEOF},
		{"end in the length", []byte{0x30, 0x80}, 10, nil, io.ErrUnexpectedEOF},
		{"end in the body", []byte{0x30, 0x05, 'a'}, 10, nil, io.ErrUnexpectedEOF},
		{"end in a body that is thrown away", pkt(20)[:15], 10, []int{-20}, io.ErrUnexpectedEOF},
	} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader,
			"half": iotest.HalfReader, "dataerr": iotest.DataErrReader,
		} {
			t.Run(tc.name+"/"+name, func(t *testing.T) {
				pr := NewPacketReader(wrap(bytes.NewReader(tc.in)))
				defer pr.Close()
				var got []int
				for {
					_, body, err := pr.Next(tc.limit)
					if large, ok := errors.AsType[*TooLargeError](err); ok {
						if !errors.Is(err, ErrTooLarge) || large.First != 0x30 || large.Limit != tc.limit {
							t.Fatalf("%+v", large)
						}
						got = append(got, -large.Length)
						continue
					}
					if err != nil {
						if !errors.Is(err, tc.err) {
							t.Fatalf("error %v, want %v", err, tc.err)
						}
						break
					}
					if strings.Trim(string(body), "x") != "" {
						t.Fatal("body mixed up")
					}
					got = append(got, len(body))
				}
				if len(got) != len(tc.want) {
					t.Fatalf("lengths %v, want %v", got, tc.want)
				}
				for i := range got {
					if got[i] != tc.want[i] {
						t.Fatalf("lengths %v, want %v", got, tc.want)
					}
				}
			})
		}
	}
}

func TestPeekAndDiscard(t *testing.T) {
	in := append([]byte{0x32, 0x90, 0x4e}, []byte("\x00\x05topic\x12\x34")...) // 10,000 bytes
	in = append(in, make([]byte, 10_000-9)...)
	in = append(in, 0xc0, 0)
	for name, r := range map[string]io.Reader{"whole": bytes.NewReader(in), "bytes": iotest.OneByteReader(bytes.NewReader(in))} {
		t.Run(name, func(t *testing.T) {
			pr := NewPacketReader(r)
			defer pr.Close()
			if b, err := pr.Peek(5); b != nil || err != nil {
				t.Fatalf("Peek without a refused body: %q %v", b, err)
			}
			first, _, err := pr.Next(9999)
			if first != 0x32 || !errors.Is(err, ErrTooLarge) {
				t.Fatalf("%x %v", first, err)
			}
			for _, n := range []int{2, 9} {
				b, err := pr.Peek(n)
				if err != nil || string(b) != "\x00\x05topic\x12\x34"[:n] {
					t.Fatalf("Peek(%d) = %q %v", n, b, err)
				}
			}
			if b, err := pr.Peek(1 << 20); err != nil || len(b) != 10_000 {
				t.Fatalf("Peek of all: %d %v", len(b), err)
			}
			if err := pr.Discard(9000); err != nil {
				t.Fatal(err)
			}
			if b, err := pr.Peek(5000); err != nil || len(b) != 1000 {
				t.Fatalf("Peek of the rest: %d %v", len(b), err)
			}
			if err := pr.Discard(1 << 30); err != nil {
				t.Fatal(err)
			}
			if first, body, err := pr.Next(0); first != 0xc0 || len(body) != 0 || err != nil {
				t.Fatalf("after it: %x %q %v", first, body, err)
			}
		})
	}
}

func TestOwn(t *testing.T) {
	in := bytes.Join([][]byte{publish(100, 'a'), publish(200_000, 'b'), publish(100, 'c')}, nil)
	for name, r := range map[string]io.Reader{"whole": bytes.NewReader(in), "half": iotest.HalfReader(bytes.NewReader(in))} {
		t.Run(name, func(t *testing.T) {
			pr := NewPacketReader(r)
			defer pr.Close()
			var kept [][]byte
			for range 3 {
				if _, _, err := pr.Next(1 << 20); err != nil {
					t.Fatal(err)
				}
				kept = append(kept, pr.Own())
			}
			if _, _, err := pr.Next(1 << 20); !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			for i, n := range []int{100, 200_000, 100} {
				if len(kept[i]) != n || bytes.Count(kept[i], []byte{'a' + byte(i)}) != n {
					t.Fatalf("body %d was not kept", i)
				}
			}
		})
	}
}

// stuck gives some bytes and then nothing.
type stuck struct{ r io.Reader }

var errStuck = errors.New("stuck")

func (s stuck) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if errors.Is(err, io.EOF) {
		err = errStuck
	}
	return n, err
}

// A claimed length takes no memory; only bytes that came do.
func TestClaimedLengthTakesNoMemory(t *testing.T) {
	head := []byte{0x30, 0xff, 0xff, 0xff, 0x7f}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	readers := make([]*PacketReader, 100)
	for i := range readers {
		readers[i] = NewPacketReader(stuck{bytes.NewReader(append(head, make([]byte, 100)...))})
		if _, _, err := readers[i].Next(MaxPacketLength); !errors.Is(err, errStuck) {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if per := (after.TotalAlloc - before.TotalAlloc) / 100; per > 2*storeSize {
		t.Fatalf("%d bytes taken for 100 bytes received", per)
	}
	runtime.KeepAlive(readers)
}

func TestIdleReaderHoldsNoBuffer(t *testing.T) {
	pr := NewPacketReader(stuck{bytes.NewReader(append(publish(100, 'x'), publish(100_000, 'x')...))})
	for range 2 {
		if _, _, err := pr.Next(1 << 20); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := pr.Next(1 << 20); !errors.Is(err, errStuck) {
		t.Fatal(err)
	}
	if pr.store != nil {
		t.Fatalf("%d bytes held while waiting", len(pr.store.b))
	}
}

func FuzzPacketReader(f *testing.F) {
	f.Add([]byte{0xc0, 0}, uint16(10), uint64(1))
	f.Add(append(publish(200, 'x'), publish(9000, 'y')...), uint16(5000), uint64(7))
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3}, uint16(100), uint64(3))
	f.Add([]byte{0x30, 0x82, 0x80, 0x80, 0x00, 1, 2}, uint16(100), uint64(2))
	f.Fuzz(func(t *testing.T, in []byte, limit uint16, seed uint64) {
		pr := NewPacketReader(&steps{b: in, rnd: rand.NewPCG(seed, 0)})
		defer pr.Close()
		at := 0 // where the plain decoder stands
		for {
			var first byte
			var body []byte
			err := untilInTime(func() (err error) { first, body, err = pr.Next(int(limit)); return err })
			length, size, lerr := 0, 0, error(nil)
			if at < len(in) {
				length, size, lerr = remainingLength(in[at+1:])
			}
			switch {
			case at == len(in):
				if !errors.Is(err, io.EOF) {
					t.Fatalf("at the end: %v", err)
				}
				return
			case lerr != nil:
				if !errors.Is(err, ErrMalformed) {
					t.Fatalf("%v, want malformed", err)
				}
				return
			case size == 0:
				if !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("%v, want an unexpected end", err)
				}
				return
			}
			from := at + 1 + size
			rest := in[from:]
			if length > int(limit) {
				var large *TooLargeError
				if !errors.As(err, &large) || large.Length != length || large.First != in[at] {
					t.Fatalf("%v, want too large %d", err, length)
				}
				want := min(7, length)
				var b []byte
				err := untilInTime(func() (err error) { b, err = pr.Peek(7); return err })
				if len(rest) >= want && (err != nil || !bytes.Equal(b, rest[:want])) {
					t.Fatalf("Peek %x %v, want %x", b, err, rest[:want])
				}
				if len(rest) < length {
					if err := untilInTime(func() error { return pr.Discard(length) }); !errors.Is(err, io.ErrUnexpectedEOF) {
						t.Fatal(err)
					}
					return
				}
				at = from + length
				continue
			}
			if len(rest) < length {
				if !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("%v, want an unexpected end", err)
				}
				return
			}
			if err != nil || first != in[at] || !bytes.Equal(body, rest[:length]) {
				t.Fatalf("first %x body %x err %v", first, body, err)
			}
			at = from + length
		}
	})
}

// steps reads in pieces of random size, with time-outs in between.
type steps struct {
	b   []byte
	rnd *rand.PCG
}

func (s *steps) Read(p []byte) (int, error) {
	r := s.rnd.Uint64()
	switch {
	case r%8 == 0:
		return 0, os.ErrDeadlineExceeded
	case len(s.b) == 0:
		return 0, io.EOF
	}
	n := copy(p, s.b[:min(1+int((r>>32)%(1+(r>>16)%512)), len(s.b))])
	s.b = s.b[n:]
	return n, nil
}

// untilInTime calls fn again after each time-out.
func untilInTime(fn func() error) error {
	for {
		if err := fn(); !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
}
