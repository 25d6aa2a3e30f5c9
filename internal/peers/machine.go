package main

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// machine is where a comparison ran.
type machine struct {
	cpu    string
	cores  int
	kernel string
	files  string // kind of the file system that holds the data
}

// thisMachine describes the machine, and the file system of dir.
func thisMachine(dir string) machine {
	m := machine{cpu: "unknown processor", cores: runtime.NumCPU(), kernel: "unknown", files: "unknown"}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.cpu = processor(string(text), m.cpu)
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.kernel = strings.TrimSpace(string(text))
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil {
		m.files = fileSystem(fs.Type)
	}
	return m
}

// processor finds the model in the text of /proc/cpuinfo.
func processor(cpuinfo, otherwise string) string {
	if m := regexp.MustCompile(`(?m)^model name\s*:\s*(.+)$`).FindStringSubmatch(cpuinfo); m != nil {
		return m[1]
	}
	return otherwise
}

func fileSystem(magic int64) string {
	names := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
		unix.OVERLAYFS_SUPER_MAGIC: "overlayfs", unix.TMPFS_MAGIC: "tmpfs, in memory: nothing here waits for a disk",
	}
	if name := names[magic]; name != "" {
		return name
	}
	return fmt.Sprintf("file system %#x", magic)
}

// liftFileLimit raises the number of open files to what the machine permits. The programs that are started inherit it.
func liftFileLimit() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}
