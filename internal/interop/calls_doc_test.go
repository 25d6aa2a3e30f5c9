package interop

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// openAPI is as much of the document as says what a call takes.
type openAPI struct {
	Paths map[string]map[string]struct {
		OperationID string
		Parameters  []struct{ Name, In string }
		RequestBody *struct {
			Content map[string]struct{ Schema bodySchema }
		}
	}
	Components struct{ Schemas map[string]bodySchema }
}

type bodySchema struct {
	Ref        string `json:"$ref"`
	Properties map[string]json.RawMessage
}

// ofHTTP returns the params of every operation, "POST /rooms": the names in its path, its query and its body.
func (d *openAPI) ofHTTP() map[string][]string {
	out := map[string][]string{}
	for path, item := range d.Paths {
		for method, op := range item {
			names := []string{}
			for _, p := range op.Parameters {
				if p.In != "header" && p.Name != "consistency" { // how it is asked, not what
					names = append(names, p.Name)
				}
			}
			if op.RequestBody != nil {
				s := op.RequestBody.Content["application/json"].Schema
				if s.Ref != "" {
					s = d.Components.Schemas[s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]]
				}
				names = append(names, slices.Collect(maps.Keys(s.Properties))...)
			}
			slices.Sort(names)
			out[strings.ToUpper(method)+" "+path] = slices.Compact(names)
		}
	}
	return out
}

var listed = regexp.MustCompile(`; (?:there are|it takes) (.*?)\.$`)

// ofRPC returns the params of every method. It asks for what is not there: the refusals name what is.
func ofRPC(t *testing.T, n *testcluster.Node) map[string][]string {
	t.Helper()
	c := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "admin", ClientID: "c"})
	c.Subscribe("chat/me/reply")
	ask := func(method, params string) string {
		c.Publish(mqtttest.Message("chat/me/rpc/"+method, `{"params":`+params+`}`, 1))
		var answer struct{ Error struct{ Detail string } }
		if err := json.Unmarshal(c.Next().Payload, &answer); err != nil {
			t.Fatal(err)
		}
		m := listed.FindStringSubmatch(answer.Error.Detail)
		if m == nil {
			t.Fatalf("%s does not say what there is: %s", method, answer.Error.Detail)
		}
		return strings.ReplaceAll(strings.ReplaceAll(m[1], ",", ""), " and ", " ")
	}
	out := map[string][]string{}
	for method := range strings.FieldsSeq(ask("none", `{}`)) {
		names := strings.Fields(ask(method, `{"rooms":{},"?":1}`))
		if slices.Equal(names, []string{"none"}) {
			names = names[:0]
		}
		slices.Sort(names)
		out[method] = names
	}
	return out
}

// documented is a row of the table of calls.
type documented struct {
	rpc, http []string
	params    []string
}

var row = regexp.MustCompile(`^\| ([^|]*) \| ([^|]*) \| ([^|]*) \|`)

// documentedCalls reads the table.
func documentedCalls(t *testing.T) (rows []documented) {
	t.Helper()
	b, err := os.ReadFile("../../docs/chat.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(b), "\n## Every call\n")
	section, _, _ = strings.Cut(section, "\n## ")
	code := regexp.MustCompile("`([^`]*)`")
	cell := func(s string) (out []string) {
		for _, m := range code.FindAllStringSubmatch(s, -1) {
			out = append(out, m[1])
		}
		return out
	}
	for line := range strings.SplitSeq(section, "\n") {
		m := row.FindStringSubmatch(line)
		if m == nil || m[1] == "by MQTT" || strings.HasPrefix(m[1], "---") {
			continue
		}
		d := documented{rpc: cell(m[1]), http: cell(m[2])}
		for _, p := range cell(m[3]) {
			d.params = append(d.params, strings.Fields(p)...)
		}
		slices.Sort(d.params)
		rows = append(rows, d)
	}
	return rows
}

// The table of calls in docs/chat.md has every call, with its names and its params, and no other; and a call that has two names
// takes the same under both.
func TestCallsAreDocumented(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	resp, err := http.Get("http://" + n.Addr("web") + "/api/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc openAPI
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	there := doc.ofHTTP()
	maps.Copy(there, ofRPC(t, n))
	seen := map[string]bool{}
	for _, d := range documentedCalls(t) {
		taken := map[string]bool{}
		for _, name := range append(slices.Clone(d.rpc), d.http...) {
			name, _, narrowed := strings.Cut(name, "?") // a part of what the path gives
			params, ok := there[name]
			for _, p := range params {
				taken[p] = true
			}
			switch {
			case strings.HasPrefix(name, "chat/"): // a topic, on which the params are the payload
			case !ok:
				t.Errorf("%s is documented, and not offered", name)
			case narrowed:
				continue
			case seen[name]:
				t.Errorf("%s is documented twice", name)
			case len(d.http) == 1 && !slices.Equal(params, d.params):
				t.Errorf("%s takes %v, documented is %v", name, params, d.params)
			}
			seen[name] = true
		}
		if got := slices.Sorted(maps.Keys(taken)); len(d.http) > 1 && !slices.Equal(got, d.params) { // each path takes a part
			t.Errorf("%v takes %v, documented is %v", d.rpc, got, d.params)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(there)) {
		if !seen[name] {
			t.Errorf("%s %v is not documented", name, there[name])
		}
	}
}
