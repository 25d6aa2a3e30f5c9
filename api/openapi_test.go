package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// document is as much of OpenAPI 3.1 as is checked here.
type document struct {
	OpenAPI string
	Info    struct{ Title, Version string }
	Servers []struct{ URL string }
	Paths   map[string]map[string]struct {
		OperationID string
		Summary     string
		Security    []map[string][]string
		Parameters  []struct {
			Name, In string
			Required bool
			Schema   map[string]any
		}
		RequestBody *struct {
			Content map[string]struct{ Schema map[string]any }
		}
		Responses map[string]struct {
			Description string
			Content     map[string]struct{ Schema map[string]any }
		}
	}
	Components struct {
		Schemas         map[string]map[string]any
		SecuritySchemes map[string]struct{ Type, Scheme string }
	}
}

func documentOf(t *testing.T, r *rig) (document, []byte) {
	t.Helper()
	w := r.do("", "GET "+OpenAPIPath, "")
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	var d document
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	return d, w.Body.Bytes()
}

// The routes of this release. What is described is what is served, and nothing else is.
func TestOpenAPIRoutes(t *testing.T) {
	r := newRig(t).rooms()
	d, _ := documentOf(t, r)
	if d.OpenAPI != "3.1.0" || d.Info.Title == "" || d.Info.Version != "v1" || len(d.Servers) != 1 || d.Servers[0].URL != Base {
		t.Errorf("%+v %+v %+v", d.OpenAPI, d.Info, d.Servers)
	}
	var routes []string
	for path, ops := range d.Paths {
		for method := range ops {
			routes = append(routes, strings.ToUpper(method)+" "+path)
		}
	}
	sort.Strings(routes)
	if diff := cmp.Diff([]string{
		"DELETE /me/blocks/{user}", "DELETE /me/contacts/{user}", "DELETE /me/devices", "DELETE /me/devices/{device}",
		"DELETE /rooms/{room}", "DELETE /rooms/{room}/messages/{seq}", "DELETE /users/{user}", "DELETE /users/{user}/devices",
		"DELETE /users/{user}/devices/{device}", "GET /broadcast", "GET /health", "GET /me/blocks", "GET /me/contacts",
		"GET /me/devices", "GET /me/inbox", "GET /rooms", "GET /rooms/{room}", "GET /rooms/{room}/audit",
		"GET /rooms/{room}/events", "GET /rooms/{room}/export", "GET /rooms/{room}/members", "GET /rooms/{room}/messages",
		"GET /rooms/{room}/presence", "GET /rooms/{room}/state/{key}", "GET /search", "GET /users", "GET /users/{user}",
		"GET /users/{user}/devices", "GET /users/{user}/export", "GET /users/{user}/presence", "GET /webhooks",
		"GET /webhooks/{name}/dead", "GET /whoami", "PATCH /rooms/{room}", "PATCH /users/{user}", "POST /auth/guest",
		"POST /auth/login", "POST /auth/logout", "POST /auth/register_token", "POST /broadcast", "POST /me/inbox/read",
		"POST /publish", "POST /publish/bulk", "POST /rooms", "POST /rooms/{room}/announce", "POST /rooms/{room}/ban",
		"POST /rooms/{room}/freeze", "POST /rooms/{room}/import", "POST /rooms/{room}/invite", "POST /rooms/{room}/join",
		"POST /rooms/{room}/kick", "POST /rooms/{room}/leave", "POST /rooms/{room}/messages", "POST /rooms/{room}/mute",
		"POST /rooms/{room}/pin", "POST /rooms/{room}/read", "POST /rooms/{room}/role", "POST /rooms/{room}/slow",
		"POST /rooms/{room}/unban", "POST /rooms/{room}/unfreeze", "POST /rooms/{room}/unmute", "POST /sync", "POST /users",
		"POST /webhooks/{name}/dead/retry", "PUT /me/blocks/{user}", "PUT /me/contacts/{user}",
		"PUT /me/devices/{device}/push", "PUT /rooms/{room}/state/{key}",
	}, routes); diff != "" {
		t.Error(diff)
	}
	for path, ops := range d.Paths {
		at := strings.ReplaceAll(path, "{room}", "none")
		// Every route described is served: it does not answer that there is nothing, or only other methods.
		for method := range ops {
			w := r.do("alice", strings.ToUpper(method)+" "+at, "")
			if w.Code == http.StatusMethodNotAllowed || strings.Contains(w.Body.String(), OpenAPIPath) {
				t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
			}
		}
		// And of a path that is described only the methods that are.
		var served []string
		for _, method := range []string{"delete", "get", "patch", "post", "put"} {
			if w := r.do("alice", strings.ToUpper(method)+" "+at, ""); w.Code != http.StatusMethodNotAllowed {
				served = append(served, method)
			}
		}
		var described []string
		for method := range ops {
			described = append(described, method)
		}
		if sort.Strings(described); !slices.Equal(served, described) {
			t.Errorf("%s: served %v, described %v", path, served, described)
		}
	}
}

var inPath = regexp.MustCompile(`\{([^}]+)\}`)

func TestOpenAPIOperations(t *testing.T) {
	d, raw := documentOf(t, newRig(t))
	ids := map[string]string{}
	for path, ops := range d.Paths {
		for method, op := range ops {
			name := method + " " + path
			if op.OperationID == "" || op.Summary == "" || ids[op.OperationID] != "" {
				t.Errorf("%s: id %q, summary %q, the same id as %s", name, op.OperationID, op.Summary, ids[op.OperationID])
			}
			ids[op.OperationID] = name
			var declared, needed []string
			for _, p := range op.Parameters {
				if !slices.Contains([]string{"path", "query", "header"}, p.In) || p.Schema["type"] == nil || p.In == "path" && !p.Required {
					t.Errorf("%s: parameter %+v", name, p)
				}
				if p.In == "path" {
					declared = append(declared, p.Name)
				}
			}
			for _, m := range inPath.FindAllStringSubmatch(path, -1) {
				needed = append(needed, m[1])
			}
			if diff := cmp.Diff(needed, declared); diff != "" {
				t.Errorf("%s: parameters in the path: %s", name, diff)
			}
			good := 0
			for status, resp := range op.Responses {
				switch {
				case resp.Description == "" || len(status) != 3:
					t.Errorf("%s: response %q %+v", name, status, resp)
				case status[0] == '2':
					good++
					if resp.Content["application/json"].Schema == nil && resp.Content[linesType].Schema == nil {
						t.Errorf("%s: %s has no schema", name, status)
					}
				case len(resp.Content) != 1 || resp.Content["application/problem+json"].Schema["$ref"] != "#/components/schemas/Problem":
					t.Errorf("%s: %s is no problem: %+v", name, status, resp.Content)
				}
			}
			if good != 1 || op.Responses["422"].Description != "" {
				t.Errorf("%s: responses %v", name, op.Responses)
			}
			for _, s := range op.Security {
				for scheme := range s {
					if d.Components.SecuritySchemes[scheme].Type != "http" {
						t.Errorf("%s: there is no scheme %s", name, scheme)
					}
				}
			}
			open := path == healthPath || strings.HasPrefix(path, "/auth/") && path != "/auth/logout" && path != "/auth/register_token"
			if open != (len(op.Security) == 0) {
				t.Errorf("%s: security %v", name, op.Security)
			}
			named := path == "/me/contacts/{user}" || path == "/me/blocks/{user}" // the path says it all
			if (op.RequestBody != nil) != (method == "patch" || method == "post" || method == "put" && !named) {
				t.Errorf("%s: body %v", name, op.RequestBody)
			}
		}
	}
	refs(t, d, raw)
}

// refs checks that every $ref leads somewhere and that every schema is used.
func refs(t *testing.T, d document, raw []byte) {
	t.Helper()
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`"\$ref":"([^"]*)"`).FindAllSubmatch(raw, -1) {
		name, ok := strings.CutPrefix(string(m[1]), "#/components/schemas/")
		if !ok || d.Components.Schemas[name] == nil {
			t.Errorf("%s leads nowhere", m[1])
		}
		used[name] = true
	}
	for name, s := range d.Components.Schemas {
		if !used[name] {
			t.Errorf("schema %s is not used", name)
		}
		props, _ := s["properties"].(map[string]any)
		required, _ := s["required"].([]any)
		for _, r := range required {
			if props[fmt.Sprint(r)] == nil {
				t.Errorf("schema %s needs %v, which it does not have", name, r)
			}
		}
	}
}
