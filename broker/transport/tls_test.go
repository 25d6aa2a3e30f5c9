package transport

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/clock"
)

func TestTLSVersions(t *testing.T) {
	s := serve(t, "tls", options{}, nil)
	for _, tc := range []struct {
		max    uint16
		alpn   []string
		agreed string
		ok     bool
	}{
		{tls.VersionTLS11, nil, "", false},
		{tls.VersionTLS12, nil, "", true},
		{tls.VersionTLS13, []string{"mqtt"}, "mqtt", true},
		{tls.VersionTLS13, []string{"h2", "http/1.1"}, "http/1.1", true},
	} {
		c, err := tls.Dial("tcp", s.addr(), &tls.Config{
			RootCAs: s.pool, MinVersion: tls.VersionTLS10, MaxVersion: tc.max, NextProtos: tc.alpn,
		})
		if (err == nil) != tc.ok {
			t.Fatalf("version %#x: %v", tc.max, err)
		}
		if err != nil {
			continue
		}
		if got := c.ConnectionState().NegotiatedProtocol; got != tc.agreed {
			t.Fatalf("protocol %q of %q", got, tc.alpn)
		}
		_ = c.Close()
		_ = s.conn(t).Close()
	}
	until(t, "counted", func() bool { return s.l.Stats().HandshakeFailed == 1 && s.l.Stats().Active == 0 })
}

// servedBy is the name in the certificate that a new client sees.
func servedBy(t *testing.T, s *server) string {
	t.Helper()
	name := ""
	c, err := tls.Dial("tcp", s.addr(), &tls.Config{
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			name = cs.PeerCertificates[0].Subject.CommonName
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	_ = s.conn(t).Close()
	return name
}

func TestReloadCertificate(t *testing.T) {
	s := serve(t, "tls", options{}, nil)
	certFile, keyFile := s.l.cfg.CertFile, s.l.cfg.KeyFile
	old := s.dial(t, nil)
	oldConn := s.conn(t)
	if got := servedBy(t, s); got != "server" {
		t.Fatal(got)
	}
	otherCert, otherKey, _ := certified(t, t.TempDir(), "other")
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(otherCert, certFile) // with the key of the old one
	err := s.l.ReloadCertificate()
	if err == nil || !strings.Contains(err.Error(), certFile) || !strings.Contains(err.Error(), keyFile) ||
		!strings.Contains(err.Error(), "listeners.mqtt.cert_file") {
		t.Fatalf("half a pair: %v", err)
	}
	until0 := s.l.Stats().CertificateUntil
	if got := servedBy(t, s); got != "server" || until0.IsZero() {
		t.Fatalf("after a failed reload: %s, until %v", got, until0)
	}
	move(otherKey, keyFile)
	if err := s.l.ReloadCertificate(); err != nil {
		t.Fatal(err)
	}
	if got := servedBy(t, s); got != "other" {
		t.Fatalf("after the reload: %s", got)
	}
	// The connection from before is not touched.
	oldConn.Queue([]byte{0xd0, 0}, false)
	if done, err := oldConn.Flush(); !done || err != nil {
		t.Fatal(done, err)
	}
	if _, err := io.ReadFull(old, make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	if err := serve(t, "tcp", options{}, nil).l.ReloadCertificate(); err != nil {
		t.Fatalf("without TLS: %v", err)
	}
}

func TestCertificateErrors(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile, _ := certified(t, dir, "a")
	_, otherKey, _ := certified(t, dir, "b")
	broken := filepath.Join(dir, "broken.pem")
	if err := os.WriteFile(broken, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		cert, key string
		say       []string
	}{
		{certFile, "", []string{"listeners.mqtts.key_file", "TLS needs both"}},
		{"", keyFile, []string{"listeners.mqtts.cert_file", "TLS needs both"}},
		{certFile + ".gone", keyFile, []string{"listeners.mqtts.cert_file", "a.crt.gone", "no such file"}},
		{certFile, keyFile + ".gone", []string{"listeners.mqtts.key_file", "a.key.gone", "no such file"}},
		{broken, keyFile, []string{"listeners.mqtts.cert_file", broken}},
		{certFile, broken, []string{"listeners.mqtts.key_file", broken}},
		{certFile, otherKey, []string{"listeners.mqtts.cert_file", "b.key", "does not match"}},
	} {
		l, err := Listen(ListenerConfig{Name: "mqtts", Bind: "127.0.0.1:0", CertFile: tc.cert, KeyFile: tc.key}, quiet)
		if err == nil {
			_ = l.Close()
			t.Fatalf("%s and %s were accepted", tc.cert, tc.key)
		}
		for _, say := range tc.say {
			if !strings.Contains(err.Error(), say) {
				t.Errorf("%q does not say %q", err, say)
			}
		}
	}
}

func TestExpiredCertificate(t *testing.T) {
	var log logBuffer
	s := serve(t, "tls", options{log: log.logger()}, nil)
	if strings.Contains(log.String(), "expired") {
		t.Fatal("warned too early")
	}
	defer clock.SetOffset(2 * time.Hour)()
	if err := s.l.ReloadCertificate(); err != nil {
		t.Fatal(err)
	}
	if got := log.String(); strings.Count(got, "expired") != 1 || !strings.Contains(got, s.l.cfg.CertFile) {
		t.Fatalf("log: %s", got)
	}
}

// A peer that talks no TLS, or breaks off, is counted and leaves nothing behind.
func TestTLSGarbage(t *testing.T) {
	s := serve(t, "tls", options{listener: ListenerConfig{PerAddress: 1}}, nil)
	for i, say := range []string{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"} {
		c, err := net.Dial("tcp", s.addr())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(c, say); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("not closed")
		}
		_ = c.Close()
		until(t, "counted", func() bool {
			st := s.l.Stats()
			return st.HandshakeFailed == int64(i+1) && st.Active == 0
		})
	}
	s.dial(t, nil)
	_ = s.conn(t).Close()
}

// After a broken record tls.Conn can write no more: Flush says so and the connection is closed.
func TestTLSFailureCloses(t *testing.T) {
	failed := make(chan error, 1)
	s := serve(t, "tls", options{}, func(c *Conn) {
		_, err := c.Read(make([]byte, 1))
		if err == nil || errors.Is(err, io.EOF) {
			t.Errorf("Read of a broken record: %v", err)
		}
		c.Queue([]byte{0xd0, 0}, false)
		_, err = c.Flush()
		if !c.closed() {
			t.Error("the connection is still open after an error")
		}
		failed <- err
	})
	cl := s.dial(t, nil)
	raw := cl.Conn.(*tls.Conn).NetConn()
	if _, err := raw.Write([]byte("\x17\x03\x03\x00\x20" + strings.Repeat("x", 32))); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err == nil {
		t.Fatal("Flush did not fail")
	}
	var alert tls.AlertError
	var op *net.OpError
	if _, err := cl.Read(make([]byte, 1)); !errors.As(err, &op) && !errors.As(err, &alert) {
		t.Fatalf("client: %v", err)
	}
	until(t, "connection gone", func() bool { return s.l.Stats().Active == 0 })
}

// A client that asks for key updates and never reads the answers is cut before they take memory.
func TestTLSUnreadAnswers(t *testing.T) {
	ended := make(chan error, 1)
	conns := make(chan *Conn, 1)
	s := serve(t, "tls", options{listener: ListenerConfig{SendBuffer: 8 << 10, QueueLimit: 8 << 20}}, func(c *Conn) {
		conns <- c
		for {
			if _, err := c.Read(make([]byte, 100)); err != nil {
				ended <- err
				return
			}
		}
	})
	cl := s.dial(t, nil, func(tcp *net.TCPConn) { _ = tcp.SetReadBuffer(8 << 10) })
	c := <-conns
	for c.Queue(publish(50_000, 'x'), false) { // more than the kernel takes
		if _, err := c.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	// Again and again, because the kernel may still take what went before.
	until(t, "cut", func() bool {
		for range 1000 { // as tls.Conn does for each key update
			_, _ = c.seal(make([]byte, 27))
		}
		_, _ = cl.Write([]byte{1})
		select {
		case err := <-ended:
			if !errors.Is(err, ErrUnreadAnswers) {
				t.Fatalf("Read: %v", err)
			}
			return true
		default:
			return false
		}
	})
	until(t, "connection gone", func() bool { return s.l.Stats().Active == 0 })
}

func TestAskClientCert(t *testing.T) {
	certFile, keyFile, _ := certified(t, t.TempDir(), "alice")
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, "wss", options{
		listener: ListenerConfig{AskClientCert: true},
		mux: func(mux *http.ServeMux) {
			mux.HandleFunc("/who", func(w http.ResponseWriter, r *http.Request) {
				for _, c := range r.TLS.PeerCertificates {
					_, _ = io.WriteString(w, c.Subject.CommonName)
				}
			})
		},
	}, nil)
	for want, certs := range map[string][]tls.Certificate{"alice": {pair}, "": nil} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.pool, Certificates: certs}}
		resp, err := (&http.Client{Transport: tr}).Get("https://" + s.addr() + "/who")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		tr.CloseIdleConnections()
		if string(b) != want || err != nil {
			t.Fatalf("%q %v, want %q", b, err, want)
		}
	}
}
