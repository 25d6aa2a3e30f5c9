package storage

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A list of tables that ends early, or has a flipped bit, hides no entry that was applied: the store opens with all of them or
// does not open.
func TestLostTablesAreMissed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	open := func() (*Store, error) {
		return Open(Options{Dir: dir, Fatal: func(error) {}, FS: vfs.Default, Logger: quiet})
	}
	s, err := open()
	if err != nil {
		t.Fatal(err)
	}
	l := newLog(t, s)
	said := 0
	some := func(s *Store) {
		l.s = s
		for range 7 {
			l.as("a", say("r", "ann", "text"), say("q", "bob", "text"))
			said++
		}
	}
	for range 9 {
		some(s)
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if s.chain.begin == 0 {
		t.Error("the chain is never cut")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = open(); err != nil {
		t.Fatal(err)
	}
	some(s)
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	some(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	manifests, err := filepath.Glob(filepath.Join(dir, "MANIFEST-*"))
	if err != nil || len(manifests) == 0 {
		t.Fatal(manifests, err)
	}
	manifest := manifests[len(manifests)-1]
	whole, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	keep := t.TempDir()
	if err := os.CopyFS(filepath.Join(keep, "db"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	missed := 0
	damage := func(what string, at int, bytes []byte) {
		t.Helper()
		if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(filepath.Join(keep, "db"))), os.WriteFile(manifest, bytes, 0o600)); err != nil {
			t.Fatal(err)
		}
		s, err := open()
		if err != nil {
			missed++
			return
		}
		defer func() { _ = s.Close() }()
		for _, room := range []string{"r", "q"} {
			k := RoomKey{NS: "chat", Room: room}
			page, err := s.Entries(k, 0, 10_000, 10_000, 1<<30)
			if err != nil || len(page) != said {
				t.Errorf("%s at %d of %d: %d entries of %d, %v", what, at, len(whole), len(page), said, err)
			}
		}
	}
	for at := len(whole) - 1; at >= 0; at -= 3 {
		damage("cut", at, whole[:at])
	}
	for at := len(whole) - 1; at >= 0; at -= 5 {
		flipped := append([]byte{}, whole...)
		flipped[at] ^= 1 << (at % 8)
		damage("flipped", at, flipped)
	}
	if missed == 0 {
		t.Error("no damage was found: this test tests nothing")
	}
}
