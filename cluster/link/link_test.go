package link

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/madang-chat/madang/internal/certtest"
)

const secret = "a secret of the tests"

func identity(t *testing.T, id, secret string) *Identity {
	t.Helper()
	i, err := FromSecret(id, []byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// serve opens a port that says who came in.
func serve(t *testing.T, i *Identity) (p *Port, came chan string) {
	t.Helper()
	p, err := Listen("127.0.0.1:0", i, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	came = make(chan string, 16)
	p.Handle("echo", func(c *Conn) {
		came <- c.Peer
		_, _ = io.Copy(c, c)
	})
	go p.Serve()
	t.Cleanup(func() { _ = p.Close() })
	return p, came
}

func TestNodesOfOneSecretKnowEachOther(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	a, came := serve(t, identity(t, "a", secret))
	b, _ := serve(t, identity(t, "b", secret))
	c, err := b.Dial(t.Context(), a.Addr().String(), "echo", "a")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if who := <-came; who != "b" || c.Peer != "a" {
		t.Fatalf("a sees %q, b sees %q", who, c.Peer)
	}
	_, _ = c.Write([]byte("hello"))
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
		t.Fatalf("%q %v", got, err)
	}
	_ = a.Close()
	_ = b.Close()
	if _, err := c.Read(got); err == nil {
		t.Fatal("a closed port goes on talking")
	}
}

// Whoever is not of the cluster gets nothing, and no handler sees it.
func TestAStrangerGetsNothing(t *testing.T) {
	a, came := serve(t, identity(t, "a", secret))
	address := a.Addr().String()
	stranger, _ := serve(t, identity(t, "b", "another secret, as long"))
	for name, dial := range map[string]func() (net.Conn, error){
		"another secret": func() (net.Conn, error) { return stranger.Dial(t.Context(), address, "echo", "") },
		"no certificate": func() (net.Conn, error) {
			return tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"echo"}}) //nolint:gosec // a stranger
		},
		"another protocol": func() (net.Conn, error) { return a.Dial(t.Context(), address, "other", "") },
		"TLS 1.2": func() (net.Conn, error) {
			return tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}) //nolint:gosec // a stranger
		},
		"no TLS": func() (net.Conn, error) {
			c, err := net.Dial("tcp", address)
			if err == nil {
				_, err = c.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
			}
			return c, err
		},
	} {
		c, err := dial()
		if err == nil { // in TLS 1.3 a client hears of it when it reads
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			var b []byte
			b, err = io.ReadAll(c)
			_ = c.Close()
			if err == nil && strings.Contains(string(b), "HTTP") {
				t.Errorf("%s: it answered %q", name, b)
			}
		}
		select {
		case who := <-came:
			t.Errorf("%s: taken for %q", name, who)
		default:
		}
	}
}

// Who wants one node does not talk to another.
func TestSomebodyElseIsThere(t *testing.T) {
	a, _ := serve(t, identity(t, "a", secret))
	b, _ := serve(t, identity(t, "b", secret))
	if _, err := b.Dial(t.Context(), a.Addr().String(), "echo", "c"); err == nil || !strings.Contains(err.Error(), `node "a" is at`) {
		t.Fatal(err)
	}
}

// A connection that says nothing is cut, and does not keep others out.
func TestASilentStranger(t *testing.T) {
	a, came := serve(t, identity(t, "a", secret))
	for range handshakes / 2 {
		c, err := net.Dial("tcp", a.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	b, _ := serve(t, identity(t, "b", secret))
	ctx, cancel := context.WithTimeout(t.Context(), handshakeTime)
	defer cancel()
	c, err := b.Dial(ctx, a.Addr().String(), "echo", "a")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if who := <-came; who != "b" {
		t.Fatal(who)
	}
}

func TestRefusedIdentities(t *testing.T) {
	if _, err := FromSecret("a", []byte("short")); err == nil || !strings.Contains(err.Error(), "openssl rand") {
		t.Errorf("a short secret: %v", err)
	}
	none := filepath.Join(t.TempDir(), "none")
	if _, err := FromFiles("a", none, none, none); err == nil || !strings.Contains(err.Error(), "cluster.cert_file") {
		t.Errorf("no files: %v", err)
	}
}

// With an authority of the operator's a certificate is for one name.
func TestCertificatesOfOnesOwn(t *testing.T) {
	ca, other, dir := certtest.New(t), certtest.New(t), t.TempDir()
	cert, key := ca.Issue(t, filepath.Join(dir, "a.crt"))
	otherCert, otherKey := other.Issue(t, filepath.Join(t.TempDir(), "a.crt"))
	file := ca.File(t, dir)
	i, err := FromFiles("a", cert, key, file)
	if err != nil {
		t.Fatal(err)
	}
	a, came := serve(t, i)
	b, _ := serve(t, i)
	c, err := b.Dial(t.Context(), a.Addr().String(), "echo", "a")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if who := <-came; who != "a" {
		t.Fatal(who)
	}
	if _, err := FromFiles("another", cert, key, file); err == nil || !strings.Contains(err.Error(), "common name") {
		t.Errorf("another name: %v", err)
	}
	if _, err := FromFiles("a", otherCert, otherKey, file); err == nil {
		t.Error("a certificate of another authority is taken")
	}
}
