package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What became of a message is in its present form, and a room list says what is new.
func TestChat(t *testing.T) {
	r := newRig(t)
	const asJSON = "Content-Type: application/json"
	say := func(by, body string) {
		t.Helper()
		if w := r.do(by, "POST /rooms/club/messages", body, asJSON); w.Code != 201 {
			t.Fatalf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	r.do("alice", "POST /rooms", `{"room":"club","kind":"public","name":"The Club"}`, asJSON)
	r.do("bob", "POST /rooms/club/join", "") // entry 1
	say("alice", `{"data":{"text":"helo"}}`)
	say("bob", `{"data":{"text":"hm?"},"reply_to":2}`)
	say("alice", `{"type":"edit","target":2,"data":{"text":"hello, \"data\":1"}}`)
	say("bob", `{"type":"reaction","target":2,"data":{"emoji":"👍","on":true}}`)
	say("alice", `{"type":"reaction","target":2,"data":{"emoji":"👍"}}`)
	say("alice", `{"type":"reaction","target":2,"data":{"emoji":"🎉"}}`)
	say("alice", `{"type":"reaction","target":2,"data":{"emoji":"🎉","on":false}}`)
	say("bob", `{"type":"note","meta":{"data":{"a":[1]}},"data":"no object"}`)
	say("bob", `{"type":"edit","target":9,"data":{"now":"one"}}`)

	w := r.do("carol", "GET /rooms/club/messages", "")
	want := `{"messages":[` +
		`{"room":"club","seq":2,"n":1,"ts":TS,"type":"text","from":{"user":"alice","role":"owner"},"data":{"text":"hello, \"data\":1"},` +
		`"edited":{"seq":4,"ts":TS},"reactions":{"👍":2},"replies":1},` +
		`{"room":"club","seq":3,"n":2,"ts":TS,"type":"text","from":{"user":"bob","role":"member"},"reply_to":2,"data":{"text":"hm?"}},` +
		`{"room":"club","seq":9,"n":3,"ts":TS,"type":"note","from":{"user":"bob","role":"member"},"meta":{"data":{"a":[1]}},"data":{"now":"one"},` +
		`"edited":{"seq":10,"ts":TS}}],"head":10,"first":1,"more":false}`
	if d := cmp.Diff(want, stamps(answerOf(w))); d != "" {
		t.Error(d)
	}
	w = r.do("carol", "GET /rooms/club/messages?view=log&after=1&limit=1", "")
	if s := w.Body.String(); !strings.Contains(s, `"text":"helo"`) || strings.Contains(s, "edited") {
		t.Errorf("the log is not as it was delivered: %s", s)
	}

	type page struct {
		Rooms []struct {
			Room         string
			Role         string
			Read, Unread *uint64
			Last         *struct {
				Seq  uint64
				Text string
			}
		}
		Unread *uint64
		More   bool
		Next   string
	}
	list := func(who, query string) (page page) {
		t.Helper()
		if err := json.Unmarshal(r.do(who, "GET /rooms"+query, "").Body.Bytes(), &page); err != nil {
			t.Fatal(err)
		}
		return page
	}
	p := list("bob", "")
	if len(p.Rooms) != 1 || *p.Rooms[0].Unread != 3 || *p.Rooms[0].Read != 1 || *p.Unread != 3 || p.Rooms[0].Last.Seq != 9 {
		t.Errorf("%+v", p)
	}
	for _, c := range []struct{ by, body, want string }{
		{"bob", `{"seq":3}`, `{"room":"club","seq":3,"delivered":3,"unread":1}`},
		{"bob", `{"seq":2,"delivered":9}`, `{"room":"club","seq":3,"delivered":9,"unread":1}`},
		{"bob", `{}`, "bad_payload"},
		{"carol", `{"seq":3}`, "not_member"},
		{"guest~1", `{"seq":3}`, "guest_read_only"},
		{"bob", `{"seq":99}`, `{"room":"club","seq":10,"delivered":10,"unread":0}`},
	} {
		w := r.do(c.by, "POST /rooms/club/read", c.body, asJSON)
		if !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s: %s", c.by, c.body, w.Body)
		}
		if got := r.call(c.by, "read", `{"room":"club",`+strings.TrimPrefix(c.body, "{")); !strings.Contains(got, c.want) && c.body != "{}" {
			t.Errorf("%s %s by rpc: %s", c.by, c.body, got)
		}
	}
	if p := list("bob", ""); *p.Unread != 0 {
		t.Errorf("%d unread", *p.Unread)
	}

	for _, id := range []string{"clubs.1", "hidden", "zz"} {
		kind := "public"
		if id == "hidden" {
			kind = "private"
		}
		r.do("alice", "POST /rooms", `{"room":"`+id+`","kind":"`+kind+`","name":"`+strings.ToUpper(id)+`"}`, asJSON)
	}
	for query, want := range map[string]string{
		"?public=true": "club clubs.1 zz", "?public=true&q=CLUB": "club clubs.1", "?public=true&q=the": "club", "?public=true&q=hidden": "",
		"?public=true&after=club": "clubs.1 zz",
	} {
		var ids []string
		for _, x := range list("carol", query).Rooms {
			ids = append(ids, x.Room)
			if x.Role != "" || x.Unread != nil {
				t.Errorf("carol is %q in %s", x.Role, x.Room)
			}
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	if w := r.do("alice", "POST /rooms/club/ban", `{"user":"dave"}`, asJSON); w.Code != 200 {
		t.Fatal(w.Body)
	}
	if p := list("dave", "?public=true&q=club"); len(p.Rooms) != 1 || p.Rooms[0].Room != "clubs.1" {
		t.Errorf("one who is banned sees %+v", p.Rooms)
	}
	if p := list("carol", "?public=true&limit=2"); !p.More || p.Next != "clubs.1" || len(p.Rooms) != 2 {
		t.Errorf("%+v", p)
	}
}

// Who makes a room again under an old name runs the new one, and reads nothing of what those did who ran the old.
func TestAuditOfARoomMadeAgain(t *testing.T) {
	r := newRig(t)
	const asJSON = "Content-Type: application/json"
	for _, step := range []struct{ by, line, body string }{
		{"alice", "POST /rooms", `{"room":"hr","kind":"private"}`},
		{"alice", "POST /rooms/hr/ban", `{"user":"bob","reason":"what nobody else should know"}`},
		{"alice", "DELETE /rooms/hr", ""},
		{"eve", "POST /rooms", `{"room":"hr","kind":"private"}`},
		{"eve", "POST /rooms/hr/invite", `{"user":"bob"}`},
	} {
		if w := r.do(step.by, step.line, step.body, asJSON); w.Code >= 300 {
			t.Fatalf("%s: %d %s", step.line, w.Code, w.Body)
		}
	}
	if s := r.do("eve", "GET /rooms/hr/audit", "").Body.String(); strings.Contains(s, "nobody else") || !strings.Contains(s, "invite") {
		t.Error(s)
	}
	if s := r.do("admin", "GET /rooms/hr/audit", "").Body.String(); !strings.Contains(s, "nobody else") {
		t.Error(s)
	}
}

// An edit of a text is a text, whatever form it has, and one of bytes says that it is bytes.
func TestEditedForms(t *testing.T) {
	r := newRig(t)
	const asJSON = "Content-Type: application/json"
	for _, step := range []struct{ line, body string }{
		{"POST /rooms", `{"room":"r","kind":"public"}`},
		{"POST /rooms/r/messages", `{"data":{"text":"one"}}`},
		{"POST /rooms/r/messages", `{"type":"edit","target":1,"data":"plain"}`},
		{"POST /rooms/r/messages", `{"type":"note","data":"x"}`},
	} {
		if w := r.do("alice", step.line, step.body, asJSON); w.Code >= 300 {
			t.Fatalf("%s: %d %s", step.body, w.Code, w.Body)
		}
	}
	if w := r.do("alice", "POST /rooms/r/messages?type=bytes", "\xff\xfe", "Content-Type: application/octet-stream"); w.Code != 201 {
		t.Fatal(w.Body)
	}
	if w := r.do("alice", "POST /rooms/r/messages", `{"type":"edit","target":4,"data":{"now":"json"}}`, asJSON); w.Code != 201 {
		t.Fatal(w.Body)
	}
	got := stamps(answerOf(r.do("alice", "GET /rooms/r/messages", "")))
	for _, want := range []string{
		`"data":{"text":"plain"},"edited":{"seq":2,`, `"type":"note","from":{"user":"alice","role":"owner"},"data":"x"}`,
		`"type":"bytes","from":{"user":"alice","role":"owner"},"data":{"now":"json"},"edited":{"seq":5,`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
}

// A page by type, thread, mention and time, in either direction.
func TestHistoryFilters(t *testing.T) {
	r := newRig(t)
	const asJSON = "Content-Type: application/json"
	r.do("alice", "POST /rooms", `{"room":"r","kind":"public"}`, asJSON)
	var ts []int64
	for _, body := range []string{
		`{"data":{"text":"root"}}`,
		`{"data":{"text":"in it"},"thread":1,"reply_to":1}`,
		`{"type":"image","data":{"url":"x","thread":1,"mentions":["bob"]}}`,
		`{"data":{"text":",\"thread\":1, \"mentions\":[\"bob\"]"},"thread":11,"meta":{"thread":1}}`,
		`{"data":{"text":"@bob @eve"},"mentions":["bob","eve"],"thread":1}`,
		`{"type":"image","data":{"url":"y"},"mentions":["bo"]}`,
	} {
		var p struct{ TS int64 }
		if err := json.Unmarshal(r.do("alice", "POST /rooms/r/messages", body, asJSON).Body.Bytes(), &p); err != nil || p.TS == 0 {
			t.Fatal(body, err)
		}
		ts = append(ts, p.TS)
	}
	for query, want := range map[string]string{
		"type=image": "3 6", "type=image&limit=1": "6 more", "type=image&after=0&limit=1": "3 more", "type=none": "",
		"thread=1": "1 2 5", "thread=11": "4", "thread=1&after=1": "2 5", "mention=bob": "5", "mention=bo": "6", "mention=zoe": "",
		"thread=1&type=text&mention=eve": "5",
		fmt.Sprint("from_ts=", ts[2]):    "3 4 5 6", fmt.Sprint("until_ts=", ts[2]): "1 2", fmt.Sprint("from_ts=", ts[1], "&until_ts=", ts[3]): "2 3",
		fmt.Sprint("from_ts=", ts[5]+1): "", "until_ts=1": "", fmt.Sprint("from_ts=", ts[1], "&after=0&limit=2"): "2 3 more",
		fmt.Sprint("until_ts=", ts[4], "&limit=2"): "3 4 more", fmt.Sprint("from_ts=", ts[1], "&until_ts=", ts[4], "&around=3"): "2 3 4",
	} {
		var page struct {
			Messages []struct{ Seq uint64 }
			More     bool
		}
		w := r.do("bob", "GET /rooms/r/messages?"+query, "")
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d %s", query, w.Code, w.Body)
		}
		var got []string
		for _, m := range page.Messages {
			got = append(got, fmt.Sprint(m.Seq))
		}
		if page.More {
			got = append(got, "more")
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: %q, want %q", query, s, want)
		}
	}
	if got := r.call("bob", "history", `{"room":"r","thread":1,"limit":2}`); !strings.Contains(got, `"seq":5,`) || !strings.Contains(got, `"more":true`) {
		t.Error(got)
	}
	r.refused(r.do("bob", "GET /rooms/r/messages?type=a%2Fb", ""), 400, "bad_payload", "type")
	r.refused(r.do("bob", "GET /rooms/r/messages?mention=a%2Fb", ""), 400, "bad_payload", "mention")
}
