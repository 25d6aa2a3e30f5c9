package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A comparison that ends at the first byte that differs tells, by its time, how much of a guess was right. So what proves
// something is compared by crypto/subtle or hmac.Equal, or is looked up by its hash. secretName are names of such things, and
// compared are the calls that compare as == does.
var (
	secretName = regexp.MustCompile(`(?i)(secret|password|passwd|token|mac|signature|digest|hash|sum|proof|verifier|psk|credential|bearer)s?$`)
	compared   = []string{"bytes.Equal", "bytes.Compare", "bytes.HasPrefix", "slices.Equal", "strings.EqualFold", "strings.Compare", "reflect.DeepEqual", "maps.Equal"}
)

// harmless are comparisons of what proves nothing, each with why.
var harmless = map[string]string{
	"broker/acks.go: a.hash == [16]byte{}":                                                                  "of a message: whether there is one",
	"broker/connect.go: code == packets.ErrProtocolViolationFlagNoPassword":                                 "a code of the codec",
	"broker/presence/peers.go: e.digest != o.digest":                                                        "of who is online",
	"broker/transport/proxy.go: bytes.Equal(head[:k], proxySignature[:k])":                                  "the twelve bytes by which a PROXY header is known",
	"cluster/logrepair.go: crc32.Checksum(b[:at], crcTable) == value":                                       "of a file of ours",
	"cluster/metastore.go: binary.BigEndian.Uint32(data[len(magic):]) != crc32.Checksum(payload, crcTable)": "of a file of ours",
	"hooks/auth/accounts.go: e.Token == id.TokenID":                                                         "the name of a token whose signature was right",
	"hooks/auth/issue.go: bytes.Equal(d.from, secret)":                                                      "of the node's own secret with its own",
	`hooks/auth/keys.go: bytes.HasPrefix(secret, []byte("-----BEGIN "))`:                                    "whether a file is a PEM, at a start",
	"hooks/auth/servicekeys.go: o.sum == k.sum":                                                             "two lines of one file",
	"hooks/calls/search.go: p.For != in.hash()":                                                             "of what is searched, which the caller sends as well",
	"storage/command_append.go: c.Hash != [16]byte{}":                                                       "of a message: whether there is one",
	"storage/message.go: hash != c.Hash":                                                                    "of a message, which its writer sends as well",
	"storage/message.go: u.Hash == c.Hash":                                                                  "of a message, which its writer sends as well",
	"storage/users.go: rec.Hash != *c.IfHash":                                                               "of the record with what was read of it before",
	"storage/users.go: a.Hash == b.Hash":                                                                    "two states of a record",
	"storage/users.go: e.Token == c.Token":                                                                  "the name of a token that is logged out",
}

// harmlessIn returns whether a comparison is one of them: path, and what is compared.
func harmlessIn(path, what string) bool {
	_, ok := harmless[path+": "+what]
	return ok
}

// Secrets, tokens, MACs and hashes are compared in constant time, everywhere in the program.
func TestSecretsAreComparedInConstantTime(t *testing.T) {
	fset := token.NewFileSet()
	used := map[string]bool{}
	files(t, func(path string, text []byte) {
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || under(path, []string{"internal"}) && !under(path, []string{"internal/app", "internal/config"}) {
			return
		}
		file, err := parser.ParseFile(fset, path, text, parser.SkipObjectResolution)
		if err != nil {
			t.Error(err)
			return
		}
		report := func(n ast.Node, operands ...ast.Expr) {
			if slices.ContainsFunc(operands, known) {
				return
			}
			for _, x := range operands {
				name := nameOf(x)
				if !secretName.MatchString(name) {
					continue
				}
				what := source(fset, text, n)
				if harmlessIn(path, what) {
					used[path+": "+what] = true
					return
				}
				t.Errorf("%s: %s: compare it by crypto/subtle or hmac.Equal", fset.Position(n.Pos()), what)
				return
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BinaryExpr:
				if n.Op == token.EQL || n.Op == token.NEQ {
					report(n, n.X, n.Y)
				}
			case *ast.CallExpr:
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && slices.Contains(compared, nameOf(sel.X)+"."+sel.Sel.Name) {
					for _, x := range n.Args {
						if secretName.MatchString(nameOf(x)) && !slices.ContainsFunc(n.Args, known) {
							report(n, x)
							break
						}
					}
				}
			case *ast.SwitchStmt:
				if n.Tag != nil && secretName.MatchString(nameOf(n.Tag)) {
					report(n.Tag, n.Tag)
				}
			}
			return true
		})
	})
	for what := range harmless {
		if !used[what] {
			t.Errorf("%s is not there any more: take it off the list", what)
		}
	}
}

// nameOf is the name by which an operand is known: the last one of a.b.c, of a slice of it, a conversion, or a call.
func nameOf(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return x.Sel.Name
	case *ast.IndexExpr:
		return nameOf(x.X)
	case *ast.SliceExpr:
		return nameOf(x.X)
	case *ast.StarExpr:
		return nameOf(x.X)
	case *ast.ParenExpr:
		return nameOf(x.X)
	case *ast.CallExpr:
		if len(x.Args) == 1 && isConversion(x.Fun) {
			return nameOf(x.Args[0])
		}
		return nameOf(x.Fun)
	}
	return ""
}

func isConversion(f ast.Expr) bool {
	if _, ok := f.(*ast.ArrayType); ok {
		return true
	}
	id, ok := f.(*ast.Ident)
	return ok && (id.Name == "string" || id.Name == "any")
}

// known reports whether an operand says nothing that is not in the source: a literal, nil, a length, a constant's name.
func known(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.BasicLit:
		return true
	case *ast.Ident:
		return x.Name == "nil" || x.Name == "true" || x.Name == "false"
	case *ast.CallExpr:
		name := nameOf(x.Fun)
		return name == "len" || name == "cap"
	}
	return false
}

// source is how a node is written.
func source(fset *token.FileSet, text []byte, n ast.Node) string {
	return string(text[fset.Position(n.Pos()).Offset:fset.Position(n.End()).Offset])
}
