//go:build !linux

package cluster

import "os"

// preallocate extends f to size; the blocks are taken when they are written.
func preallocate(f *os.File, size int64) error { return f.Truncate(size) }
