package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
)

// serverShuttingDown is what a v5 client is told at a polite end.
const serverShuttingDown = 0x8B

// A node that is told to end says goodbye and leaves with 0; what it acknowledged, to the last, is there at the next start.
func TestStop(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			dir := t.TempDir()
			pidFile := filepath.Join(dir, "pid")
			n := startNode(t, nodeArgs(dir, "--dev", "--pid-file", pidFile)...)
			var clients []*mqtttest.Client
			for _, f := range mqtttest.Flavours {
				c := mqtttest.Dial(t, n.at(), mqtttest.Options{Flavour: f, User: "alice", ClientID: f.String()})
				c.Subscribe("chat/rooms/lobby/msg/#")
				clients = append(clients, c)
			}
			const hurried = 100
			sender := mqtttest.Dial(t, n.at(), mqtttest.Options{User: "bob"})
			for i := range hurried {
				if _, err := sender.Send(mqtttest.Message("chat/rooms/lobby/send", strconv.Itoa(i), 1)); err != nil {
					t.Fatal(err)
				}
			}
			n.signal(sig)
			if code := n.wait(); code != exitOK {
				t.Errorf("exit code %d; stderr:\n%s", code, n.err)
			}
			for i, c := range clients {
				want := byte(0)
				if mqtttest.Flavours[i].Version == mqtttest.V5 {
					want = serverShuttingDown
				}
				if got := c.Ended(); got != want {
					t.Errorf("%v: DISCONNECT %#x, want %#x", mqtttest.Flavours[i], got, want)
				}
			}
			if _, err := os.Stat(pidFile); !os.IsNotExist(err) {
				t.Errorf("pid file: %v", err)
			}
			if all := complaints(n.err.String()); len(all) > 0 {
				t.Errorf("complaints: %q", all)
			}

			acked := 0
			for _, err := sender.NextAnswer(); err == nil; _, err = sender.NextAnswer() {
				acked++ // in order
			}
			again := startNode(t, nodeArgs(dir, "--dev")...)
			got := history(t, again, "lobby")
			if len(got) < acked {
				t.Errorf("%d entries after the restart, %d were acknowledged", len(got), acked)
			}
			for i, e := range got {
				if want := fmt.Sprintf(`"text":"%d"`, i); !strings.Contains(string(e), want) {
					t.Errorf("entry %d is %s", i+1, e)
				}
			}
			t.Logf("%d of %d sent at once were acknowledged, %d are there", acked, hurried, len(got))
			again.stop()
		})
	}
}

// A node can be ended before it has a leader.
func TestStopDuringStart(t *testing.T) {
	for range 5 {
		startNode(t, nodeArgs(t.TempDir(), "--dev")...).stop()
	}
}

// The pid file names the process before anything else can go wrong, replaces one that is stale, and goes with the
// process. A start that is refused leaves the file of the node that runs.
func TestPidFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pid")
	holds := func(want string) {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil || strings.TrimSpace(string(text)) != want {
			t.Errorf("the pid file holds %q, %v; want %q", text, err, want)
		}
	}
	const never = "4194305" // above the largest pid of Linux
	if err := os.WriteFile(path, []byte(never+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := nodeArgs(filepath.Join(dir, "data"), "--dev", "--pid-file", path)
	n := startNode(t, args...)
	pid := strconv.Itoa(n.cmd.Process.Pid)
	holds(pid)
	if code := (surroundings{}).start(t, args...).wait(); code != exitFailure {
		t.Errorf("a second node on the same data: exit code %d", code)
	}
	holds(pid)
	n.kill()
	holds(pid)
	n = startNode(t, args...)
	holds(strconv.Itoa(n.cmd.Process.Pid))
	n.stop()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("after the end: %v", err)
	}
}
