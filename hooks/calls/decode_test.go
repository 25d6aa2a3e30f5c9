package calls

import (
	"context"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
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
		`{"list":[{"User":"a","user":1}]}`:                                      "list.User cannot be a number",
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
