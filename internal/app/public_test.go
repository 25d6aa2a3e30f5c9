package app_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/internal/webtest"
)

// said is an answer to bytes that no client of HTTP would send.
type said struct {
	status int
	header http.Header
	body   string
	last   bool // the connection ends with it
}

// say sends bytes and reads the first answer; status 0: there is none. What does not end is read for a moment.
func say(t *testing.T, addr, text string) said {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(clock.Now().Add(patience / 3))
	if _, err := io.WriteString(conn, text); err != nil {
		return said{}
	}
	method, _, _ := strings.Cut(text, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return said{}
	}
	defer resp.Body.Close()
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		_ = conn.Close() // it has no end
		return said{resp.StatusCode, resp.Header, "", resp.Close}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%.60q: %v", text, err)
	}
	return said{resp.StatusCode, resp.Header, string(body), resp.Close}
}

// operators are what only the operator's listener shows, and by what it is known.
var operators = map[string]string{
	"/metrics": "madang_limit", "/debug/pprof/": "goroutine", "/debug/pprof/cmdline": "test", "/debug/pprof/goroutine?debug=1": "goroutine profile",
	"/readyz?verbose": "ok", "/livez": "ok", "/cluster": `"leader"`, "/digest?room=lobby": "sha256",
}

// disguises write a path so that somebody on the way, or a server that is not careful, takes it for another one.
var disguises = []string{
	"%s", "/%s", "//%s", "/.%s", "/./.%s", "/x/..%s", "/api/..%s", "/api/v1/../..%s", "/api/v1/%%2e%%2e/%%2e%%2e%s", "/mqtt/..%s", "/mqtt%s", "/mqtt/%%2e%%2e%s",
	"/%%2f%s", "/%%5c%s", "/\\%s", "/;%s", "/api/v1%s", "/api%s", "/api/docs/..%s", "/%%00%s", "/.%%2f%s", "/%%252e%%252e%s",
}

// What operators see is on no other port: not under another spelling of its path, as an absolute address, with another Host,
// by CONNECT, with headers that tell a server of another path, or in another version of HTTP.
func TestOperatorsThingsArePrivate(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	ops := n.Addr("ops")
	web := n.At().Web
	for path, sign := range operators {
		get := func(path string) string {
			return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
		}
		if a := say(t, ops, get(path)); a.status != http.StatusOK || !strings.Contains(a.body, sign) {
			t.Fatalf("the operator's listener, %s: %d %.200s", path, a.status, a.body)
		}
		var tries []string
		for _, d := range disguises {
			tries = append(tries, get(fmt.Sprintf(d, path)))
		}
		clean, query, _ := strings.Cut(path, "?")
		tries = append(tries,
			get(strings.ToUpper(path)), get(path+"/"), get(clean+";x?"+query), get(clean+"%20?"+query), get(clean+"%2f?"+query), get(clean+".json?"+query),
			get(strings.ReplaceAll(clean, "e", "%65")+"?"+query), get("/"+strings.ReplaceAll(clean[1:], "/", "%2f")+"?"+query),
			get("/"+strings.ReplaceAll(clean[1:], "/", "//")+"?"+query), get("http://localhost"+path), get("http://"+ops+path), get("//"+ops+path),
			"GET "+path+" HTTP/1.1\r\nHost: "+ops+"\r\n\r\n", "GET "+path+" HTTP/1.0\r\n\r\n", "HEAD "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n",
			"POST "+path+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
			"CONNECT "+ops+" HTTP/1.1\r\nHost: "+ops+"\r\n\r\n"+get(path), "CONNECT "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n",
			"CONNECT http://"+ops+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n", "OPTIONS "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: localhost\r\nX-Original-URL: "+path+"\r\nX-Rewrite-URL: "+path+"\r\nX-Forwarded-Prefix: "+clean+"\r\nX-HTTP-Method-Override: GET\r\n\r\n",
			"GET /mqtt HTTP/1.1\r\nHost: "+ops+"\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
			"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		)
		for _, text := range tries {
			a := say(t, web, text)
			if a.status < http.StatusBadRequest {
				t.Errorf("%.100q: %d %.100q", text, a.status, a.body)
			}
			checkStrict(t, text, a)
		}
	}
}

// strict are the headers of every answer of the web listener, and what they say in ours.
var strict = map[string]string{
	"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
	"Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "",
}

// checkStrict checks the headers of an answer. What net/http itself answers to what is no HTTP has none of ours: a line of
// plain text that repeats nothing, and the connection ends.
func checkStrict(t *testing.T, text string, a said) {
	t.Helper()
	kind := a.header.Get("Content-Type")
	if a.header.Get("X-Content-Type-Options") == "" && a.status >= http.StatusBadRequest && a.last &&
		(a.body == "" || strings.HasPrefix(kind, "text/plain")) && len(a.body) < 80 && !strings.ContainsAny(a.body, "<{") {
		return
	}
	for name, begins := range strict {
		if got := a.header.Get(name); got == "" || !strings.HasPrefix(got, begins) {
			t.Errorf("%.80q: %d with %s %q", text, a.status, name, got)
		}
	}
	for _, name := range []string{"Server", "X-Powered-By", "Set-Cookie", "Access-Control-Allow-Credentials"} {
		if got := a.header.Get(name); got != "" {
			t.Errorf("%.80q: %s %q", text, name, got)
		}
	}
}

// Every answer of the web listener has strict headers: pages, calls, streams, refusals of any kind, the WebSocket's and those
// that no handler is asked for.
func TestStrictHeaders(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	ann := webtest.Login(t, n.At().Web, "ann", "x")
	ann.Must(t, "POST /rooms", map[string]any{"room": "ours", "kind": "private"})
	as := "Authorization: Bearer " + ann.Token + "\r\n"
	for _, tt := range []struct {
		status              int // 0 = any
		line, headers, body string
	}{
		{200, "GET /api/docs", "", ""},
		{200, "GET /api/openapi.json", "", ""},
		{200, "GET /api/asyncapi.json", "", ""},
		{200, "GET /api/v1/health", "", ""},
		{200, "HEAD /api/v1/health", "", ""},
		{200, "GET /api/v1/whoami", as, ""},
		{201, "POST /api/v1/rooms/lobby/messages", as + "Content-Type: text/plain\r\n", "x"},
		{200, "GET /api/v1/rooms/ours/export", as, ""},
		{200, "GET /api/v1/rooms/lobby/events", as + "Accept: text/event-stream\r\n", ""},
		{204, "OPTIONS /api/v1/rooms", "Origin: http://localhost:3000\r\nAccess-Control-Request-Method: POST\r\n", ""},
		{404, "GET /", "", ""},
		{404, "GET /nothing", "", ""},
		{404, "GET /api/v1/nothing", "", ""},
		{404, "GET /api/v1/../v1/whoami", "", ""},
		{404, "GET //api/v1/whoami", "", ""},
		{404, "GET /api/v1/rooms/none", as, ""},
		{405, "PUT /api/v1/rooms", as, ""},
		{403, "GET /api/v1/me/devices", "", ""},
		{401, "GET /api/v1/whoami", "Authorization: Bearer x\r\n", ""},
		{400, "GET /api/v1/whoami?x", "", ""},
		{0, "POST /api/v1/rooms/lobby/messages", as + "Content-Type: text/plain\r\n", strings.Repeat("x", 1<<20)},
		{415, "POST /api/v1/rooms/lobby/messages", as + "Content-Encoding: gzip\r\n", "x"},
		{421, "GET /api/v1/health", "X: y\r\nHost: evil.example\r\n", ""},
		{426, "GET /mqtt", "", ""},
		{403, "GET /mqtt", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nOrigin: https://evil.example\r\n", ""},
		{400, "GET /mqtt", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", ""},
		{400, "GET /mqtt", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Protocol: mqtt\r\n", ""},
		{0, "POST /mqtt", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", ""},
		{0, "OPTIONS *", "", ""},
		{0, "CONNECT localhost:1", "", ""},
		{0, "TRACE /api/v1/health", "", ""},
		{0, "GET /api/v1/health", "Expect: 200-magic\r\n", ""},
		{0, "GET /api/v1/health", "Transfer-Encoding: gzip\r\n", ""},
		{0, "GET /api/v1/health", "Content-Length: -1\r\n", ""},
		{0, "GET /api/v1/health", "X: " + strings.Repeat("x", 64<<10) + "\r\n", ""},
		{0, "GET /<script>", "Bad Header: x\r\n", ""},
	} {
		host := "Host: localhost\r\n"
		if strings.Contains(tt.headers, "Host:") {
			host = ""
		}
		length := ""
		if tt.body != "" {
			length = fmt.Sprintf("Content-Length: %d\r\n", len(tt.body))
		}
		text := tt.line + " HTTP/1.1\r\n" + host + tt.headers + length + "\r\n" + tt.body
		a := say(t, n.At().Web, text)
		if a.status == 0 || tt.status > 0 && a.status != tt.status {
			t.Errorf("%s: %d, want %d: %.200s", tt.line, a.status, tt.status, a.body)
			continue
		}
		checkStrict(t, text, a)
		if strings.Contains(a.header.Get("Content-Type"), "html") != (tt.line == "GET /api/docs") {
			t.Errorf("%s: %s", tt.line, a.header.Get("Content-Type"))
		}
	}
	for _, text := range []string{"GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "<script>alert(1)</script>\r\n\r\n"} {
		if a := say(t, n.At().Web, text); a.status != 0 {
			checkStrict(t, text, a)
		}
	}
}
