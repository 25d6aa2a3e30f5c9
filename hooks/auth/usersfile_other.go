//go:build !unix

package auth

import (
	"io/fs"
	"os"
)

// keepOwner does nothing: owners are not carried over on this system.
func keepOwner(*os.File, fs.FileInfo) {}

// syncDir does nothing: directories cannot be synced on this system.
func syncDir(string) error { return nil }
