package app

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockData makes sure that one process alone uses the directory. The lock goes with the process, however it ends.
func (a *App) lockData(dir string) error {
	lock, err := lockDir(dir)
	if err == nil {
		a.onStop("lock", func(context.Context) error { return lock.Close() })
	}
	return err
}

// lockDir makes the directory and locks it until the result is closed.
func lockDir(dir string) (io.Closer, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the data directory %s: %w; choose another with --data-dir or give this user the right to it", dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fmt.Errorf("use the data directory %s: %w; give this user the right to it", dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("the data directory %s is in use by another madang; stop it or choose another with --data-dir", dir)
	}
	return f, nil
}

const lockFile = "LOCK"
