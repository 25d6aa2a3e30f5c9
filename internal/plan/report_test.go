package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const page = "../../docs/scale.md"

// tables is the report, computed once for all tests.
var tables = sync.OnceValues(report)

func TestSameOutputTwice(t *testing.T) {
	first, err := tables()
	if err != nil {
		t.Fatal(err)
	}
	second, err := report()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("two runs differ: something depends on more than the seeds")
	}
}

func TestPageIsCurrent(t *testing.T) {
	want, err := tables()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, got, _, err := cut(b)
	if err != nil {
		t.Fatalf("docs/scale.md: %v", err)
	}
	if bytes.Equal(got, want) {
		return
	}
	is, should := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i, line := range should {
		if i >= len(is) || is[i] != line {
			t.Fatalf("docs/scale.md is not what the program prints, from line %d of its tables on, %q:\n"+
				"renew it with: go run ./internal/plan -write docs/scale.md", i+1, line)
		}
	}
	t.Fatal("docs/scale.md has more lines than the program prints: go run ./internal/plan -write docs/scale.md")
}

func TestPut(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	write := func(text string) error {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return put(file, []byte("new\n"))
	}
	if err := write("no marker\n"); err == nil || !strings.Contains(err.Error(), "<!-- plan: begin -->") {
		t.Errorf("a page without markers: %v", err)
	}
	if err := write("before\n" + beginMark + "old\n" + endMark + "after\n"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := "before\n" + beginMark + "new\n" + endMark + "after\n"; string(got) != want {
		t.Errorf("the page is now %q, want %q", got, want)
	}
	if err := run([]string{"table"}, nil); err == nil {
		t.Error("an argument was taken without a word")
	}
}

func TestNumbers(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0", 1: "1", 999.6: "1,000", 1234567: "1,230,000", 0.0123456: "0.0123", 12.345: "12.3", 100: "100", 5.10: "5.1",
	} {
		if got := number(x); got != want {
			t.Errorf("number(%v) = %q, want %q", x, got, want)
		}
	}
	if got := count(1234567); got != "1,234,567" {
		t.Errorf("count(1234567) = %q", got)
	}
	for d, want := range map[time.Duration]string{450 * us: "0.45 ms", 1234 * ms: "1.23 s", 0: "0 ms"} {
		if got := duration(d); got != want {
			t.Errorf("duration(%d) = %q, want %q", d, got, want)
		}
	}
}
