package storage

import (
	"slices"
	"testing"
)

// A namespace is known by whatever is in it, once.
func TestNamespaces(t *testing.T) {
	l := newTestLog(t)
	l.done(say("r", "ann", "hello"))
	l.done(&Active{Users: []ActiveAt{{NS: "b", User: "ann", At: 1}, {NS: "b", User: "bob", At: 1}, {NS: "b-c", User: "ann", At: 1}}})
	l.done(taking(SessionID{NS: "d", User: "ann", Client: "x"}, 60))
	all, err := l.s.Namespaces()
	if want := []string{"b", "b-c", "chat", "d"}; err != nil || !slices.Equal(all, want) {
		t.Errorf("%q, %v; want %q", all, err, want)
	}
}
