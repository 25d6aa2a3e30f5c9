package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/storage"
)

// events is a client of a stream.
type events struct {
	t    *testing.T
	resp *http.Response
	r    *bufio.Scanner
}

func (r *rig) follow(t *testing.T, url, token, query string, headers ...string) *events {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+Base+query, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	e := &events{t: t, resp: resp, r: bufio.NewScanner(resp.Body)}
	e.r.Buffer(nil, 1<<20)
	return e
}

// next returns the next event as "id name data"; "" at the end of the stream.
func (e *events) next() string {
	e.t.Helper()
	var id, name, data string
	for e.r.Scan() {
		field, value, _ := strings.Cut(e.r.Text(), ": ")
		switch field {
		case "id":
			id = value
		case "event":
			name = value
		case "data":
			data += value
		case "":
			if data != "" {
				return strings.TrimSpace(id + " " + name + " " + data)
			}
		}
	}
	return ""
}

func (e *events) want(parts ...string) {
	e.t.Helper()
	got := e.next()
	for _, p := range parts {
		if !strings.Contains(got, p) {
			e.t.Errorf("got %q, want %q in it", got, p)
		}
	}
}

func TestEvents(t *testing.T) {
	r := newRig(t).rooms()
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	say := func(text string) {
		t.Helper()
		if w := r.do("bob", "POST /rooms/pub/messages", text, "Content-Type: text/plain"); w.Code != 201 {
			t.Fatal(w.Body)
		}
	}
	for i := range 5 {
		say(fmt.Sprint("m", i+1))
	}
	e := r.follow(t, srv.URL, "carol", "/rooms/pub/events?after=3")
	if ct := e.resp.Header.Get("Content-Type"); e.resp.StatusCode != 200 || ct != "text/event-stream" || e.resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s", e.resp.StatusCode, ct)
	}
	e.want("4 ", `"seq":4,`, `"text":"m4"`)
	e.want("5 ", `"seq":5,`)
	live := r.follow(t, srv.URL, "dave", "/rooms/pub/events")
	back := r.follow(t, srv.URL, "dave", "/rooms/pub/events", "Last-Event-ID: 4")
	back.want("5 ", `"seq":5,`)
	say("six\r\nlines\n")
	for _, f := range []*events{e, live, back} {
		f.want("6 ", `"seq":6,`, `six\r\nlines`)
	}

	// What retention has removed is a gap, with the place to go on from.
	if res := r.log.Apply(&storage.Trim{Room: storage.RoomKey{NS: "chat", Room: "pub"}, Upto: 4, MaxCount: 2}); res.Outcome != storage.Done {
		t.Fatalf("%+v", res)
	}
	late := r.follow(t, srv.URL, "carol", "/rooms/pub/events?after=1")
	late.want("4 gap ", `{"from":2,"to":4,"first":5}`)
	late.want("5 ", `"seq":5,`)

	// Who may not read any more is told why, and the stream ends.
	for _, line := range []string{"POST /rooms/pub/ban"} {
		if w := r.do("alice", line, `{"user":"dave"}`, "Content-Type: application/json"); w.Code != 200 {
			t.Fatal(w.Body)
		}
	}
	for _, f := range []*events{live, back} {
		f.want("error ", `"code":"banned"`)
		if got := f.next(); got != "" {
			t.Errorf("after the end: %s", got)
		}
	}
	e.want("7 ", `"event":"banned"`)
	r.refused(r.do("dave", "GET /rooms/pub/events", ""), 403, "banned", "")
	r.refused(r.do("carol", "GET /rooms/priv/events", ""), 403, "not_member", "")
	r.refused(r.do("carol", "GET /rooms/none/events", ""), 404, "not_found", "")
	r.refused(r.do("carol", "GET /rooms/pub/events?after=x", ""), 400, "bad_payload", "")

	r.EndStreams()
	if got := e.next(); got != "" {
		t.Errorf("the node stops: %s", got)
	}
}

func TestLongPoll(t *testing.T) {
	r := newRig(t).rooms()
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	type page struct {
		Messages []struct{ Seq uint64 }
		Head     uint64
		First    uint64
		Next     uint64
		Gap      *struct{ From, To, First uint64 }
	}
	poll := func(query string, headers ...string) (out page) {
		t.Helper()
		e := r.follow(t, srv.URL, "bob", "/rooms/pub/events"+query, headers...)
		if e.resp.StatusCode != 200 || e.resp.Header.Get("Content-Type") != "application/json" {
			t.Fatalf("%d %v", e.resp.StatusCode, e.resp.Header)
		}
		if err := json.NewDecoder(e.resp.Body).Decode(&out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if p := poll("?after=0&wait=0"); len(p.Messages) != 0 || p.Next != 0 || p.Head != 0 {
		t.Errorf("an empty room: %+v", p)
	}
	for range 3 {
		r.do("bob", "POST /rooms/pub/messages", "x", "Content-Type: text/plain")
	}
	if p := poll("?after=1", "Accept: application/json"); len(p.Messages) != 2 || p.Messages[0].Seq != 2 || p.Next != 3 || p.Head != 3 {
		t.Errorf("%+v", p)
	}
	if p := poll("?after=99&wait=1"); p.Gap == nil || p.Next != 3 {
		t.Errorf("after a seq that is not there yet: %+v", p)
	}
	got := make(chan uint64, 1)
	began := make(chan struct{})
	go func() {
		close(began)
		p := poll("?after=3&wait=20")
		if len(p.Messages) != 1 {
			t.Errorf("%+v", p)
		}
		got <- p.Next
	}()
	<-began
	for deadline := time.After(15 * time.Second); ; {
		r.do("bob", "POST /rooms/pub/messages", "x", "Content-Type: text/plain")
		select {
		case next := <-got:
			if next < 4 {
				t.Errorf("next %d", next)
			}
			return
		case <-deadline:
			t.Fatal("the poll was not answered")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// As many streams as are allowed, and one more; places come back. Nobody takes all of them.
func TestStreamsAreLimited(t *testing.T) {
	r := newRig(t).rooms()
	var leave []func()
	fill := func(n int, by string) {
		for range n {
			l, bad := r.streams.enter(&who{Identity: auth.Identity{Namespace: "chat", User: by}})
			if bad != nil {
				t.Fatal(bad)
			}
			leave = append(leave, l)
		}
	}
	fill(maxEventsOfOne, "bob")
	r.refused(r.do("bob", "GET /rooms/pub/events?wait=0", ""), 429, "rate_limited", "20")
	if w := r.do("alice", "GET /rooms/pub/events?wait=0", ""); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for i := 1; i*maxEventsOfOne < maxEvents; i++ {
		fill(maxEventsOfOne, fmt.Sprint("u", i))
	}
	r.refused(r.do("alice", "GET /rooms/pub/events?wait=0", ""), 503, "rate_limited", "")
	leave[0]()
	leave[0]()
	if w := r.do("bob", "GET /rooms/pub/events?wait=0", ""); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
