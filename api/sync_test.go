package api

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/problem"
)

// What is missing in several rooms is one call: with the params of the rpc, and its result.
func TestSync(t *testing.T) {
	waited := 0
	r := newRig(t, func(_ *calls.Config, c *Config) {
		c.Barrier = func(context.Context) error { waited++; return nil }
	}).rooms()
	for _, text := range []string{"one", "two"} {
		r.do("bob", "POST /rooms/pub/messages", text, "Content-Type: text/plain")
	}
	const two = `{"room":"pub","seq":2,"n":2,"ts":TS,"type":"text","from":{"user":"bob","role":"member"},"data":{"text":"two"}}`
	const missed = `{"room":"pub","from":2,"to":2,"gap":false,"first":1,"live":true,"messages":[` + two + `]}`
	id, err := r.cfg.Calls.Identify(t.Context(), "dave")
	if err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]string{
		`{"rooms":{"pub":1}}`:           missed,
		`{"pub":1}`:                     missed,
		`{"rooms":{"pub":1},"limit":5}`: missed,
		`{"rooms":{}}`:                  ``,
	} {
		w := r.do("dave", "POST /sync", body, "Content-Type: application/json")
		if diff := cmp.Diff(`{"rooms":[`+want+`],"more":false}`, stamps(answerOf(w))); w.Code != 200 || diff != "" {
			t.Errorf("%s: %d %s", body, w.Code, diff)
		}
		rpc, err := r.cfg.Calls.Dispatch(t.Context(), id, "sync", []byte(body))
		if err != nil || string(rpc) != answerOf(w) {
			t.Errorf("%s by rpc: %s %v", body, rpc, err)
		}
	}
	// A room that may not be read says why; the others are there.
	w := r.do("dave", "POST /sync", `{"rooms":{"pub":2,"none":0,"priv":0}}`)
	if got := answerOf(w); !strings.Contains(got, `{"room":"pub","from":3,"to":2,`) || !strings.Contains(got, `{"room":"none","error":{`) ||
		!strings.Contains(got, `"code":"not_member"`) {
		t.Error(got)
	}
	w = r.do("dave", "POST /sync", `{"rooms":{"pub":0},"limit":1}`)
	if got := answerOf(w); !strings.Contains(got, `"to":1,`) || !strings.Contains(got, `"live":false`) || !strings.Contains(got, `"more":true`) {
		t.Error(got)
	}
	r.refused(r.do("dave", "POST /sync", ``), 400, problem.BadPayload, "")
	r.refused(r.do("dave", "POST /sync", `{"rooms":{},"since":1}`), 400, problem.BadPayload, `The body: unknown field "since"; there are rooms limit.`)
	r.refused(r.do("dave", "POST /sync", `{"rooms":{"pub":-1}}`), 400, problem.BadPayload, "")
	if waited != 0 {
		t.Error("a plain call waited")
	}
	if r.do("dave", "POST /sync?consistency=strong", `{"pub":0}`); waited != 1 {
		t.Error("a strong one did not wait")
	}
}
