package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
)

// Disk is the file system a node lives on. OSDisk is the real one; a test may use one that forgets what was not
// synced. Errors for files that do not exist match os.ErrNotExist. All methods may be called by many goroutines.
type Disk interface {
	// Create makes a new empty file for reading and writing; one that exists is replaced. The file survives a power
	// cut only after Sync on it and SyncDir on its directory.
	Create(name string) (File, error)
	// Open opens a file that exists for reading.
	Open(name string) (File, error)
	// OpenReadWrite opens a file that exists for reading and writing in place.
	OpenReadWrite(name string) (File, error)
	// Rename moves a file or directory; a file at newname is replaced. Atomic; durable after SyncDir.
	Rename(oldname, newname string) error
	// Remove removes a file.
	Remove(name string) error
	// RemoveAll removes a file or a directory with all it holds; none there is no error.
	RemoveAll(name string) error
	// MkdirAll makes a directory and its parents; durable after SyncDir on the parents.
	MkdirAll(dir string) error
	// List returns the names of what a directory holds.
	List(dir string) ([]string, error)
	// IsDir reports whether name is a directory; os.ErrNotExist when there is nothing.
	IsDir(name string) (bool, error)
	// SyncDir makes creations, renames and removals in dir durable.
	SyncDir(dir string) error
}

// File is an open file of a Disk.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.WriterAt
	io.Closer
	// Sync makes everything written durable.
	Sync() error
	// Size returns the length of the file.
	Size() (int64, error)
	// Preallocate reserves size bytes from the start where the disk can, and extends the file to it. It fails when
	// there is no room; a disk that cannot reserve does nothing.
	Preallocate(size int64) error
}

// OSDisk returns the file system of the machine.
func OSDisk() Disk { return osDisk{} }

type osDisk struct{}

func (osDisk) Create(name string) (File, error) {
	return wrapOS(os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600))
}
func (osDisk) Open(name string) (File, error) { return wrapOS(os.Open(name)) }
func (osDisk) OpenReadWrite(name string) (File, error) {
	return wrapOS(os.OpenFile(name, os.O_RDWR, 0))
}
func (osDisk) Rename(oldname, newname string) error { return os.Rename(oldname, newname) }
func (osDisk) Remove(name string) error             { return os.Remove(name) }
func (osDisk) RemoveAll(name string) error          { return os.RemoveAll(name) }
func (osDisk) MkdirAll(dir string) error            { return os.MkdirAll(dir, 0o700) }

func (osDisk) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (osDisk) IsDir(name string) (bool, error) {
	info, err := os.Stat(name)
	if err != nil {
		return false, err
	}
	return info.IsDir(), nil
}

func (osDisk) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// osFile adds to os.File what File has more.
type osFile struct{ *os.File }

func wrapOS(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f osFile) Preallocate(size int64) error { return preallocate(f.File, size) }

// readFile returns the whole content of a file of at most limit bytes.
func readFile(d Disk, name string, limit int64) ([]byte, error) {
	f, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes, at most %d are possible", ErrDamaged, name, size, limit)
	}
	var b bytes.Buffer
	b.Grow(int(size))
	if _, err := io.Copy(&b, io.NewSectionReader(f, 0, size)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// writeFile replaces the file name by data so that after a power cut either the old or the new content is there. It
// is durable on return.
func writeFile(d Disk, name string, data []byte) error {
	tmp := name + ".tmp"
	f, err := d.Create(tmp)
	if err != nil {
		return err
	}
	// File.Write may use data as scratch space on some disks, so that it gets a copy.
	if _, err := f.Write(bytes.Clone(data)); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := d.Rename(tmp, name); err != nil {
		return err
	}
	return d.SyncDir(filepath.Dir(name))
}

// makeDir makes dir with all parents, durably. Parents that were there are synced too, where that is possible: whoever
// made them may not have done it.
func makeDir(d Disk, dir string) error {
	dir = filepath.Clean(dir)
	made := dir // the topmost directory that is new
	for p := dir; p != filepath.Dir(p); p = filepath.Dir(p) {
		if _, err := d.IsDir(p); err == nil {
			break
		}
		made = p
	}
	if err := d.MkdirAll(dir); err != nil {
		return err
	}
	ours := true
	for p := dir; p != filepath.Dir(p); p = filepath.Dir(p) {
		if err := d.SyncDir(filepath.Dir(p)); err != nil && ours {
			return err
		}
		ours = ours && p != made
	}
	return nil
}

// walkFiles returns the files below dir, as slash-separated paths relative to it, in order.
func walkFiles(d Disk, dir string) ([]string, error) {
	var files []string
	var walk func(rel string) error
	walk = func(rel string) error {
		names, err := d.List(filepath.Join(dir, filepath.FromSlash(rel)))
		if err != nil {
			return err
		}
		sort.Strings(names)
		for _, n := range names {
			path := n
			if rel != "" {
				path = rel + "/" + n
			}
			sub, err := d.IsDir(filepath.Join(dir, filepath.FromSlash(path)))
			if err != nil {
				return err
			}
			if !sub {
				files = append(files, path)
				continue
			}
			if err := walk(path); err != nil {
				return err
			}
		}
		return nil
	}
	return files, walk("")
}

var _ Disk = osDisk{}
