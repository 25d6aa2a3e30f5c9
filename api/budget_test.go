package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/problem"
)

// slowBody is a request whose body does not end.
type slowBody struct {
	first   []byte
	waiting chan struct{} // closed when all of first was read
	end     chan struct{}
}

func (s *slowBody) Read(p []byte) (int, error) {
	if len(s.first) > 0 {
		n := copy(p, s.first)
		s.first = s.first[n:]
		return n, nil
	}
	close(s.waiting)
	<-s.end
	return 0, io.ErrUnexpectedEOF
}

// The bodies of all requests together have a limit. Beyond it the one that is longest on its way goes; others are served.
func TestSlowestBodyIsCut(t *testing.T) {
	r := newRig(t, func(c *calls.Config, _ *Config) { c.Message = 64 << 10 }).rooms()
	r.budgets.bodies.limit = 100 << 10
	slow := &slowBody{first: make([]byte, 60<<10), waiting: make(chan struct{}), end: make(chan struct{})}
	req := request("bob", "POST /rooms/pub/messages", "", asText)
	req.Body = io.NopCloser(slow)
	answer := make(chan *httptest.ResponseRecorder)
	go func() { answer <- r.serve(req) }()
	<-slow.waiting
	if w := r.do("alice", "POST /rooms/pub/messages", strings.Repeat("x", 60<<10), asText); w.Code != 201 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	close(slow.end) // httptest has no deadline that would do it
	w := <-answer
	r.refused(w, 503, problem.RateLimited, "too much")
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	// Alone, a request may be larger than the limit.
	r.budgets.bodies.limit = 100
	if w := r.do("alice", "POST /rooms/pub/messages", strings.Repeat("x", 60<<10), asText); w.Code != 201 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if b := &r.budgets.bodies; b.held != 0 || b.order.Len() != 0 {
		t.Errorf("%d bytes of %d bodies are left", b.held, b.order.Len())
	}
}

func TestTransfers(t *testing.T) {
	ts := transfers{limit: 100}
	var cut []string
	begin := func(name string, bytes int64) *transfer {
		x := ts.begin(func() { cut = append(cut, name) })
		x.grow(bytes)
		return x
	}
	a, b := begin("a", 40), begin("b", 40)
	begin("c", 10).end()
	d := begin("d", 50) // a goes
	a.grow(1000)        // it does not count any more
	b.grow(40)          // b is the oldest and goes itself
	e := begin("e", 300)
	if got := strings.Join(cut, ""); got != "abd" || ts.held != 300 || ts.order.Len() != 1 {
		t.Errorf("cut %q, held %d by %d", got, ts.held, ts.order.Len())
	}
	for _, x := range []*transfer{a, b, d, e, e} {
		x.end()
	}
	if ts.held != 0 || ts.order.Len() != 0 {
		t.Errorf("%d bytes of %d are left", ts.held, ts.order.Len())
	}
}

// unfinished starts a server with do, sends it the start of a request and waits until do is at work.
func unfinished(t *testing.T, send string, do func(w http.ResponseWriter, r *http.Request) error) (net.Conn, <-chan error) {
	t.Helper()
	done := make(chan error, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { done <- do(w, r) }))
	t.Cleanup(srv.Close)
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	if _, err := io.WriteString(conn, send); err != nil {
		t.Fatal(err)
	}
	return conn, done
}

// cutSoon expects that what is under way ends with an error.
func cutSoon(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		if err == nil {
			t.Error("it went through")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on")
	}
}

// A client that does not read a large answer loses its connection when others need the memory.
func TestUnreadAnswerIsCut(t *testing.T) {
	ts := transfers{limit: 20 << 20}
	conn, done := unfinished(t, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", func(w http.ResponseWriter, _ *http.Request) error {
		_, err := ts.send(w, make([]byte, 20<<20))
		return err
	})
	if _, err := io.ReadFull(conn, make([]byte, 15)); err != nil { // it is on its way
		t.Fatal(err)
	}
	x := ts.begin(func() { t.Error("the newest was cut") })
	x.grow(1)
	cutSoon(t, done)
	x.end()
}

// So does one that does not send what it said it would.
func TestUnsentBodyIsCut(t *testing.T) {
	ts := transfers{limit: 10}
	read := make(chan struct{})
	_, done := unfinished(t, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n12345", func(w http.ResponseWriter, r *http.Request) error {
		b := &body{ReadCloser: r.Body, of: &ts, control: http.NewResponseController(w), left: 100}
		defer b.finish(r, 0)
		if _, err := io.ReadFull(b, make([]byte, 5)); err != nil {
			return err
		}
		close(read)
		_, err := io.ReadFull(b, make([]byte, 5))
		if !errors.Is(err, errBodies) {
			t.Error(err)
		}
		return err
	})
	<-read
	x := ts.begin(func() { t.Error("the newest was cut") })
	x.grow(6)
	cutSoon(t, done)
	x.end()
}

// Pages are put together a few at a time; who waits for a turn does so no longer than its request.
func TestReadsTakeTurns(t *testing.T) {
	r := newRig(t).rooms()
	for range maxReads {
		r.budgets.reads <- struct{}{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, page := range []string{"/rooms/pub/messages", "/me/inbox", "/broadcast"} {
		w := r.serve(request("alice", "GET "+page, "").WithContext(ctx))
		r.refused(w, 503, problem.RateLimited, "")
	}
	<-r.budgets.reads
	if w := r.do("alice", "GET /rooms/pub/messages", ""); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if _, err := r.budgets.read(ctx); err != nil && !errors.Is(err, overloaded()) {
		t.Error(err)
	}
}
