package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/mqtttest"
)

// A node with more clients than it has descriptors for goes on for those it has: it does not spin, says so once, and lets
// others in when there is room again.
func TestOutOfDescriptors(t *testing.T) {
	const limit = 256
	s := newSystemd(t)
	const beat = 250 * time.Millisecond
	env := s.env(fmt.Sprintf("WATCHDOG_USEC=%d", 2*beat.Microseconds()))
	args := nodeArgs(t.TempDir(), "--dev", "--set", "limits.connect_timeout=5m") // who says nothing stays
	n := surroundings{env: env, limit: limit}.start(t, args...).node()
	s.ready()
	at := n.at()
	first := mqtttest.Dial(t, at, mqtttest.Options{User: "alice", Flavour: mqtttest.Flavour{Version: mqtttest.V5}})
	first.Subscribe("chat/rooms/lobby/msg/#")

	var crowd []net.Conn // the kernel takes them all, the node cannot
	for range limit {
		c, err := net.Dial("tcp", at.MQTT)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		crowd = append(crowd, c)
	}
	full := regexp.MustCompile(`cannot accept connections.*too many open files|connections refused.*limit`)
	if text, err := n.err.until(n.done, full.MatchString); err != nil {
		t.Fatalf("%v; the log does not say that the node is full:\n%s", err, text)
	}

	// Those it has it serves.
	raw := make([]byte, 32<<10)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	body := hex.EncodeToString(raw)
	for i := range 1000 {
		first.Say("lobby", fmt.Sprint(i, body))
		first.Next()
	}

	// It waits, and does not try all the time; systemd hears of it as before.
	const beats = 8
	s.until("WATCHDOG=1")
	began, before := time.Now(), cpuTime(t, n.cmd.Process.Pid)
	for range beats {
		s.until("WATCHDOG=1")
	}
	if used, took := cpuTime(t, n.cmd.Process.Pid)-before, time.Since(began); used > took/4 {
		t.Errorf("%v of processor time in %v", used, took)
	}
	if text := n.err.String(); len(full.FindAllString(text, -1)) > 1+int(time.Since(n.began)/(10*time.Second)) {
		t.Errorf("the log is flooded:\n%s", text)
	}

	for _, c := range crowd {
		c.Close()
	}
	for _, f := range mqtttest.Flavours {
		letIn(t, at, mqtttest.Options{Flavour: f, User: "bob", ClientID: f.String()}).Disconnect()
	}
	if err := first.Ping(); err != nil {
		t.Errorf("the first connection: %v", err)
	}
	n.stop()
}

// letIn connects as soon as the node has seen that there is room.
func letIn(t testing.TB, at mqtttest.Addresses, o mqtttest.Options) *mqtttest.Client {
	t.Helper()
	deadline, again := time.After(patience), time.NewTicker(10*time.Millisecond)
	defer again.Stop()
	for {
		c, err := mqtttest.TryDial(t, at, o)
		if err == nil {
			return c
		}
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("no way in after %v: %v", patience, err)
		}
	}
}

// cpuTime is how much processor time a process has used (proc_pid_stat(5)).
func cpuTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Skipf("no /proc: %v", err)
	}
	_, rest, _ := strings.Cut(string(text), ") ") // behind the name, which may hold anything
	fields := strings.Fields(rest)
	const utime, stime, hertz = 14 - 3, 15 - 3, 100
	var ticks int
	for _, i := range []int{utime, stime} {
		v, err := strconv.Atoi(fields[i])
		if err != nil {
			t.Fatal(err)
		}
		ticks += v
	}
	return time.Duration(ticks) * time.Second / hertz
}
