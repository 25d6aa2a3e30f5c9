package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReplace(t *testing.T) {
	for _, tt := range []struct{ name, document, want string }{
		{"blank", blank, "# Performance\n\n" + begin + "\n\nnew\n\n" + end + "\n"},
		{"text around", "a\n" + begin + "\nold\n" + end + "\nb", "a\n" + begin + "\n\nnew\n\n" + end + "\nb"},
		{"mentioned", "Between `" + begin + "` and\n" + begin + "\n" + end, "Between `" + begin + "` and\n" + begin + "\n\nnew\n\n" + end},
	} {
		got, err := replace(tt.document, "\nnew\n")
		if err != nil || got != tt.want {
			t.Errorf("%s: %v\n%s", tt.name, err, got)
		}
		if again, err := replace(got, "new"); err != nil || again != got {
			t.Errorf("%s: it is not the same a second time: %v\n%s", tt.name, err, again)
		}
	}
	for _, document := range []string{
		"", begin, end, end + "\n" + begin, begin + "\n" + begin + "\n" + end, begin + "\n" + end + "\n" + end,
	} {
		if got, err := replace(document, "new"); err == nil || !strings.Contains(err.Error(), "bench-peers") {
			t.Errorf("%q became %q, %v", document, got, err)
		}
	}
}

func TestWriteInto(t *testing.T) {
	file := filepath.Join(t.TempDir(), "performance.md")
	if err := check(file); err != nil {
		t.Fatalf("a document that is not there yet: %v", err)
	}
	for _, text := range []string{"one", "two"} {
		if err := writeInto(file, text); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if want := "# Performance\n\n" + begin + "\n\ntwo\n\n" + end + "\n"; err != nil || string(got) != want {
		t.Errorf("%v\n%s", err, got)
	}
	if err := os.WriteFile(file, []byte("no markers"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := check(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("without markers: %v", err)
	}
}
