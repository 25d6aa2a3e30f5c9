// Package webtest makes calls of the HTTP API for tests, as a client does that knows nothing of the code behind it.
package webtest

import (
	"bytes"
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
	var content io.Reader
	if !asks {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+c.Addr+"/api/v1"+path+"?"+query.Encode(), content)
	if err != nil {
		t.Fatal(err)
	}
	if content != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", op, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", op, err)
	}
	if json.Unmarshal(b, &answer) != nil {
		answer = nil // a stream, or an export
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
