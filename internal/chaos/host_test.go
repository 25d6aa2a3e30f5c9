package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/mqtttest"
)

// host is a machine with one node.
type host struct {
	w      *world
	number int
	name   string
	dir    string
	disk   string // file that holds its file system, "" = it shares that of the test
	more   []string

	proc *exec.Cmd
	out  *record
	done chan struct{}
}

// record is what a process wrote to stderr.
type record struct {
	mu   sync.Mutex
	text []byte
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = append(r.text, b...)
	return len(b), nil
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.text)
}

var built string // directory of what build made, "" before it has

// build makes the binary of the node, once.
var build = sync.OnceValues(func() (string, error) {
	if file := os.Getenv(inside); file != "" {
		return file, nil
	}
	dir, err := os.MkdirTemp("", "madang-chaos")
	if err != nil {
		return "", err
	}
	built = dir
	file := filepath.Join(dir, "madang")
	cmd := exec.Command("go", "build", "-tags", "stepclock", "-o", file, "github.com/madang-chat/madang/cmd/madang")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w: %s", err, out)
	}
	return file, nil
})

// clients is the network where clients reach a host, peers the one where nodes do.
func (h *host) clients() string {
	if h.w.apart {
		return fmt.Sprint(clientNet, h.number)
	}
	return fmt.Sprint(loopNet, h.number)
}

func (h *host) peers() string {
	if h.w.apart {
		return fmt.Sprint(peerNet, h.number)
	}
	return fmt.Sprint(loopNet, h.number)
}

// args are those of the node.
func (h *host) args(founders int) []string {
	var seeds []string
	for _, o := range h.w.hosts[:founders] {
		seeds = append(seeds, o.peers()+":7946")
	}
	args := []string{"serve", "--dev", "--data-dir", filepath.Join(h.dir, "data")}
	for _, kv := range append([]string{
		"node.name=" + h.name, "auth.trust_network=true", "listeners.mqtt.bind=" + h.clients() + ":1883",
		"listeners.web.bind=" + h.clients() + ":8080", "listeners.ops.bind=" + h.clients() + ":8081",
		"cluster.bind=" + h.peers() + ":7946", fmt.Sprint("cluster.bootstrap_expect=", founders), "cluster.join=" + strings.Join(seeds, ","),
		"limits.disk_reserve=16MiB", "limits.disk_free=0",
	}, h.more...) {
		args = append(args, "--set", kv)
	}
	return args
}

// founders of every world's cluster.
const founders = 3

// start starts the node.
func (h *host) start() {
	h.w.t.Helper()
	file, err := build()
	h.w.must(err)
	h.proc = exec.Command(file, h.args(founders)...)
	if h.w.apart { // not by ip netns exec: it would also hold on to the disks of the others, in mounts of its own
		h.proc = exec.Command("nsenter", append([]string{"--net=/run/netns/" + h.w.ns(h.number), file}, h.args(founders)...)...)
	}
	h.proc.Env = append(os.Environ(), "MADANG_CLOCK="+h.clock())
	h.out, h.done = new(record), make(chan struct{})
	h.proc.Stderr = h.out
	h.w.must(h.proc.Start())
	proc, done := h.proc, h.done
	go func() {
		_ = proc.Wait() // the exit code is in ProcessState
		close(done)
	}()
}

// clock is the file that says how wrong the host's clock is.
func (h *host) clock() string { return filepath.Join(h.w.base, h.name+".clock") }

// stepClock sets the host's wall clock off by that much, and returns when the node has it so.
func (h *host) stepClock(off time.Duration) {
	h.w.t.Helper()
	next, text := h.clock()+".next", fmt.Append(nil, int64(off))
	h.w.must(os.WriteFile(next, text, 0o600))
	h.w.must(os.Rename(next, h.clock()))
	eventually(h.w.t, h.name+" has the clock so", func() bool {
		seen, err := os.ReadFile(h.clock() + ".seen")
		return err == nil && bytes.Equal(seen, text)
	})
}

// signal sends one to the node; nothing happens when it has ended.
func (h *host) signal(s syscall.Signal) { _ = h.proc.Process.Signal(s) }

// ended waits for the end of the node and returns its exit code.
func (h *host) ended() int {
	h.w.t.Helper()
	select {
	case <-h.done:
	case <-time.After(30 * time.Second):
		h.w.t.Fatalf("%s has not ended; it wrote\n%s", h.name, h.out)
	}
	return h.proc.ProcessState.ExitCode()
}

func (h *host) kill() {
	if h.proc == nil {
		return
	}
	h.signal(syscall.SIGCONT)
	h.signal(syscall.SIGKILL)
	<-h.done
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if strings.Contains(h.out.String(), bad) {
			h.w.t.Errorf("%s wrote\n%s", h.name, h.out)
		}
	}
	if h.w.t.Failed() {
		text := h.out.String()
		h.w.t.Logf("%s wrote, in the end:\n%s", h.name, text[max(0, len(text)-3000):])
	}
}

// term stops the node as systemd does.
func (h *host) term() {
	h.w.t.Helper()
	h.signal(syscall.SIGTERM)
	if code := h.ended(); code != 0 {
		h.w.t.Errorf("%s ended with %d after SIGTERM:\n%s", h.name, code, h.out)
	}
}

func (h *host) at() mqtttest.Addresses {
	return mqtttest.Addresses{MQTT: net.JoinHostPort(h.clients(), "1883"), Web: net.JoinHostPort(h.clients(), "8080")}
}

// status is what the node says of its cluster; role "" when it does not answer.
type status struct {
	Leader, Role string
	Term         uint64
	Nodes        []struct {
		Node  string
		Voter bool
	}
}

var patient = &http.Client{Timeout: 2 * time.Second}

func (h *host) ask(path string, answer any) error {
	resp, err := patient.Get("http://" + net.JoinHostPort(h.clients(), "8081") + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(answer)
}

func (h *host) status() (s status) {
	_ = h.ask("/cluster", &s) // one that does not answer has no role
	return s
}

func (h *host) digest(room string) string {
	var d struct{ SHA256 string }
	_ = h.ask("/digest?room="+room, &d)
	return d.SHA256
}

// founded starts three nodes and waits until they are a cluster.
func founded(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, founders+1) // one more for who replaces another
	for _, h := range w.hosts[:founders] {
		h.start()
	}
	for _, h := range w.hosts[:founders] {
		eventually(t, h.name+" knows a leader", func() bool { return h.status().Leader != "" })
	}
	return w
}

// leader waits until one of some hosts leads and returns it.
func (w *world) leader(among ...*host) (leader *host) {
	w.t.Helper()
	if among == nil {
		among = w.hosts[:founders]
	}
	eventually(w.t, "one leads", func() bool {
		for _, h := range among {
			if h.status().Role == "leader" {
				leader = h
			}
		}
		return leader != nil
	})
	return leader
}

// others are the founders but one.
func (w *world) others(than *host) (out []*host) {
	for _, h := range w.hosts[:founders] {
		if h != than {
			out = append(out, h)
		}
	}
	return out
}

// load begins a load on the founders.
func (w *world) load(t *testing.T, o mqtttest.LoadOptions) *mqtttest.Load {
	t.Helper()
	var at []mqtttest.Addresses
	for _, h := range w.hosts[:founders] {
		at = append(at, h.at())
	}
	o.Room, o.Nodes = "r", func() []mqtttest.Addresses { return at }
	return mqtttest.StartLoad(t, o)
}

// agree finishes a load, and waits until all hosts hold the same.
func (w *world) agree(t *testing.T, l *mqtttest.Load, hosts ...*host) [][]byte {
	t.Helper()
	entries := l.Finish(t)
	if hosts == nil {
		hosts = w.hosts[:founders]
	}
	eventually(t, "all nodes hold the same", func() bool {
		first := hosts[0].digest("r")
		for _, h := range hosts {
			if d := h.digest("r"); d == "" || d != first {
				return false
			}
		}
		return true
	})
	return entries
}
