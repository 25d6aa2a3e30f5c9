package main

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// systemd is the socket on which a service tells systemd how it is.
type systemd struct {
	t    testing.TB
	conn *net.UnixConn
	told [][]string // each datagram's lines
}

func newSystemd(t testing.TB) *systemd {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &systemd{t: t, conn: conn}
}

// env is what systemd puts into the environment of a service.
func (s *systemd) env(more ...string) []string {
	return append(more, "NOTIFY_SOCKET="+s.conn.LocalAddr().String())
}

// until waits for a datagram with a line that begins so, and returns its lines; what came before it is in told too.
func (s *systemd) until(line string) []string {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		got := s.next(deadline)
		if slices.ContainsFunc(got, func(l string) bool { return strings.HasPrefix(l, line) }) {
			return got
		}
	}
}

// ready waits until the node has said who leads, which it does when it answers clients.
func (s *systemd) ready() {
	s.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if got := s.next(deadline); strings.HasPrefix(got[0], "STATUS=") && strings.Contains(got[0], `leader "one"`) {
			return
		}
	}
}

func (s *systemd) next(deadline time.Time) []string {
	s.t.Helper()
	b := make([]byte, 4096)
	if err := s.conn.SetReadDeadline(deadline); err != nil {
		s.t.Fatal(err)
	}
	n, err := s.conn.Read(b)
	if err != nil {
		s.t.Fatalf("systemd waits: %v; it was told %q", err, s.told)
	}
	lines := strings.Split(string(b[:n]), "\n")
	s.told = append(s.told, lines)
	return lines
}

// What systemd is told, in the order of a node's life.
func TestSystemdIsTold(t *testing.T) {
	s := newSystemd(t)
	const watchdog = 200 * time.Millisecond
	p := surroundings{env: s.env(fmt.Sprintf("WATCHDOG_USEC=%d", watchdog.Microseconds()))}.start(t, nodeArgs(t.TempDir(), "--dev")...)

	// READY does not wait for a leader or for the log: the first datagram has it, the leader's name comes with a later one.
	if first := s.until(""); !slices.Equal(first, []string{"READY=1", "STATUS=starting"}) {
		t.Errorf("first: %q", first)
	}
	s.ready()

	began := time.Now()
	const beats = 5
	for range beats {
		s.until("WATCHDOG=1")
	}
	if took := time.Since(began); took > beats*watchdog {
		t.Logf("%d beats took %v: this machine is slow", beats, took)
	}

	before := monotonic(t)
	p.signal(syscall.SIGHUP)
	reloading := s.until("RELOADING=1")
	stamp, ok := strings.CutPrefix(reloading[len(reloading)-1], "MONOTONIC_USEC=")
	at, err := strconv.ParseInt(stamp, 10, 64)
	if !ok || err != nil || at < before || at > monotonic(t) {
		t.Errorf("reload: %q, not between %d and now", reloading, before)
	}
	s.until("READY=1")

	p.signal(syscall.SIGTERM)
	s.until("STOPPING=1")
	if code := p.wait(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

// monotonic is CLOCK_MONOTONIC in microseconds.
func monotonic(t testing.TB) int64 {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	return ts.Nano() / 1000
}

// Systemd's watchdog does not go off while the configuration is read again and is bad: the node goes on.
func TestSystemdHearsOfABadReload(t *testing.T) {
	s := newSystemd(t)
	file := writeConfig(t, "log: {level: info}\n")
	p := surroundings{env: s.env()}.start(t, nodeArgs(t.TempDir(), "--dev", "--config", file)...)
	s.until("READY=1")
	rewrite(t, file, "log: {level: loud}\n")
	p.signal(syscall.SIGHUP)
	s.until("RELOADING=1")
	s.until("READY=1")
	p.says(0, "is not taken over")
	p.stop()
}
