// Package testcluster runs whole nodes inside a test: the real listeners, log and store, on a directory of the test or
// on a file system in memory that can lose what was not synced.
package testcluster

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/madang-chat/madang/cluster/clustertest"
	"github.com/madang-chat/madang/internal/app"
	"github.com/madang-chat/madang/internal/config"
	"github.com/madang-chat/madang/internal/mqtttest"
)

// Options of Start.
type Options struct {
	Set      []string // configuration, key=value
	File     string   // a file of configuration; "" = none
	Dir      string   // data; "" = a directory of the test
	Memory   bool     // data on a file system in memory, for PowerCut
	Prod     bool     // without --dev
	Log      io.Writer
	Clock    func(node string) time.Time                      // the wall clock of each node; nil = as it is
	ShortLog bool                                             // see app.Options
	Usage    func(dir string) (free, total uint64, err error) // of the disk; nil = as it is
	Faults   func(disk vfs.FS) vfs.FS                         // what the node sees of a file system in memory; nil = all of it
	FaultsOf func(node string, disk vfs.FS) vfs.FS            // the same, by the name of the node

	name string
	net  *network
}

// Node is one node. Restart and PowerCut replace what runs; addresses change with them.
type Node struct {
	*app.App
	t    testing.TB
	o    Options
	mem  *vfs.MemFS
	plug *plug // of this start; nil without a network
	at   atomic.Pointer[mqtttest.Addresses]
}

const (
	startTime = 30 * time.Second
	memoryDir = "/data" // on a disk in memory
)

// Start runs a node until the test ends.
func Start(t testing.TB, o Options) *Node {
	t.Helper()
	n := &Node{t: t, o: o}
	n.prepare()
	n.start()
	n.awaitReady()
	t.Cleanup(n.Stop)
	return n
}

// prepare finds a place for the node's data.
func (n *Node) prepare() {
	if n.o.name == "" {
		n.o.name = "one"
	}
	if n.o.Memory {
		n.mem, n.o.Dir = vfs.NewCrashableMem(), memoryDir
	} else if n.o.Dir == "" {
		n.o.Dir = n.t.TempDir()
	}
}

func (n *Node) start() {
	n.t.Helper()
	if err := n.tryStart(); err != nil {
		n.t.Fatalf("start: %v", err)
	}
}

func (n *Node) tryStart() error {
	n.t.Helper()
	set := []string{
		"node.name=" + n.o.name, "node.data_dir=" + n.o.Dir, "listeners.mqtt.bind=127.0.0.1:0", "listeners.web.bind=127.0.0.1:0",
		"listeners.ops.bind=127.0.0.1:0", "limits.disk_reserve=0",
	}
	c, err := config.Load(config.Options{Dev: !n.o.Prod, File: n.o.File, Set: append(set, n.o.Set...)})
	if err == nil {
		err = c.Validate()
	}
	if err != nil {
		n.t.Fatalf("configuration: %v", err)
	}
	w := n.o.Log
	if w == nil {
		w = io.Discard
		if os.Getenv("MADANG_TEST_LOG") != "" {
			w = os.Stderr
		}
	}
	o := app.Options{Logger: slog.New(slog.NewTextHandler(w, nil)), Version: "test", Usage: n.o.Usage, ShortLog: n.o.ShortLog}
	if n.mem != nil {
		var fs vfs.FS = n.mem
		if n.o.Faults != nil {
			fs = n.o.Faults(fs)
		}
		if n.o.FaultsOf != nil {
			fs = n.o.FaultsOf(n.o.name, fs)
		}
		o.FS, o.Disk = fs, clustertest.Disk(fs)
	}
	if clock := n.o.Clock; clock != nil {
		o.Clock = func() time.Time { return clock(n.o.name) }
	}
	if n.o.net != nil {
		n.plug = n.o.net.plugIn(n.o.name)
		o.Dial = n.plug.dial
	}
	a, err := app.New(c, o)
	if err != nil {
		return err
	}
	n.App = a
	n.App.Start()
	n.at.Store(&mqtttest.Addresses{MQTT: n.Addr("mqtt"), Web: n.Addr("web")})
	return nil
}

// TryStart runs a node on a copy of a disk in memory that may be damaged: it may be unable to start. It does not wait until
// the node is ready, and whoever calls it stops it.
func TryStart(t testing.TB, o Options, disk *vfs.MemFS) (*Node, error) {
	t.Helper()
	n := &Node{t: t, o: o, mem: disk}
	n.o.name, n.o.Dir = "one", memoryDir
	return n, n.tryStart()
}

// Disk returns a copy of what a node in memory has on its disk, unsynced writes included, and where its data is there.
func (n *Node) Disk() (disk *vfs.MemFS, dir string) {
	return n.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}), n.o.Dir
}

func (n *Node) awaitReady() {
	n.t.Helper()
	select {
	case <-n.Ready():
	case err := <-n.Failed():
		n.t.Fatalf("start: %v", err)
	case <-time.After(startTime):
		n.t.Fatal("the node is not ready in time")
	}
}

// Crash starts the node anew on a copy of what it has written to its disk in memory, after a fault: the old one may be in
// no state to end.
func (n *Node) Crash() {
	n.t.Helper()
	old := n.App
	n.mem = n.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = old.Stop(ctx)
	n.Begin()
}

// Stop ends the node politely. It may be called more than once.
func (n *Node) Stop() {
	n.t.Helper()
	if err := n.TryStop(startTime); err != nil {
		n.t.Errorf("stop: %v", err)
	}
}

// TryStop is Stop of a node that may be unable to.
func (n *Node) TryStop(within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return n.App.Stop(ctx)
}

// Restart stops the node and starts it on its data.
func (n *Node) Restart() {
	n.t.Helper()
	n.Stop()
	n.Begin()
}

// Begin starts a node that was stopped.
func (n *Node) Begin() {
	n.t.Helper()
	n.start()
	n.awaitReady()
}

// PowerCut starts a new node on what the disk holds now; of what was not synced a random part is kept. The old node is
// stopped on its own copy of the data, where nobody sees what it still does.
func (n *Node) PowerCut(rng *rand.Rand) {
	n.t.Helper()
	now := n.cutPower(rng)
	n.Stop()
	n.mem = now
	n.Begin()
}

// cutPower returns what the disk holds at this moment.
func (n *Node) cutPower(rng *rand.Rand) *vfs.MemFS {
	return n.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
}

// At is where clients connect, or did before the node was stopped. Any goroutine may ask.
func (n *Node) At() mqtttest.Addresses { return *n.at.Load() }

// Metric returns the value of a counter or gauge without labels.
func (n *Node) Metric(name string) float64 {
	n.t.Helper()
	resp, err := http.Get("http://" + n.Addr("ops") + "/metrics")
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	v, err := metric(string(text), name)
	if err != nil {
		n.t.Fatal(err)
	}
	return v
}

func metric(text, name string) (float64, error) {
	var v float64
	for line := range strings.SplitSeq(text, "\n") {
		if _, err := fmt.Sscanf(line, name+" %g", &v); err == nil {
			return v, nil
		}
	}
	return 0, fmt.Errorf("there is no metric %s", name)
}

// ReloadWith takes over what may change while the node runs from its file of configuration, as SIGHUP does.
func (n *Node) ReloadWith(file string) {
	n.t.Helper()
	c, err := config.Load(config.Options{Dev: !n.o.Prod, File: file, Set: n.o.Set})
	if err == nil {
		err = c.Validate()
	}
	if err == nil {
		n.ReloadLimits(c)
		err = n.ReloadHooks(c)
	}
	if err != nil {
		n.t.Fatalf("reload: %v", err)
	}
}
