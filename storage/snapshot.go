package storage

import (
	"errors"
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Checkpoint writes a consistent copy of the store into dir, which must not exist: hard links where the file system has
// them, so it costs little. The copy is complete and durable on return and holds at least what Applied said before the
// call.
func (s *Store) Checkpoint(dir string) error {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	if s.db == nil {
		return ErrClosed
	}
	if err := s.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("checkpoint the store into %s: %w", dir, err)
	}
	return nil
}

// asideSuffix marks the store a Swap replaces, until it is done.
const asideSuffix = ".replaced"

// Aside is where the old store in dir is while a Swap replaces it.
func Aside(dir string) string { return dir + asideSuffix }

// Swap makes the store whose files are in dir this store; they must be durable. Readers wait meanwhile; watchers get
// Changes with Reset: every cursor must be looked up again. After an error the store is closed; where the files of dir
// were at fault, the old store is back in its place.
//
//	store.replaced   store      dir
//	-                old        new     before
//	old              -          new     Recover puts old back
//	old              new        -       Recover removes old
//	-                new        -       after
//
// Each step is durable before the next, so a crash leaves one of these lines.
func (s *Store) Swap(dir string) error {
	s.applyMu.Lock()
	defer s.applyMu.Unlock()
	s.dbMu.Lock()
	defer s.dbMu.Unlock()
	if s.db == nil {
		return ErrClosed
	}
	err := s.db.Close()
	s.db = nil
	// Before Pos can move: who reads the new Pos and then takes must be told that what lies below it may be unknown.
	s.watchers.gather(&Changes{Reset: true})
	if err == nil {
		err = s.replace(dir)
	}
	s.watchers.wake()
	if err != nil {
		s.rooms.reset(s.opts.Rooms)
		s.tail.reset(s.tailBytes.Load())
		s.cache.Unref()
		return fmt.Errorf("replace the store by %s: %w", dir, err)
	}
	return nil
}

func (s *Store) replace(dir string) error {
	fs, old := s.opts.FS, s.opts.Dir+asideSuffix
	if err := fs.RemoveAll(old); err != nil {
		return err
	}
	if err := fs.Rename(s.opts.Dir, old); err != nil {
		return err
	}
	if err := syncParent(fs, s.opts.Dir); err != nil {
		return err
	}
	if err := fs.Rename(dir, s.opts.Dir); err != nil {
		return errors.Join(err, Recover(s.opts))
	}
	if err := syncParent(fs, s.opts.Dir); err != nil {
		return err
	}
	if err := s.open(true); err != nil {
		return errors.Join(err, s.putBack(dir))
	}
	if err := Recover(s.opts); err != nil {
		err = errors.Join(err, s.db.Close())
		s.db = nil
		return err
	}
	return nil
}

// putBack undoes the second half of replace: the first line of the table is reached again through the second.
func (s *Store) putBack(dir string) error {
	if err := s.opts.FS.Rename(s.opts.Dir, dir); err != nil {
		return err
	}
	if err := syncParent(s.opts.FS, s.opts.Dir); err != nil {
		return err
	}
	return Recover(s.opts)
}

// Recover finishes or undoes a Swap that a crash interrupted. Open does it first.
func Recover(o Options) error {
	fs, old := o.FS, o.Dir+asideSuffix
	if fs == nil {
		fs = vfs.Default
	}
	aside, err := exists(fs, old)
	if err == nil && !aside {
		return nil
	}
	replaced := false
	if err == nil {
		replaced, err = exists(fs, o.Dir)
	}
	switch {
	case err != nil:
	case replaced:
		err = fs.RemoveAll(old)
	default:
		err = fs.Rename(old, o.Dir)
	}
	if err == nil {
		err = syncParent(fs, o.Dir)
	}
	if err != nil {
		return fmt.Errorf("recover the store from an interrupted replacement: %w", err)
	}
	return nil
}

func exists(fs vfs.FS, name string) (bool, error) {
	_, err := fs.Stat(name)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func syncParent(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(fs.PathDir(dir))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
