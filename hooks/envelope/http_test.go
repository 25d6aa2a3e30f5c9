package envelope

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/madang-chat/madang/hooks/problem"
)

func TestParseHTTP(t *testing.T) {
	for _, c := range []struct {
		content, typ, cid, idem, body string
		want                          Message
	}{
		{"application/json", "", "", "", `{"data":{"text":"x"}}`, Message{Type: "text", Data: []byte(`{"text":"x"}`)}},
		{"application/json", "", "", "", ` {"type":"note","data":[1]} `, Message{Type: "note", Data: []byte(`[1]`)}},
		{"Application/JSON; charset=utf-8", "note", "", "", `{"type":"note","data":1}`, Message{Type: "note", Data: []byte(`1`)}},
		{"application/json;", "", "", "k", `{"data":"x","cid":"k"}`, Message{Type: "text", CID: "k", Data: []byte(`{"text":"x"}`)}},
		{"application/json", "", "k", "k", `{"data":{},"type":null}`, Message{Type: "text", CID: "k", Data: []byte(`{}`)}},
		{"text/plain", "", "c", "", `hello`, Message{Type: "text", CID: "c", Data: []byte(`{"text":"hello"}`)}},
		{"", "note", "", "", `hello`, Message{Type: "note", Data: []byte(`"hello"`)}},
		{"image/png", "image", "", "", "\x89PNG", Message{Type: "image", Base64: true, Data: []byte(`"iVBORw=="`)}},
		{"text/plain", "", "", "", `{"a":1}`, Message{Type: "text", Data: []byte(`{"a":1}`)}},
	} {
		got, p := ParseHTTP(c.content, c.typ, c.cid, c.idem, []byte(c.body))
		if p != nil {
			t.Errorf("%s %s: %v", c.content, c.body, p)
		} else if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", c.content, c.body, diff)
		}
	}
}

func TestParseHTTPRefuses(t *testing.T) {
	const js = "application/json"
	for _, c := range []struct {
		content, typ, cid, idem, body string
		code                          problem.Code
		says                          string
	}{
		{js, "", "", "", ``, problem.BadPayload, "envelope"},
		{js, "", "", "", `hello`, problem.BadPayload, "envelope"},
		{js, "", "", "", `[1]`, problem.BadPayload, "envelope"},
		{js, "", "", "", `{"data":1`, problem.BadPayload, "envelope"},
		{js, "", "", "", `{"data":1} {}`, problem.BadPayload, "envelope"},
		{js, "", "", "", `"{\"data\":1}"`, problem.BadPayload, "envelope"},
		{js, "", "", "", "{\"data\":\"\xff\"}", problem.BadPayload, "UTF-8"},
		{js, "", "", "", `{"text":"x"}`, problem.BadPayload, `"text"`},
		{js, "", "", "", `{"cid":"x"}`, problem.BadPayload, "no data"},
		{js, "", "", "", `{"data":1,"foo":1}`, problem.BadPayload, `"foo"`},
		{js, "", "", "", `{"data":1,"data":1}`, problem.BadPayload, "twice"},
		{js, "", "", "", `{"data":1,"type":1}`, problem.BadPayload, "type"},
		{js, "", "", "", `{"data":1,"type":"a b"}`, problem.BadPayload, "a b"},
		{js, "a b", "", "", `{"data":1}`, problem.BadPayload, "a b"},
		{"text/plain", "a/b", "", "", `x`, problem.BadPayload, "a/b"},
		{js, "", "", "", `{"data":1,"type":"system"}`, problem.Forbidden, "broker"},
		{js, "note", "", "", `{"data":1,"type":"text"}`, problem.BadPayload, "differ"},
		{js, "", "a", "", `{"data":1,"cid":"b"}`, problem.BadPayload, "differ"},
		{js, "", "a", "b", `{"data":1}`, problem.BadPayload, "differ"},
		{js, "", "", "b", `{"data":1,"cid":"a"}`, problem.BadPayload, "differ"},
		{js, "", "", "", `{"data":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, problem.BadPayload, "levels"},
		{js, "edit", "", "", `{"data":{}}`, problem.BadPayload, "target"},
		{"text/plain", "system", "", "", `x`, problem.Forbidden, "broker"},
		{"text/plain", "", "a", "b", `x`, problem.BadPayload, "differ"},
		{"text/plain", "", "a\n", "", `x`, problem.BadPayload, "control"},
	} {
		_, p := ParseHTTP(c.content, c.typ, c.cid, c.idem, []byte(c.body))
		if p == nil || p.Code != c.code || !strings.Contains(p.Sentence(), c.says) {
			t.Errorf("%s %s: got %v, want %s saying %s", c.content, c.body, p, c.code, c.says)
		}
	}
}

func FuzzParseHTTP(f *testing.F) {
	f.Add("application/json", "", "", "", []byte(`{"type":"note","cid":"c","data":{"a":1},"target":4}`))
	f.Add("text/plain", "note", "c", "c", []byte("안녕"))
	f.Fuzz(func(t *testing.T, content, typ, cid, idem string, body []byte) {
		m, p := ParseHTTP(content, typ, cid, idem, body)
		if p != nil {
			if p.Status < 400 || p.Status > 499 || p.Sentence() == "" {
				t.Fatalf("%+v", p)
			}
			return
		}
		checkTail(t, &m)
	})
}
