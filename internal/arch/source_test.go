package arch

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// skipped are directories that hold nothing we wrote.
var skipped = []string{".git", "bin", "node_modules", "madang-data", "dist"}

// files calls do with every file of the source tree, by its path from the root.
func files(t *testing.T, do func(path string, text []byte)) {
	t.Helper()
	const large = 4 << 20 // of this size is no source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if slices.Contains(skipped, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		case !d.Type().IsRegular():
			return nil
		}
		if info, err := d.Info(); err != nil || info.Size() > large {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		do(filepath.ToSlash(rel), text)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Only internal/clock reads the wall clock, so that a test can move it and log time stays the leader's business. Tests
// wait on conditions, not for a while; in a bubble of testing/synctest a sleep takes no time and is such a wait.
func TestCalls(t *testing.T) {
	fset := token.NewFileSet()
	files(t, func(path string, text []byte) {
		if !strings.HasSuffix(path, ".go") || under(path, []string{"internal/clock"}) {
			return
		}
		file, err := parser.ParseFile(fset, path, text, parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			return
		}
		name := importName(file, "time")
		if name == "" {
			return
		}
		forbidden := map[string]string{
			"Now": "internal/clock reads the wall clock", "Since": "use clock.Since", "Until": "use clock.Until",
		}
		if strings.HasSuffix(path, "_test.go") {
			if importName(file, "testing/synctest") != "" {
				return
			}
			forbidden = map[string]string{"Sleep": "wait on a condition, or use testing/synctest"}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == name && forbidden[sel.Sel.Name] != "" {
				t.Errorf("%s: time.%s: %s", fset.Position(sel.Pos()), sel.Sel.Name, forbidden[sel.Sel.Name])
			}
			return true
		})
	})
}

// importName returns the name a file uses for a package, "" when it does not import it.
func importName(file *ast.File, path string) string {
	for _, imp := range file.Imports {
		if p, err := strconv.Unquote(imp.Path.Value); err != nil || p != path {
			continue
		}
		if imp.Name != nil {
			return imp.Name.Name
		}
		return path[strings.LastIndexByte(path, '/')+1:]
	}
	return ""
}

// Notes to oneself and the paths of one machine do not belong into the source. The words are put together here so
// that this file does not hold them.
func TestWords(t *testing.T) {
	words := map[string]string{
		"TO" + "DO": "finish it, or say what is not there", "FIX" + "ME": "fix it",
		"/wo" + "rk/": "a path of one machine", "/ro" + "ot/": "a path of one machine",
	}
	files(t, func(path string, text []byte) {
		if bytes.IndexByte(text, 0) >= 0 { // not a text
			return
		}
		for word, why := range words {
			for i, line := range bytes.Split(text, []byte("\n")) {
				if bytes.Contains(line, []byte(word)) {
					t.Errorf("%s:%d contains %q: %s", path, i+1, word, why)
				}
			}
		}
	})
}
