package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

const maxFile = 1 << 20 // bytes; a configuration of this size is something else

// assignment is one value somebody wrote down.
type assignment struct {
	key  *Key
	text string
	src  Source
}

// sections holds every inner node of the tree of keys: "listeners", "listeners.mqtt", ...
var sections = func() map[string]bool {
	m := make(map[string]bool)
	for _, k := range table {
		for i, r := range k.Name {
			if r == '.' {
				m[k.Name[:i]] = true
			}
		}
	}
	return m
}()

// readYAML reads all values of a file, and everything that is wrong with its form. It never panics.
func readYAML(name string, data []byte) *yamlReader {
	r := &yamlReader{name: name}
	if len(data) > maxFile {
		r.fail(0, "", "the file is larger than 1 MiB")
		return r
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return r
	case err != nil:
		r.syntax(err)
		return r
	}
	var more yaml.Node
	switch err := dec.Decode(&more); {
	case err == nil:
		r.fail(more.Line, "", "a second document; one file is one configuration")
	case !errors.Is(err, io.EOF):
		r.syntax(err)
	}
	if len(doc.Content) == 1 {
		r.section("", doc.Content[0])
	}
	return r
}

type yamlReader struct {
	name  string
	found []assignment
	errs  []error

	hooks     []Webhook
	hookLines []int
}

func (r *yamlReader) fail(line int, key, format string, args ...any) {
	src := Source{Layer: File, Name: r.name, Line: line}
	r.errs = append(r.errs, &Error{Source: src, Key: key, Msg: fmt.Sprintf(format, args...)})
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntax takes the line out of the library's message.
func (r *yamlReader) syntax(err error) {
	msg, line := err.Error(), 0
	if m := yamlLine.FindStringSubmatch(msg); m != nil {
		line, _ = strconv.Atoi(m[1])
		msg = msg[len(m[0]):]
	}
	r.fail(line, "", "%s", msg)
}

// section reads the keys below path. An empty section is allowed: all its lines may be commented out.
func (r *yamlReader) section(path string, n *yaml.Node) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		if path == "" {
			r.fail(n.Line, "", "not a list of `section:` and `key: value` lines")
		} else {
			r.fail(n.Line, path, "is a section with keys below it, not a value")
		}
		return
	}
	lines := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" || key.Anchor != "" || val.Anchor != "" ||
			val.Kind == yaml.AliasNode {
			r.fail(key.Line, path, "anchors, aliases and merged keys are not supported")
			continue
		}
		name := key.Value
		if path != "" {
			name = path + "." + name
		}
		if first, twice := lines[name]; twice {
			r.fail(key.Line, name, "is already set in line %d", first)
			continue
		}
		lines[name] = key.Line
		switch k := byName[name]; {
		case path == "" && strings.Contains(name, "."):
			r.dotted(name, key.Line)
		case k != nil:
			r.value(k, val)
		case name == webhooksKey:
			r.webhooks(val)
		case sections[name]:
			r.section(name, val)
		default:
			r.unknown(name, key.Line)
		}
	}
}

// dotted explains how a key written with dots is written in a file.
func (r *yamlReader) dotted(name string, line int) {
	if byName[name] == nil {
		r.unknown(name, line)
		return
	}
	i := strings.LastIndexByte(name, '.')
	r.fail(line, name, "in a file, write %q below the section %q", name[i+1:], strings.ReplaceAll(name[:i], ".", ": "))
}

func (r *yamlReader) unknown(name string, line int) {
	msg := "unknown key"
	if near := nearestKey(name); near != "" {
		msg += fmt.Sprintf(" (did you mean %s?)", near)
	} else if near := nearestSection(name); near != "" {
		msg += fmt.Sprintf(" (did you mean %s?)", near)
	}
	r.fail(line, name, "%s", msg)
}

func (r *yamlReader) value(k *Key, n *yaml.Node) {
	text, ok := "", false
	switch n.Kind {
	case yaml.ScalarNode:
		if isNull(n) {
			r.fail(n.Line, k.Name, "has no value; take the line out for the default")
			return
		}
		text, ok = n.Value, true
	case yaml.SequenceNode:
		text, ok = r.list(k, n)
	default:
		r.fail(n.Line, k.Name, "is a %s, not a section", k.Kind())
	}
	if ok {
		r.found = append(r.found, assignment{k, text, Source{Layer: File, Name: r.name, Line: n.Line}})
	}
}

func (r *yamlReader) list(k *Key, n *yaml.Node) (text string, ok bool) {
	if k.Kind() != "list" {
		r.fail(n.Line, k.Name, "is a %s, not a list", k.Kind())
		return "", false
	}
	items := make([]string, len(n.Content))
	for i, c := range n.Content {
		if c.Kind != yaml.ScalarNode || isNull(c) || strings.Contains(c.Value, ",") {
			r.fail(c.Line, k.Name, "each element must be one plain text without a comma")
			return "", false
		}
		items[i] = c.Value
	}
	return strings.Join(items, ","), true
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}
