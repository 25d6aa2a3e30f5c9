package transport

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// serveBytes is a WebSocket server that collects what Read returns, and the error in the end.
func serveBytes(t *testing.T, cfg WSConfig) (s *server, got chan string, ended chan error) {
	got, ended = make(chan string, 1000), make(chan error, 10)
	s = serve(t, "ws", options{ws: cfg}, func(c *Conn) {
		p := make([]byte, 4096)
		for {
			n, err := c.Read(p)
			if err != nil {
				ended <- err
				return
			}
			got <- string(p[:n])
		}
	})
	return s, got, ended
}

// collect reads from got until want has come.
func collect(t *testing.T, got chan string, want string) {
	t.Helper()
	var b strings.Builder
	limit := time.After(10 * time.Second)
	for b.Len() < len(want) {
		select {
		case s := <-got:
			b.WriteString(s)
		case <-limit:
			t.Fatalf("%d of %d bytes arrived", b.Len(), len(want))
		}
	}
	if b.String() != want {
		t.Fatalf("other bytes arrived, %d of them", b.Len())
	}
}

// closedWith expects the server's close frame.
func closedWith(t *testing.T, cl *client, code int, text string) {
	t.Helper()
	_, _, err := cl.ws.ReadMessage()
	var ce *websocket.CloseError
	if !errors.As(err, &ce) || ce.Code != code || !strings.Contains(ce.Text, text) {
		t.Fatalf("%v, want close frame %d %q", err, code, text)
	}
}

func TestWebSocketRefusesText(t *testing.T) {
	s, _, ended := serveBytes(t, WSConfig{})
	cl := s.dial(t, nil)
	if err := cl.ws.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	closedWith(t, cl, CloseUnsupported, "binary")
	if err := <-ended; !errors.Is(err, ErrTextFrame) {
		t.Fatal(err)
	}
	_ = cl.Close()
	s.ws.running.Wait()
}

func TestWebSocketFragments(t *testing.T) {
	s, got, ended := serveBytes(t, WSConfig{})
	cl := s.dial(t, nil)
	pongs := make(chan string, 10)
	cl.ws.SetPongHandler(func(text string) error { pongs <- text; return nil })
	w, err := cl.ws.NextWriter(websocket.BinaryMessage)
	if err != nil {
		t.Fatal(err)
	}
	piece := strings.Repeat("0123456789", 2000) // above gorilla's buffer: a frame for each Write and more
	for range 5 {
		if _, err := io.WriteString(w, piece); err != nil {
			t.Fatal(err)
		}
		if err := cl.ws.WriteControl(websocket.PingMessage, []byte("between"), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	collect(t, got, strings.Repeat(piece, 5))
	if err := cl.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(CloseGoingAway, "bye"), time.Time{}); err != nil {
		t.Fatal(err)
	}
	closedWith(t, cl, CloseGoingAway, "") // the client's code comes back; pongs were read on the way
	if err := <-ended; !errors.Is(err, io.EOF) {
		t.Fatalf("Read: %v, want EOF", err)
	}
	if len(pongs) == 0 || <-pongs != "between" {
		t.Fatal("no pong with the ping's text")
	}
	// The server ends the TCP connection; it does not leave that to the client.
	if _, err := cl.Conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("after the close frames: %v", err)
	}
}

func TestWebSocketReadLimit(t *testing.T) {
	for name, send := range map[string][]byte{
		"one frame":          frame(0x82, make([]byte, 1001)),
		"claimed only":       claim(0x82, 256<<20),
		"several fragments":  bytes.Join([][]byte{frame(2, make([]byte, 600)), frame(0x80, make([]byte, 401))}, nil),
		"after a fine frame": append(frame(0x82, make([]byte, 1000)), frame(0x82, make([]byte, 1001))...),
	} {
		t.Run(name, func(t *testing.T) {
			s, _, ended := serveBytes(t, WSConfig{ReadLimit: 1000})
			cl := s.dial(t, nil)
			if _, err := cl.Conn.Write(send); err != nil {
				t.Fatal(err)
			}
			closedWith(t, cl, CloseTooLarge, "limit 1000")
			if err := <-ended; !errors.Is(err, ErrFrameTooLarge) {
				t.Fatal(err)
			}
		})
	}
}

func TestWebSocketProtocolErrors(t *testing.T) {
	for name, send := range map[string][]byte{
		"not masked":      {0x82, 1, 'a'},
		"reserved bits":   frame(0xf2, []byte("a")),
		"bad close frame": frame(0x88, []byte{3}),
		"long ping":       frame(0x89, make([]byte, 200)),
	} {
		t.Run(name, func(t *testing.T) {
			s, _, ended := serveBytes(t, WSConfig{})
			cl := s.dial(t, nil)
			if _, err := cl.Conn.Write(send); err != nil {
				t.Fatal(err)
			}
			closedWith(t, cl, CloseProtocol, "")
			if err := <-ended; !errors.Is(err, ErrFrame) {
				t.Fatal(err)
			}
		})
	}
}

// A client that answers pings stays, one that does not is closed, and so the pinger's goroutine ends.
func TestWebSocketPings(t *testing.T) {
	s, _, ended := serveBytes(t, WSConfig{PingInterval: 40 * time.Millisecond})
	cl := s.dial(t, nil)
	pings := 0
	cl.ws.SetPingHandler(func(text string) error {
		if pings++; pings > 6 {
			return errors.New("seen enough")
		}
		return cl.ws.WriteControl(websocket.PongMessage, []byte(text), time.Time{})
	})
	if _, _, err := cl.ws.ReadMessage(); pings != 7 {
		t.Fatalf("%d pings, then %v", pings, err)
	}
	if n := s.ws.Stats().PingTimeouts; n != 0 {
		t.Fatalf("%d time-outs of a client that answers", n)
	}
	start := time.Now()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	if d := time.Since(start); d < 20*time.Millisecond {
		t.Fatalf("closed after %v without a pong", d)
	}
	until(t, "counted", func() bool { st := s.ws.Stats(); return st.PingTimeouts == 1 && st.Active == 0 })
	until(t, "pinger idle", func() bool { s.ws.pings.mu.Lock(); defer s.ws.pings.mu.Unlock(); return s.ws.pings.stop == nil })
}

// request sends a raw HTTP request and returns the answer.
func request(t *testing.T, s *server, text string) (*http.Response, string) {
	t.Helper()
	c, err := net.Dial("tcp", s.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return resp, ""
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func TestWebSocketHandshake(t *testing.T) {
	const (
		upgrade = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
		key     = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
		mqtt    = "Sec-WebSocket-Protocol: mqtt\r\n"
	)
	s := serve(t, "ws", options{ws: WSConfig{Origins: []string{"https://chat.example.com"}, OriginsKey: "web.origins"}}, nil)
	for _, tc := range []struct {
		name, line, header string
		status             int
		say                string
	}{
		{"fine", "GET /mqtt HTTP/1.1", upgrade + key + mqtt, 101, ""},
		{"3.1 only", "GET /mqtt HTTP/1.1", upgrade + key + "Sec-WebSocket-Protocol: mqttv3.1\r\n", 101, ""},
		{"several subprotocols", "GET /mqtt HTTP/1.1", upgrade + key + "Sec-WebSocket-Protocol: amqp, mqttv3.1, mqtt\r\n", 101, ""},
		{"same origin", "GET /mqtt HTTP/1.1", upgrade + key + mqtt + "Origin: http://chat.test\r\n", 101, ""},
		{"listed origin", "GET /mqtt HTTP/1.1", upgrade + key + mqtt + "Origin: https://chat.example.com\r\n", 101, ""},
		{"other origin", "GET /mqtt HTTP/1.1", upgrade + key + mqtt + "Origin: https://evil.org\r\n", 403, "web.origins"},
		{"sandboxed page", "GET /mqtt HTTP/1.1", upgrade + key + mqtt + "Origin: null\r\n", 403, "web.origins"},
		{"localhost", "GET /mqtt HTTP/1.1", upgrade + key + mqtt + "Origin: http://localhost\r\n", 403, "web.origins"},
		{"no subprotocol", "GET /mqtt HTTP/1.1", upgrade + key, 400, "mqtt"},
		{"other subprotocol", "GET /mqtt HTTP/1.1", upgrade + key + "Sec-WebSocket-Protocol: amqp\r\n", 400, "among the 1"},
		{"no upgrade", "GET /mqtt HTTP/1.1", "", 426, "MQTT over WebSocket"},
		{"HTTP/1.0", "GET /mqtt HTTP/1.0", upgrade + key + mqtt, 426, "MQTT over WebSocket"},
		{"old version", "GET /mqtt HTTP/1.1", upgrade + mqtt + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 8\r\n", 400, "version"},
		{"no key", "GET /mqtt HTTP/1.1", upgrade + mqtt + "Sec-WebSocket-Version: 13\r\n", 400, "Key"},
		{"POST", "POST /mqtt HTTP/1.1", upgrade + key + mqtt, 405, "GET"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := s.ws.Stats()
			resp, body := request(t, s, tc.line+"\r\nHost: chat.test\r\n"+tc.header+"\r\n")
			if resp.StatusCode != tc.status || !strings.Contains(body, tc.say) {
				t.Fatalf("%d %q, want %d and %q", resp.StatusCode, body, tc.status, tc.say)
			}
			after := s.ws.Stats()
			switch tc.status {
			case 101:
				if p := resp.Header.Get("Sec-WebSocket-Protocol"); !strings.HasPrefix(p, "mqtt") {
					t.Fatalf("subprotocol %q", p)
				}
				if resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
					t.Fatal("wrong Sec-WebSocket-Accept")
				}
				_ = s.conn(t).Close()
				return
			case 403:
				before.RefusedOrigin++
			case 426:
				if resp.Header.Get("Upgrade") != "websocket" {
					t.Fatal("426 without Upgrade")
				}
				before.RefusedOther++
			default:
				before.RefusedOther++
			}
			if after.RefusedOrigin != before.RefusedOrigin || after.RefusedOther != before.RefusedOther {
				t.Fatalf("counters %+v", after)
			}
		})
	}
}

// Limits count by the address that a trusted proxy tells, and by nothing that a stranger tells.
func TestWebSocketForwardedLimit(t *testing.T) {
	for name, tc := range map[string]struct {
		trusted []netip.Prefix
		second  int
	}{"trusted": {loopback, 101}, "not trusted": {nil, 503}} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, "ws", options{ws: WSConfig{PerAddress: 1, TrustedProxies: tc.trusted}}, nil)
			s.dial(t, http.Header{"X-Forwarded-For": {"192.0.2.1"}})
			if a := s.conn(t).RemoteAddr().Addr().String(); (a == "192.0.2.1") != (tc.trusted != nil) {
				t.Fatalf("RemoteAddr %s", a)
			}
			status := func(from string) int {
				h := http.Header{"X-Forwarded-For": {from}}
				ws, resp, err := (&websocket.Dialer{Subprotocols: []string{"mqtt"}}).Dial("ws://"+s.addr()+"/mqtt", h)
				if err == nil {
					t.Cleanup(func() { _ = ws.Close() })
				} else if resp == nil {
					t.Fatal(err)
				}
				return resp.StatusCode
			}
			if got := status("192.0.2.1"); got != http.StatusServiceUnavailable {
				t.Fatalf("the same address again: %d", got)
			}
			if got := status("192.0.2.2"); got != tc.second {
				t.Fatalf("another address: %d, want %d", got, tc.second)
			}
		})
	}
}

// A trusted proxy that does not tell whose connection it is carries many clients, which are not one address.
func TestWebSocketProxyIsNoClient(t *testing.T) {
	s := serve(t, "ws", options{ws: WSConfig{PerAddress: 1, TrustedProxies: loopback}}, nil)
	for range 3 {
		s.dial(t, nil)
		s.conn(t)
	}
}

// The owner words the refusals.
func TestWebSocketRefuse(t *testing.T) {
	s := serve(t, "ws", options{ws: WSConfig{
		PerAddress: 1,
		Refuse: func(w http.ResponseWriter, status int, why string) {
			w.Header().Set("X-Why", why)
			w.WriteHeader(status)
		},
	}}, nil)
	s.dial(t, nil)
	s.conn(t)
	for name, tc := range map[string]struct {
		header http.Header
		status int
		why    string
	}{
		"no handshake":   {nil, http.StatusUpgradeRequired, "MQTT over WebSocket"},
		"origin":         {http.Header{"Origin": {"https://evil.example"}}, http.StatusForbidden, "evil.example"},
		"no subprotocol": {http.Header{}, http.StatusBadRequest, "subprotocol"},
		"limit":          {http.Header{"Sec-Websocket-Protocol": {"mqtt"}}, http.StatusServiceUnavailable, "limit 1 per address"},
	} {
		req, err := http.NewRequest(http.MethodGet, "http://"+s.addr()+"/mqtt", nil)
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(req.Header, tc.header)
		if tc.header != nil {
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", "websocket")
			req.Header.Set("Sec-WebSocket-Version", "13")
		}
		tr := &http.Transport{DisableKeepAlives: true}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != tc.status || !strings.Contains(resp.Header.Get("X-Why"), tc.why) {
			t.Errorf("%s: %d %q", name, resp.StatusCode, resp.Header.Get("X-Why"))
		}
	}
}

// After Wait nobody is taken, and Wait itself waits for requests that are being upgraded.
func TestWebSocketWait(t *testing.T) {
	s := serve(t, "ws", options{}, nil)
	cl := s.dial(t, nil)
	c := s.conn(t)
	if !s.ws.enter() { // stands for a request between accept and upgrade
		t.Fatal("refused before Wait")
	}
	waited := make(chan struct{})
	go func() { defer close(waited); s.ws.Wait() }()
	until(t, "ending", func() bool { s.ws.mu.Lock(); defer s.ws.mu.Unlock(); return s.ws.ended })
	resp, _ := request(t, s, "GET /mqtt HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("status %d after Wait", resp.StatusCode)
	}
	_ = c.Close()
	_, _ = io.ReadAll(cl.Conn)
	until(t, "connection gone", func() bool { return s.ws.Stats().Active == 0 })
	select {
	case <-waited:
		t.Fatal("Wait did not wait for the request")
	default:
	}
	s.ws.running.Done()
	<-waited
}
