package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/madang-chat/madang/hooks/problem"
)

// Whatever stands in a body, the answer is in the words of the API: every key of every body, with values that it cannot have.
func TestFaultsAreInPlainWords(t *testing.T) {
	r := newRig(t).rooms()
	doc, _ := documentOf(t, r)
	schemaOf := func(s map[string]any) map[string]any {
		if ref, ok := s["$ref"].(string); ok {
			return doc.Components.Schemas[ref[strings.LastIndexByte(ref, '/')+1:]]
		}
		return s
	}
	plain := func(line, body string) {
		t.Helper()
		w := r.do("admin", line, body, "Content-Type: application/json")
		for _, s := range []string{"Go struct", "Go value", "json: ", "unmarshal"} {
			if strings.Contains(w.Body.String(), s) {
				t.Errorf("%s %s: %s", line, body, w.Body)
			}
		}
	}
	asked := 0
	for path, methods := range doc.Paths {
		for method, op := range methods {
			if op.RequestBody == nil || strings.HasSuffix(path, "/import") {
				continue
			}
			line := strings.ToUpper(method) + " " + strings.NewReplacer("{room}", "pub", "{user}", "bob", "{seq}", "1", "{key}", "k").Replace(path)
			properties, _ := schemaOf(op.RequestBody.Content["application/json"].Schema)["properties"].(map[string]any)
			for name := range properties {
				for _, v := range []string{`1e300`, `18446744073709551616`, `-1`, `1.5`, `"x"`, `true`, `null`, `[]`, `{}`, `{"a":1e300}`} {
					plain(line, `{"`+name+`":`+v+`}`)
					plain(line, `{"user":"carol","`+name+`":`+v+`}`)
					asked++
				}
			}
			for _, body := range []string{`{"user":`, `{"user" 1}`, `{}{}`, `[]`, `1e400`, `nul`, "{\"\x01\"}"} {
				plain(line, body)
			}
		}
	}
	if asked < 300 {
		t.Errorf("%d bodies were asked about", asked)
	}
	for line, c := range map[string]struct{ body, says string }{
		"POST /rooms/pub/read": {`{"seq":18446744073709551616}`, "seq cannot be a number 18446744073709551616"},
		"POST /rooms/pub/mute": {`{"user":"bob","seconds":1e300}`, "seconds cannot be a number 1e300"},
	} {
		r.refused(r.do("alice", line, c.body), http.StatusBadRequest, problem.BadPayload, c.says)
	}
}

// A key of a body that is there twice is refused, and nothing is done.
func TestKeysOnce(t *testing.T) {
	r := newRig(t).rooms()
	for _, c := range []struct{ line, body, says string }{
		{"POST /rooms/pub/mute", `{"user":"carol","user":"bob","seconds":60}`, `has "user" twice`},
		{"POST /rooms", `{"room":"a","kind":"public","room":"b"}`, `has "room" twice`},
		{"PATCH /users/alice", `{"attributes":{"a":1,"a":2}}`, `has "a" twice`},
		{"POST /auth/login", `{"user":"alice","password":"secret","user":"bob"}`, `has "user" twice`},
		{"PUT /rooms/pub/state/k", `{"data":1,"data":2}`, `"data" twice`},
		{"POST /publish", `{"topic":"chat/rooms/pub/send","topic":"chat/rooms/priv/send","payload":"x"}`, `has "topic" twice`},
		{"POST /publish/bulk", `[{"topic":"chat/rooms/pub/send","payload":"x","payload":"y"}]`, `has "payload" twice`},
		{"POST /sync", `{"rooms":{"pub":1,"pub":2}}`, `has "pub" twice`},
		{"POST /rooms/pub/messages", `{"data":{},"data":{}}`, `"data" twice`},
	} {
		before := r.log.Proposed()
		r.refused(r.do("alice", c.line, c.body, "Content-Type: application/json"), http.StatusBadRequest, problem.BadPayload, c.says)
		if r.log.Proposed() != before {
			t.Errorf("%s %s: it reached the log", c.line, c.body)
		}
	}
	if w := r.do("alice", "PUT /rooms/pub/state/k", `{"data":{"a":1,"a":2}}`, "Content-Type: application/json"); w.Code != http.StatusOK {
		t.Errorf("data of one's own: %d %s", w.Code, w.Body)
	}
}
