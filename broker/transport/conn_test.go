package transport

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

func echo(c *Conn) {
	pr := NewPacketReader(c)
	defer pr.Close()
	for {
		first, body, err := pr.Next(1 << 20)
		if err != nil {
			return
		}
		out := append([]byte{first}, publish(len(body), 'x')[1:]...)
		copy(out[len(out)-len(body):], body)
		if !c.Queue(out, false) {
			return
		}
		if pr.Buffered() == 0 {
			if _, err := c.Flush(); err != nil {
				return
			}
		}
	}
}

func TestEcho(t *testing.T) {
	forTransports(t, func(t *testing.T, transport string) {
		s := serve(t, transport, options{}, func(c *Conn) {
			if c.Transport() != transport {
				t.Errorf("Transport() = %q", c.Transport())
			}
			echo(c)
		})
		c := s.dial(t, nil)
		var want []byte
		for n := range 300 {
			want = append(want, publish(n*7, 'a'+byte(n%26))...)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for b := want; len(b) > 0; {
				k := min(1+len(b)%1500, len(b))
				if _, err := c.Write(b[:k]); err != nil {
					t.Error(err)
					return
				}
				b = b[k:]
			}
		})
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if !bytes.Equal(got, want) {
			t.Fatal("echo differs")
		}
		_ = c.Close()
		until(t, "connection gone", func() bool { return s.l.Stats().Active == 0 })
	})
}

// A client that does not read: Flush says so once, nothing grows, and all of it arrives in order when it reads.
func TestParkAndResume(t *testing.T) {
	forTransports(t, func(t *testing.T, transport string) {
		s := serve(t, transport, options{listener: ListenerConfig{QueueLimit: 8 << 20, SendBuffer: 64 << 10}}, nil)
		cl := s.dial(t, nil, func(tcp *net.TCPConn) { _ = tcp.SetReadBuffer(64 << 10) })
		c := s.conn(t)
		writable := make(chan struct{}, 100)
		c.SetOnWritable(func() { writable <- struct{}{} })

		sum, total := sha256.New(), 0
		big := bytes.Repeat([]byte("shared payload "), 1000)
		queue := func() {
			for i := range 16 {
				b := publish(200, 'a'+byte(i))
				if i%5 == 4 {
					b = big
				}
				if !c.Queue(b, i%5 == 4) {
					t.Fatal("Queue refused below the limit")
				}
				sum.Write(b)
				total += len(b)
			}
		}
		flush := func() {
			t.Helper()
			if done, err := c.Flush(); done || err != nil {
				t.Fatalf("Flush of more than the kernel takes: %v %v", done, err)
			}
		}
		for range 40 {
			queue()
		}
		flush()
		before := runtime.NumGoroutine()
		for range 20 {
			queue()
			flush()
		}
		if n := runtime.NumGoroutine(); n > before {
			t.Fatalf("%d goroutines, %d before", n, before)
		}
		until(t, "stalled", func() bool { return c.Queued() > 0 && c.StalledFor() > 0 })
		select {
		case <-writable:
			t.Fatal("onWritable on a full socket")
		default:
		}
		got := sha256.New()
		if _, err := io.CopyN(got, cl, int64(total)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Sum(nil), sum.Sum(nil)) {
			t.Fatal("the bytes that arrived differ")
		}
		select {
		case <-writable:
		case <-time.After(10 * time.Second):
			t.Fatal("onWritable was not called")
		}
		if c.Queued() != 0 || c.StalledFor() != 0 {
			t.Fatalf("Queued %d, StalledFor %v after draining", c.Queued(), c.StalledFor())
		}
		if !c.Queue([]byte{0xd0, 0}, false) {
			t.Fatal("Queue refused")
		}
		if done, err := c.Flush(); !done || err != nil {
			t.Fatal(done, err)
		}
		if _, err := io.ReadFull(cl, make([]byte, 2)); err != nil {
			t.Fatal(err)
		}
		if len(writable) != 0 {
			t.Fatal("onWritable was called more than once")
		}
	})
}

func TestQueueLimitAndCut(t *testing.T) {
	forTransports(t, func(t *testing.T, transport string) {
		s := serve(t, transport, options{listener: ListenerConfig{QueueLimit: 64 << 10, SendBuffer: 8 << 10}}, nil)
		s.dial(t, nil, func(tcp *net.TCPConn) { _ = tcp.SetReadBuffer(8 << 10) })
		c := s.conn(t)
		called := atomic.Int64{}
		c.SetOnWritable(func() { called.Add(1) })
		for c.Queue(publish(1000, 'x'), false) {
			if _, err := c.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if q := c.Queued(); q > 64<<10+2*sealBatch {
			t.Fatalf("%d bytes queued", q)
		}
		_ = c.Close()
		_ = c.Close()
		if c.Queue([]byte{1}, false) {
			t.Fatal("Queue on a closed connection")
		}
		if done, err := c.Flush(); done || !errors.Is(err, net.ErrClosed) {
			t.Fatalf("Flush: %v %v", done, err)
		}
		c.wait()
		if c.Queued() != 0 || c.wire.head != nil || c.pending.head != nil || c.sealed.head != nil {
			t.Fatalf("%d bytes left", c.Queued())
		}
		if called.Load() != 0 {
			t.Fatal("onWritable after Close")
		}
		until(t, "listener empty", func() bool { return s.l.Stats().Active == 0 })
	})
}

func TestConcurrentUse(t *testing.T) {
	forTransports(t, func(t *testing.T, transport string) {
		s := serve(t, transport, options{listener: ListenerConfig{QueueLimit: 64 << 20}}, nil)
		cl := s.dial(t, nil)
		c := s.conn(t)
		const writers, each, size = 4, 500, 300
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for range each {
					if !c.Queue(publish(size, 'a'+byte(w)), false) {
						t.Error("Queue refused")
						return
					}
					_, _ = c.Flush()
					_, _ = c.Queued(), c.StalledFor()
				}
			})
		}
		var counts [writers]int
		pr := NewPacketReader(cl)
		defer pr.Close()
		for range writers * each {
			_, body, err := pr.Next(1 << 20)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Count(body, body[:1]) != size {
				t.Fatalf("mixed packet %q", body)
			}
			counts[body[0]-'a']++
		}
		wg.Wait()
		if counts != [writers]int{each, each, each, each} {
			t.Fatal(counts)
		}
	})
}

// Close from several goroutines while others queue, flush and read.
func TestCloseRace(t *testing.T) {
	forTransports(t, func(t *testing.T, transport string) {
		s := serve(t, transport, options{listener: ListenerConfig{SendBuffer: 8 << 10}}, nil)
		for i := range 20 {
			s.dial(t, nil)
			c := s.conn(t)
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() {
					for c.Queue(publish(3000, 'x'), true) {
						_, _ = c.Flush()
					}
				})
			}
			wg.Go(func() {
				if i%2 == 0 {
					c.CloseAfterFlush(time.Millisecond)
				}
				_ = c.Close()
			})
			wg.Wait()
			c.wait()
			if c.Queued() != 0 {
				t.Fatalf("%d bytes left", c.Queued())
			}
		}
		until(t, "listener empty", func() bool { return s.l.Stats().Active == 0 })
	})
}

// The last packet arrives although the client's own bytes are never read, and although handle returns at once.
func TestCloseAfterFlush(t *testing.T) {
	forTransports(t, func(t *testing.T, transport string) {
		readErr := make(chan error, 1)
		conns := make(chan *Conn, 1)
		s := serve(t, transport, options{}, func(c *Conn) {
			conns <- c
			_, err := c.Read(make([]byte, 1))
			readErr <- err
		})
		cl := s.dial(t, nil)
		c := <-conns
		if !c.Queue([]byte{0xe0, 0}, false) {
			t.Fatal("Queue refused")
		}
		c.CloseWithStatus(5*time.Second, CloseGoingAway, "restart")
		if c.Queue([]byte{1}, false) {
			t.Fatal("Queue while closing")
		}
		if err := c.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if err := <-readErr; !errors.Is(err, net.ErrClosed) {
			t.Fatalf("Read: %v", err)
		}
		if _, err := cl.Write(publish(50_000, 'x')); err != nil && cl.ws == nil {
			t.Fatal(err)
		}
		got := make([]byte, 2)
		if _, err := io.ReadFull(cl, got); err != nil || got[0] != 0xe0 {
			t.Fatalf("%x %v", got, err)
		}
		_, err := cl.Read(got)
		if cl.ws != nil {
			var ce *websocket.CloseError
			if !errors.As(err, &ce) || ce.Code != CloseGoingAway || ce.Text != "restart" {
				t.Fatalf("close frame: %v", err)
			}
		} else if !errors.Is(err, io.EOF) {
			t.Fatalf("end: %v", err)
		}
		_ = cl.Close()
		until(t, "connection gone", func() bool { return s.l.Stats().Active == 0 })
	})
}

// A client that never reads holds a closing connection no longer than the grace time.
func TestCloseAfterFlushGrace(t *testing.T) {
	forTransports(t, func(t *testing.T, transport string) {
		s := serve(t, transport, options{listener: ListenerConfig{SendBuffer: 8 << 10}}, nil)
		s.dial(t, nil, func(tcp *net.TCPConn) { _ = tcp.SetReadBuffer(8 << 10) })
		c := s.conn(t)
		for c.Queue(publish(1000, 'x'), false) {
			_, _ = c.Flush()
		}
		start := time.Now()
		c.CloseAfterFlush(30 * time.Millisecond)
		if d := time.Since(start); d > 20*time.Millisecond {
			t.Errorf("CloseAfterFlush took %v", d)
		}
		until(t, "connection gone", func() bool { return s.l.Stats().Active == 0 })
		if c.Queued() != 0 {
			t.Fatalf("%d bytes left", c.Queued())
		}
	})
}

// A slow reader gets everything that was queued before CloseAfterFlush.
func TestCloseAfterFlushDrains(t *testing.T) {
	forTransports(t, func(t *testing.T, transport string) {
		s := serve(t, transport, options{listener: ListenerConfig{QueueLimit: 512 << 10, SendBuffer: 64 << 10}}, nil)
		cl := s.dial(t, nil, func(tcp *net.TCPConn) { _ = tcp.SetReadBuffer(64 << 10) })
		c := s.conn(t)
		total := 0
		for b := publish(1000, 'x'); c.Queue(b, false); total += len(b) {
			_, _ = c.Flush()
		}
		c.CloseAfterFlush(10 * time.Second)
		n, err := io.Copy(io.Discard, cl)
		if int(n) != total {
			t.Fatalf("%d of %d bytes, then %v", n, total, err)
		}
		_ = cl.Close()
		until(t, "connection gone", func() bool { return s.l.Stats().Active == 0 })
	})
}

func TestReadDeadline(t *testing.T) {
	forTransports(t, func(t *testing.T, transport string) {
		errs := make(chan error, 4)
		s := serve(t, transport, options{}, func(c *Conn) {
			pr := NewPacketReader(c)
			defer pr.Close()
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			_, _, err := pr.Next(100)
			errs <- err
			_ = c.SetReadDeadline(time.Time{})
			_, body, err := pr.Next(100)
			if string(body) != "hello" {
				t.Errorf("body %q", body)
			}
			errs <- err
		})
		cl := s.dial(t, nil)
		if err := <-errs; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("Next: %v", err)
		}
		if _, err := cl.Write([]byte("\x30\x05hello")); err != nil {
			t.Fatal(err)
		}
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	})
}
