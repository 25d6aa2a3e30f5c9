package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// page writes what came out as Markdown: the machine, the brokers, a table for each group, and what was run.
func (c *comparison) page(day time.Time, m machine) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s: %s, %d cores, Linux %s; the data is on %s.\n", day.Format(time.DateOnly), m.cpu, m.cores, m.kernel, m.files)
	fmt.Fprintf(&b, "Medians of %s of %v. ", plural(c.runs, "run", "runs"), c.duration)
	b.WriteString("Broker and load generator share the machine and talk over the loopback, MQTT 3.1.1,\nmessages of 128 bytes unless said otherwise, no TLS. " +
		"CPU-seconds are the broker's. Of times, KB and MB less is better.\nWhat went wrong stands beside a row's first figure. The last columns divide Madang's figure by another; " +
		"the best\npeer is the best of those with which nothing went wrong in the row.\n\n")
	c.writeBrokers(&b)
	for i := range c.groups {
		c.writeGroup(&b, &c.groups[i])
	}
	c.writeConfigurations(&b)
	c.writeScenarios(&b)
	return b.String()
}

func (c *comparison) writeBrokers(b *strings.Builder) {
	table := [][]string{{"broker", "version", ""}}
	for _, p := range c.brokers {
		table = append(table, []string{p.name, p.version, p.remark})
	}
	writeTable(b, table)
	for _, err := range c.missing {
		fmt.Fprintf(b, "\nNot measured: %s.\n", short(err))
	}
}

func (c *comparison) writeGroup(b *strings.Builder, g *group) {
	fmt.Fprintf(b, "\n### %s\n\n%s\n\n", g.title, g.about)
	withNull := slices.ContainsFunc(g.rows, func(w row) bool { return w.null }) &&
		slices.ContainsFunc(c.brokers, func(p *broker) bool { return p.name == kernel })
	columns := slices.DeleteFunc(slices.Clone(c.brokers), func(p *broker) bool { return p.name == kernel && !withNull })
	head := []string{"", ""}
	for _, p := range columns {
		head = append(head, p.name)
	}
	if withNull {
		head = append(head, "to null")
	}
	table := [][]string{append(head, "to the best peer")}
	for i := range g.rows {
		w := &g.rows[i]
		for f := range w.figures {
			line := []string{w.title, w.figures[f].name}
			if f > 0 {
				line[0] = ""
			}
			for _, p := range columns {
				text := ""
				if o := c.outcomes[w.name][p.name]; o != nil {
					text = o.cell(w, f)
				}
				line = append(line, text)
			}
			table = append(table, append(line, c.ratios(w, w.figures[f], withNull)...))
		}
	}
	writeTable(b, table)
}

// ratios are the last cells of a line.
func (c *comparison) ratios(w *row, f figure, withNull bool) (cells []string) {
	theirs := maps.Clone(c.outcomes[w.name])
	mine, null := theirs[ours], theirs[kernel]
	if withNull {
		text := ""
		if null != nil {
			if times, _, ok := ratio(w, f, mine, map[string]*outcome{kernel: null}); ok {
				text = fmt.Sprintf("%.2f", times)
			}
		}
		cells = append(cells, text)
	}
	maps.DeleteFunc(theirs, func(name string, o *outcome) bool { return name == ours || name == kernel || !o.flawless(w) })
	text := ""
	if times, best, ok := ratio(w, f, mine, theirs); ok {
		text = fmt.Sprintf("%.2f (%s)", times, best)
	}
	return append(cells, text)
}

func (c *comparison) writeConfigurations(b *strings.Builder) {
	b.WriteString("\n<details><summary>Configurations</summary>\n")
	for _, p := range c.brokers {
		line := strings.Join(append([]string{filepath.Base(p.program)}, shown.fillAll(p.args)...), " ")
		fmt.Fprintf(b, "\n%s:\n\n```\n%s\n```\n", p.name, line)
		if p.config != "" {
			fmt.Fprintf(b, "\nwith %s:\n\n```\n%s\n```\n", shown.file(), strings.TrimSpace(shown.fill(p.config)))
		}
	}
	b.WriteString("\n</details>\n")
}

func (c *comparison) writeScenarios(b *strings.Builder) {
	b.WriteString("\n<details><summary>Scenarios</summary>\n\n")
	b.WriteString("Madang is measured without `--plain`, every other broker with it.\n\n```\n")
	for _, g := range c.groups {
		for i := range g.rows {
			fmt.Fprintf(b, "%-15s madang bench %s\n", g.rows[i].name, strings.Join(c.scenario(&g.rows[i]), " "))
		}
	}
	b.WriteString("```\n\n</details>\n")
}

// writeTable writes a table whose first line is its head.
func writeTable(b *strings.Builder, table [][]string) {
	for i, line := range table {
		for _, cell := range line {
			b.WriteString("| " + strings.ReplaceAll(cell, "|", `\|`) + " ")
		}
		b.WriteString("|\n")
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(line)) + "|\n")
		}
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(n) + " " + many
}
