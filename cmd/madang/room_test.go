package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeAPI answers as the broker's HTTP API does and notes what it was asked.
type fakeAPI struct {
	*httptest.Server

	calls []string
}

func newFakeAPI(t *testing.T) *fakeAPI {
	f := new(fakeAPI)
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		f.calls = append(f.calls, strings.TrimSpace(fmt.Sprintf("%s %s %s %s",
			r.Header.Get("Authorization"), r.Method, r.URL.EscapedPath(), body)))
		switch {
		case r.URL.Path == "/api/v1/auth/login" && strings.Contains(string(body), `"secret"`):
			fmt.Fprint(w, `{"token":"T2","expires_at":1}`)
		case r.URL.Path == "/api/v1/auth/login":
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"title":"The password was not accepted.","status":401,"code":"unauthenticated"}`)
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"title":"There is no such room.","code":"not_found","detail":"x/y","retry_after":5}`)
		case r.Method == http.MethodPatch:
			w.WriteHeader(http.StatusBadGateway)
			fmt.Fprint(w, `<html>`)
		case r.Method == http.MethodGet:
			fmt.Fprint(w, `{"rooms":[{"room":"lobby","kind":"public","name":"Lobby"},{"room":"x","kind":"private"}]}`)
		default:
			w.WriteHeader(http.StatusCreated)
		}
	}))
	t.Cleanup(f.Close)
	return f
}

func TestRoom(t *testing.T) {
	for _, tt := range []struct {
		name, stdin string
		args        []string
		code        int
		out, err    string
		calls       []string
	}{
		{
			name: "create", args: []string{"create", "general", "--kind", "private", "--name", "Général", "--token", "T1"},
			calls: []string{`Bearer T1 POST /api/v1/rooms {"kind":"private","name":"Général","room":"general"}`},
		},
		{
			name: "list after login", args: []string{"list", "--user", "admin", "--password-stdin"}, stdin: "secret\nmore\n",
			out: "lobby  public   Lobby\nx      private  \n",
			calls: []string{
				`POST /api/v1/auth/login {"password":"secret","user":"admin"}`,
				`Bearer T2 GET /api/v1/rooms`,
			},
		},
		{
			name: "list as JSON", args: []string{"list", "--json", "--token", "T1"},
			out:   `{"rooms":[{"room":"lobby","kind":"public","name":"Lobby"},{"room":"x","kind":"private"}]}` + "\n",
			calls: []string{`Bearer T1 GET /api/v1/rooms`},
		},
		{
			name: "login refused", args: []string{"list", "--user", "admin", "--password-stdin"}, stdin: "wrong",
			code: exitFailure, err: "madang: login: The password was not accepted. (unauthenticated)\n",
			calls: []string{`POST /api/v1/auth/login {"password":"wrong","user":"admin"}`},
		},
		{
			name: "del refused", args: []string{"del", "x/y", "--token", "T1"},
			code: exitFailure, err: "madang: There is no such room. x/y (not_found); try again in 5 s\n",
			calls: []string{`Bearer T1 DELETE /api/v1/rooms/x%2Fy`},
		},
		{
			name: "set at something else", args: []string{"set", "a", "name=Hall", "slow_mode=5", "frozen=true", "--token", "T1"},
			code: exitFailure, err: "madang: PATCH /api/v1/rooms/a: 502 Bad Gateway\n",
			calls: []string{`Bearer T1 PATCH /api/v1/rooms/a {"frozen":true,"name":"Hall","slow_mode":5}`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			api := newFakeAPI(t)
			args := append([]string{"room"}, tt.args...)
			code, out, errOut := call(t, tt.stdin, append(args, "--server", api.URL+"/")...)
			if code != tt.code || out != tt.out || errOut != tt.err {
				t.Errorf("code %d, stdout %q, stderr %q", code, out, errOut)
			}
			if diff := cmp.Diff(tt.calls, api.calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTokenFromEnvironment(t *testing.T) {
	api := newFakeAPI(t)
	t.Setenv("MADANG_TOKEN", "T9")
	if code, _, errOut := call(t, "", "room", "list", "--server", api.URL); code != exitOK {
		t.Fatal(errOut)
	}
	if diff := cmp.Diff([]string{"Bearer T9 GET /api/v1/rooms"}, api.calls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestProperties(t *testing.T) {
	got, err := properties([]string{"name=a=b", "n=5", "s=\"5\"", "z=null", "l=[1]", "e="})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"e":"","l":[1],"n":5,"name":"a=b","s":"5","z":null}`; string(text) != want {
		t.Errorf("got %s, want %s", text, want)
	}
	for _, bad := range []string{"", "a", "=b"} {
		if _, err := properties([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
