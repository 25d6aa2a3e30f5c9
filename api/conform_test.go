package api

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// operation is what the OpenAPI document says of a request, nil when it says nothing.
func (r *rig) operation(req *http.Request) *huma.Operation {
	if !cleanPath(req.URL.EscapedPath()) {
		return nil
	}
	_, pattern := r.mux.Handler(req)
	method, path, _ := strings.Cut(pattern, " ")
	item := r.doc.Paths[strings.TrimPrefix(path, Base)]
	if item == nil {
		return nil
	}
	for _, op := range operations(item) {
		if op.Method == method {
			return op
		}
	}
	return nil
}

// conforms holds an answer against the OpenAPI document: its status, its content type and its body are described. Every
// answer that a test of this package asks for goes through here.
func (r *rig) conforms(w *httptest.ResponseRecorder, req *http.Request) {
	r.t.Helper()
	op := r.operation(req)
	if op == nil {
		return
	}
	name := req.Method + " " + op.Path
	resp := op.Responses[strconv.Itoa(w.Code)]
	if resp == nil {
		r.t.Errorf("%s answers %d, which is not documented: %s", name, w.Code, w.Body)
		return
	}
	ct, _, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
	if err != nil || resp.Content[ct] == nil {
		r.t.Errorf("%s: %d is %q, which is not documented", name, w.Code, w.Header().Get("Content-Type"))
		return
	}
	if resp.Content[ct].Schema.Format == "binary" {
		return
	}
	var body any
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		r.t.Errorf("%s: %d: %v: %s", name, w.Code, err, w.Body)
		return
	}
	var faults huma.ValidateResult
	path := huma.NewPathBuffer([]byte{}, 0)
	huma.Validate(r.doc.Components.Schemas, resp.Content[ct].Schema, path, huma.ModeReadFromServer, body, &faults)
	if err := errors.Join(faults.Errors...); err != nil {
		r.t.Errorf("%s: %d is not as documented: %v: %.300s", name, w.Code, err, w.Body)
	}
}
