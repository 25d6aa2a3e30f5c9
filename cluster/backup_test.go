package cluster

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"
)

func backupOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	d, dir := OSDisk(), t.TempDir()
	for name, content := range files {
		if err := d.MkdirAll(filepath.Dir(filepath.Join(dir, name))); err != nil {
			t.Fatal(err)
		}
		if err := writeFile(d, filepath.Join(dir, name), []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if err := writeBackup(&b, d, dir, BackupInfo{Node: "a", Made: 5, Applied: 9, Version: "v"}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestBackupComesBackAsItWas(t *testing.T) {
	files := map[string]string{"a": "first", "sub/b": "", "c": "last"}
	whole := backupOf(t, files)
	dir := t.TempDir()
	info, err := ReadBackup(bytes.NewReader(whole), OSDisk(), dir)
	if err != nil || info != (BackupInfo{Node: "a", Made: 5, Applied: 9, Version: "v"}) {
		t.Fatal(info, err)
	}
	for name, want := range files {
		if got, err := readFile(OSDisk(), filepath.Join(dir, name), 99); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for cut := range whole {
		if _, err := CheckBackup(bytes.NewReader(whole[:cut])); !errors.Is(err, ErrBackup) {
			t.Fatalf("cut to %d bytes: %v", cut, err)
		}
		changed := bytes.Clone(whole)
		changed[cut] ^= 1
		if _, err := CheckBackup(bytes.NewReader(changed)); !errors.Is(err, ErrBackup) {
			t.Fatalf("byte %d changed: %v", cut, err)
		}
	}
}

func FuzzBackup(f *testing.F) {
	f.Add(backupOf(f, map[string]string{"a": "first"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := CheckBackup(bytes.NewReader(b)); err != nil && !errors.Is(err, ErrBackup) {
			t.Fatalf("%v is not the backup's fault", err)
		}
	})
}
