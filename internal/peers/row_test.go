package main

import (
	"regexp"
	"strings"
	"testing"
)

func TestRows(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range rowGroups() {
		for _, w := range g.rows {
			if seen[w.name] {
				t.Errorf("two rows are called %s", w.name)
			}
			seen[w.name] = true
			if len(w.figures) == 0 || w.title == "" {
				t.Errorf("%s has no figures or no title", w.name)
			}
			if (w.rate > 0) != (w.readers > 0) {
				t.Errorf("%s: %v messages a second for %d readers", w.name, w.rate, w.readers)
			}
		}
	}
}

func TestSelected(t *testing.T) {
	some, err := selected(rowGroups(), regexp.MustCompile(`^(room-q0-500|pub-)`))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, g := range some {
		for _, w := range g.rows {
			names = append(names, w.name)
		}
	}
	if got := strings.Join(names, " "); got != "room-q0-500 pub-1 pub-8" {
		t.Error(got)
	}
	if _, err := selected(rowGroups(), regexp.MustCompile("nothing")); err == nil || !strings.Contains(err.Error(), "return-100") {
		t.Errorf("the error names no row: %v", err)
	}
}

func TestParse(t *testing.T) {
	for _, args := range []string{
		"-rows [", "-peers mosquito", "-runs 0", "-duration 0s", "-duration 4m", "room", "-unknown",
	} {
		if _, err := parse(strings.Fields(args), new(strings.Builder)); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
	o, err := parse(strings.Fields("-peers nats,null -rows room"), new(strings.Builder))
	if err != nil || strings.Join(o.peers, " ") != "nats null" || o.rows.String() != "room" || o.out != "docs/performance.md" {
		t.Errorf("%+v, %v", o, err)
	}
}
