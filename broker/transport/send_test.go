package transport

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// Send, Queue and Flush in any mixture: what the client gets is what was given, in that order, also when the socket is
// full most of the time.
func TestSendKeepsTheOrder(t *testing.T) {
	forTransports(t, func(t *testing.T, transport string) {
		s := serve(t, transport, options{listener: ListenerConfig{QueueLimit: 8 << 20, SendBuffer: 64 << 10}}, nil)
		cl := s.dial(t, nil, func(tcp *net.TCPConn) { _ = tcp.SetReadBuffer(64 << 10) })
		c := s.conn(t)
		rng := rand.New(rand.NewPCG(1, 2))
		want, total := sha256.New(), 0
		type sum struct {
			hash []byte
			err  error
		}
		got := make(chan sum, 1)
		const size = 6 << 20
		go func() {
			h := sha256.New()
			_, err := io.CopyN(h, cl, size)
			got <- sum{h.Sum(nil), err}
		}()
		for total < size {
			b := publish(rng.IntN(5000)+2, 'a'+byte(total%26))
			b = b[:min(len(b), size-total)]
			want.Write(b)
			total += len(b)
			if rng.IntN(3) == 0 {
				if !c.Queue(b, false) {
					t.Fatal("Queue refused")
				}
			} else {
				was := c.Queued()
				done, err := c.Send(b)
				if err != nil {
					t.Fatal(err)
				}
				if !done && was == 0 && c.StalledFor() == 0 {
					until(t, "drained by now", func() bool { return c.Queued() == 0 })
				}
				clear(b) // it is ours again
			}
			if c.Queued() > 4<<20 {
				until(t, "the reader has caught up", func() bool { _, _ = c.Flush(); return c.Queued() < 1<<20 })
			}
		}
		until(t, "all is gone", func() bool { done, err := c.Flush(); return done || err != nil })
		if r := <-got; r.err != nil || !bytes.Equal(r.hash, want.Sum(nil)) {
			t.Fatalf("the bytes that arrived differ: %v", r.err)
		}
	})
}

// The function of SetOnWritable is called after a Send that did not go out whole.
func TestSendTellsWhenThereIsRoom(t *testing.T) {
	forTransports(t, func(t *testing.T, transport string) {
		s := serve(t, transport, options{listener: ListenerConfig{QueueLimit: 8 << 20, SendBuffer: 64 << 10}}, nil)
		cl := s.dial(t, nil, func(tcp *net.TCPConn) { _ = tcp.SetReadBuffer(64 << 10) })
		c := s.conn(t)
		writable := make(chan struct{}, 100)
		c.SetOnWritable(func() { writable <- struct{}{} })
		sent := 0
		for c.Queued() < 4<<20 { // more than the kernel takes in the end
			b := publish(60<<10, 'x')
			sent += len(b)
			if _, err := c.Send(b); err != nil {
				t.Fatal(err)
			}
		}
		until(t, "stalled", func() bool { return c.Queued() > 0 && c.StalledFor() > 0 })
		if _, err := io.CopyN(io.Discard, cl, int64(sent)); err != nil {
			t.Fatal(err)
		}
		select {
		case <-writable:
		case <-time.After(30 * time.Second):
			t.Fatal("onWritable was not called")
		}
		until(t, "empty", func() bool { return c.Queued() == 0 && c.StalledFor() == 0 })
	})
}

// A connection that says goodbye sends nothing more, and what was queued before the goodbye arrives.
func TestSendAfterGoodbye(t *testing.T) {
	forTransports(t, func(t *testing.T, transport string) {
		s := serve(t, transport, options{}, nil)
		cl := s.dial(t, nil)
		c := s.conn(t)
		goodbye := []byte{0xe0, 0}
		if !c.Queue(goodbye, false) {
			t.Fatal("Queue refused")
		}
		c.CloseAfterFlush(10 * time.Second)
		if _, err := c.Send(publish(100, 'x')); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("Send on a closing connection: %v", err)
		}
		if b, err := io.ReadAll(cl); !bytes.Equal(b, goodbye) {
			t.Fatalf("the client got %x, %v", b, err)
		}
		_ = cl.Close()
		c.wait()
		_ = c.Close()
		if _, err := c.Send(publish(100, 'x')); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("Send on a closed connection: %v", err)
		}
	})
}

// Descriptors are used by number: bytes must never reach a connection that got the number of one that was closed while
// they were sent.
func TestSendWhileClosing(t *testing.T) {
	s := serve(t, "tcp", options{}, nil)
	const rounds = 400
	var wg sync.WaitGroup
	for n := range rounds {
		cl := s.dial(t, nil)
		c := s.conn(t)
		var id [8]byte
		binary.BigEndian.PutUint64(id[:], uint64(n))
		frame := bytes.Repeat(id[:], 64)
		wg.Go(func() {
			for {
				if _, err := c.Send(frame); err != nil {
					return
				}
			}
		})
		wg.Go(func() {
			defer cl.Close()
			b := make([]byte, 8)
			for {
				if _, err := io.ReadFull(cl, b); err != nil {
					return
				}
				if got := binary.BigEndian.Uint64(b); got != uint64(n) {
					t.Errorf("connection %d got bytes of connection %d", n, got)
					return
				}
			}
		})
		if n%4 == 3 {
			go cl.Close()
		}
		wg.Go(func() { _ = c.Close() })
	}
	wg.Wait()
}

// PUBACKs are handed over as they come, in order, whatever comes between and however the stream is cut.
func TestOnPuback(t *testing.T) {
	forTransports(t, func(t *testing.T, transport string) {
		const count = 3000
		ids := make(chan uint16, count)
		others := make(chan byte, count)
		s := serve(t, transport, options{}, func(c *Conn) {
			pr := NewPacketReader(c)
			defer pr.Close()
			pr.OnPuback(func(id uint16) { ids <- id })
			for {
				first, body, err := pr.Next(1 << 20)
				if err != nil {
					return
				}
				if first == 0x40 {
					ids <- binary.BigEndian.Uint16(body)
					continue
				}
				others <- first
			}
		})
		cl := s.dial(t, nil)
		rng := rand.New(rand.NewPCG(3, 4))
		var stream []byte
		pings := 0
		for id := range uint16(count) {
			switch rng.IntN(10) {
			case 0:
				stream = append(stream, 0xc0, 0)
				pings++
			case 1:
				stream = append(stream, 0x40, 4, byte(id>>8), byte(id), 0, 0) // with a reason code and no properties
				continue
			}
			stream = append(stream, 0x40, 2, byte(id>>8), byte(id))
		}
		for len(stream) > 0 {
			n := min(1+rng.IntN(40), len(stream))
			if _, err := cl.Write(stream[:n]); err != nil {
				t.Fatal(err)
			}
			stream = stream[n:]
		}
		for want := range uint16(count) {
			select {
			case id := <-ids:
				if id != want {
					t.Fatalf("PUBACK of %d, want %d", id, want)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("no PUBACK of %d", want)
			}
		}
		for range pings {
			if first := <-others; first != 0xc0 {
				t.Fatalf("a packet of type %x", first)
			}
		}
		_ = cl.Close() // right behind its last bytes
		until(t, "the end is seen", func() bool { return s.l.Stats().Active == 0 })
	})
}

// The end of a stream is seen also when it comes together with an acknowledgement.
func TestEndBehindPuback(t *testing.T) {
	s := serve(t, "tcp", options{}, func(c *Conn) {
		pr := NewPacketReader(c)
		defer pr.Close()
		pr.OnPuback(func(uint16) {})
		for {
			if _, _, err := pr.Next(1 << 20); err != nil {
				return
			}
		}
	})
	for range 200 {
		cl := s.dial(t, nil)
		if _, err := cl.Write([]byte{0x40, 2, 0, 1}); err != nil {
			t.Fatal(err)
		}
		_ = cl.Close()
	}
	until(t, "all ends are seen", func() bool { return s.l.Stats().Active == 0 })
}
