package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// A disk that fills up is met in three steps. Below limits.disk_free a node takes no writes of clients and hands leadership
// over as long as another voter has room; everything else goes on, /readyz says why, and it ends by itself. When other writers fill the disk all the
// same, the first write that finds no room ends the process with one line, since neither the log nor the store may go on
// with a hole; the reserve file is given back before that, for what has to be written to end in order. After space has been
// freed, a restart is enough.
const (
	spaceEvery  = time.Second
	spaceAgain  = 10 // percent above limits.disk_free from which writes are taken again
	reserveFile = "reserve"
	probeTime   = time.Second
	startSpace  = 64 << 20 // a segment of the log; and what Pebble has in its log becomes tables
)

// space is what there is on the disk of the data.
type space struct {
	dir     string
	real    bool // no file system of a test
	usage   func(dir string) (free, total uint64, err error)
	reserve string // name of the reserve file, "" = none
}

// openSpace looks at the disk and holds the reserve.
func (a *App) openSpace(dir string, fs vfs.FS, o *Options) error {
	a.space.dir, a.space.real, a.space.usage = dir, o.FS == nil, o.Usage
	if o.Usage == nil {
		a.space.usage = func(dir string) (uint64, uint64, error) {
			u, err := fs.GetDiskUsage(dir)
			return u.AvailBytes, u.TotalBytes, err
		}
	}
	size := a.cfg.Limits.DiskReserve
	if size <= 0 || o.FS != nil {
		return nil
	}
	name := filepath.Join(dir, reserveFile)
	if err := reserve(name, size); err != nil {
		_ = os.Remove(name)
		return fmt.Errorf("make %s (limits.disk_reserve, %d MiB): %w", name, size>>20, err)
	}
	a.space.reserve = name
	if free, _, ok := a.space.look(); ok && free < startSpace {
		return a.space.tooLittle(free)
	}
	return nil
}

// tooLittle says that a start would end half-way.
func (s *space) tooLittle(free uint64) error {
	return fmt.Errorf("the disk that holds %s is full: free some space, then start the node again: %d MiB are free, and a start "+
		"takes up to %d", s.dir, free>>20, startSpace>>20)
}

// reserve makes a file that has its space.
func reserve(name string, size int64) error {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil // a file system that cannot promise space
	}
	return err
}

// explain says of an error of a disk that is full or read-only what to do, and gives the reserve back to a full one.
func (s *space) explain(err error) error {
	if errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EIO) && s.readOnly() {
		return fmt.Errorf("the disk that holds %s can only be read: mount it for writing again (the kernel's log says why it was not), "+
			"then start the node again: %w", s.dir, err)
	}
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	if s.reserve != "" {
		_ = os.Remove(s.reserve)
	}
	return fmt.Errorf("the disk that holds %s is full: free some space, then start the node again: %w", s.dir, err)
}

// readOnly reports whether the disk takes nothing any more: when a kernel makes it so, the write under way fails with another
// error, and only those that come later say why. It waits a second at most: a broken disk may hang as well.
func (s *space) readOnly() bool {
	if !s.real {
		return false
	}
	tried := make(chan error, 1)
	go func() {
		f, err := os.CreateTemp(s.dir, "probe")
		if err == nil {
			_, err = f.WriteString("x")
			err = errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
		}
		tried <- err
	}()
	select {
	case err := <-tried:
		return errors.Is(err, syscall.EROFS)
	case <-time.After(probeTime):
		return false
	}
}

// look asks for the free space. ok is false where the disk does not say.
func (s *space) look() (free, total uint64, ok bool) {
	free, total, err := s.usage(s.dir)
	return free, total, err == nil && total > 0
}

// watchSpace keeps a.full.
func (a *App) watchSpace() {
	t := time.NewTicker(spaceEvery)
	defer t.Stop()
	for {
		if free, total, ok := a.space.look(); ok {
			a.seeSpace(free, total, uint64(max(a.limits().DiskFree, 0)))
		}
		select {
		case <-t.C:
		case <-a.ctx.Done():
			return
		}
	}
}

func (a *App) seeSpace(free, total, least uint64) {
	full := a.full.Load()
	switch {
	case !full && free < least:
		a.full.Store(true)
		signal(a.giveWay)
		a.log.Error("the disk is nearly full: no writes are taken until there is room",
			"dir", a.space.dir, "free_mib", free>>20, "of_mib", total>>20, "disk_free_mib", least>>20)
	case full && free >= least+least*spaceAgain/100:
		a.full.Store(false)
		a.log.Info("the disk has room again: writes are taken", "dir", a.space.dir, "free_mib", free>>20)
	}
}

// watchLog passes on why the log cannot go on.
func (a *App) watchLog() {
	select {
	case err := <-a.node.Failed():
		a.fail(err)
	case <-a.ctx.Done():
	}
}
