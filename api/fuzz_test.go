package api

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// FuzzRequest makes any HTTP request: path, query, headers and body of anybody. The answer is one of the API's own, and never
// a fault of the server's.
func FuzzRequest(f *testing.F) {
	add := func(line, headers, body string) { f.Add(line + " HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n" + body) }
	token := "Authorization: Bearer alice\r\n"
	add("GET /api/v1/rooms/pub/events?after=1&wait=0", token+"Last-Event-ID: 7\r\n", "")
	add("GET /api/v1/rooms/pub/events?wait=0", token+"Last-Event-ID: 18446744073709551616\r\nAccept: text/event-stream\r\n", "")
	add("GET /api/v1/rooms/pub/messages?around=3&limit=5&view=log", token, "")
	add("POST /api/v1/rooms/pub/messages", token+"Content-Type: application/json\r\nContent-Length: 27\r\nIdempotency-Key: k\r\n", `{"data":{"text":"hi"},"x":1}`)
	add("POST /api/v1/rooms/pub/messages?type=note&cid=c", token+"Content-Type: text/plain\r\nContent-Length: 2\r\n", "hi")
	add("POST /api/v1/publish", token+"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 46\r\n", "topic=chat%2Frooms%2Fpub%2Fsend&payload=hi&qos=1")
	add("POST /api/v1/publish", token+"Content-Type: application/json\r\nContent-Length: 52\r\n", `{"topic":"chat/rooms/pub/send","payload":"hi","qos":1}`)
	add("PUT /api/v1/rooms/pub/state/k", token+"Content-Length: 12\r\n", `{"data":"v"}`)
	add("GET /api/v1/search?q=hi&cursor=eyJmIjoxfQ", token, "")
	add("GET /api/v1/rooms?after=%00&limit=-1", "Authorization: Basic YTpi\r\n", "")
	add("POST /api/v1/rooms/pub/import", "Authorization: Bearer admin\r\nContent-Length: 2\r\n", "{}")
	r := newRig(f).rooms()
	f.Fuzz(func(t *testing.T, text string) {
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil || req.URL.Path == "" || strings.Contains(req.URL.RawQuery, "wait=") && !strings.Contains(req.URL.RawQuery, "wait=0") {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond) // streams do not end
		defer cancel()
		req.RemoteAddr = "192.0.2.1:1234"
		w := httptest.NewRecorder()
		r.ServeHTTP(w, req.WithContext(ctx))
		if w.Code >= http.StatusInternalServerError && w.Code != http.StatusServiceUnavailable && w.Code != http.StatusNotImplemented {
			t.Fatalf("%q: %d %s", text, w.Code, w.Body)
		}
		if kind := w.Header().Get("Content-Type"); strings.HasSuffix(kind, "json") && w.Body.Len() > 0 && !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%q: %q is no JSON", text, w.Body)
		}
	})
}
