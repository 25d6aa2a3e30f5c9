package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/madang-chat/madang/internal/certtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(fdChildEnv) != "" {
		os.Exit(fdChild())
	}
	goleak.VerifyTestMain(m)
}

// logBuffer collects log lines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

var quiet = slog.New(slog.DiscardHandler)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// until waits for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("still waiting after 10 s: %s", what)
		}
	}
}

// certified writes a certificate for 127.0.0.1 and returns its files and a pool that trusts it.
func certified(t testing.TB, dir, name string) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	ca := certtest.New(t)
	certFile, keyFile = ca.Issue(t, filepath.Join(dir, name+".crt"))
	return certFile, keyFile, ca.Pool
}

// server is a running listener of one transport, with the Conns it hands out.
type server struct {
	transport string
	l         *Listener
	ws        *WebSocketHandler
	pool      *x509.CertPool
	conns     chan *Conn
}

type options struct {
	listener ListenerConfig
	ws       WSConfig
	log      *slog.Logger
	mux      func(*http.ServeMux)
	handler  Handler // instead of handle
}

// serve starts a listener whose handle is given, or, when it is nil, hands the Conn to the test and waits until the
// test closes it.
func serve(t testing.TB, transport string, o options, handle func(*Conn)) *server {
	t.Helper()
	s := &server{transport: transport, conns: make(chan *Conn, 4096)}
	if o.log == nil {
		o.log = quiet
	}
	if handle == nil {
		handle = func(c *Conn) {
			s.conns <- c
			pr := NewPacketReader(c)
			defer pr.Close()
			for {
				if _, _, err := pr.Next(1 << 20); err != nil {
					return
				}
			}
		}
	}
	handler := o.handler
	if handler == nil {
		handler = once(handle)
	}
	cfg := o.listener
	cfg.Name, cfg.Bind = "mqtt", "127.0.0.1:0"
	if transport == "tls" || transport == "wss" {
		cfg.CertFile, cfg.KeyFile, s.pool = certified(t, t.TempDir(), "server")
	}
	l, err := Listen(cfg, o.log)
	if err != nil {
		t.Fatal(err)
	}
	s.l = l
	var wg sync.WaitGroup
	if transport == "tcp" || transport == "tls" {
		ctx, cancel := context.WithCancel(context.Background())
		wg.Go(func() {
			if err := l.Serve(ctx, handler); err != nil {
				t.Errorf("Serve: %v", err)
			}
		})
		t.Cleanup(func() { cancel(); s.closeAll(); wg.Wait() })
		return s
	}
	if o.ws.QueueLimit == 0 {
		o.ws.QueueLimit = cfg.QueueLimit
	}
	s.ws = NewWebSocketHandler(o.ws, handler, o.log)
	mux := http.NewServeMux()
	mux.Handle("/mqtt", s.ws)
	if o.mux != nil {
		o.mux(mux)
	}
	srv := NewHTTPServer(mux)
	srv.ErrorLog = slog.NewLogLogger(o.log.Handler(), slog.LevelDebug)
	ln := l.NetListener()
	wg.Go(func() { _ = srv.Serve(ln) })
	t.Cleanup(func() { _ = srv.Close(); s.closeAll(); wg.Wait(); s.ws.Wait() })
	return s
}

func (s *server) closeAll() {
	for {
		select {
		case c := <-s.conns:
			_ = c.Close()
		default:
			return
		}
	}
}

func (s *server) addr() string { return s.l.Addr().String() }

// conn is the server's side of the next connection. The caller closes it.
func (s *server) conn(t testing.TB) *Conn {
	t.Helper()
	select {
	case c := <-s.conns:
		t.Cleanup(func() { _ = c.Close() })
		return c
	case <-time.After(10 * time.Second):
		t.Fatal("no connection arrived")
		return nil
	}
}

// client is the other side: a byte stream over any transport.
type client struct {
	net.Conn
	ws   *websocket.Conn
	rest io.Reader
}

func (c *client) Read(p []byte) (int, error) {
	if c.ws == nil {
		return c.Conn.Read(p)
	}
	for {
		if c.rest == nil {
			kind, r, err := c.ws.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, io.ErrUnexpectedEOF
			}
			c.rest = r
		}
		n, err := c.rest.Read(p)
		if err == io.EOF {
			c.rest = nil
			if n == 0 {
				continue
			}
			err = nil
		}
		return n, err
	}
}

func (c *client) Write(p []byte) (int, error) {
	if c.ws == nil {
		return c.Conn.Write(p)
	}
	return len(p), c.ws.WriteMessage(websocket.BinaryMessage, p)
}

// dial connects a client; before runs on the bare TCP connection.
func (s *server) dial(t testing.TB, header http.Header, before ...func(*net.TCPConn)) *client {
	t.Helper()
	tcp, err := net.Dial("tcp", s.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tcp.Close() })
	for _, fn := range before {
		fn(tcp.(*net.TCPConn))
	}
	conn := tcp
	if s.pool != nil {
		tc := tls.Client(tcp, &tls.Config{RootCAs: s.pool, ServerName: "127.0.0.1"})
		if err := tc.Handshake(); err != nil {
			t.Fatal(err)
		}
		conn = tc
	}
	if s.ws == nil {
		return &client{Conn: conn}
	}
	d := websocket.Dialer{
		Subprotocols: []string{"mqtt"},
		NetDial:      func(string, string) (net.Conn, error) { return conn, nil },
	}
	ws, resp, err := d.Dial("ws://"+s.addr()+"/mqtt", header)
	if err != nil {
		text := ""
		if resp != nil {
			b, _ := io.ReadAll(resp.Body)
			text = resp.Status + " " + string(b)
		}
		t.Fatalf("dial: %v %s", err, text)
	}
	return &client{Conn: conn, ws: ws}
}

var transports = []string{"tcp", "tls", "ws", "wss"}

// forTransports runs a test over each transport.
func forTransports(t *testing.T, fn func(t *testing.T, transport string)) {
	for _, tr := range transports {
		t.Run(tr, func(t *testing.T) { fn(t, tr) })
	}
}

// publish makes a PUBLISH-like packet of n body bytes.
func publish(n int, fill byte) []byte {
	b := []byte{0x30}
	for l := n; ; {
		d := byte(l & 0x7f)
		if l >>= 7; l > 0 {
			b = append(b, d|0x80)
			continue
		}
		b = append(b, d)
		break
	}
	return append(b, strings.Repeat(string(rune(fill)), n)...)
}

// once makes a Handler of a function that serves a connection to its end.
func once(f func(*Conn)) Handler {
	return func(c *Conn) Handler {
		f(c)
		return nil
	}
}
