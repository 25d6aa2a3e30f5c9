package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// A broker that does not start says why.
func TestStart(t *testing.T) {
	for _, tt := range []struct {
		name, script, want string
	}{
		{"speaks", "echo first >&2; echo port {port} is in use; exit 3", "the broker ended (exit status 3): port "},
		{"is silent", "exit 1", "the broker ended (exit status 1): it said nothing"},
	} {
		b := &broker{name: "none", program: "/bin/sh", args: []string{"-c", tt.script}}
		_, err := start(t.Context(), b, filepath.Join(t.TempDir(), "run"))
		if !errors.Is(err, errEnded) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v\nwant %s", tt.name, err, tt.want)
		}
	}
	b := &broker{name: "none", program: "no-such-program"}
	if _, err := start(t.Context(), b, filepath.Join(t.TempDir(), "run")); err == nil || !strings.Contains(err.Error(), b.program) {
		t.Errorf("a program that is not there: %v", err)
	}
}
