package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/madang-chat/madang/internal/mqtttest"
)

// smallDisk mounts a file system of that many MiB, where the test may.
func smallDisk(t *testing.T, mib int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		t.Skipf("SKIPPED: no file system can be mounted here (root can): %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// ballast fills a disk up, but for what is left free.
func ballast(t *testing.T, dir string, leave uint64) (name string) {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	name = filepath.Join(dir, "ballast")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(s.Bavail*uint64(s.Bsize)-leave)); err != nil {
		t.Fatal(err)
	}
	return name
}

// A disk without any room ends the process with code 1 and one line that says what to do, nothing acknowledged is lost, and
// once there is room a start is enough. One that is nearly full does not come to that.
func TestCrashFullDisk(t *testing.T) {
	dir := smallDisk(t, 512)
	args := nodeArgs(dir+"/data", "--dev", "--set", "limits.disk_free=0")
	n := startNode(t, args...)
	crew := mqtttest.NewCrew("r")
	crew.Enter(t, n.at())
	crew.Talk(t, n.at(), 200, func() {
		room := strings.Repeat("x", 64<<10)
		name := ballast(t, dir, 1<<20)
		c, err := mqtttest.TryDial(t, n.at(), mqtttest.Options{User: "filler", ClientID: "f"})
		for err == nil { // until the node has ended
			_, err = c.TryPublish(mqtttest.Message("chat/rooms/filler/send", room, 1))
		}
		if code := n.wait(); code != exitFailure {
			t.Errorf("exit code %d", code)
		}
		text := n.err.String()
		if strings.Count(text, "is full: free some space, then start the node again") != 1 {
			t.Errorf("it says\n%s", text)
		}
		early := surroundings{}.start(t, args...)
		if code := early.wait(); code != exitFailure || !strings.Contains(early.err.String(), "free some space") {
			t.Errorf("a start without room: %d\n%s", code, early.err)
		}
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
	})
	n = startNode(t, args...)
	checkHistory(t, n, "r", crew, crew.Finish(t, n.at()))
	n.stop()
}
