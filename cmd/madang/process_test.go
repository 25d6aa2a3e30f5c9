package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/mqtttest"
)

// patience is how long a test waits for something that must come.
const patience = 30 * time.Second

// process is the program as a process of its own: the test binary once more, which runs main under the name madang
// (TestMain). It does not outlive its test.
type process struct {
	t        testing.TB
	cmd      *exec.Cmd
	out, err *output
	began    time.Time
	done     chan struct{} // closed when it has ended and what it wrote is complete
}

// surroundings are what a process meets beside its arguments.
type surroundings struct {
	env   []string // key=value, beside the test's own environment without what is madang's
	limit int      // descriptors it may have; 0 = as the test
	out   *os.File // where stdout goes, in place of process.out
}

// start starts madang with these arguments.
func (s surroundings) start(t testing.TB, args ...string) *process {
	t.Helper()
	p := &process{t: t, out: newOutput(), err: newOutput(), done: make(chan struct{})}
	p.cmd = exec.Command("madang", args...)
	if s.limit > 0 {
		script := fmt.Sprintf(`ulimit -n %d && exec madang "$@"`, s.limit)
		p.cmd = exec.Command("sh", append([]string{"-c", script, "sh"}, args...)...)
	}
	p.cmd.Env = append(ownEnvironment(), s.env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.err
	if s.out != nil {
		p.cmd.Stdout = s.out
	}
	p.began = time.Now()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // the exit code is in ProcessState
		close(p.done)
		p.out.wake()
		p.err.wake()
	}()
	t.Cleanup(p.cleanup)
	return p
}

// ownEnvironment is the test's environment without what would configure a node. The race detector's second of waiting at
// the end of a process is left out.
func ownEnvironment() []string {
	env := []string{"GORACE=atexit_sleep_ms=0"}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "MADANG_") && !strings.HasPrefix(kv, "NOTIFY_") && !strings.HasPrefix(kv, "WATCHDOG_") {
			env = append(env, kv)
		}
	}
	return env
}

// cleanup ends the process whatever it does, and looks for what must never stand on its stderr.
func (p *process) cleanup() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:", "goroutine "} {
		if strings.Contains(p.err.String(), bad) {
			p.t.Errorf("madang wrote %q", bad)
		}
	}
	if p.t.Failed() {
		text := p.err.String()
		const most = 16 << 10
		p.t.Logf("stderr of madang %d, %d bytes:\n%s", p.cmd.Process.Pid, len(text), text[:min(most, len(text))])
	}
}

func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatalf("signal %v: %v", sig, err)
	}
}

// wait waits for the end and returns the exit code, -1 when a signal ended it.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("madang has not ended; stderr:\n%s", p.err)
	}
	return p.cmd.ProcessState.ExitCode()
}

// stop ends the process as systemd does and expects that it leaves without a complaint.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != exitOK {
		p.t.Errorf("exit code %d after SIGTERM; stderr:\n%s", code, p.err)
	}
}

// kill ends the process without a word.
func (p *process) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	p.wait()
}

// says waits until text stands on stderr, written after the first skip bytes, and returns all of it.
func (p *process) says(skip int, text string) string {
	p.t.Helper()
	all, err := p.err.until(p.done, func(s string) bool { return strings.Contains(s[min(skip, len(s)):], text) })
	if err != nil {
		p.t.Fatalf("waiting for %q on stderr: %v; it holds:\n%s", text, err, all)
	}
	return all
}

// node is a process that serves.
type node struct {
	*process
	banner string
}

// nodeArgs are the arguments of serve for a node with data in dir, on ports the system chooses.
func nodeArgs(dir string, more ...string) []string {
	return append([]string{
		"serve", "--data-dir", dir, "--set", "node.name=one", "--set", "listeners.mqtt.bind=127.0.0.1:0",
		"--set", "listeners.web.bind=127.0.0.1:0", "--set", "listeners.ops.bind=127.0.0.1:0",
	}, more...)
}

// startNode starts a node and waits for its banner.
func startNode(t testing.TB, args ...string) *node {
	t.Helper()
	return surroundings{}.start(t, args...).node()
}

// node waits until the process has said where it listens.
func (p *process) node() *node {
	p.t.Helper()
	const last = "for operators" // the banner is one write; this line is in every one
	banner, err := p.out.until(p.done, func(s string) bool { return strings.Contains(s, last) })
	if err != nil {
		p.t.Fatalf("no banner: %v; stderr:\n%s", err, p.err)
	}
	return &node{p, banner}
}

var bannerURL = regexp.MustCompile(`(?m)^  (\S.*?) +([a-z]+://\S+)$`)

// urls are the addresses of the banner, by what stands beside them.
func (n *node) urls() map[string]string {
	all := map[string]string{}
	for _, m := range bannerURL.FindAllStringSubmatch(n.banner, -1) {
		all[m[1]] = m[2]
	}
	return all
}

// url is one of them; it must be there.
func (n *node) url(what string) string {
	n.t.Helper()
	u := n.urls()[what]
	if u == "" {
		n.t.Fatalf("the banner names no %s:\n%s", what, n.banner)
	}
	return u
}

// at is where the test's clients connect.
func (n *node) at() mqtttest.Addresses {
	n.t.Helper()
	host := func(what string) string {
		_, rest, _ := strings.Cut(n.url(what), "://")
		host, _, _ := strings.Cut(rest, "/")
		return host
	}
	return mqtttest.Addresses{MQTT: host("MQTT"), Web: host("HTTP API")}
}

// output is what a process writes, to be waited for.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{} // closed at every change
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

// Write is called by os/exec.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	n, err := o.text.Write(p)
	o.mu.Unlock()
	o.wake()
	return n, err
}

func (o *output) wake() {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
}

// String is what was written so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// until waits until what was written satisfies enough, and returns it. It does not wait longer than for done.
func (o *output) until(done <-chan struct{}, enough func(string) bool) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		o.mu.Lock()
		text, changed := o.text.String(), o.changed
		o.mu.Unlock()
		if enough(text) {
			return text, nil
		}
		select {
		case <-done: // nothing comes any more
			if text = o.String(); enough(text) {
				return text, nil
			}
			return text, errors.New("the process has ended")
		case <-changed:
		case <-ctx.Done():
			return text, ctx.Err()
		}
	}
}
