package calls

import (
	"strings"
	"testing"

	"github.com/madang-chat/madang/hooks/problem"
)

// A key with the scope users becomes neither an admin nor the end of one: what would do that is refused for the names that
// the configuration knows ("admin", here), to the key and to the users as whom it acts. Others, and admins, go on.
func TestServiceKeysDoNotBecomeAdmins(t *testing.T) {
	r := newRig(t, openRegister)
	call := func(token, method, params string) *problem.Problem {
		if method != "logout" && method != "register_token" {
			_, p := r.call(token, method, params)
			return p
		}
		id, err := r.Allow(as(token), method)
		if err == nil && method == "logout" {
			_, err = r.Logout(t.Context(), id, LogoutInput{User: params, All: true})
		} else if err == nil {
			_, err = r.RegisterToken(t.Context(), id, RegisterTokenInput{User: params})
		}
		if err == nil {
			return nil
		}
		return ProblemFrom(err)
	}
	for _, tc := range [...][2]string{
		{"user.register", `{"user":"USER","password":"pw"}`},
		{"user.set", `{"user":"USER","password":"pw"}`},
		{"user.set", `{"user":"USER","disabled":false}`},
		{"logout", "USER"},
		{"register_token", "USER"},
		{"user.delete", `{"user":"USER"}`},
	} {
		of := func(user string) string { return strings.ReplaceAll(tc[1], "USER", user) }
		if p := call("svc~x:users", tc[0], of("admin")); p == nil || p.Code != problem.Forbidden || !strings.Contains(p.Detail, "scope admin") {
			t.Errorf("%s of an admin: %v", tc[0], p)
		}
		if p := call("svc~x:users", tc[0], of("ann")); p != nil {
			t.Errorf("%s of a user: %v", tc[0], p)
		}
		if p := call("svc~x:admin", tc[0], of("auditor")); p != nil {
			t.Errorf("%s with the scope admin: %v", tc[0], p)
		}
	}
	if p := call("svc~x:users", "user.set", `{"user":"admin","name":"The Admin"}`); p != nil {
		t.Errorf("what gives no power: %v", p)
	}
	id, err := r.cfg.Auth.As(as("svc~x:users,send_as"), "admin")
	if err != nil {
		t.Fatal(err)
	}
	if id, err = r.Allow(id, "logout"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Logout(t.Context(), id, LogoutInput{All: true}); err == nil {
		t.Error("acting as an admin the key logs them out")
	}
	if p := call("admin", "user.set", `{"user":"admin","password":"pw"}`); p != nil {
		t.Errorf("an admin: %v", p)
	}
}
