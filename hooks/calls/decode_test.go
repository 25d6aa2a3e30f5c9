package calls

import (
	"context"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/madang-chat/madang/hooks/problem"
)

// internals reports whether an answer tells how the broker is made, other than by what was sent.
func internals(sent, answer string) bool {
	for _, s := range []string{"Go struct", "Go value", "json:", "unmarshal", "calls."} {
		if strings.Contains(answer, s) && !strings.Contains(sent, s) {
			return true
		}
	}
	return false
}

// wrong are values that hardly any param may have.
var wrong = []string{
	`1e300`, `18446744073709551616`, `-9223372036854775809`, `-1`, `1.5`, `"x"`, `""`, `true`, `null`, `[]`, `[1]`, `[{}]`, `{}`, `{"a":1e300}`, `{"a":{}}`,
}

// inputs are types of params, for their keys.
var inputs = []any{
	RoomCreateInput{},
	RoomSetInput{},
	HistoryInput{},
	SearchInput{},
	SyncInput{},
	ReadInput{},
	ForTimeInput{},
	RoleInput{},
	PinInput{},
	AnnounceInput{},
	OnMessageInput{},
	KickInput{},
	PushInput{},
	UserSetInput{},
	UserRegisterInput{},
	UserSearchInput{},
	LogoutInput{},
	StateInput{},
	MembersInput{},
	InboxInput{},
	AuditInput{},
	RetryInput{},
	DeadInput{},
	PersonInput{},
}

// Whatever a param is, the answer is in the words of the call.
func TestFaultsAreInPlainWords(t *testing.T) {
	r := newRig(t, nil).rooms()
	names := map[string]bool{"x": true}
	for _, in := range inputs {
		for _, n := range paramNames(reflect.TypeOf(in)) {
			names[n] = true
		}
	}
	ask := func(method, params string) {
		t.Helper()
		if _, p := r.call("alice", method, params); p != nil && internals(params, p.Detail+p.Title) {
			t.Errorf("%s %s: %s", method, params, p.Detail)
		}
	}
	for _, method := range slices.Sorted(maps.Keys(builtIn)) {
		for name := range names {
			for _, v := range wrong {
				ask(method, `{"`+name+`":`+v+`}`)
				ask(method, `{"room":"pub","user":"bob","`+name+`":`+v+`}`)
			}
		}
		for _, params := range append([]string{`{"room":`, `{"room" 1}`, `{"room":"pub"}{}`, `{"room":"pub",}`, "{\"room\":\"\x01\"}"}, wrong...) {
			ask(method, params)
		}
	}
	for _, payload := range append([]string{`{"id":`, `{"id":1,"x":2}`, `{"id":01}`}, wrong...) {
		if answer := string(r.Serve(context.Background(), as("alice"), nil, nil, "room.get", []byte(payload))); internals(payload, answer) {
			t.Errorf("%s: %s", payload, answer)
		}
		if _, err := r.ParseMark(as("bob"), "priv", []byte(`{"seq":`+payload+`}`)); err != nil && internals(payload, ProblemFrom(err).Detail) {
			t.Errorf("a mark of %s: %v", payload, err)
		}
	}
	if _, p := r.call("alice", "read", `{"room":"pub","seq":18446744073709551616}`); p == nil || p.Detail != "params: seq cannot be a number 18446744073709551616." {
		t.Errorf("%+v", p)
	}
}

// A key that is there twice is refused, in any case that counts as the same, and changes nothing; in what callers give as
// data of their own it stays as they wrote it.
func TestKeysOnce(t *testing.T) {
	r := newRig(t, nil).rooms()
	for _, c := range []struct{ method, params, twice string }{
		{"mod.mute", `{"room":"pub","user":"carol","user":"bob","seconds":60}`, "user"},
		{"mod.mute", `{"room":"pub","user":"carol","User":"bob","seconds":60}`, "User"},
		{"mod.mute", `{"room":"pub","user":"bob","\u0075ser":"bob"}`, "user"},
		{"room.get", `{"room":"pub","room":"pub"}`, "room"},
		{"sync", `{"pub":1,"pub":2}`, "pub"},
		{"sync", `{"rooms":{"pub":1,"pub":2}}`, "pub"},
		{"sync", `{"rooms":{},"rooms":{"pub":2}}`, "rooms"},
		{"user.set", `{"user":"alice","attributes":{"a":1,"b":2,"a":3}}`, "a"},
		{"broadcast.post", `{"data":{},"data":{"text":"x"}}`, "data"},
		{"history", `{"limit":1,"room":"pub","limit":2}`, "limit"},
	} {
		before := r.log.Proposed()
		_, p := r.call("admin", c.method, c.params)
		if p == nil || p.Code != problem.BadPayload || !strings.Contains(p.Detail, `"`+c.twice+`" twice`) || r.log.Proposed() != before {
			t.Errorf("%s %s: %+v", c.method, c.params, p)
		}
	}
	for _, c := range []struct{ method, params string }{
		{"mod.announce", `{"room":"pub","data":{"a":1,"a":2}}`},
		{"state.set", `{"room":"pub","key":"k","data":{"a":1,"a":2}}`},
		{"user.set", `{"user":"alice","attributes":{"theme":{"a":1,"a":2}}}`},
		{"sync", `{"rooms":{"pub":1,"PUB":2}}`}, // names of rooms have a case
	} {
		if _, p := r.call("admin", c.method, c.params); p != nil {
			t.Errorf("%s %s: %+v", c.method, c.params, p)
		}
	}
	for _, payload := range []string{`{"id":"1","id":"2","params":{}}`, `{"id":"1","params":{"room":"pub"},"params":{"room":"priv"}}`} {
		if answer := string(r.Serve(context.Background(), as("alice"), nil, nil, "room.get", []byte(payload))); !strings.Contains(answer, "twice") {
			t.Errorf("%s: %s", payload, answer)
		}
	}
	for line, twice := range map[string]string{`{"end":{},"end":{}}`: "end", `{"mark":{"user":"a","seq":1,"seq":2}}`: "seq"} {
		if _, _, err := parseImportLine([]byte(line)); err == nil || !strings.Contains(err.Error(), `"`+twice+`" twice`) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// Bodies are decoded in the same words.
func TestDecode(t *testing.T) {
	type in struct {
		Seq  uint64                     `json:"seq"`
		List []struct{ User string }    `json:"list"`
		Of   map[string]json.RawMessage `json:"of"`
	}
	for body, want := range map[string]string{
		`{"seq":1,"list":[{"User":"a"},{"User":"b"}],"of":{"a":{"b":1,"b":2}}}`: "",
		`{"seq":18446744073709551616}`:                                          "seq cannot be a number 18446744073709551616",
		`{"seq":"a"}`:                                                           "seq cannot be a string",
		`[]`:                                                                    "an array is not what belongs here",
		`{"seq":1,"SEQ":2}`:                                                     `it has "SEQ" twice`,
		`{"list":[{"User":"a","user":1}]}`:                                      "list.User cannot be a number",
		`{"list":[{"User":"a","user":"b"}]}`:                                    `it has "user" twice`,
		`{"of":{"a":1,"a":2}}`:                                                  `it has "a" twice`,
		`{"x":1,"x":2}`:                                                         `it has "x" twice`,
		`{"seq":`:                                                               "unexpected end of JSON input",
	} {
		err := Decode([]byte(body), new(in))
		if got := ""; err != nil {
			if got = err.Error(); got != want {
				t.Errorf("%s: %s, want %s", body, got, want)
			}
		} else if want != "" {
			t.Errorf("%s: taken, want %s", body, want)
		}
	}
}
