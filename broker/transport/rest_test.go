package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// resting is a Handler that lets its connection rest whenever it can, and what it saw.
type resting struct {
	conns   chan *Conn
	packets chan string
	acks    chan uint16
	ended   chan error
	calls   atomic.Int64 // of the Handler
}

func newResting() *resting {
	return &resting{
		conns: make(chan *Conn, 4096), packets: make(chan string, 4096), acks: make(chan uint16, 4096),
		ended: make(chan error, 4096),
	}
}

func (r *resting) handle(c *Conn) Handler {
	pr := NewPacketReader(c)
	pr.OnPuback(func(id uint16) { r.acks <- id })
	var h Handler
	h = func(*Conn) Handler {
		r.calls.Add(1)
		for {
			if pr.Idle() {
				return h
			}
			_, body, err := pr.Next(1 << 20)
			if err != nil {
				pr.Close()
				r.ended <- err
				return nil
			}
			r.packets <- string(body)
		}
	}
	r.conns <- c
	return h(c)
}

// lies waits until a connection rests.
func lies(t *testing.T, c *Conn) {
	t.Helper()
	until(t, "the connection rests", func() bool {
		c.desc.mu.Lock()
		defer c.desc.mu.Unlock()
		return c.desc.resting
	})
}

func puback(id uint16) []byte { return binary.BigEndian.AppendUint16([]byte{0x40, 2}, id) }

func receive[T any](t *testing.T, what string, ch chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("no %s came", what)
		panic("unreachable")
	}
}

func TestRestingConnectionsHoldNoGoroutine(t *testing.T) {
	r := newResting()
	s := serve(t, "tcp", options{handler: r.handle}, nil)
	var conns []*Conn
	var clients []*client
	for range 200 {
		clients = append(clients, s.dial(t, nil))
		conns = append(conns, receive(t, "connection", r.conns))
	}
	for _, c := range conns {
		lies(t, c)
	}
	until(t, "goroutines end", func() bool { return runtime.NumGoroutine() < 100 })
	for i, cl := range clients {
		_, _ = cl.Write(puback(uint16(i)))
		if got := receive(t, "PUBACK", r.acks); got != uint16(i) {
			t.Fatalf("PUBACK %d, want %d", got, i)
		}
	}
	if n := r.calls.Load(); n > int64(len(conns)) {
		t.Fatalf("PUBACKs woke %d handlers", n-int64(len(conns)))
	}
}

// Whatever comes while a connection rests arrives, in order, and however it is cut into segments.
func TestWhatWakesARestingConnection(t *testing.T) {
	r := newResting()
	s := serve(t, "tcp", options{handler: r.handle}, nil)
	cl := s.dial(t, nil)
	c := receive(t, "connection", r.conns)
	say := func(pieces ...[]byte) {
		for _, p := range pieces {
			_, _ = cl.Write(p)
		}
	}
	for i, pieces := range [][][]byte{
		{publish(3, 'a')},
		{append(puback(7), publish(3, 'a')...)},
		{{0x30}, {3}, []byte("aa"), []byte("a")},
		{publish(20_000, 'a')},
		{append(publish(3, 'a'), puback(7)...)},
	} {
		lies(t, c)
		say(pieces...)
		if got := receive(t, "packet", r.packets); got[:3] != "aaa" {
			t.Fatalf("%d: packet %q", i, got)
		}
	}
	if len(r.acks) != 1 {
		t.Fatalf("%d PUBACKs", len(r.acks))
	}
	if got := receive(t, "PUBACK behind another packet", r.packets); got != "\x00\x07" { // that is Next's
		t.Fatalf("packet %q", got)
	}
}

func TestEndOfARestingConnection(t *testing.T) {
	for name, tc := range map[string]struct {
		do   func(c *Conn, cl *client)
		want func(error) bool
	}{
		"the client ends":           {func(_ *Conn, cl *client) { _ = cl.Close() }, func(err error) bool { return errors.Is(err, io.EOF) }},
		"its half":                  {func(_ *Conn, cl *client) { _ = cl.Conn.(*net.TCPConn).CloseWrite() }, func(err error) bool { return errors.Is(err, io.EOF) }},
		"with last words":           {func(_ *Conn, cl *client) { _, _ = cl.Write(puback(1)); _ = cl.Close() }, func(err error) bool { return errors.Is(err, io.EOF) }},
		"in the middle of a packet": {func(_ *Conn, cl *client) { _, _ = cl.Write([]byte{0x30}); _ = cl.Close() }, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"a reset":                   {func(_ *Conn, cl *client) { _ = cl.Conn.(*net.TCPConn).SetLinger(0); _ = cl.Close() }, func(err error) bool { return err != nil }},
		"Close":                     {func(c *Conn, _ *client) { _ = c.Close() }, func(err error) bool { return errors.Is(err, net.ErrClosed) }},
		"CloseAfterFlush":           {func(c *Conn, _ *client) { c.CloseAfterFlush(time.Minute) }, func(err error) bool { return errors.Is(err, net.ErrClosed) }},
		"a deadline":                {func(c *Conn, _ *client) { _ = c.SetReadDeadline(time.Now().Add(time.Millisecond)) }, func(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }},
		"a deadline that is past":   {func(c *Conn, _ *client) { _ = c.SetReadDeadline(time.Unix(1, 0)) }, func(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }},
		"the last of several deadlines": {func(c *Conn, _ *client) {
			_ = c.SetReadDeadline(time.Now().Add(time.Hour))
			_ = c.SetReadDeadline(time.Unix(1, 0))
		}, func(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }},
		"Close in the same moment twice": {func(c *Conn, _ *client) { go c.Close(); _ = c.Close() }, func(err error) bool { return errors.Is(err, net.ErrClosed) }},
	} {
		t.Run(name, func(t *testing.T) {
			r := newResting()
			s := serve(t, "tcp", options{handler: r.handle}, nil)
			cl := s.dial(t, nil)
			c := receive(t, "connection", r.conns)
			lies(t, c)
			tc.do(c, cl)
			if err := receive(t, "end", r.ended); !tc.want(err) {
				t.Fatalf("ended with %v", err)
			}
			_ = cl.Close()
			until(t, "nothing is left", func() bool { return s.l.Stats().Active == 0 })
		})
	}
}

func TestPanicAfterARest(t *testing.T) {
	for name, first := range map[string][]byte{"in the handler": {0x30, 0}, "in the function for PUBACKs": puback(1)} {
		t.Run(name, func(t *testing.T) {
			var log logBuffer
			conns := make(chan *Conn, 1)
			s := serve(t, "tcp", options{log: log.logger(), handler: func(c *Conn) Handler {
				pr := NewPacketReader(c)
				pr.OnPuback(func(uint16) { panic("boom") })
				for !pr.Idle() {
					runtime.Gosched()
				}
				conns <- c
				return func(*Conn) Handler {
					if _, _, err := pr.Next(1); err != nil {
						return nil
					}
					panic("boom")
				}
			}}, nil)
			cl := s.dial(t, nil)
			lies(t, receive(t, "connection", conns))
			_, _ = cl.Write(first)
			_, _ = io.ReadAll(cl)
			until(t, "connection gone", func() bool { return s.l.Stats().Active == 0 })
			if n := s.l.Stats().Panics; n != 1 {
				t.Fatalf("%d panics counted: %s", n, log.String())
			}
		})
	}
}

// Nothing is lost and nobody sleeps for ever when bytes come in the moment a connection lies down: many clients write
// packets and PUBACKs in pieces, and each waits for its answer before it goes on.
func TestLyingDownLosesNothing(t *testing.T) {
	const clients, rounds = 16, 300
	s := serve(t, "tcp", options{handler: func(c *Conn) Handler {
		pr := NewPacketReader(c)
		acked := 0
		pr.OnPuback(func(uint16) { acked++ })
		var h Handler
		h = func(*Conn) Handler {
			for {
				if pr.Idle() {
					return h
				}
				first, _, err := pr.Next(1 << 20)
				switch {
				case err != nil:
					return nil
				case first == 0x40:
					acked++
				default: // says how many PUBACKs came before
					_, _ = c.Send(publish(acked, 'x'))
					acked = 0
				}
			}
		}
		return h(c)
	}}, nil)
	var wg sync.WaitGroup
	errs := make(chan error, clients)
	for i := range clients {
		cl := s.dial(t, nil)
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			pr := NewPacketReader(cl)
			for n := range rounds {
				var b []byte
				acks := rnd.IntN(4)
				for range acks {
					b = append(b, puback(uint16(n))...)
				}
				b = append(b, publish(rnd.IntN(300), 'y')...)
				for len(b) > 0 {
					k := 1 + rnd.IntN(len(b))
					if _, err := cl.Write(b[:k]); err != nil {
						errs <- err
						return
					}
					b = b[k:]
				}
				_ = cl.SetReadDeadline(time.Now().Add(20 * time.Second))
				_, body, err := pr.Next(1 << 20)
				if err != nil || len(body) != acks {
					errs <- fmt.Errorf("client %d, round %d: %d PUBACKs seen of %d: %w", i, n, len(body), acks, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
}

// Deadlines, closing and bytes that come at once leave nothing behind.
func TestRestingConnectionsAmongTroubles(t *testing.T) {
	r := newResting()
	s := serve(t, "tcp", options{handler: r.handle}, nil)
	for i := range 200 {
		cl := s.dial(t, nil)
		c := receive(t, "connection", r.conns)
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = cl.Write(append(puback(1), publish(i, 'x')...)) })
		wg.Go(func() { _ = c.SetReadDeadline(time.Now().Add(time.Duration(i) * time.Microsecond)) })
		wg.Go(func() {
			if i%2 == 0 {
				_ = c.Close()
			} else {
				c.CloseAfterFlush(time.Millisecond)
			}
		})
		wg.Go(func() { _ = cl.Close() })
		wg.Wait()
		_ = receive(t, "end", r.ended)
	}
	until(t, "nothing is left", func() bool { return s.l.Stats().Active == 0 })
}
