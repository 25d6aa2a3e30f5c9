package cluster

import (
	"errors"
	"os"
	"syscall"
)

// preallocate reserves size bytes for f, so that appends need no new blocks and a full disk shows at once. A file
// system that cannot reserve gets a sparse file.
func preallocate(f *os.File, size int64) error {
	for {
		err := syscall.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.ENOSYS):
			return f.Truncate(size)
		}
		return err
	}
}
