package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// ask calls the HTTP API of a node with --dev as alice and reads the answer into result.
func ask(t testing.TB, n *node, path string, result any) {
	t.Helper()
	api := n.url("HTTP API")
	resp, err := http.Post(api+"/auth/login", "application/json", strings.NewReader(`{"user":"alice","password":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	var login struct{ Token string }
	decode(t, resp, &login)
	req, err := http.NewRequest(http.MethodGet, api+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+login.Token)
	resp, err = http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	decode(t, resp, result)
}

func decode(t testing.TB, resp *http.Response, result any) {
	t.Helper()
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s: %s", resp.Request.URL, resp.Status, text)
	}
	if err := json.Unmarshal(text, result); err != nil {
		t.Fatalf("%s: %v: %s", resp.Request.URL, err, text)
	}
}

// history is every entry of a room, as delivered, read page by page.
func history(t testing.TB, n *node, room string) []json.RawMessage {
	t.Helper()
	var all []json.RawMessage
	for {
		var page struct {
			Messages []json.RawMessage
			More     bool
		}
		ask(t, n, fmt.Sprintf("/rooms/%s/messages?view=log&after=%d&limit=500", room, len(all)), &page)
		all = append(all, page.Messages...)
		if !page.More || len(page.Messages) == 0 {
			return all
		}
	}
}
