package api_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// raw opens a TCP connection to the web port. It ends with the test, or after the patience of one.
func raw(t testing.TB, n *testcluster.Node) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", n.Addr("web"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(mqtttest.Patience))
	return c.(*net.TCPConn)
}

// others checks that somebody else is served, and soon.
func others(t testing.TB, n *testcluster.Node, beside string) {
	t.Helper()
	start := time.Now()
	r := ask(t, "POST "+web(n)+"/api/v1/rooms/others/messages", "x", login(t, web(n), "other"))
	if d := time.Since(start); r.status != http.StatusCreated || d > 5*time.Second {
		t.Errorf("beside %s: %d after %v: %s", beside, r.status, d, r.body)
	}
	c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: mqtttest.Flavour{Web: true}, User: "other", ClientID: beside})
	c.Say("others", "x")
	c.Disconnect()
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// Requests that are none, or could be read in two ways, are refused, end the connection, and change nothing.
func TestGarbageRequests(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	post := "POST /api/v1/rooms/garbage/messages HTTP/1.1\r\nHost: localhost\r\n" + login(t, web(n), "alice") + "\r\n"
	const chunked = "Transfer-Encoding: chunked\r\n"
	for name, c := range map[string]struct {
		send   string
		status int
	}{
		"chunk size is none":     {post + chunked + "\r\nzz\r\nhello\r\n0\r\n\r\n", 400},
		"chunk size too long":    {post + chunked + "\r\nffffffffffffffffff\r\nhello\r\n0\r\n\r\n", 400},
		"long chunk extension":   {post + chunked + "\r\n5;" + strings.Repeat("x", 8<<10) + "\r\nhello\r\n0\r\n\r\n", 400},
		"chunk without its end":  {post + chunked + "\r\n5\r\nhelloxx0\r\n\r\n", 400},
		"chunked twice":          {post + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 501},
		"two lengths":            {post + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400},
		"negative length":        {post + "Content-Length: -3\r\n\r\nabc", 400},
		"claimed length":         {post + "Content-Length: 9999999999999\r\n\r\nabc", 413},
		"length is not reached":  {post + "Content-Length: 300\r\n\r\nabc", 400},
		"unknown expectation":    {post + "Expect: 99\r\nContent-Length: 3\r\n\r\nabc", 417},
		"huge header":            {post + "X: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431},
		"many headers":           {post + strings.Repeat("X: y\r\n", 16<<10) + "\r\n", 431},
		"huge path":              {"GET /" + strings.Repeat("x", 64<<10) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 431},
		"no host":                {"POST /api/v1/rooms HTTP/1.1\r\n\r\n", 400},
		"two hosts":              {"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400},
		"another host":           {"GET http://evil.example/api/v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n", 421},
		"a tunnel":               {"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n", 404},
		"HTTP/3":                 {"GET /api/v1/health HTTP/3.0\r\nHost: localhost\r\n\r\n", 505},
		"TLS":                    {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
		"MQTT":                   {"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00\r\n\r\n", 400},
		"NUL in the room's name": {"GET /api/v1/rooms/%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404},
		"query with semicolon":   {"GET /api/v1/health?a;b HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
	} {
		conn := raw(t, n)
		go func() { // it may be refused before all of it is sent
			_, _ = io.WriteString(conn, c.send)
			_ = conn.CloseWrite()
		}()
		b, _ := io.ReadAll(conn) // a reset is fine, after the answer
		want := fmt.Sprintf("HTTP/1.1 %d ", c.status)
		if !bytes.HasPrefix(b, []byte(want)) || bytes.Count(b, []byte("HTTP/1.1 ")) != 1 {
			t.Errorf("%s: %.300q, want %s and nothing more", name, b, want)
		}
	}
	others(t, n, "garbage")
	if r := ask(t, "GET "+web(n)+"/api/v1/rooms/garbage", "", login(t, web(n), "alice")); r.status != http.StatusNotFound {
		t.Errorf("something of it was stored: %d %s", r.status, r.body)
	}
}

// A client that sends more than it may still learns why it is refused, as long as it is below limits.packet.
func TestLargeBodiesAreReadAndThrownAway(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{Set: []string{"limits.packet=8MiB"}})
	alice := login(t, web(n), "alice")
	for name, c := range map[string]struct{ path, auth, code string }{
		"too large": {"/api/v1/rooms/lobby/messages", alice, "too_large"},
		"no token":  {"/api/v1/rooms/lobby/messages", "Authorization: Bearer x", "unauthenticated"},
		"no route":  {"/api/v1/nothing", alice, "not_found"},
		"login":     {"/api/v1/auth/login", "Content-Type: application/json", "too_large"},
	} {
		for _, length := range []string{"Content-Length: 7340032", "Transfer-Encoding: chunked"} {
			conn := raw(t, n)
			head := "POST " + c.path + " HTTP/1.1\r\nHost: localhost\r\n" + c.auth + "\r\n" + length + "\r\n\r\n"
			data := strings.Repeat("x", 7<<20)
			if strings.HasPrefix(length, "T") {
				data = "700000\r\n" + data + "\r\n0\r\n\r\n"
			}
			if _, err := io.WriteString(conn, head+data); err != nil { // reads nothing before all is sent
				t.Errorf("%s: %v", name, err)
				continue
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Errorf("%s, %s: %v", name, length, err)
				continue
			}
			b, _ := io.ReadAll(resp.Body)
			if r := (reply{resp.StatusCode, resp.Header, string(b)}); r.code() != c.code {
				t.Errorf("%s, %s: %d %s", name, length, r.status, r.body)
			}
		}
	}
	conn := raw(t, n) // beyond it nobody waits
	_, _ = io.WriteString(conn, "POST /api/v1/rooms/lobby/messages HTTP/1.1\r\nHost: localhost\r\n"+alice+"\r\nContent-Length: 9000000\r\n\r\n"+strings.Repeat("x", 300<<10))
	if b, err := io.ReadAll(conn); isTimeout(err) || !bytes.HasPrefix(b, []byte("HTTP/1.1 413 ")) {
		t.Errorf("%.100q %v", b, err)
	}
	conn = raw(t, n) // and who asks first is not made to send
	_, _ = io.WriteString(conn, "POST /api/v1/nothing HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n")
	if b, err := io.ReadAll(conn); isTimeout(err) || !bytes.HasPrefix(b, []byte("HTTP/1.1 404 ")) {
		t.Errorf("%.100q %v", b, err)
	}
}

// Hundreds of requests that do not end, and answers that nobody reads, cost a bounded amount of memory and delay nobody.
func TestRequestsThatDoNotEnd(t *testing.T) {
	const (
		many  = 600
		bound = 220 << 20 // of the whole process: 64 MB of bodies, or of answers, are about twice that with their buffers
	)
	n := testcluster.Start(t, testcluster.Options{})
	alice := login(t, web(n), "alice")
	for range 4 { // a page of 1 MB
		if r := ask(t, "POST "+web(n)+"/api/v1/rooms/big/messages", strings.Repeat("y", 256<<10), alice); r.status != http.StatusCreated {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	before := heap()
	for _, c := range []struct{ what, send string }{
		{"headers that do not end", "POST /api/v1/rooms/big/messages HTTP/1.1\r\nHost: localhost\r\nX: "},
		{
			"bodies that do not end",
			"POST /api/v1/rooms/big/messages HTTP/1.1\r\nHost: localhost\r\n" + alice + "\r\nContent-Length: 262144\r\n\r\n" + strings.Repeat("x", 262143),
		},
		{"answers that nobody reads", "GET /api/v1/rooms/big/messages?limit=1000 HTTP/1.1\r\nHost: localhost\r\n" + alice + "\r\n\r\n"},
	} {
		var wg sync.WaitGroup
		var conns []net.Conn
		for range many {
			conn := raw(t, n)
			conns = append(conns, conn)
			_ = conn.SetReadBuffer(4 << 10)
			wg.Go(func() { _, _ = io.WriteString(conn, c.send) }) // some are cut while they send
		}
		wg.Wait()
		others(t, n, c.what)
		settles(t, before+bound, c.what)
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
	conn := raw(t, n)
	go func() {
		_, _ = io.WriteString(conn, strings.Repeat("GET /api/v1/whoami HTTP/1.1\r\nHost: localhost\r\n\r\n", 1<<17))
	}()
	others(t, n, "requests in a row whose answers nobody reads")
	settles(t, before+bound, "requests in a row")
}

// settles waits for the heap to be below a bound. What is on its way out may take a moment; requests that do not end
// would hold on for half a minute.
func settles(t testing.TB, bound uint64, beside string) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(10 * time.Second)
	for {
		h := heap()
		if h <= bound {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: heap of %d MB, at most %d MB were to be", beside, h>>20, bound>>20)
		}
	}
}

// A client that breaks the rules of WebSocket loses its connection, and nobody else does.
func TestHostileWebSockets(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{Set: []string{"limits.connect_timeout=2s"}})
	dial := func() net.Conn {
		t.Helper()
		d := websocket.Dialer{Subprotocols: []string{"mqtt"}, HandshakeTimeout: mqtttest.Patience}
		ws, resp, err := d.Dial("ws://"+n.Addr("web")+"/mqtt", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		conn := ws.NetConn()
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(mqtttest.Patience))
		return conn
	}
	masked := func(first byte, payload string) []byte { // with a key of zeros
		return append([]byte{first, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)
	}
	const connect = "\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00"
	for name, send := range map[string][]byte{
		"not masked":           append([]byte{0x82, byte(len(connect))}, connect...),
		"text":                 masked(0x81, connect),
		"reserved bits":        masked(0xf2, connect),
		"fragmented ping":      masked(0x09, "x"),
		"long ping":            append([]byte{0x89, 0xfe, 0, 200, 0, 0, 0, 0}, make([]byte, 200)...),
		"continuation first":   masked(0x80, connect),
		"unknown opcode":       masked(0x83, connect),
		"claimed length":       {0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
		"bad close":            masked(0x88, "\x03"),
		"no MQTT":              masked(0x82, "GET / HTTP/1.1\r\n"),
		"message in a message": append(masked(0x02, connect[:3]), masked(0x82, connect)...),
	} {
		conn := dial()
		if _, err := conn.Write(send); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(conn); isTimeout(err) || len(b) > 200 {
			t.Errorf("%s: %v, %d bytes came back", name, err, len(b))
		}
	}
	others(t, n, "broken frames")

	before := heap()
	var wg sync.WaitGroup
	for range 20 { // pings whose pongs nobody reads
		conn := dial()
		wg.Go(func() {
			_, _ = conn.Write(masked(0x82, connect))
			flood := bytes.Repeat(masked(0x89, strings.Repeat("p", 100)), 1000)
			for range 100 {
				if _, err := conn.Write(flood); err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	settles(t, before+64<<20, "pings")
	others(t, n, "pings")

	for i := range 200 { // both sides end at once, in every state
		conn := dial()
		wg.Go(func() {
			_, _ = conn.Write(append(masked(0x82, connect), masked(0x82, "\xe0\x00")...)[:1+i%27])
			if i%3 == 0 {
				_, _ = conn.Write(masked(0x88, "\x03\xe8"))
			}
			if i%5 == 0 {
				_ = conn.(*net.TCPConn).SetLinger(0)
			}
			_ = conn.Close()
		})
	}
	wg.Wait()
	others(t, n, "closing")
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error) //nolint:errorlint // what io.ReadAll passes on
	return ok && e.Timeout()
}
