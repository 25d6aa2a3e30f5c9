// Package webtest makes calls of the HTTP API for tests, as a client does that knows nothing of the code behind it.
package webtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Caller is who calls, and where. A Caller without a token is a guest.
type Caller struct {
	Addr  string // host:port of the web listener
	Token string
}

// Login returns a caller with a token of POST /auth/login.
func Login(t testing.TB, addr, user, password string) Caller {
	t.Helper()
	c := Caller{Addr: addr}
	token, _ := c.Must(t, "POST /auth/login", map[string]any{"user": user, "password": password})["token"].(string)
	if token == "" {
		t.Fatalf("%s is given no token", user)
	}
	c.Token = token
	return c
}

// Ask makes a call, "POST /rooms/{room}/freeze": of params, those that the path names go there, the others into the query
// of a GET or DELETE, or into the body. The answer is nil when it is no JSON object.
func (c Caller) Ask(t testing.TB, op string, params map[string]any) (status int, answer map[string]any) {
	t.Helper()
	method, path, _ := strings.Cut(op, " ")
	asks := method == http.MethodGet || method == http.MethodDelete
	query, body := url.Values{}, map[string]any{}
	for name, v := range params {
		slot := "{" + name + "}"
		switch {
		case strings.Contains(path, slot):
			path = strings.ReplaceAll(path, slot, url.PathEscape(fmt.Sprint(v)))
		case asks:
			query.Set(name, fmt.Sprint(v))
		default:
			body[name] = v
		}
	}
	content := ""
	if !asks {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		content = string(b)
	}
	status, b := c.Send(t, method+" "+path+"?"+query.Encode(), content)
	if json.Unmarshal(b, &answer) != nil {
		answer = nil // a stream, or an export
	}
	return status, answer
}

// Send makes a call with a body as it is, "POST /rooms/r/messages?type=edit". Headers are "Name: value" each; a body without
// a Content-Type is JSON.
func (c Caller) Send(t testing.TB, line, body string, headers ...string) (status int, answer []byte) {
	t.Helper()
	method, path, _ := strings.Cut(line, " ")
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+c.Addr+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	if body != "" && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	defer http.DefaultClient.CloseIdleConnections() // tests look for goroutines that are left
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return resp.StatusCode, answer
}

// Must is Ask that must be answered with a success.
func (c Caller) Must(t testing.TB, op string, params map[string]any) map[string]any {
	t.Helper()
	status, answer := c.Ask(t, op, params)
	if status >= http.StatusMultipleChoices {
		t.Fatalf("%s %v: %d %v", op, params, status, answer)
	}
	return answer
}
