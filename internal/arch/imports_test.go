package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/madang-chat/madang"

// pkg is what go list says about one package of this module.
type pkg struct {
	ImportPath string
	Doc        string
	Imports    []string // of files that are no tests
	GoFiles    []string
}

// path returns the import path without the module.
func (p *pkg) path() string { return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/") }

// forTests reports whether the package serves tests only, as its name says: clustertest, testcluster. It may import
// what a test may: anything.
func (p *pkg) forTests() bool {
	name := p.ImportPath[strings.LastIndexByte(p.ImportPath, '/')+1:]
	return strings.HasSuffix(name, "test") || strings.HasPrefix(name, "test")
}

func list(t *testing.T) []*pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Doc,Imports,GoFiles", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var all []*pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(pkg)
		if err := dec.Decode(p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// under reports whether path is one of the trees, or below one.
func under(path string, trees []string) bool {
	return slices.ContainsFunc(trees, func(tree string) bool {
		return path == tree || strings.HasPrefix(path, tree+"/")
	})
}

// own says which packages of this module a tree may import, beside itself. A package that no row covers fails the
// test: a new one needs a decision.
var own = []struct {
	tree string
	may  []string
	why  string
}{
	{"storage", []string{"internal/clock", "internal/logentry"}, "a leaf: what is applied must not depend on who asked"},
	{"cluster", []string{"internal/clock", "internal/logentry"}, "a leaf: it moves bytes and knows nothing of chat"},
	{"hooks", []string{"storage", "internal/clock"}, "the rules of chat are tested without raft, MQTT and sockets"},
	{"broker", []string{"hooks", "storage", "internal/clock"}, "delivery sees the store and the rules, never the cluster"},
	{"api", []string{"hooks", "storage", "internal/clock"}, "HTTP stands beside the broker, over the same interfaces"},
	{"internal/clock", nil, "every package imports it"},
	{"internal/roster", []string{"internal/clock"}, "what nodes tell of themselves, whoever carries and asks it"},
	{"internal/logentry", nil, "storage and cluster share it, and nothing else"},
	{"internal/config", nil, "what a value means to a package is decided where the packages are wired"},
	{"internal/app", []string{""}, "it builds a whole node, so that the command and the tests build the same one"},
	{"internal/bench", []string{"internal/clock"}, "it measures any broker from outside"},
	{"internal/peers", []string{"internal/clock"}, "it runs brokers side by side"},
	{"internal/plan", nil, "arithmetic; it knows the program by its measured costs only"},
	{"internal/flame", nil, "it draws a profile, whatever was profiled"},
	{"internal/authority", nil, "its tests run whole nodes; it has nothing else"},
	{"internal/chaos", nil, "its tests run whole nodes; it has nothing else"},
	{"internal/arch", nil, "it looks at the others from outside"},
	{"cmd", []string{""}, "the only place that knows everyone"},
	{"deploy", []string{"internal/config"}, "its tests read the example configuration as serve does"},
}

func TestOwnImports(t *testing.T) {
	for _, p := range list(t) {
		if len(p.GoFiles) == 0 || p.forTests() {
			continue
		}
		i := slices.IndexFunc(own, func(r struct {
			tree string
			may  []string
			why  string
		},
		) bool {
			return under(p.path(), []string{r.tree})
		})
		if i < 0 {
			t.Errorf("%s stands in no row of the table: decide what it may import, and why", p.ImportPath)
			continue
		}
		row := own[i]
		for _, imp := range p.Imports {
			to, ours := strings.CutPrefix(imp, module+"/")
			if !ours || under(to, []string{row.tree}) || slices.Contains(row.may, "") || under(to, row.may) {
				continue
			}
			t.Errorf("%s imports %s; %s may import %v only: %s", p.path(), to, row.tree, row.may, row.why)
		}
	}
}

// foreign says which trees may import a library that gives the program its shape. Other libraries go where they are
// needed. An import belongs to the first row whose prefix it has.
var foreign = []struct {
	library string
	only    []string
	why     string
}{
	{
		"github.com/mochi-mqtt/server/v2/packets",
		[]string{"broker"},
		"only the codec is used, and only where packets are read and written",
	},
	{
		"github.com/mochi-mqtt/server",
		[]string{"internal/peers"},
		"sessions and delivery are ours; its server half loses and stalls messages. It is one of those we are measured against",
	},
	{"github.com/hashicorp/raft", []string{"cluster", "cmd"}, "the log is seen as bytes in, bytes out"},
	{"github.com/cockroachdb/pebble", []string{"storage", "cmd", "internal/app"}, "keys and batches are drawn in one place"},
	{"github.com/danielgtaylor/huma", []string{"api", "cmd"}, "HTTP ends in api"},
	{"github.com/prometheus/procfs", []string{"internal/bench"}, "what a process has used is read where a broker is measured"},
	{"github.com/prometheus", []string{"api", "broker", "cluster", "cmd", "hooks", "internal/app"}, "storage reports figures as values"},
	{"github.com/spf13/cobra", []string{"cmd"}, "flags end in cmd"},
	{"gopkg.in/yaml.v3", []string{"internal/config", "api"}, "there is one reader of the configuration, and one document of topics"},
	{"github.com/eclipse/paho", []string{"cmd"}, "client libraries are for tests and for pub and sub"},
}

func TestForeignImports(t *testing.T) {
	for _, p := range list(t) {
		if p.forTests() {
			continue
		}
		for _, imp := range p.Imports {
			for _, row := range foreign {
				if !strings.HasPrefix(imp, row.library) {
					continue
				}
				if !under(p.path(), row.only) {
					t.Errorf("%s imports %s, which only %v may: %s", p.path(), imp, row.only, row.why)
				}
				break
			}
		}
	}
}

// Packages that serve tests are imported by tests, which are not looked at here, and by each other.
func TestTestPackagesStayInTests(t *testing.T) {
	all := list(t)
	for _, p := range all {
		for _, q := range all {
			if q.forTests() && !p.forTests() && slices.Contains(p.Imports, q.ImportPath) {
				t.Errorf("%s imports %s outside its tests", p.path(), q.path())
			}
		}
	}
}

func TestPackagesHaveDoc(t *testing.T) {
	for _, p := range list(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no doc comment", p.ImportPath)
		}
	}
}
