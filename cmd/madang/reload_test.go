package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
)

// writeConfig makes a configuration file of its own.
func writeConfig(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "madang.yaml")
	rewrite(t, path, text)
	return path
}

// rewrite puts a new file in the place of an old one at once, as editors do.
func rewrite(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// Outcomes of a reload, as the log tells them.
const (
	taken    = "configuration taken over"
	notTaken = "the configuration is not taken over; the old one stays"
)

// reload sends SIGHUP, waits until the log tells the outcome, and returns what the log says of it.
func (n *node) reload(outcome string) string {
	n.t.Helper()
	before := len(n.err.String())
	n.signal(syscall.SIGHUP)
	return n.says(before, outcome)[before:]
}

// debugLine is what the log says at level debug of something that plainWebGet does.
const debugLine = `level=DEBUG msg="websocket refused"`

// plainWebGet asks for the WebSocket without asking for one.
func plainWebGet(t testing.TB, n *node) {
	t.Helper()
	resp, err := http.Get("http://" + n.at().Web + "/mqtt")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// SIGHUP changes the level of the log, up and down; what cannot change while running is named.
func TestReloadLogLevel(t *testing.T) {
	file := writeConfig(t, "log: {level: debug}\n")
	n := startNode(t, nodeArgs(t.TempDir(), "--dev", "--config", file)...)
	plainWebGet(t, n)
	n.says(0, debugLine)
	rewrite(t, file, "log: {level: info}\n")
	n.reload(taken)
	quiet := len(n.err.String())
	plainWebGet(t, n)
	rewrite(t, file, "log: {level: debug}\nlimits: {disk_reserve: 100}\n")
	if text := n.reload(taken); !strings.Contains(text, "level=WARN") || !strings.Contains(text, "keys=limits.disk_reserve") {
		t.Errorf("a key that needs a restart is not named:\n%s", text)
	}
	if text := n.err.String()[quiet:]; strings.Contains(text, debugLine) {
		t.Errorf("at level info:\n%s", text)
	}
	plainWebGet(t, n)
	n.says(quiet, debugLine)
	n.stop()
}

// A configuration that is bad in any way changes nothing, not even the parts of it that are good, and the log says why.
func TestReloadOfABadConfiguration(t *testing.T) {
	dir := t.TempDir()
	users, file := filepath.Join(dir, "users"), filepath.Join(dir, "madang.yaml")
	addUser(t, users, "alice", "secret")
	good := "auth:\n  users_file: " + users + "\n"
	rewrite(t, file, good)
	n := startNode(t, nodeArgs(filepath.Join(dir, "data"), "--config", file)...)
	alice := mqtttest.Options{User: "alice", Password: "secret"}
	stays := mqtttest.Dial(t, n.at(), alice)
	hash, err := os.ReadFile(users)
	if err != nil {
		t.Fatal(err)
	}
	const debug = "log: {level: debug}\n"
	for _, tt := range []struct{ name, config, users, want string }{
		{"unknown key", good + debug + "limits: {mesage: 1KiB}\n", "", file + ":4: limits.mesage: unknown key"},
		{"no YAML", debug + "auth: [\n", "", file + ":"},
		{"values that contradict", good + debug + "limits: {message: 1MiB, packet: 512KiB}\n", "", "limits.message: must not be more"},
		{"a listener that may not be", good + debug + "listeners: {ops: {client_ca_file: x}}\n", "", "needs listeners.ops.cert_file"},
		{"a users file with a fault", good + debug, "bob:secret\n", users + ":1: "},
		{"a users file that is not there", "auth:\n  users_file: " + users + "x\n" + debug, "", "does not exist"},
	} {
		rewrite(t, file, tt.config)
		if tt.users != "" {
			rewrite(t, users, tt.users)
		}
		before := len(n.err.String())
		if text := n.reload(notTaken); !strings.Contains(text, tt.want) || strings.Count(text, "level=ERROR") != 1 {
			t.Errorf("%s: the log does not say %q once:\n%s", tt.name, tt.want, text)
		}
		mqtttest.Dial(t, n.at(), alice).Disconnect()
		plainWebGet(t, n)
		if text := n.err.String()[before:]; strings.Contains(text, "level=DEBUG") {
			t.Errorf("%s: part of the configuration is in effect:\n%s", tt.name, text)
		}
		rewrite(t, users, string(hash))
	}
	if err := stays.Ping(); err != nil {
		t.Errorf("a connection did not survive: %v", err)
	}
	rewrite(t, file, good)
	n.reload(taken)
	n.stop()
}

// Users are added, changed and removed while the node runs.
func TestReloadUsers(t *testing.T) {
	dir := t.TempDir()
	users := filepath.Join(dir, "users")
	addUser(t, users, "alice", "one")
	addUser(t, users, "carol", "c")
	n := startNode(t, nodeArgs(filepath.Join(dir, "data"), "--set", "auth.users_file="+users)...)
	logs := func(user, password string, in bool) {
		t.Helper()
		c, err := mqtttest.TryDial(t, n.at(), mqtttest.Options{User: user, Password: password})
		if in != (err == nil) {
			t.Errorf("%s with %q: %v, want %v", user, password, err, in)
		}
		if err == nil {
			c.Disconnect()
		}
	}
	logs("alice", "one", true)
	logs("bob", "b", false)
	addUser(t, users, "bob", "b")
	command(t, "two\n", exitOK, "user", "passwd", "alice", "--file", users)
	command(t, "", exitOK, "user", "del", "carol", "--file", users)
	logs("alice", "one", true) // not yet
	n.reload(taken)
	logs("alice", "two", true)
	logs("alice", "one", false)
	logs("bob", "b", true)
	logs("carol", "c", false)
	n.stop()
}

func addUser(t testing.TB, file, name, password string) {
	t.Helper()
	command(t, password+"\n", exitOK, "user", "add", name, "--file", file)
}
