package api

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

func autoCreate(c *calls.Config, _ *Config) { c.AutoCreate, c.RoomsPerDay = storage.Public, 1 }

const (
	asJSON = "Content-Type: application/json"
	asText = "Content-Type: text/plain"
)

// What a body becomes in the log: the members after "from".
func TestPostBodies(t *testing.T) {
	for _, c := range []struct {
		query, body string
		headers     []string
		typ, tail   string
	}{
		{"", "hello", nil, "text", `,"data":{"text":"hello"}`},
		{"", "hello", []string{asText}, "text", `,"data":{"text":"hello"}`},
		{"", "hello", []string{"Content-Type: nonsense"}, "text", `,"data":{"text":"hello"}`},
		{"", "", nil, "text", `,"data":{"text":""}`},
		{"", "", []string{asText}, "text", `,"data":{"text":""}`},
		{"?type=note", "hello", []string{asText}, "note", `,"data":"hello"`},
		{"?type=note&cid=c1", `[1, 2]`, []string{asText}, "note", `,"cid":"c1","data":[1, 2]`},
		{"", `{ "a" : 1 }`, []string{asText}, "text", `,"data":{ "a" : 1 }`},
		{"", `{"data":{"a":1},"cid":"c2"}`, []string{asText}, "text", `,"cid":"c2","data":{"a":1}`},
		{"", `{"data":{"a":1},"type":"x"}`, []string{asText}, "text", `,"data":{"data":{"a":1},"type":"x"}`},
		{"", `"{\"data\":{\"a\":1}}"`, []string{asText}, "text", `,"data":{"a":1}`},
		{"", `"\"{}\""`, []string{asText}, "text", `,"data":{"text":"\"\\\"{}\\\"\""}`},
		{"", "\x89PNG", []string{"Content-Type: image/png"}, "text", `,"encoding":"base64","data":{"text":"iVBORw=="}`},
		{"?type=image", "\x89PNG", []string{"Content-Type: image/png"}, "image", `,"encoding":"base64","data":"iVBORw=="`},
		{"", `{"a":1}`, []string{"Content-Type: application/vnd.api+json"}, "text", `,"data":{"a":1}`},
		{"", `{"data":{"text":"x"}}`, []string{asJSON}, "text", `,"data":{"text":"x"}`},
		{"", `{"data":"x"}`, []string{"Content-Type: Application/JSON; charset=utf-8"}, "text", `,"data":{"text":"x"}`},
		{"", `{"data":[ 1 ],"type":"note"}`, []string{asJSON}, "note", `,"data":[ 1 ]`},
		{"?type=note", `{"data":1,"type":"note"}`, []string{asJSON}, "note", `,"data":1`},
		{
			"", `{"data":{"a":1},"cid":"c3","target":4,"reply_to":5,"thread":6,"mentions":["bob"],"ttl":7,"collapse_key":"k","if_ver":0,"meta":{"m":1}}`,
			[]string{asJSON},
			"text",
			`,"cid":"c3","target":4,"reply_to":5,"thread":6,"mentions":["bob"],"ttl":7,"collapse_key":"k","if_ver":0,"meta":{"m":1},"data":{"a":1}`,
		},
		{"", "x", []string{asText, "Idempotency-Key: k1"}, "text", `,"cid":"k1","data":{"text":"x"}`},
		{"?cid=k2", `{"data":{},"cid":"k2"}`, []string{asJSON, "Idempotency-Key: k2"}, "text", `,"cid":"k2","data":{}`},
		{"?cid=&type=", "x", []string{asText, "Idempotency-Key: "}, "text", `,"data":{"text":"x"}`},
		{"?cid=%EA%B0%80", "x", []string{asText}, "text", `,"cid":"가","data":{"text":"x"}`},
	} {
		r := newRig(t).rooms()
		w := r.do("bob", "POST /rooms/pub/messages"+c.query, c.body, c.headers...)
		if w.Code != 201 || stamps(answerOf(w)) != `{"seq":1,"ts":TS}` {
			t.Errorf("%s %q: %d %s", c.query, c.body, w.Code, w.Body)
			continue
		}
		got := r.log.Seen[0].(*storage.Append)
		if diff := cmp.Diff([]string{c.typ, c.tail}, []string{got.Type, string(got.Tail)}); diff != "" {
			t.Errorf("%s %q: %s", c.query, c.body, diff)
		}
	}
}

func TestPostRefuses(t *testing.T) {
	r := newRig(t).rooms()
	if w := r.do("bob", "POST /rooms/pub/messages?cid=used", "one", asText); w.Code != 201 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	proposed := r.log.Proposed()
	for _, c := range []struct {
		token, path, body string
		headers           []string
		status            int
		code              problem.Code
		says              string
	}{
		{"bob", "pub/messages", `hello`, []string{asJSON}, 400, problem.BadPayload, "envelope"},
		{"bob", "pub/messages", ``, []string{asJSON}, 400, problem.BadPayload, "envelope"},
		{"bob", "pub/messages", `[1]`, []string{asJSON}, 400, problem.BadPayload, "envelope"},
		{"bob", "pub/messages", `"{\"data\":1}"`, []string{asJSON}, 400, problem.BadPayload, "envelope"},
		{"bob", "pub/messages", `{"text":"x"}`, []string{asJSON}, 400, problem.BadPayload, `"text"`},
		{"bob", "pub/messages", `{"cid":"x"}`, []string{asJSON}, 400, problem.BadPayload, "no data"},
		{"bob", "pub/messages", `{"data":1,"x":1}`, []string{asJSON}, 400, problem.BadPayload, `"x"`},
		{"bob", "pub/messages", `{"data":1,"data":2}`, []string{asJSON}, 400, problem.BadPayload, "twice"},
		{"bob", "pub/messages", "{\"data\":\"\xff\"}", []string{asJSON}, 400, problem.BadPayload, "UTF-8"},
		{"bob", "pub/messages", `{"data":1,"ttl":0}`, []string{asJSON}, 400, problem.BadPayload, "ttl"},
		{"bob", "pub/messages", `{"data":1,"type":"a b"}`, []string{asJSON}, 400, problem.BadPayload, "a b"},
		{"bob", "pub/messages?type=a%20b", `x`, []string{asText}, 400, problem.BadPayload, "a b"},
		{"bob", "pub/messages?type=note", `{"data":1,"type":"text"}`, []string{asJSON}, 400, problem.BadPayload, "differ"},
		{"bob", "pub/messages", `{"data":1,"cid":"c","x":1}`, []string{asText}, 400, problem.BadPayload, `"x"`},
		{"bob", "pub/messages?cid=a", `x`, []string{asText, "Idempotency-Key: b"}, 400, problem.BadPayload, "differ"},
		{"bob", "pub/messages?cid=a", `{"data":1,"cid":"b"}`, []string{asJSON}, 400, problem.BadPayload, "differ"},
		{"bob", "pub/messages", `{"data":1,"cid":"a"}`, []string{asText, "Idempotency-Key: b"}, 400, problem.BadPayload, "differ"},
		{"bob", "pub/messages?cid=a&cid=b", `x`, []string{asText}, 400, problem.BadPayload, "query.cid"},
		{"bob", "pub/messages?cid", `x`, []string{asText}, 400, problem.BadPayload, "query.cid"},
		{"bob", "pub/messages?type=%zz", `x`, []string{asText}, 400, problem.BadPayload, "query"},
		{"bob", "pub/messages?ttl=5", `x`, []string{asText}, 400, problem.BadPayload, "query.ttl"},
		{"bob", "pub/messages", `x`, []string{asText, "Idempotency-Key: " + strings.Repeat("k", 65)}, 400, problem.BadPayload, "1-64"},
		{"bob", "pub/messages?cid=used", `two`, []string{asText}, 409, problem.CIDConflict, "seq 1"},
		{"bob", "pub/messages?cid=used&type=note", `one`, []string{asText}, 409, problem.CIDConflict, "seq 1"},
		{"bob", "pub/messages", strings.Repeat("x", 1001), []string{asText}, 413, problem.TooLarge, "1000 bytes"},
		{"bob", "pub/messages", strings.Repeat("x", 1000+bodySlack), []string{asText}, 413, problem.TooLarge, ""},
		{"bob", "pub/messages?type=system", `x`, []string{asText}, 403, problem.Forbidden, "system"},
		{"bob", "pub/messages", `{"data":1,"type":"system"}`, []string{asJSON}, 403, problem.Forbidden, "system"},
		{"bob", "pub/messages", `{"data":{},"type":"edit","target":99}`, []string{asJSON}, 404, problem.NotFound, "99"},
		{"bob", "pub/messages", `{"data":{},"type":"edit"}`, []string{asJSON}, 400, problem.BadPayload, "target"},
		{"bob", "none/messages", `x`, []string{asText}, 404, problem.NotFound, "none"},
		{"bob", "a%2Fb/messages", `x`, []string{asText}, 404, problem.NotFound, "a/b"},
		{"bob", "%00/messages", `x`, []string{asText}, 404, problem.NotFound, "no room"},
		{"carol", "priv/messages", `x`, []string{asText}, 403, problem.NotMember, "priv"},
		{"", "pub/messages", `x`, []string{asText}, 403, problem.GuestReadOnly, ""},
		{"", "open/messages", `x`, []string{asText}, 403, problem.GuestReadOnly, "/auth/guest"},
		{"guest~1", "pub/messages", `x`, []string{asText}, 403, problem.GuestReadOnly, ""},
		{"guest~1", "priv/messages", `{`, []string{asJSON}, 403, problem.GuestReadOnly, ""},
		{"guest~1", "none/messages", `x`, []string{asText}, 403, problem.GuestReadOnly, ""},
		{"guest~1", "open/messages", `{"x":1}`, []string{asJSON}, 400, problem.BadPayload, `"x"`},
	} {
		before := t.Failed()
		r.refused(r.do(c.token, "POST /rooms/"+c.path, c.body, c.headers...), c.status, c.code, c.says)
		if t.Failed() && !before {
			t.Logf("%s %s %.60q", c.token, c.path, c.body)
		}
	}
	// Of all these only what the log decides has reached it: cids, rooms, members.
	if n := r.log.Proposed() - proposed; n != 5 {
		t.Errorf("%d commands", n)
	}
	w := r.do("bob", "GET /rooms/pub", "")
	if !strings.Contains(w.Body.String(), `"head":1,`) {
		t.Error(w.Body)
	}
}

// A conflict leaves the first message as it was, and a refusal is not remembered.
func TestCIDAfterRefusal(t *testing.T) {
	r := newRig(t).rooms()
	r.refused(r.do("carol", "POST /rooms/priv/messages?cid=c", "x", asText), 403, problem.NotMember, "")
	r.log.Apply(&storage.Join{Room: storage.RoomKey{NS: "chat", Room: "priv"}, By: storage.Actor{User: "carol", Admin: true}})
	if w := r.do("carol", "POST /rooms/priv/messages?cid=c", "x", asText); stamps(answerOf(w)) != `{"seq":3,"ts":TS}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	r.refused(r.do("carol", "POST /rooms/priv/messages?cid=c", "y", asText), 409, problem.CIDConflict, "")
	if w := r.do("carol", "POST /rooms/priv/messages", `{"cid":"c","data":{"text":"x"}}`, asJSON); stamps(answerOf(w)) != `{"seq":3,"ts":TS,"duplicate":true}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := r.do("bob", "POST /rooms/priv/messages?cid=c", "y", asText); stamps(answerOf(w)) != `{"seq":4,"ts":TS}` {
		t.Errorf("another user's cid: %d %s", w.Code, w.Body)
	}
}
