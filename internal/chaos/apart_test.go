package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inside names the binary of the node, in the environment of a test process that apart started.
const inside = "MADANG_CHAOS_INSIDE"

// TestMain runs the tests in namespaces of their own when there are worlds to make and the right to make them: what a test
// that is killed leaves behind (nodes, bridges, mounts, and the routes of the next test with them) ends with it.
func TestMain(m *testing.M) {
	code := 0
	switch {
	case os.Getenv(inside) != "":
		if err := settle(); err != nil {
			fmt.Fprintln(os.Stderr, "the namespaces of the test:", err)
			os.Exit(1)
		}
		code = m.Run()
	case (rounds > 0 || os.Getenv("MADANG_SOAK") != "") && os.Geteuid() == 0:
		code = apart(m)
	default:
		code = m.Run()
	}
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

// apart runs this process once more, in namespaces of its own, and returns its exit code. Where they cannot be had, the tests
// run here.
func apart(m *testing.M) int {
	file, err := build() // here, where there is a network to fetch modules from
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	runtime.LockOSThread() // Pdeathsig goes by the thread
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), inside+"="+file)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "no namespaces for the test as a whole:", err)
		return m.Run()
	}
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// settle furnishes the new namespaces: mounts nobody else sees, the processes of this one in /proc, no named networks, loopback.
func settle() error {
	return errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("proc", "/proc", "proc", 0, ""),
		os.MkdirAll("/run/netns", 0o755),
		unix.Mount("netns", "/run/netns", "tmpfs", 0, ""),
		run("ip", "link", "set", "lo", "up"),
	)
}
