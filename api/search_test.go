package api

import (
	"strings"
	"testing"
)

// A search by HTTP is the one by rpc.
func TestSearch(t *testing.T) {
	r := newRig(t).rooms()
	for _, text := range []string{"오늘 저녁", "dinner at eight", "no"} {
		if w := r.do("alice", "POST /rooms/priv/messages", text, "Content-Type: text/plain"); w.Code != 201 {
			t.Fatal(w.Body)
		}
	}
	for _, c := range []struct{ query, params, want string }{
		{"q=%EC%A0%80%EB%85%81", `{"q":"저녁"}`, `"text":"오늘 저녁"}}],"more":false}`},
		{"q=dinner&room=priv&from=alice&from_ts=1&limit=5", `{"q":"dinner","room":"priv","from":"alice","from_ts":1,"limit":5}`, `"text":"dinner at eight"}}],"more":false}`},
		{"q=nothing", `{"q":"nothing"}`, `{"messages":[],"more":false}`},
	} {
		got := answerOf(r.do("bob", "GET /search?"+c.query, ""))
		if !strings.HasSuffix(got, c.want) {
			t.Errorf("%s: %s", c.query, got)
		}
		if rpc := r.call("bob", "search", c.params); !strings.HasSuffix(strings.TrimSuffix(rpc, "}"), strings.TrimSuffix(c.want, "}")) && !strings.Contains(rpc, got) {
			t.Errorf("%s by rpc: %s, by HTTP %s", c.params, rpc, got)
		}
	}
	if w := r.do("carol", "GET /search?q=dinner&room=priv", ""); w.Code != 403 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := r.do("carol", "GET /search?q=dinner&cursor=x", ""); w.Code != 400 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
