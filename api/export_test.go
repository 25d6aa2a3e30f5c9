package api

import (
	"compress/gzip"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
)

// An export goes out as lines, packed for those who take it so; an import comes in as it is read.
func TestExportAndImport(t *testing.T) {
	r := newRig(t).rooms()
	for range 300 {
		if w := r.do("alice", "POST /rooms/priv/messages", "hello", "Content-Type: text/plain"); w.Code != 201 {
			t.Fatal(w.Body)
		}
	}
	get := func(who, path string, headers ...string) *httptest.ResponseRecorder { // lines are no JSON, which do checks
		w := httptest.NewRecorder()
		r.ServeHTTP(w, request(who, "GET "+path, "", headers...))
		return w
	}
	w := get("alice", "/rooms/priv/export")
	plain := w.Body.String()
	if w.Code != 200 || w.Header().Get("Content-Type") != linesType || !strings.HasSuffix(plain, "}}\n") {
		t.Fatalf("%d %s", w.Code, w.Header())
	}
	w = get("alice", "/rooms/priv/export", "Accept-Encoding: br, gzip")
	z, err := gzip.NewReader(w.Body)
	if err != nil || w.Header().Get("Content-Encoding") != "gzip" {
		t.Fatal(err, w.Header())
	}
	if packed, err := io.ReadAll(z); err != nil || len(packed) != len(plain) {
		t.Errorf("%d bytes, %v, want %d", len(packed), err, len(plain))
	}
	if w := r.do("bob", "GET /rooms/priv/export", ""); w.Code != 403 {
		t.Errorf("a member exports: %d", w.Code)
	}
	if w := get("bob", "/users/bob/export"); w.Code != 200 || !strings.Contains(w.Body.String(), `{"membership":{"room":"priv"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := r.do("bob", "GET /users/alice/export", ""); w.Code != 403 {
		t.Errorf("somebody exports another: %d", w.Code)
	}
	if w := r.do("admin", "POST /rooms/copy/import", plain, "Content-Type: "+linesType); w.Code != 200 || !strings.Contains(w.Body.String(), `"done":true`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := r.do("admin", "POST /rooms/priv/import", plain); w.Code != 409 {
		t.Errorf("into a room that is there: %d %s", w.Code, w.Body)
	}
	if w := r.do("alice", "POST /rooms/other/import", plain); w.Code != 403 {
		t.Errorf("by anybody: %d %s", w.Code, w.Body)
	}
}
