package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// decoder is the name of a function that takes bytes or text apart.
var decoder = regexp.MustCompile(`^(?:[dD]ecode|[pP]arse|[uU]nmarshal)`)

// fuzzedBy names the target of a decoder that no target calls by its name, as it is reached through another one.
var fuzzedBy = map[string]string{
	"api.parsePublish":                  "FuzzRequest",
	"api.parseForm":                     "FuzzRequest",
	"api.parseJSONBody":                 "FuzzRequest",
	"broker.decodeCheers":               "FuzzDecodeCheers",
	"broker/transport.parseProxyHeader": "FuzzProxyHeader",
	"broker/transport.parseHop":         "FuzzForwarded",
	"hooks/auth.ParseScopes":            "FuzzServiceKeyLine",
	"hooks/auth.decodeObject":           "FuzzVerifyToken",
	"hooks/auth.parseToken":             "FuzzVerifyToken",
	"hooks/auth.parseCost":              "FuzzParseHash",
	"hooks/auth.parseUsersLine":         "FuzzUsersFile",
	"hooks/calls.ParseMark":             "FuzzConnection",
	"hooks/calls.UnmarshalJSON":         "FuzzDispatch",
	"hooks/calls.parseImportEntry":      "FuzzImportLine",
	"hooks/calls.parseImportEnd":        "FuzzImportLine",
	"hooks/calls.parseImportHead":       "FuzzImportLine",
	"hooks/calls.parseImportState":      "FuzzImportLine",
	"hooks/envelope.parseJSON":          "FuzzParseHTTP",
	"hooks/topic.ParseReplay":           "FuzzParseFilter",
	"hooks/topic.parseBroadcast":        "FuzzParsePublish",
	"hooks/topic.parseMe":               "FuzzParsePublish",
	"hooks/topic.parseRooms":            "FuzzParsePublish",
	"hooks/topic.parseUsers":            "FuzzParsePublish",
	"internal/bench.parseHex":           "FuzzFindStamp",
	"storage.decodeShared":              "FuzzCommand",
	"storage.decode":                    "FuzzCommand",
	"storage.decodeMore":                "FuzzCommand",
}

// exact are names of a closed set: text is compared with each of them, and there is nothing to take apart.
var exact = []string{"storage.ParseRoomKind", "storage.ParseGuestAccess", "storage.ParseStateBy", "storage.ParseBeforeSend"}

// Every function that takes bytes or text apart is reached by a fuzz target, so that a decoder cannot come without one.
func TestDecodersAreFuzzed(t *testing.T) {
	fset := token.NewFileSet()
	decoders := map[string]string{}        // by directory and name, where it is
	called := map[string]map[string]bool{} // by directory, what fuzz targets call
	targets := map[string]bool{}           // all of them
	files(t, func(name string, text []byte) {
		if !strings.HasSuffix(name, ".go") || strings.Contains(name, "test/") || strings.HasPrefix(name, "internal/peers/") {
			return
		}
		file, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			return
		}
		dir := path.Dir(name)
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			switch {
			case !ok || f.Body == nil:
			case strings.HasSuffix(name, "_test.go") && strings.HasPrefix(f.Name.Name, "Fuzz"):
				targets[f.Name.Name] = true
				if called[dir] == nil {
					called[dir] = map[string]bool{}
				}
				ast.Inspect(f.Body, func(n ast.Node) bool {
					if id, ok := n.(*ast.Ident); ok {
						called[dir][id.Name] = true
					}
					return true
				})
			case !strings.HasSuffix(name, "_test.go") && decoder.MatchString(f.Name.Name) && takesText(f.Type):
				decoders[dir+"."+f.Name.Name] = fset.Position(f.Pos()).String()
			}
		}
	})
	if len(decoders) < 30 {
		t.Fatalf("%d decoders are found only", len(decoders))
	}
	for _, d := range slices.Sorted(maps.Keys(decoders)) {
		i := strings.LastIndexByte(d, '.')
		if !called[d[:i]][d[i+1:]] && fuzzedBy[d] == "" && !slices.Contains(exact, d) {
			t.Errorf("%s: no fuzz target reaches %s; write one, or name it in fuzzedBy", decoders[d], d)
		}
	}
	for d, target := range fuzzedBy {
		if decoders[d] == "" {
			t.Errorf("fuzzedBy: there is no %s", d)
		}
		if !targets[target] {
			t.Errorf("fuzzedBy: there is no %s", target)
		}
	}
	for _, d := range exact {
		if decoders[d] == "" {
			t.Errorf("exact: there is no %s", d)
		}
	}
}

// takesText reports whether one of a function's parameters is a string, bytes, or something to read.
func takesText(f *ast.FuncType) bool {
	return slices.ContainsFunc(f.Params.List, func(p *ast.Field) bool {
		switch typ := p.Type.(type) {
		case *ast.Ident:
			return typ.Name == "string"
		case *ast.ArrayType:
			id, ok := typ.Elt.(*ast.Ident)
			return ok && id.Name == "byte"
		case *ast.SelectorExpr:
			return typ.Sel.Name == "Reader"
		case *ast.StarExpr:
			id, ok := typ.X.(*ast.Ident)
			return ok && (id.Name == "reader" || strings.HasSuffix(id.Name, "Request"))
		}
		return false
	})
}
