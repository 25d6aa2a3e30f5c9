package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

func sample(value int64, stack ...*profile.Location) *profile.Sample {
	return &profile.Sample{Value: []int64{1, value}, Location: stack}
}

// written returns the file of a profile in which main calls work and work<int> calls read, inlined into it.
func written(t *testing.T) string {
	t.Helper()
	f := func(id uint64, name string) *profile.Function { return &profile.Function{ID: id, Name: name} }
	mainF, work, read := f(1, "main.main"), f(2, "example.org/a/b.(*T[example.org/c.X]).work"), f(3, "internal/poll.read")
	at := func(id uint64, lines ...*profile.Function) *profile.Location {
		l := &profile.Location{ID: id}
		for _, fn := range lines {
			l.Line = append(l.Line, profile.Line{Function: fn})
		}
		return l
	}
	inMain, inWork := at(1, mainF), at(2, read, work) // innermost first
	p := &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
		Sample:     []*profile.Sample{sample(30, inWork, inMain), sample(10, inMain)},
		Location:   []*profile.Location{inMain, inWork},
		Function:   []*profile.Function{mainF, work, read},
	}
	name := filepath.Join(t.TempDir(), "cpu.pprof")
	w, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Write(w), w.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestFlame(t *testing.T) {
	var out strings.Builder
	if err := run([]string{"-title", "a < b", written(t)}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"a &lt; b", "<title>all 100.0%</title>", "<title>main.main 100.0%</title>", ">b.(*T[example.org/c.X]).work<",
		"<title>internal/poll.read 75.0%</title>", `width="900.0"`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	for dec := xml.NewDecoder(strings.NewReader(out.String())); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("no XML: %v", err)
		}
	}
}

func TestFlameRefuses(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{nil, {"a", "b"}, {"/nowhere"}, {empty}} {
		if err := run(args, io.Discard); err == nil {
			t.Errorf("flame %v: no error", args)
		}
	}
}
