package config

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// WriteKeys lists all keys with kind, default and meaning, as `madang config --keys` and the help of serve print them.
func WriteKeys(w io.Writer) error {
	var b strings.Builder
	section := ""
	for _, k := range table {
		if s := k.Section(); s != section {
			section = s
			fmt.Fprintf(&b, "\n%s\n", s)
		}
		fmt.Fprintf(&b, "  %s (%s", k.Name, k.kindOrChoice())
		if k.Default != "" {
			fmt.Fprintf(&b, ", default %s", k.Default)
		}
		if k.Dev != nil {
			fmt.Fprintf(&b, ", with --dev %s", *k.Dev)
		}
		fmt.Fprintf(&b, ")\n      %s\n", k.Doc)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteValues lists every key of c with its value and the place it comes from.
func WriteValues(w io.Writer, c *Config) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, k := range table {
		if _, err := fmt.Fprintf(tw, "%s\t%s\t%s\n", k.Name, k.Value(c), c.Source(k.Name)); err != nil {
			return err
		}
	}
	return tw.Flush()
}

func (k *Key) kindOrChoice() string {
	if len(k.OneOf) > 0 {
		return strings.Join(k.OneOf, "|")
	}
	return k.Kind()
}

const docHead = `# Configuration

<!-- Made from the table in internal/config; change it there, then run go generate ./internal/config -->

A value comes from the first of these that has one:

1. a flag: ` + "`--set key=value`" + `, as often as needed, or a short form such as ` + "`--data-dir`" + `
2. the environment: ` + "`MADANG_LISTENERS__MQTT__BIND`" + ` for ` + "`listeners.mqtt.bind`" + `; an empty variable counts as not set
3. the file given with ` + "`--config`" + `
4. the defaults of ` + "`--dev`" + `, where it is given
5. the default

The file is YAML. A key that is unknown, written twice or of the wrong kind is an error that names its line. Sections
are levels of the file:

` + "```yaml" + `
listeners:
  mqtt:
    bind: ":1883"
` + "```" + `

Durations: ` + "`500ms`, `30s`, `72h`, `30d`" + `. Sizes: ` + "`1024`, `256KiB`, `16MiB`, `1GB`" + `. Lists: a YAML list, or text with commas.
Every limit is off when it is 0.

` + "`madang config`" + ` prints every key with its present value and where it comes from. ` + "`madang serve`" + ` ends with code 78
when the configuration cannot be used. SIGHUP reads it again: keys marked "reload" take effect, others wait for the
next start, a bad file changes nothing.

## What is open

Without ` + "`--dev`" + ` nothing is open to other machines unless somebody said who may come in: a bind beyond loopback needs
` + "`auth.users_file`" + ` or a key in ` + "`auth.jwt`" + `; the ops listener needs ` + "`token_file`" + ` or ` + "`client_ca_file`" + `. ` + "`--dev`" + ` lets
everybody in and therefore binds loopback only. ` + "`auth.trust_network: true`" + ` lifts both rules.
`

// WriteMarkdown writes docs/configuration.md.
func WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString(docHead)
	section := ""
	for _, k := range table {
		if s := k.Section(); s != section {
			section = s
			if s == limitSection {
				break // a table of its own
			}
			fmt.Fprintf(&b, "\n## %s\n\n| key | kind | default | with --dev | |\n|---|---|---|---|---|\n", s)
		}
		doc := k.Doc
		if k.Reload {
			doc += " *reload*"
		}
		if k.Later != "" {
			doc += " Any other value is refused: " + k.Later + "."
		}
		dev := ""
		if k.Dev != nil {
			dev = code(*k.Dev)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n",
			k.Name, strings.ReplaceAll(k.kindOrChoice(), "|", ", "), code(k.Default), dev, doc)
	}
	writeLimitDocs(&b)
	writeWebhookDocs(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}
