package calls

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/problem"
)

func TestServe(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Methods = map[string]Method{
			"extra": func(_ context.Context, id auth.Identity, p json.RawMessage) (any, error) {
				return map[string]string{"user": id.User, "params": string(p)}, nil
			},
			"fails": func(context.Context, auth.Identity, json.RawMessage) (any, error) { return nil, errors.New("secret") },
			"huge": func(context.Context, auth.Identity, json.RawMessage) (any, error) {
				return strings.Repeat("x", 256<<10), nil
			},
			"bad":    func(context.Context, auth.Identity, json.RawMessage) (any, error) { return make(chan int), nil },
			"raw":    func(context.Context, auth.Identity, json.RawMessage) (any, error) { return json.RawMessage(`{ }`), nil },
			"own":    func(context.Context, auth.Identity, json.RawMessage) (any, error) { return 1, nil },
			"whoami": nil,
		}
	}).rooms()
	own := map[string]Method{"own": func(context.Context, auth.Identity, json.RawMessage) (any, error) { return 2, nil }}
	for _, c := range []struct{ method, payload, want string }{
		{"own", ``, `{"ok":true,"result":2}`},
		{"extra", `{"id":"7","params":{"a":1}}`, `{"id":"7","ok":true,"result":{"params":"{\"a\":1}","user":"alice"}}`},
		{"extra", `{"id":8}`, `{"id":8,"ok":true,"result":{"params":"{}","user":"alice"}}`},
		{"raw", `{"id":null}`, `{"ok":true,"result":{ }}`},
		{"room.get", `{"id":"1","params":{"room":"none"}}`, `{"id":"1","ok":false,"error":{"type":"urn:madang:problem:not_found",`},
		{"fails", `{"id":"1"}`, `"code":"internal"`},
		{"bad", `{"id":"1"}`, `"code":"internal"`},
		{"huge", `{"id":"1"}`, `"code":"too_large"`},
		{"extra", `{"id":"1","x":2}`, `{"id":"1","ok":false,"error":{"type":"urn:madang:problem:bad_payload"`},
		{"extra", `{"id":{}}`, `{"ok":false,"error":{"type":"urn:madang:problem:bad_payload"`},
		{"extra", `{"id":true}`, `{"ok":false,"error":{"type":"urn:madang:problem:bad_payload"`},
		{"extra", `{"id":"` + strings.Repeat("x", 200) + `"}`, `at most 128 bytes`},
		{"extra", `nonsense`, `{"ok":false,"error":{"type":"urn:madang:problem:bad_payload"`},
		{"extra", "\xff", `{"ok":false`},
		{"extra", `{"id":"` + "\xff" + `"}`, `{"ok":false,"error":{"type":"urn:madang:problem:bad_payload"`},
		{"unknown", `{"id":"1"}`, `There is no method`},
	} {
		out := string(r.Serve(context.Background(), as("alice"), nil, own, c.method, []byte(c.payload)))
		if !json.Valid([]byte(out)) || !utf8.ValidString(out) || !strings.Contains(out, c.want) || strings.Contains(out, "secret") || len(out) > maxAnswer {
			t.Errorf("%s %s: %.300s", c.method, c.payload, out)
		}
	}
	if _, p := r.call("alice", "own", ``); p != nil {
		t.Error(p)
	}
}

// A call repeated under its id has one effect and one answer, also while the first still runs.
func TestRepliesAnswerOnce(t *testing.T) {
	r := newRig(t, nil).rooms()
	var replies Replies
	r.log.Hold = true // the first call waits for its follow-up
	answers := make(chan string, 4)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			answers <- string(r.Serve(context.Background(), as("carol"), &replies, nil, "room.create", []byte(`{"id":"7","params":{"room":"new"}}`)))
		})
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for r.log.Proposed() == 0 {
		// An answer that is there is given also to a caller whose time is up.
		if _, err := replies.Do(ended, "other", func() []byte { return []byte("x") }); err != nil {
			t.Error(err)
		}
	}
	r.log.FollowUp()
	wg.Wait()
	first := <-answers
	for range 3 {
		if a := <-answers; a != first || !strings.Contains(a, `"ok":true`) {
			t.Errorf("%s, then %s", first, a)
		}
	}
	if n := r.log.Proposed(); n != 1 {
		t.Errorf("%d commands", n)
	}
	if again := string(r.Serve(context.Background(), as("carol"), &replies, nil, "room.create", []byte(`{"id":"8","params":{"room":"new"}}`))); !strings.Contains(again, "conflict") {
		t.Error(again)
	}
}

func TestRepliesAreBounded(t *testing.T) {
	var r Replies
	small := func(s string) func() []byte { return func() []byte { return []byte(s) } }
	do := func(id string, run func() []byte) string {
		b, err := r.Do(context.Background(), id, run)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	do("write", small("done"))
	for i := range 20 {
		do(fmt.Sprint("read", i), func() []byte { return make([]byte, 256<<10) })
	}
	if r.bytes > maxRepliesBytes || len(r.byID) != r.order.Len() {
		t.Errorf("%d bytes, %d and %d", r.bytes, len(r.byID), r.order.Len())
	}
	if got := do("write", small("again")); got != "done" {
		t.Errorf("a large read pushed out a write: %q", got)
	}
	for i := range 200 {
		do(fmt.Sprint("w", i), small("x"))
	}
	if r.order.Len() != maxReplies || len(r.byID) != maxReplies {
		t.Errorf("%d answers", r.order.Len())
	}
	if got := do("write", small("again")); got != "again" {
		t.Error(got)
	}
	// A waiter whose patience ends, and one whose first call panics.
	started, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() { _ = recover() }()
		_, _ = r.Do(context.Background(), "p", func() []byte { close(started); <-release; panic("x") })
	})
	<-started
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.Do(ctx, "p", small("x")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(release)
	wg.Wait()
	if got := do("p", small("after")); got != "after" {
		t.Error(got)
	}
}

func FuzzDispatch(f *testing.F) {
	for _, m := range slices.Sorted(maps.Keys(builtIn)) {
		f.Add("alice", m, `{"room":"pub"}`)
		f.Add("", m, `{"rooms":{"pub":1},"limit":3,"after":"x"}`)
	}
	f.Add("carol", "history", `{"room":"pub","around":18446744073709551615,"limit":9223372036854775807}`)
	f.Add("carol", "sync", `{"pub":18446744073709551615}`)
	r := newRig(f, nil).rooms()
	r.post("bob", "pub", "x")
	f.Fuzz(func(t *testing.T, token, method, params string) {
		id, err := r.cfg.Auth.VerifyToken(context.Background(), token)
		if err != nil {
			id, _ = r.cfg.Auth.Guest()
		}
		before := r.log.Proposed()
		out, err := r.Dispatch(context.Background(), id, method, json.RawMessage(params))
		if err != nil {
			if p := ProblemFrom(err); p.Code == Internal || !p.Code.Known() {
				t.Fatalf("%s %s: %v", method, params, err)
			} else if internals(params, p.Detail) {
				t.Fatalf("%s %s: %s tells of Go", method, params, p.Detail)
			}
		} else if !json.Valid(out) || len(out) > maxResult {
			t.Fatalf("%s %s: %q", method, params, out)
		}
		if id.Guest && r.log.Proposed() != before {
			t.Fatalf("%s %s: a guest reached the log", method, params)
		}
	})
}

func FuzzParseRequest(f *testing.F) {
	for _, s := range []string{
		``, ` `, `{"id":"7","params":{"room":"x"}}`, `{"id":7}`, `{"id":null,"params":null}`, `{"id":{}}`, `{"id":"1"}x`,
		`{"id":"1","x":2}`, "{\"id\":\"\xff\"}", `{"id":-1e9}`, `{"ID":"7"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		r, p := ParseRequest(payload)
		if p != nil && p.Code != problem.BadPayload {
			t.Fatalf("%v", p)
		}
		if len(r.ID) > maxRequestID || r.ID != nil && (!json.Valid(r.ID) || strings.ContainsRune(`{[tfn`, rune(r.ID[0]))) {
			t.Fatalf("id %q", r.ID)
		}
		if p == nil && r.Params != nil && !json.Valid(r.Params) {
			t.Fatalf("params %q", r.Params)
		}
		if answer := AppendReply(nil, r.ID, nil, p); !json.Valid(answer) || !utf8.Valid(answer) {
			t.Fatalf("answer %q", answer)
		}
	})
}

func TestParams(t *testing.T) {
	var in struct{ A int }
	if err := Params(json.RawMessage(`{"a":1}`), &in); err != nil || in.A != 1 {
		t.Error(err)
	}
	err := Params(json.RawMessage(`{"b":1}`), &in)
	if p := (*problem.Problem)(nil); !errors.As(err, &p) || p.Code != problem.BadPayload || !strings.Contains(p.Detail, `"b"`) {
		t.Error(err)
	}
}
