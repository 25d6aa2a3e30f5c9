package calls

import (
	"regexp"
	"strings"
	"testing"

	"github.com/madang-chat/madang/hooks/envelope"
	"github.com/madang-chat/madang/hooks/problem"
)

// Calls that HTTP has offered for long, by rpc.
func TestTwins(t *testing.T) {
	r := newRig(t, func(c *Config) { openRegister(c); c.StateValue = 64 << 10 }).rooms()
	times := regexp.MustCompile(`"(ts|expires_at)":[0-9]+`)
	for _, c := range []struct {
		who, method, params, want string // the result, or the code of a refusal
	}{
		{"dave", "room.search", `{"q":"PU"}`, `{"rooms":[{"room":"pub",`},
		{"dave", "room.search", `{"limit":1}`, `"more":true}`},
		{"dave", "room.search", `{"q":"priv"}`, `{"rooms":[],"more":false}`},
		{"dave", "room.search", `{"public":false}`, "bad_payload"},

		{"alice", "state.get", `{"room":"pub","key":"score"}`, "not_found"},
		{"alice", "state.set", `{"room":"pub","key":"score","data":{"home":1}}`, `{"room":"pub","key":"score","ver":1,"seq":0,"ts":0}`},
		{"dave", "state.get", `{"room":"pub","key":"score"}`, `"ver":1,"seq":0,"ts":0,"from":{"user":"alice","role":"owner"},"data":{"home":1}}`},
		{"alice", "state.set", `{"room":"pub","key":"score","data":2,"if_ver":7}`, "conflict"},
		{"alice", "state.set", `{"room":"pub","key":"score","data":2,"if_ver":1}`, `"ver":2`},
		{"alice", "state.set", `{"room":"pub","key":"score","if_ver":2}`, "bad_payload"},
		{"alice", "state.set", `{"room":"pub","key":"score","data":null,"if_ver":2}`, `"ver":3`},
		{"alice", "state.get", `{"room":"pub","key":"score"}`, "not_found"},
		{"alice", "state.set", `{"room":"pub","key":"score"}`, `"key":"score"`},
		{"alice", "state.set", `{"room":"pub","key":"k","data":"` + strings.Repeat("x", 64<<10) + `"}`, "too_large"},
		{"guest~1", "state.set", `{"room":"pub","key":"k","data":1}`, "guest_read_only"},

		{"bob", "logout", `{"device":"phone"}`, `{"user":"bob","device":"phone"}`},
		{"bob", "logout", `{"device":"phone","all":true}`, "bad_payload"},
		{"bob", "logout", `{"user":"ann","all":true}`, "forbidden"},
		{"bob", "register_token", `{"user":"new"}`, "forbidden"},

		{"bob", "broadcast.post", `{"data":{"text":"hear"}}`, "forbidden"},
		{"admin", "broadcast.post", `{"type":"notice","data":{"text":"hear"},"cid":"c1"}`, `{"seq":1,"ts":0}`},
		{"admin", "broadcast.post", `{"type":"notice","data":{"text":"hear"},"cid":"c1"}`, `{"seq":1,"ts":0,"duplicate":true}`},
		{"admin", "broadcast.post", `{}`, "bad_payload"},
		{"admin", "broadcast.post", `{"data":1,"room":"pub"}`, "bad_payload"},
		{"bob", "broadcast.list", `{"after":0,"limit":1}`, `{"messages":[{"seq":1,`},
		{"bob", "broadcast.list", `{"room":"pub"}`, "bad_payload"},
	} {
		result, p := r.call(c.who, c.method, c.params)
		got := times.ReplaceAllString(result, `"$1":0`)
		if p != nil {
			got = string(p.Code)
		}
		if (p != nil) != !strings.ContainsAny(c.want, `{"`) || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s %.200s: %s %v", c.who, c.method, c.params, got, p)
		}
	}
}

// A refusal that begins with somebody's name leaves it as it is: case matters in names.
func TestNamesKeepTheirCase(t *testing.T) {
	r := newRig(t, nil).rooms()
	if _, p := r.call("alice", "mod.ban", `{"room":"pub","user":"bob"}`); p != nil {
		t.Fatal(p)
	}
	if _, p := r.call("alice", "room.invite", `{"room":"pub","user":"bob"}`); p == nil || p.Detail != `"bob" is banned; lift the ban first.` {
		t.Error(p)
	}
	if _, p := r.call("alice", "mod.role", `{"room":"pub","user":"nan","role":"operator"}`); p == nil || p.Detail != `"nan" is not a member; invite them first.` {
		t.Error(p)
	}
}

// An answer to a message that is not there is a message.
func TestReplyToNothing(t *testing.T) {
	r := newRig(t, nil).rooms()
	m, bad := envelope.Parse("text", []byte(`{"data":{"text":"yes"},"reply_to":999,"thread":999}`), envelope.Options{})
	if bad != nil {
		t.Fatal(bad)
	}
	if _, err := r.Send(t.Context(), as("bob"), "pub", &m); err != nil {
		t.Error(err)
	}
}

// The last owner leaves; an admin makes another.
func TestTheLastOwnerLeaves(t *testing.T) {
	r := newRig(t, nil).rooms()
	if _, p := r.call("bob", "room.join", `{"room":"pub"}`); p != nil {
		t.Fatal(p)
	}
	for _, c := range [][3]string{
		{"alice", "room.leave", `{"room":"pub"}`},
		{"bob", "history", `{"room":"pub"}`},
		{"admin", "mod.role", `{"room":"pub","user":"bob","role":"owner"}`},
		{"bob", "mod.freeze", `{"room":"pub"}`},
	} {
		if _, p := r.call(c[0], c[1], c[2]); p != nil {
			t.Errorf("%v: %v", c, p)
		}
	}
}

// A key that is none is told, with those that there are.
func TestUnknownParams(t *testing.T) {
	r := newRig(t, nil).rooms()
	for method, want := range map[string]string{
		"whoami":      `params: unknown field "x"; there are none.`,
		"room.invite": `params: unknown field "x"; there are room user reason.`,
		"history":     `params: unknown field "x"; there are room before after around limit view type thread mention from_ts until_ts.`,
	} {
		if _, p := r.call("bob", method, `{"x":1}`); p == nil || p.Code != problem.BadPayload || p.Detail != want {
			t.Errorf("%s: %+v", method, p)
		}
	}
}
