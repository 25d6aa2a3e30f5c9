package transport

import (
	"bytes"
	"io"
	"net"
	"testing"
)

func TestPanicLeavesNothing(t *testing.T) {
	forTransports(t, func(t *testing.T, transport string) {
		var log logBuffer
		s := serve(t, transport, options{log: log.logger(), listener: ListenerConfig{PerAddress: 1}}, func(c *Conn) {
			c.Queue([]byte{0xd0, 0}, false)
			_, _ = c.Read(make([]byte, 1))
			panic("boom")
		})
		for range 3 { // the place under the limit comes back each time
			cl := s.dial(t, nil)
			if _, err := cl.Write([]byte{1}); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(cl); err == nil && cl.ws != nil {
				t.Fatal("no error")
			}
			until(t, "connection gone", func() bool { return s.l.Stats().Active == 0 })
		}
		panics := s.l.Stats().Panics
		if s.ws != nil {
			s.ws.running.Wait()
			panics = s.ws.Stats().Panics
		}
		if panics != 3 || !bytes.Contains([]byte(log.String()), []byte("boom")) ||
			!bytes.Contains([]byte(log.String()), []byte("panic_test.go")) {
			t.Fatalf("%d panics counted, log %s", panics, log.String())
		}
		if len(s.l.limit.addrs) != 0 || s.l.limit.n != 0 {
			t.Fatal("limiter not empty")
		}
	})
}

func TestPanicInOnWritable(t *testing.T) {
	s := serve(t, "tcp", options{listener: ListenerConfig{SendBuffer: 8 << 10}}, nil)
	cl := s.dial(t, nil, func(tcp *net.TCPConn) { _ = tcp.SetReadBuffer(8 << 10) })
	c := s.conn(t)
	c.SetOnWritable(func() { panic("boom") })
	for {
		if !c.Queue(publish(1000, 'x'), false) {
			t.Fatal("never parked")
		}
		if done, _ := c.Flush(); !done {
			break
		}
	}
	_, _ = io.Copy(io.Discard, cl)
	until(t, "connection gone", func() bool { return s.l.Stats().Active == 0 })
	if s.l.Stats().Panics != 1 {
		t.Fatal("panic not counted")
	}
}

// One connection's panic is its own affair.
func TestPanicLeavesOthersAlone(t *testing.T) {
	forTransports(t, func(t *testing.T, transport string) {
		s := serve(t, transport, options{}, func(c *Conn) {
			p := make([]byte, 1)
			for {
				if _, err := c.Read(p); err != nil {
					return
				}
				if p[0] == '!' {
					panic("boom")
				}
				c.Queue(p, false)
				if _, err := c.Flush(); err != nil {
					return
				}
			}
		})
		echoes := func(cl *client) {
			t.Helper()
			if _, err := cl.Write([]byte("a")); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 1)
			if _, err := io.ReadFull(cl, got); err != nil || got[0] != 'a' {
				t.Fatalf("%q %v", got, err)
			}
		}
		before := s.dial(t, nil)
		echoes(before)
		bad := s.dial(t, nil)
		echoes(bad)
		if _, err := bad.Write([]byte("!")); err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, bad.Conn); n != 0 && s.pool == nil {
			t.Fatalf("%d bytes after the panic, %v", n, err)
		}
		echoes(before)
		after := s.dial(t, nil)
		echoes(after)
		until(t, "only two left", func() bool { return s.l.Stats().Active == 2 })
		_, _ = before.Conn.Close(), after.Conn.Close()
		until(t, "none left", func() bool { return s.l.Stats().Active == 0 })
	})
}
