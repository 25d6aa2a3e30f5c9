package transport

import (
	"bytes"
	"io"
	"strconv"
	"testing"
)

// drained is a connection whose client reads everything at once.
func drained(b *testing.B, transport string) (c *Conn, writable chan struct{}) {
	b.Helper()
	s := serve(b, transport, options{}, nil)
	cl := s.dial(b, nil)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = io.CopyBuffer(io.Discard, struct{ io.Reader }{cl.Conn}, make([]byte, 256<<10))
	}()
	c = s.conn(b)
	b.Cleanup(func() { _ = c.Close(); <-gone })
	writable = make(chan struct{}, 1)
	c.SetOnWritable(func() { writable <- struct{}{} })
	return c, writable
}

// deliver queues packet n times and flushes once, as a sweep does.
func deliver(b testing.TB, c *Conn, writable chan struct{}, packet []byte, n int, shared bool) {
	for range n {
		if !c.Queue(packet, shared) {
			b.Fatal("Queue refused")
		}
	}
	done, err := c.Flush()
	if err != nil {
		b.Fatal(err)
	}
	if !done {
		<-writable
	}
}

func BenchmarkDeliver(b *testing.B) {
	for _, transport := range transports {
		for _, n := range []int{1, 8} {
			b.Run(transport+"/packets="+strconv.Itoa(n), func(b *testing.B) {
				c, writable := drained(b, transport)
				packet := publish(200, 'x')
				b.SetBytes(int64(n * len(packet)))
				b.ReportAllocs()
				for b.Loop() {
					deliver(b, c, writable, packet, n, false)
				}
			})
		}
	}
}

func BenchmarkDeliverShared(b *testing.B) {
	for _, transport := range transports {
		b.Run(transport, func(b *testing.B) {
			c, writable := drained(b, transport)
			packet := publish(8<<10, 'x')
			b.SetBytes(int64(len(packet)))
			b.ReportAllocs()
			for b.Loop() {
				deliver(b, c, writable, packet, 1, true)
			}
		})
	}
}

// endless repeats its bytes for ever.
type endless struct {
	b  []byte
	at int
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		k := copy(p[n:], e.b[e.at:])
		n += k
		e.at = (e.at + k) % len(e.b)
	}
	return n, nil
}

func BenchmarkPacketReaderNext(b *testing.B) {
	for _, size := range []int{2, 200, 100_000} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			packet := publish(size, 'x')
			pr := NewPacketReader(&endless{b: bytes.Repeat(packet, max(1, 4096/len(packet)))})
			defer pr.Close()
			b.SetBytes(int64(len(packet)))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := pr.Next(1 << 20); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What is done for every message and subscriber takes no memory from the heap.
func TestDeliveryDoesNotAllocate(t *testing.T) {
	for _, transport := range []string{"tcp", "ws"} {
		for _, tc := range []struct {
			name   string
			packet []byte
			n      int
			shared bool
		}{
			{"copied", publish(200, 'x'), 1, false},
			{"eight copied", publish(200, 'x'), 8, false},
			{"shared", publish(8<<10, 'x'), 1, true},
			{"small shared", publish(200, 'x'), 1, true},
		} {
			t.Run(transport+"/"+tc.name, func(t *testing.T) {
				s := serve(t, transport, options{}, nil)
				cl := s.dial(t, nil)
				c := s.conn(t)
				buf := make([]byte, tc.n*len(tc.packet)+headroom)
				header := 0
				if cl.ws != nil {
					header = len(appendFrameHeader(nil, opBinary, tc.n*len(tc.packet)))
				}
				got := testing.AllocsPerRun(200, func() {
					deliver(t, c, nil, tc.packet, tc.n, tc.shared)
					if _, err := io.ReadFull(cl.Conn, buf[:header+tc.n*len(tc.packet)]); err != nil {
						t.Fatal(err)
					}
				})
				if got >= 1 && !raceEnabled {
					t.Fatalf("%v allocations per delivery", got)
				}
				if !bytes.HasSuffix(buf[:header+tc.n*len(tc.packet)], tc.packet) {
					t.Fatal("the packet did not arrive")
				}
			})
		}
	}
}
