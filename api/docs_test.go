package api

import (
	"strings"
	"testing"

	"github.com/madang-chat/madang/hooks/problem"
)

// The page names every call with every answer, and every code. A browser may load nothing for it.
func TestDocsPage(t *testing.T) {
	r := newRig(t)
	w := r.do("", "GET "+DocsPath, "")
	h, page := w.Header(), w.Body.String()
	if w.Code != 200 || h.Get("Content-Type") != "text/html; charset=utf-8" || h.Get("X-Content-Type-Options") != "nosniff" ||
		!strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'; frame-ancestors 'none'; style-src 'sha256-") {
		t.Fatalf("%d %v", w.Code, h)
	}
	if !strings.Contains(page, "<style>"+docsStyle+"</style>") {
		t.Error("the style is not the one the policy allows")
	}
	for path, item := range r.doc.Paths {
		for _, op := range operations(item) {
			_, after, found := strings.Cut(page, `<h2 id="`+op.OperationID+`">`+op.Method+" "+path+"</h2>")
			part, _, _ := strings.Cut(after, "<h2")
			for status := range op.Responses {
				found = found && strings.Contains(part, "<td>"+status+"<td>")
			}
			for _, p := range op.Parameters {
				found = found && strings.Contains(part, "<code>"+p.Name+"</code>")
			}
			if !found || !strings.Contains(part, op.Summary[:5]) {
				t.Errorf("%s %s is not described: %s", op.Method, path, part)
			}
		}
	}
	for _, c := range problem.Codes() {
		if !strings.Contains(page, "<code>"+string(c)+"</code>") {
			t.Errorf("%s is missing", c)
		}
	}
	for _, bad := range []string{"<script", "http://", "https://", "src="} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
}
