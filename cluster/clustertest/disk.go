// Package clustertest has what tests of whole nodes need: a Disk on Pebble's file system, so that a node and its store
// can share one that forgets what was not synced, and a small state machine.
package clustertest

import (
	"errors"
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/madang-chat/madang/cluster"
)

// Disk returns fs as a cluster.Disk. With vfs.NewCrashableMem a power cut is CrashClone and a node on the clone.
func Disk(fs vfs.FS) cluster.Disk { return disk{fs} }

type disk struct{ fs vfs.FS }

const category = vfs.WriteCategoryUnspecified

func (d disk) Create(name string) (cluster.File, error) { return wrap(d.fs.Create(name, category)) }
func (d disk) Open(name string) (cluster.File, error)   { return wrap(d.fs.Open(name)) }

func (d disk) OpenReadWrite(name string) (cluster.File, error) {
	if _, err := d.fs.Stat(name); err != nil { // Pebble's makes a file that is missing
		return nil, err
	}
	return wrap(d.fs.OpenReadWrite(name, category))
}

func (d disk) Rename(oldname, newname string) error { return d.fs.Rename(oldname, newname) }
func (d disk) Remove(name string) error             { return d.fs.Remove(name) }
func (d disk) MkdirAll(dir string) error            { return d.fs.MkdirAll(dir, 0o700) }
func (d disk) List(dir string) ([]string, error)    { return d.fs.List(dir) }

func (d disk) RemoveAll(name string) error {
	if err := d.fs.RemoveAll(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (d disk) IsDir(name string) (bool, error) {
	info, err := d.fs.Stat(name)
	if err != nil {
		return false, err
	}
	return info.IsDir(), nil
}

func (d disk) SyncDir(dir string) error {
	f, err := d.fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return errors.Join(f.Sync(), f.Close())
}

type file struct{ vfs.File }

func wrap(f vfs.File, err error) (cluster.File, error) {
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

func (f file) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f file) Preallocate(size int64) error { return f.File.Preallocate(0, size) }
