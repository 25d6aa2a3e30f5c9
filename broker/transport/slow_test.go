package transport

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const smallQueue = 256 << 10

// slowly is a connection whose client reads only what the test reads.
func slowly(t testing.TB, s *server) (*Conn, *client) {
	cl := s.dial(t, nil, func(tcp *net.TCPConn) { _ = tcp.SetReadBuffer(32 << 10) })
	return s.conn(t), cl
}

// fill queues until the hard limit refuses, and returns how many bytes were taken.
func fill(t testing.TB, c *Conn, packet []byte) int {
	t.Helper()
	total := 0
	for c.Queue(packet, false) {
		total += len(packet)
		start := time.Now()
		if _, err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > time.Second {
			t.Fatalf("Flush took %v", d)
		}
	}
	return total
}

// A client that never reads is refused at the limit, holds bounded memory, and is seen to stall; Close is immediate.
func TestClientThatNeverReads(t *testing.T) {
	forTransports(t, func(t *testing.T, transport string) {
		s := serve(t, transport, options{listener: ListenerConfig{QueueLimit: smallQueue, SendBuffer: 8 << 10}}, nil)
		const n = 8
		conns := make([]*Conn, n)
		for i := range conns {
			conns[i], _ = slowly(t, s)
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for _, c := range conns {
			fill(t, c, publish(1000, 'x'))
			for range 1000 { // hopeless tries take nothing either
				if c.Queue(publish(1000, 'x'), false) {
					fill(t, c, publish(1000, 'x'))
				}
				_, _ = c.Flush()
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if per := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n; per > 2*smallQueue {
			t.Errorf("%d bytes held for a queue of %d", per, smallQueue)
		}
		c := conns[0]
		until(t, "stalled", func() bool { return c.StalledFor() > 30*time.Millisecond })
		// Pending bytes are framed and encrypted a batch at a time, so there may be that much more than was queued.
		if q := c.Queued(); q <= 0 || q > smallQueue+2*sealBatch {
			t.Errorf("Queued %d", q)
		}
		for _, c := range conns {
			start := time.Now()
			_ = c.Close()
			if d := time.Since(start); d > time.Second {
				t.Errorf("Close took %v", d)
			}
			c.wait()
			if c.Queued() != 0 || c.StalledFor() != 0 {
				t.Errorf("Queued %d, StalledFor %v after Close", c.Queued(), c.StalledFor())
			}
		}
		until(t, "all gone", func() bool { return s.l.Stats().Active == 0 })
	})
}

// The kernel, too, holds little for a client that never reads: what its window lets out, and unsentBytes. Of its own choice it
// would hold four megabytes.
func TestKernelHoldsLittle(t *testing.T) {
	forTransports(t, func(t *testing.T, transport string) {
		s := serve(t, transport, options{listener: ListenerConfig{QueueLimit: smallQueue}}, nil)
		c, _ := slowly(t, s)
		total := fill(t, c, publish(1000, 'x'))
		if held := total - c.Queued(); held <= 0 || held > 4*unsentBytes {
			t.Errorf("The kernel took %d bytes of %d", held, total)
		} else {
			t.Log(held)
		}
	})
}

// A stall is over when the client reads on, and the function of SetOnWritable says so.
func TestStallEnds(t *testing.T) {
	forTransports(t, func(t *testing.T, transport string) {
		s := serve(t, transport, options{listener: ListenerConfig{QueueLimit: smallQueue, SendBuffer: 8 << 10}}, nil)
		c, cl := slowly(t, s)
		writable := make(chan struct{}, 10)
		c.SetOnWritable(func() { writable <- struct{}{} })
		total, packet := 0, publish(1000, 'x')
		for c.Queue(packet, false) {
			total += len(packet)
		}
		if done, err := c.Flush(); done || err != nil {
			t.Fatalf("Flush of more than the kernel takes: %v %v", done, err)
		}
		until(t, "stalled", func() bool { return c.StalledFor() > 10*time.Millisecond })
		if _, err := io.CopyN(io.Discard, cl, int64(total)); err != nil {
			t.Fatal(err)
		}
		<-writable
		if c.StalledFor() != 0 || c.Queued() != 0 || len(writable) != 0 {
			t.Fatalf("StalledFor %v, Queued %d, %d more calls", c.StalledFor(), c.Queued(), len(writable))
		}
	})
}

// A client that has shut down its sending half while the socket is full still gets the rest.
func TestCloseAfterFlushHalfClosed(t *testing.T) {
	s := serve(t, "tcp", options{listener: ListenerConfig{QueueLimit: smallQueue, SendBuffer: 8 << 10}}, func(c *Conn) {
		n := fill(t, c, publish(1000, 'x'))
		_, err := c.Read(make([]byte, 1)) // the client's end
		if n == 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%d bytes queued, Read: %v", n, err)
		}
		c.CloseAfterFlush(10 * time.Second)
	})
	cl := s.dial(t, nil, func(tcp *net.TCPConn) { _ = tcp.SetReadBuffer(32 << 10) })
	if err := cl.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, cl)
	if err != nil || n < smallQueue-2000 {
		t.Fatalf("%d bytes, then %v", n, err)
	}
	until(t, "connection gone", func() bool { return s.l.Stats().Active == 0 })
}

// Whatever is queued, flushed and read in whatever order: the client gets exactly the bytes, in order.
func TestBytesArriveInOrder(t *testing.T) {
	forTransports(t, func(t *testing.T, transport string) {
		s := serve(t, transport, options{listener: ListenerConfig{QueueLimit: smallQueue, SendBuffer: 32 << 10}}, nil)
		noise := make([]byte, 1<<20)
		_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
		parked := 0
		rapid.Check(t, func(rt *rapid.T) {
			c, cl := slowly(t, s)
			defer c.Close()
			defer cl.Conn.Close()
			var sent []byte // all that Queue took
			read, flushed := 0, 0
			queue := func(size int, shared bool) {
				from := len(sent) * 7 % (len(noise) - size)
				want := noise[from : from+size]
				b := bytes.Clone(want)
				if !c.Queue(b, shared) {
					if c.Queued()+size <= smallQueue {
						rt.Fatalf("refused %d bytes with %d queued", size, c.Queued())
					}
					return
				}
				sent = append(sent, want...)
				if !shared {
					clear(b) // it was copied
				}
			}
			flush := func() {
				if _, err := c.Flush(); err != nil {
					rt.Fatal(err)
				}
				flushed = len(sent)
			}
			take := func(n int) {
				got := make([]byte, min(n, flushed-read))
				if _, err := io.ReadFull(cl, got); err != nil {
					rt.Fatal(err)
				}
				if !bytes.Equal(got, sent[read:read+len(got)]) {
					rt.Fatalf("other bytes between %d and %d", read, read+len(got))
				}
				read += len(got)
			}
			for range rapid.IntRange(1, 40).Draw(rt, "steps") {
				switch rapid.IntRange(0, 4).Draw(rt, "what") {
				case 0:
					queue(rapid.IntRange(1, 300).Draw(rt, "size"), rapid.Bool().Draw(rt, "shared"))
				case 1:
					queue(rapid.IntRange(1, 150_000).Draw(rt, "large"), rapid.Bool().Draw(rt, "shared"))
				case 2, 3:
					flush()
				default:
					take(rapid.IntRange(1, 100_000).Draw(rt, "take"))
				}
			}
			flush()
			c.CloseAfterFlush(20 * time.Second)
			take(len(sent))
			if _, err := cl.Read(make([]byte, 1)); err == nil || (cl.ws == nil && !errors.Is(err, io.EOF)) {
				rt.Fatalf("after the last byte: %v", err)
			}
			c.wmu.Lock()
			defer c.wmu.Unlock()
			if c.parkDone != nil {
				parked++
			}
		})
		if parked == 0 {
			t.Fatal("no client was ever slow")
		}
		t.Logf("%d clients were slow", parked)
	})
}
