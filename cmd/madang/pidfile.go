package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// pidFile holds the id of this process while it runs. The zero value is no file.
type pidFile struct {
	path   string
	before []byte // what stood there
}

// writePidFile writes the process id, before anything else is done. What is there is replaced: it is stale, or this
// start is about to be refused. An empty path means no file.
func writePidFile(path string) (*pidFile, error) {
	if path == "" {
		return &pidFile{}, nil
	}
	before, _ := os.ReadFile(path)                                   // nothing, in most cases
	err := os.WriteFile(path, fmt.Appendln(nil, os.Getpid()), 0o644) //nolint:gosec // read by scripts of others
	if err != nil {
		return nil, fmt.Errorf("write the pid file: %w; choose another place with --pid-file", err)
	}
	return &pidFile{path, before}, nil
}

// remove takes the file away, if it is still this process's.
func (f *pidFile) remove() {
	if f.path != "" && readPid(f.path) == os.Getpid() {
		_ = os.Remove(f.path) // a pid file that stays is replaced by the next start
	}
}

// giveBack is for a start that was refused: a node that runs with the same file is named by it again.
func (f *pidFile) giveBack() {
	if pid := parsePid(f.before); pid == 0 || syscall.Kill(pid, 0) != nil {
		return
	}
	if readPid(f.path) == os.Getpid() {
		_ = os.WriteFile(f.path, f.before, 0o644) //nolint:gosec // as above; it could be written a moment ago
	}
}

func readPid(path string) int {
	text, _ := os.ReadFile(path) // no file names no process
	return parsePid(text)
}

// parsePid returns 0 for a text that is no process id.
func parsePid(text []byte) int {
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}
