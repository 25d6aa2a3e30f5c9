package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

func TestAddressKey(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::",
		"fe80::1%eth0": "fe80::", "::1": "::",
	} {
		if got := addressKey(netip.MustParseAddr(in)); got.String() != want {
			t.Errorf("%s counts as %v, want %s", in, got, want)
		}
	}
}

func TestLimiter(t *testing.T) {
	l := newLimiter(4, 2)
	take := func(addr string) func() {
		t.Helper()
		release, err := l.acquire(netip.MustParseAddr(addr))
		if err != nil {
			t.Fatal(err)
		}
		return release
	}
	refuse := func(addr, why string) {
		t.Helper()
		if _, err := l.acquire(netip.MustParseAddr(addr)); !errors.Is(err, ErrTooManyConnections) ||
			!strings.Contains(err.Error(), why) {
			t.Fatalf("%s: %v, want %q", addr, err, why)
		}
	}
	a, b := take("192.0.2.1"), take("::ffff:192.0.2.1")
	refuse("192.0.2.1", "from 192.0.2.1: limit 2 per address")
	c, d := take("2001:db8::1"), take("2001:db8::ffff:0:0:1")
	refuse("192.0.2.2", "limit 4")
	a()
	refuse("2001:db8::2", "per address") // the same /64
	e := take("2001:db8:0:1::1")         // the next one
	for _, release := range []func(){b, c, d, e} {
		release()
	}
	if l.n != 0 || len(l.addrs) != 0 {
		t.Fatalf("%d places and %v left", l.n, l.addrs)
	}
	free := newLimiter(0, 0)
	for range 100 {
		if err := free.take(netip.Addr{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestListenerLimits(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  ListenerConfig
		say  string
	}{
		{"per address", ListenerConfig{PerAddress: 2}, "per address"},
		{"in all", ListenerConfig{MaxConnections: 2}, "limit 2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			forTransports(t, func(t *testing.T, transport string) {
				var log logBuffer
				s := serve(t, transport, options{listener: tc.cfg, log: log.logger()}, nil)
				s.dial(t, nil)
				first := s.conn(t)
				s.dial(t, nil)
				s.conn(t)
				for range 3 {
					refused(t, s, nil)
				}
				until(t, "counted", func() bool { return s.l.Stats().RefusedLimit == 3 && s.l.Stats().Active == 2 })
				if got := log.String(); strings.Count(got, "connections refused") != 1 || !strings.Contains(got, tc.say) {
					t.Fatalf("log: %s", got)
				}
				_ = first.Close()
				until(t, "a place is free", func() bool { return s.l.Stats().Active == 1 })
				s.dial(t, nil)
				s.conn(t)
			})
		})
	}
}

// Clients behind a trusted proxy count by the address it tells; the proxy's own connections have no limit.
func TestListenerLimitsBehindProxy(t *testing.T) {
	s := serve(t, "tcp", options{listener: ListenerConfig{ProxyProtocol: true, TrustedProxies: loopback, PerAddress: 1}}, nil)
	from := func(last byte) []byte {
		body := append([]byte{}, v4Body...)
		body[3] = last
		return proxyHeader(1, 0x11, body)
	}
	for _, last := range []byte{1, 2} {
		s.dial(t, nil, func(tcp *net.TCPConn) { _, _ = tcp.Write(from(last)) })
		if got, want := s.conn(t).RemoteAddr().Addr().String(), fmt.Sprintf("203.0.113.%d", last); got != want {
			t.Fatalf("RemoteAddr %s, want %s", got, want)
		}
	}
	refused(t, s, from(1))
	for range 3 {
		s.dial(t, nil, func(tcp *net.TCPConn) { _, _ = tcp.Write(proxyHeader(0, 0, nil)) })
		s.conn(t)
	}
	if n := s.l.Stats().RefusedLimit; n != 1 {
		t.Fatalf("%d refused, want 1", n)
	}
}

// Close ends handshakes under way at once, whatever they wait for, and leaves established connections alone.
func TestCloseDuringHandshakes(t *testing.T) {
	for name, cfg := range map[string]ListenerConfig{
		"tls": {}, "wss": {}, "tls with PROXY": {ProxyProtocol: true, TrustedProxies: loopback},
		"wss with PROXY": {ProxyProtocol: true, TrustedProxies: loopback}, "tcp with PROXY": {ProxyProtocol: true, TrustedProxies: loopback},
	} {
		t.Run(name, func(t *testing.T) {
			transport, _, proxied := strings.Cut(name, " ")
			cfg.ProxyTimeout, cfg.HandshakeTimeout = time.Hour, time.Hour
			s := serve(t, transport, options{listener: cfg}, nil)
			hello := func(tcp *net.TCPConn) {
				if proxied {
					_, _ = tcp.Write(proxyHeader(1, 0x11, v4Body))
				}
			}
			cl := s.dial(t, nil, hello)
			c := s.conn(t)
			var silent []net.Conn
			for i := range 10 {
				tcp, err := net.Dial("tcp", s.addr())
				if err != nil {
					t.Fatal(err)
				}
				defer tcp.Close()
				if i%2 == 0 && s.pool != nil {
					hello(tcp.(*net.TCPConn))
					_, _ = tcp.Write([]byte{0x16, 3, 1}) // the start of a TLS hello
				}
				silent = append(silent, tcp)
			}
			until(t, "handshakes under way", func() bool {
				s.l.mu.Lock()
				defer s.l.mu.Unlock()
				return len(s.l.preparing) == len(silent)
			})
			_ = s.l.Close()
			_ = s.l.Close()
			for _, tcp := range silent {
				_ = tcp.SetDeadline(time.Now().Add(10 * time.Second))
				if _, err := io.Copy(io.Discard, tcp); errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal("the handshake outlived the listener")
				}
			}
			until(t, "only the established one left", func() bool { return s.l.Stats().Active == 1 })
			c.Queue([]byte{0xd0, 0}, false)
			if done, err := c.Flush(); !done || err != nil {
				t.Fatal(done, err)
			}
			if _, err := io.ReadFull(cl, make([]byte, 2)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestServeEndsWithContext(t *testing.T) {
	l, err := Listen(ListenerConfig{Name: "mqtt", Bind: "127.0.0.1:0"}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served, handled := make(chan error, 1), make(chan *Conn, 1)
	go func() {
		served <- l.Serve(ctx, once(func(c *Conn) { handled <- c; _, _ = c.Read(make([]byte, 1)) }))
	}()
	cl, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	c := <-handled
	cancel()
	until(t, "port closed", func() bool {
		again, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			_ = again.Close()
		}
		return err != nil
	})
	select {
	case err := <-served:
		t.Fatalf("Serve returned %v before the last handle", err)
	default:
	}
	_ = c.Close()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
}

func TestListenErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tc := range []struct {
		cfg ListenerConfig
		say []string
	}{
		{ListenerConfig{Bind: taken.Addr().String()}, []string{"listeners.mqtt.bind", "another process"}},
		{ListenerConfig{Bind: "192.0.2.1:0"}, []string{"listeners.mqtt.bind", "no such address"}},
		{ListenerConfig{Bind: "nonsense"}, []string{"listeners.mqtt.bind", "host:port"}},
		{ListenerConfig{Bind: "127.0.0.1:0", ProxyProtocol: true}, []string{"listeners.mqtt.trusted_proxies"}},
	} {
		tc.cfg.Name = "mqtt"
		l, err := Listen(tc.cfg, quiet)
		if err == nil {
			_ = l.Close()
			t.Fatalf("%+v: opened", tc.cfg)
		}
		for _, say := range tc.say {
			if !strings.Contains(err.Error(), say) {
				t.Errorf("%q does not say %q", err, say)
			}
		}
	}
}
