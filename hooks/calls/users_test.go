package calls

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/quota"
	"github.com/madang-chat/madang/storage"
)

func openRegister(c *Config) {
	c.Register, c.OwnAttributes = RegisterOpen, []string{"bio", "avatar"}
}

// What a user may be called and say of themselves.
func TestUserRegister(t *testing.T) {
	r := newRig(t, openRegister)
	for _, tc := range []struct {
		as, params string
		code       problem.Code
		says       string
	}{
		{"", `{"user":"ann","password":"pw","name":" Ann "}`, "", `{"user":"ann","name":"Ann","attributes":{},"password":true,`},
		{"", `{"user":"ann","password":"pw"}`, problem.Conflict, "already"},
		{"", `{"user":"admin","password":"pw"}`, problem.Conflict, "taken"},
		{"", `{"user":"bob"}`, problem.BadPayload, "password"},
		{"", `{"user":"bob","password":"pw","name":"a\u202eb"}`, problem.BadPayload, "name"},
		{"", `{"user":"bob","password":"pw","attributes":{"level":1}}`, problem.Forbidden, "level"},
		{"", `{"user":"bob","password":"pw","attributes":{"bio":{"a":[1, 2]}}}`, "", `"bio":{"a":[1,2]}`},
		{"", `{"user":"ns/bob","password":"pw"}`, problem.Forbidden, "chat"},
		{"", `{"user":"a~b","password":"pw"}`, problem.BadPayload, "~"},
		{"admin", `{"user":"kim","attributes":{"level":3,"vip":true,"bio":null}}`, "", `"attributes":{"level":3,"vip":true}`},
		{"admin", `{"user":"lee","attributes":{"level":"3"}}`, problem.BadPayload, "integer"},
		{"admin", `{"user":"lee","attributes":{"level":9007199254740993}}`, problem.BadPayload, "integer"},
		{"admin", `{"user":"lee","attributes":{"a b":1}}`, problem.BadPayload, "A-Z"},
		{"admin", `{"user":"lee","attributes":{"x":"` + strings.Repeat("x", storage.MaxAttributeBytes) + `"}}`, problem.Limit, "4096"},
		{"admin", `{"user":"other/lee"}`, problem.Forbidden, "namespace chat"},
		{"svc~x:users", `{"user":"lee","attributes":{"level":-3}}`, "", `"level":-3`},
		{"svc~x:rooms", `{"user":"min"}`, problem.Forbidden, "users"},
	} {
		out, p := r.call(tc.as, "user.register", tc.params)
		switch {
		case tc.code == "" && (p != nil || !strings.Contains(out, tc.says)):
			t.Errorf("%s %s: %s, %v", tc.as, tc.params, out, p)
		case tc.code != "" && (p == nil || p.Code != tc.code || !strings.Contains(p.Detail, tc.says)):
			t.Errorf("%s %s: %s, %+v, want %s", tc.as, tc.params, out, p, tc.code)
		}
	}
}

// An address registers so often and no oftener; admins as often as they like.
func TestRegisterRate(t *testing.T) {
	r := newRig(t, func(c *Config) {
		openRegister(c)
		c.Registers = quota.New(quota.Limits{Messages: 1})
	})
	try := func(who, addr string, i int) error {
		id := as(who)
		ctx := WithAddr(context.Background(), netip.MustParseAddr(addr))
		_, err := r.Dispatch(ctx, id, "user.register", fmt.Appendf(nil, `{"user":"u%d%s%d","password":"pw"}`, len(addr), who, i))
		return err
	}
	refused := 0
	for i := range 20 {
		if p := ProblemFrom(try("", "192.0.2.1", i)); p.Code == problem.RateLimited {
			refused++
		}
	}
	refused6 := 0
	for i := range 20 {
		if p := ProblemFrom(try("", fmt.Sprintf("2001:db8::%x", i+10), i+100)); p.Code == problem.RateLimited {
			refused6++
		}
	}
	if refused6 < 10 {
		t.Errorf("%d of 20 of one network were refused", refused6)
	}
	if refused < 10 {
		t.Errorf("%d of 20 were refused", refused)
	}
	if err := try("", "198.51.100.200", 1); err != nil {
		t.Errorf("another address: %v", err)
	}
	for i := range 20 {
		if err := try("admin", "192.0.2.1", i); err != nil {
			t.Fatal(err)
		}
	}
}

// Pages of users hold everybody once, also where an answer cannot hold a whole page.
func TestUserSearchPages(t *testing.T) {
	r := newRig(t, openRegister)
	const users = 150
	for i := range users {
		u := fmt.Sprintf("u%03d", i)
		a := storage.Attribute{Name: "bio", Value: []byte(`"` + strings.Repeat("x", storage.MaxAttributeBytes-10) + `"`)}
		r.log.Apply(&storage.PutUser{Key: storage.UserKey{NS: "chat", User: u}, By: storage.Actor{User: u}, Register: true, Set: []storage.Attribute{a}})
	}
	seen := map[string]bool{}
	pages := 0
	for after, more := "", true; more; pages++ {
		page, err := r.UserSearch(context.Background(), as("bob"), UserSearchInput{Query: "U", Limit: 1000, After: after})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range page.Users {
			if seen[u.User] {
				t.Fatalf("%s twice", u.User)
			}
			seen[u.User] = true
		}
		after, more = page.Next, page.More
	}
	if len(seen) != users || pages < 2 {
		t.Errorf("%d users on %d pages", len(seen), pages)
	}
	for _, params := range []string{`{}`, `{"q":"` + strings.Repeat("x", 65) + `"}`} {
		if _, p := r.call("bob", "user.search", params); p == nil || p.Code != problem.BadPayload {
			t.Errorf("%.20s: %v", params, p)
		}
	}
	if out, p := r.call("admin", "user.search", `{"limit":1}`); p != nil || !strings.Contains(out, `"user":"u000"`) {
		t.Errorf("%.80s, %v", out, p)
	}
	if _, p := r.call("", "user.search", `{"q":"u"}`); p == nil || p.Code != problem.GuestReadOnly {
		t.Errorf("a guest: %v", p)
	}
}

// Every method that is offered has its scope in the table, and no scope is of a call that nobody knows.
func TestScopesNameCalls(t *testing.T) {
	for name := range builtIn {
		if _, ok := scopes[name]; !ok {
			t.Errorf("%s is in no row of the table: service keys need admin for it", name)
		}
	}
}

// Logout says what is missing, and touches nobody else.
func TestLogoutParams(t *testing.T) {
	r := newRig(t, nil)
	for _, tc := range []struct {
		as   string
		in   LogoutInput
		code problem.Code
	}{
		{"", LogoutInput{All: true}, problem.GuestReadOnly},
		{"bob", LogoutInput{}, problem.BadPayload}, // the tokens of these tests have no id
		{"bob", LogoutInput{All: true, Device: "d"}, problem.BadPayload},
		{"bob", LogoutInput{User: "ann", All: true}, problem.Forbidden},
		{"bob", LogoutInput{Device: "a\x00"}, problem.BadPayload},
		{"svc~x:admin", LogoutInput{All: true}, problem.Unsupported},
		{"admin", LogoutInput{User: "a~b", All: true}, problem.NotFound},
		{"admin", LogoutInput{User: "ann"}, problem.BadPayload},
		{"admin", LogoutInput{User: "ann", All: true}, ""},
		{"bob", LogoutInput{Device: "d"}, ""},
	} {
		_, err := r.Logout(context.Background(), as(tc.as), tc.in)
		if (err == nil) != (tc.code == "") || err != nil && ProblemFrom(err).Code != tc.code {
			t.Errorf("%s %+v: %v, want %s", tc.as, tc.in, err, tc.code)
		}
	}
}
