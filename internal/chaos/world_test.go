package chaos

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// world is what the processes of a cluster live in: a network of their own for each, one for the other nodes and one for
// clients, and a disk of their own. Without the right to make that, they share loopback and a directory, and what needs
// more is skipped, visibly.
type world struct {
	t      testing.TB
	id     string
	base   string // directory of everything
	apart  bool   // namespaces and disks of their own
	hosts  []*host
	cleans []string // network devices and namespaces, to be removed
}

// Networks of a world: the last number is the host's.
const (
	peerNet   = "10.177.0."
	clientNet = "10.178.0."
	loopNet   = "127.99.0."
	tester    = "254"
)

// diskMiB is sparse: a log that is cut back begins a new segment, of 64 MiB, with each change of leader.
const diskMiB = 1500

var worlds atomic.Int32 // made so far: a namespace lives on for a moment after its end, and keeps its names

// newWorld makes a world for n hosts, for make chaos.
func newWorld(t *testing.T, n int) *world {
	t.Helper()
	if rounds == 0 {
		t.Skip("SKIPPED: make chaos runs it")
	}
	return makeWorld(t, n)
}

// makeWorld makes one whatever is run.
func makeWorld(t *testing.T, n int) *world {
	t.Helper()
	w := &world{t: t, id: fmt.Sprintf("md%dx%d", os.Getpid()%1000, worlds.Add(1)), base: t.TempDir()}
	t.Cleanup(w.end) // before base is removed
	err := w.network(n)
	if err != nil {
		w.unplug()
		t.Logf("no namespaces here (root can make them): %v", err)
	}
	w.apart = err == nil
	for i := range n {
		h := &host{w: w, number: i + 1, name: fmt.Sprint("n", i+1)}
		h.dir = filepath.Join(w.base, h.name)
		w.must(os.Mkdir(h.dir, 0o755))
		if w.apart {
			if err := h.makeDisk(); err != nil {
				t.Fatalf("a disk of its own: %v", err)
			}
		}
		w.hosts = append(w.hosts, h)
	}
	return w
}

// needsApart skips what cannot be done on one network and one disk.
func (w *world) needsApart() {
	w.t.Helper()
	if !w.apart {
		w.t.Skip("SKIPPED: needs network namespaces and disks of its own (root can make them)")
	}
}

// run runs a command of the system.
func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func (w *world) ns(i int) string { return fmt.Sprint(w.id, "n", i) }

// network makes two bridges and plugs every host into both.
func (w *world) network(n int) error {
	if os.Geteuid() != 0 {
		return errors.New("not root")
	}
	for _, kind := range []string{"p", "c"} {
		br := w.id + kind
		if err := run("ip", "link", "add", br, "type", "bridge"); err != nil {
			return err
		}
		w.cleans = append(w.cleans, "link del "+br)
		if err := run("ip", "link", "set", br, "up"); err != nil {
			return err
		}
	}
	if err := run("ip", "addr", "add", clientNet+tester+"/24", "dev", w.id+"c"); err != nil {
		return err
	}
	for i := 1; i <= n; i++ {
		if err := run("ip", "netns", "add", w.ns(i)); err != nil {
			return err
		}
		w.cleans = append(w.cleans, "netns del "+w.ns(i))
		for kind, net := range map[string]string{"p": peerNet, "c": clientNet} {
			outside, inside := w.port(kind, i), "eth-"+kind
			for _, line := range []string{
				fmt.Sprintf("link add %s type veth peer name %s netns %s", outside, inside, w.ns(i)),
				fmt.Sprintf("link set %s master %s up", outside, w.id+kind),
				fmt.Sprintf("-n %s addr add %s%d/24 dev %s", w.ns(i), net, i, inside),
				fmt.Sprintf("-n %s link set %s up", w.ns(i), inside),
				fmt.Sprintf("-n %s link set lo up", w.ns(i)),
			} {
				if err := run("ip", strings.Fields(line)...); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// port is the outer end of a host's cable.
func (w *world) port(kind string, i int) string { return fmt.Sprint(w.id, kind, i) }

func (w *world) unplug() {
	for _, line := range slices.Backward(w.cleans) {
		_ = run("ip", strings.Fields(line)...) // of a world that ends
	}
	w.cleans = nil
}

func (w *world) end() {
	for _, h := range w.hosts {
		h.kill()
	}
	for _, h := range w.hosts {
		if h.disk != "" {
			_ = unix.Unmount(h.dir, 0) // of a world that ends
		}
	}
	w.unplug()
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// pull pulls the cable to the other nodes; plug puts it back. Clients still reach the host.
func (h *host) pull() { h.w.must(run("ip", "link", "set", h.w.port("p", h.number), "down")) }
func (h *host) plug() { h.w.must(run("ip", "link", "set", h.w.port("p", h.number), "up")) }

// deaf loses what h sends to another host; what that one sends arrives.
func (h *host) deafTo(o *host, on bool) {
	what := "add"
	if !on {
		what = "del"
	}
	h.w.must(run("ip", "-n", h.w.ns(h.number), "route", what, "blackhole", fmt.Sprint(peerNet, o.number, "/32")))
}

// makeDisk gives the host a file system of its own.
func (h *host) makeDisk() error {
	h.disk = filepath.Join(h.w.base, h.name+".disk")
	f, err := os.Create(h.disk)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(diskMiB<<20), f.Close()); err != nil {
		return err
	}
	if err := run("mkfs.ext4", "-q", h.disk); err != nil {
		return err
	}
	return h.mount()
}

func (h *host) mount() error { return run("mount", "-o", "loop", h.disk, h.dir) }

// cutPower makes the disk lose everything that was not synced, and take nothing any more.
func (h *host) cutPower() error {
	const (
		shutdown   = 0x8004587d // EXT4_IOC_SHUTDOWN
		noLogFlush = 2
	)
	f, err := os.Open(h.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.IoctlSetPointerInt(int(f.Fd()), shutdown, noLogFlush)
}

// remount brings the disk back after its power was cut.
func (h *host) remount() error {
	if err := unix.Unmount(h.dir, 0); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	return h.mount()
}
