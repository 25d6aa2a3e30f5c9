package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// proxyHeader builds a v2 header by hand.
func proxyHeader(command, family byte, body []byte) []byte {
	b := append([]byte{}, proxySignature...)
	b = append(b, 0x20|command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...)
}

var (
	v4Body = []byte{203, 0, 113, 9, 10, 0, 0, 1, 0x30, 0x39, 0x07, 0x5b} // 203.0.113.9:12345 to 10.0.0.1:1883
	v6Body = append(append(append([]byte{0x20, 1, 0xd, 0xb8}, make([]byte, 11)...), 7), append(make([]byte, 16), 0x30, 0x39, 0x07, 0x5b)...)
)

func withChecksum(wrong bool) []byte {
	b := proxyHeader(1, 0x11, append(append([]byte{}, v4Body...), tlvCRC32C, 0, 4, 0, 0, 0, 0))
	sum := crc32.Checksum(b, castagnoli)
	if wrong {
		sum++
	}
	binary.BigEndian.PutUint32(b[len(b)-4:], sum)
	return b
}

var proxyCases = []struct {
	name string
	in   []byte
	addr string // "" = the peer's
	bad  string // part of the error
}{
	{"IPv4", proxyHeader(1, 0x11, v4Body), "203.0.113.9:12345", ""},
	{"IPv6", proxyHeader(1, 0x21, v6Body), "[2001:db8::7]:12345", ""},
	{"with extension", proxyHeader(1, 0x11, append(append([]byte{}, v4Body...), 0x04, 0, 2, 0, 0)), "203.0.113.9:12345", ""},
	{"with checksum", withChecksum(false), "203.0.113.9:12345", ""},
	{"local", proxyHeader(0, 0x00, nil), "", ""},
	{"local with addresses", proxyHeader(0, 0x11, v4Body), "", ""},
	{"unspec", proxyHeader(1, 0x00, []byte{4, 0, 0}), "", ""},
	{"unix", proxyHeader(1, 0x31, make([]byte, 216)), "", ""},
	{"wrong checksum", withChecksum(true), "", "checksum"},
	{"extension too short", proxyHeader(1, 0x11, append(append([]byte{}, v4Body...), 0x04, 0, 9, 0)), "", "extension"},
	{"extension cut", proxyHeader(1, 0x11, append(append([]byte{}, v4Body...), 0x04)), "", "extension"},
	{"short addresses", proxyHeader(1, 0x21, v4Body), "", "too few"},
	{"datagram", proxyHeader(1, 0x12, v4Body), "", "datagram"},
	{"family", proxyHeader(1, 0x41, make([]byte, 300)), "", "family"},
	{"command", proxyHeader(2, 0x11, v4Body), "", "command"},
	{"too long", proxyHeader(1, 0x11, make([]byte, 5000)), "", "at most"},
	{"version 1", []byte("PROXY TCP4 203.0.113.9 10.0.0.1 12345 1883\r\n"), "", "version 1"},
	{"MQTT without header", []byte("\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"), "", "starts without"},
	{"cut", proxyHeader(1, 0x11, v4Body)[:20], "", "too early"},
	{"cut in the fixed part", proxyHeader(1, 0x11, v4Body)[:13], "", "too early"},
}

func TestProxyHeader(t *testing.T) {
	for _, tc := range proxyCases {
		t.Run(tc.name, func(t *testing.T) {
			for name, wrap := range map[string]func(io.Reader) io.Reader{
				"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader,
			} {
				r := bytes.NewReader(append(bytes.Clone(tc.in), "rest"...))
				if strings.HasPrefix(tc.name, "cut") {
					r = bytes.NewReader(tc.in)
				}
				addr, ok, err := readProxyHeader(wrap(r))
				if tc.bad != "" {
					if !errors.Is(err, ErrProxyHeader) || !strings.Contains(err.Error(), tc.bad) {
						t.Fatalf("%s: error %v, want %q", name, err, tc.bad)
					}
					continue
				}
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if ok != (tc.addr != "") || (ok && addr != netip.MustParseAddrPort(tc.addr)) {
					t.Fatalf("%s: %v %v, want %q", name, addr, ok, tc.addr)
				}
				if rest, _ := io.ReadAll(r); string(rest) != "rest" {
					t.Fatalf("%s: %q left of the stream", name, rest)
				}
			}
		})
	}
}

func FuzzProxyHeader(f *testing.F) {
	for _, tc := range proxyCases {
		f.Add(tc.in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		addr, ok, err := readProxyHeader(r)
		if used := len(in) - r.Len(); used > proxyFixed+maxProxyBody {
			t.Fatalf("%d bytes used", used)
		}
		if err != nil && !errors.Is(err, ErrProxyHeader) {
			t.Fatalf("foreign error %v", err)
		}
		if ok != addr.IsValid() || (ok && (err != nil || addr.Addr().Is4In6())) {
			t.Fatalf("%v %v %v", addr, ok, err)
		}
	})
}

func TestProxyProtocol(t *testing.T) {
	forTransports(t, func(t *testing.T, transport string) {
		s := serve(t, transport, options{listener: ListenerConfig{ProxyProtocol: true, TrustedProxies: loopback}}, nil)
		s.dial(t, nil, func(tcp *net.TCPConn) {
			h := proxyHeader(1, 0x11, v4Body)
			_, _ = tcp.Write(h[:5])
			_, _ = tcp.Write(h[5:])
		})
		if got := s.conn(t).RemoteAddr(); got != netip.MustParseAddrPort("203.0.113.9:12345") {
			t.Fatalf("RemoteAddr %v", got)
		}
		cl := s.dial(t, nil, func(tcp *net.TCPConn) { _, _ = tcp.Write(proxyHeader(0, 0, nil)) })
		if got := s.conn(t).RemoteAddr(); got.String() != cl.LocalAddr().String() {
			t.Fatalf("RemoteAddr %v of a LOCAL connection from %v", got, cl.LocalAddr())
		}
	})
}

// refused connects, says something and expects the connection to be closed without a word.
func refused(t *testing.T, s *server, say []byte) {
	t.Helper()
	c, err := net.Dial("tcp", s.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = c.Write(say)
	if n, err := c.Read(make([]byte, 1)); n != 0 || errors.Is(err, errTimeout(err)) {
		t.Fatalf("read %d bytes, %v", n, err)
	}
}

// errTimeout returns err when it is a time-out.
func errTimeout(err error) error {
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return err
	}
	return net.ErrWriteToConnected // never returned by Read
}

func TestProxyProtocolRefusals(t *testing.T) {
	for _, transport := range []string{"tcp", "ws"} {
		t.Run(transport, func(t *testing.T) {
			cfg := ListenerConfig{ProxyProtocol: true, TrustedProxies: loopback, ProxyTimeout: 30 * time.Millisecond}
			s := serve(t, transport, options{listener: cfg}, nil)
			refused(t, s, []byte("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"))
			refused(t, s, []byte("GET / HTTP/1.1\r\n\r\n"))
			refused(t, s, proxyHeader(1, 0x11, v4Body)[:14]) // and then nothing: the time-out
			until(t, "counted", func() bool { return s.l.Stats().RefusedProxy == 3 && s.l.Stats().Active == 0 })

			cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
			s = serve(t, transport, options{listener: cfg}, nil)
			refused(t, s, proxyHeader(1, 0x11, v4Body))
			until(t, "counted", func() bool { return s.l.Stats().RefusedProxy == 1 && s.l.Stats().Active == 0 })
		})
	}
}

// A client that never sends its header or TLS hello does not keep others out, nor the listener open.
func TestSlowHandshakeDelaysNobody(t *testing.T) {
	for _, transport := range []string{"tls", "wss"} {
		t.Run(transport, func(t *testing.T) {
			s := serve(t, transport, options{}, nil)
			slow, err := net.Dial("tcp", s.addr())
			if err != nil {
				t.Fatal(err)
			}
			defer slow.Close()
			until(t, "slow client accepted", func() bool { return s.l.Stats().Active == 1 })
			s.dial(t, nil)
			_ = s.conn(t).Close()
			_ = s.l.Close()
			_ = slow.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := slow.Read(make([]byte, 1)); errors.Is(err, errTimeout(err)) {
				t.Fatal("the handshake outlived the listener")
			}
		})
	}
}

func TestTLSHandshakeTimeout(t *testing.T) {
	s := serve(t, "tls", options{listener: ListenerConfig{HandshakeTimeout: 30 * time.Millisecond}}, nil)
	refused(t, s, nil)
	until(t, "counted", func() bool { return s.l.Stats().HandshakeFailed == 1 && s.l.Stats().Active == 0 })
}
