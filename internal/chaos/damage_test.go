package chaos

import (
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/madang-chat/madang/cluster"
	"github.com/madang-chat/madang/cluster/clustertest"
	"github.com/madang-chat/madang/internal/app"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// kindsOfFiles are those of a data directory, by their path in it.
var kindsOfFiles = []struct {
	name string
	path *regexp.Regexp
}{
	{"tables of the store", regexp.MustCompile(`^db/.*\.sst$`)},
	{"write-ahead log of the store", regexp.MustCompile(`^db/.*\.log$`)},
	{"list of the tables of the store", regexp.MustCompile(`^db/MANIFEST-`)},
	{"marker files of the store", regexp.MustCompile(`^db/marker\.`)},
	{"options of the store", regexp.MustCompile(`^db/OPTIONS-`)},
	{"segments of the log", regexp.MustCompile(`^raft/wal/.*\.wal$`)},
	{"term, vote and list of segments", regexp.MustCompile(`^raft/wal/meta$`)},
	{"boot and name of the node", regexp.MustCompile(`^raft/boot$`)},
	{"marks of snapshots", regexp.MustCompile(`^raft/snapshots/.*/mark$`)},
}

// A byte is flipped, or the end is missing, anywhere in any file of the data: the node serves everything that was
// acknowledged, or ends with an error that says which file it is or what of the node is gone, and what to do; verify finds
// what the node does not start with. It never serves less without a word.
func TestCrashDamagedFiles(t *testing.T) {
	places := 4 // in each file
	if rounds := mqtttest.Rounds(t); rounds > 3 {
		places = 40
	}
	o := testcluster.Options{Memory: true, ShortLog: true, Set: []string{"cluster.trailing_logs=20", "cluster.snapshot_threshold=30"}}
	n := testcluster.Start(t, o)
	var acked []string
	for range 3 { // what a start reads from the log of the store becomes tables
		c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: mqtttest.Flavours[1], User: "ann", ClientID: "a"})
		for range 40 {
			cid := fmt.Sprint("m", len(acked))
			c.Publish(mqtttest.Message("chat/rooms/r/send", `{"cid":"`+cid+`","data":"`+strings.Repeat("x", 500)+`"}`, 1))
			acked = append(acked, cid)
		}
		c.Cut()
		n.Restart()
	}
	mqtttest.Eventually(t, "a snapshot is there", func() bool { return n.Node().Stats().SnapshotAt > 0 })
	n.Stop()
	disk, dir := n.Disk()
	files := filesIn(t, disk, dir)
	for _, kind := range kindsOfFiles {
		t.Run(kind.name, func(t *testing.T) {
			served, refused := 0, 0
			for _, file := range files {
				if !kind.path.MatchString(file) {
					continue
				}
				for _, d := range damages(t, disk, path.Join(dir, file), places) {
					n.Stop()
					hurt, _ := n.Disk()
					d.do(t, hurt, path.Join(dir, file))
					if whatIsLeft(t, o, hurt, dir, file+": "+d.name, acked) {
						served++
					} else {
						refused++
					}
				}
			}
			if served+refused == 0 {
				t.Errorf("there is no such file: %v", files)
			}
			t.Logf("all is served after %d damages, %d are refused", served, refused)
		})
	}
}

// whatIsLeft starts a node on a damaged disk. It reports whether the node serves everything.
func whatIsLeft(t *testing.T, o testcluster.Options, disk *vfs.MemFS, dir, what string, acked []string) bool {
	t.Helper()
	found := 0
	if err := app.VerifyOn(disk, clustertest.Disk(disk), dir, func(error) { found++ }); err != nil {
		found++
	}
	n, err := testcluster.TryStart(t, o, disk)
	if err == nil {
		defer func() { _ = n.TryStop(5 * time.Second) }()
		select {
		case <-n.Ready():
			var got []string
			if got, err = cidsOf(n); err == nil {
				if !slices.Equal(acked, got) {
					t.Errorf("%s: %d messages of %d are served, without a word", what, len(got), len(acked))
				}
				return true
			}
		case err = <-n.Failed():
		case <-time.After(mqtttest.Patience):
			t.Fatalf("%s: the node neither starts nor says why not", what)
		}
	}
	if errors.Is(err, cluster.ErrOtherNode) {
		return false // a name is as good as another; which two they are is said
	}
	if found == 0 {
		t.Errorf("%s: the node says %v, and verify finds nothing", what, err)
	}
	if said := err.Error(); !strings.Contains(said, "wipe") || !namesTheLoss(said) {
		t.Errorf("%s: it does not say what to do: %v", what, err)
	}
	return false
}

// namesTheLoss reports whether an error names a file, or what of the node is gone.
func namesTheLoss(said string) bool {
	return regexp.MustCompile(`/(db|raft)/[\w./-]*[\w]|\d{6}|MANIFEST|OPTIONS|entries \d+ to \d+|data/db: |log ends before|behind its own`).MatchString(said)
}

// damage is one thing that happens to a file.
type damage struct {
	name string
	do   func(t *testing.T, disk *vfs.MemFS, name string)
}

// damages are flips of a byte and missing ends, at so many places of what a file holds; what is behind that is zeros.
func damages(t *testing.T, disk *vfs.MemFS, name string, places int) (out []damage) {
	t.Helper()
	b := content(t, disk, name)
	out = append(out, damage{"gone", func(t *testing.T, disk *vfs.MemFS, name string) {
		t.Helper()
		if err := disk.Remove(name); err != nil {
			t.Fatal(err)
		}
	}})
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	for i := range min(places, len(b)) {
		at := i * len(b) / min(places, len(b))
		if i == places-1 {
			at = len(b) - 1
		}
		out = append(out, damage{fmt.Sprintf("byte %d flipped", at), func(t *testing.T, disk *vfs.MemFS, name string) {
			t.Helper()
			b := content(t, disk, name)
			b[at] ^= 1 << (at % 8)
			rewrite(t, disk, name, b)
		}}, damage{fmt.Sprintf("cut off at %d", at), func(t *testing.T, disk *vfs.MemFS, name string) {
			t.Helper()
			rewrite(t, disk, name, content(t, disk, name)[:at])
		}})
	}
	return out
}

func content(t *testing.T, disk *vfs.MemFS, name string) []byte {
	t.Helper()
	f, err := disk.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func rewrite(t *testing.T, disk *vfs.MemFS, name string, b []byte) {
	t.Helper()
	f, err := disk.Create(name, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write(slices.Clone(b))
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// filesIn are the files below a directory, as paths in it.
func filesIn(t *testing.T, disk *vfs.MemFS, dir string) (out []string) {
	t.Helper()
	names, err := disk.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	for _, name := range names {
		info, err := disk.Stat(path.Join(dir, name))
		switch {
		case err != nil:
			t.Fatal(err)
		case !info.IsDir():
			out = append(out, name)
		default:
			for _, below := range filesIn(t, disk, path.Join(dir, name)) {
				out = append(out, path.Join(name, below))
			}
		}
	}
	return out
}
