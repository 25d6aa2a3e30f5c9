package chaos

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"
)

// What the soak measures of a node, when all clients have left: what is in use then and grows is a leak, not the load.
const (
	heap        = "live heap, MiB" // after a collection
	resident    = "RSS, MiB"
	goroutines  = "goroutines"
	descriptors = "descriptors"
	storeDisk   = "store on disk, MiB"
	logDisk     = "log on disk, MiB"
)

// soakBounds say how much each may grow. What is known to fill and stay: Pebble's block cache (32 MiB) and two tables in
// memory (16 MiB each), the shared tail (4 MiB here) and the runtime's own; on the disk, the tables' write-ahead log and
// what a compaction has not removed yet. The log keeps 256 MiB by design, in segments of 64 MiB that are there at once.
var soakBounds = map[string]bound{
	heap:        {0.20, 64},
	resident:    {0.20, 128}, // the collector lets garbage grow as much as what lives
	goroutines:  {0.05, 16},
	descriptors: {0.05, 16},
	storeDisk:   {0.25, 96},
	logDisk:     {0.25, 256 + 2*64},
}

var soakOrder = []string{heap, resident, goroutines, descriptors, storeDisk, logDisk}

const mib = 1 << 20

// measure reads all of a node that runs.
func (h *host) measure() (map[string]float64, error) {
	ops := "http://" + net.JoinHostPort(h.clients(), "8081")
	out := map[string]float64{}
	for range 2 { // what has a finalizer goes with the second collection
		v, err := lineOf(ops+"/debug/pprof/heap?gc=1&debug=1", "# HeapAlloc = ")
		if err != nil {
			return nil, err
		}
		out[heap] = v / mib
	}
	v, err := lineOf(ops+"/metrics", "go_goroutines ")
	if err != nil {
		return nil, err
	}
	out[goroutines] = v
	proc := fmt.Sprint("/proc/", h.proc.Process.Pid)
	open, err := os.ReadDir(proc + "/fd")
	if err != nil {
		return nil, err
	}
	out[descriptors] = float64(len(open))
	if out[resident], err = h.resident(); err != nil {
		return nil, err
	}
	for what, dir := range map[string]string{storeDisk: "db", logDisk: "raft"} {
		n, err := blocks(filepath.Join(h.dir, "data", dir))
		if err != nil {
			return nil, err
		}
		out[what] = n / mib
	}
	return out, nil
}

// resident is the memory the process holds, in MiB (proc_pid_statm(5)).
func (h *host) resident() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", h.proc.Process.Pid))
	if err != nil {
		return 0, err
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	return float64(pages*os.Getpagesize()) / mib, err
}

// connections is how many clients the node has.
func (h *host) connections() (float64, error) {
	return lineOf("http://"+net.JoinHostPort(h.clients(), "8081")+"/metrics", "madang_connections ")
}

// collecting takes longer than other questions, on a machine that is busy.
var collecting = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// lineOf is the number behind a prefix in what stands at a URL.
func lineOf(url, prefix string) (float64, error) {
	resp, err := collecting.Get(url)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, mib)
	for lines.Scan() {
		if rest, found := strings.CutPrefix(lines.Text(), prefix); found {
			_, _ = io.Copy(io.Discard, resp.Body)
			return strconv.ParseFloat(strings.TrimSpace(rest), 64)
		}
	}
	return 0, fmt.Errorf("%s says nothing of %q, %w", url, prefix, errors.Join(lines.Err(), io.EOF))
}

// blocks is what a directory takes on the disk.
func blocks(dir string) (sum float64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ignoreGone(err)
		}
		info, err := d.Info()
		if err != nil {
			return ignoreGone(err)
		}
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			sum += float64(s.Blocks) * 512
		}
		return nil
	})
	return sum, err
}

func ignoreGone(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

// soakTable is what one node's samples say.
type soakTable struct {
	of     string
	all    map[string]*series
	judged map[string]bool // what must not grow: of a process that was killed now and then, its disk alone
}

// report writes one table of all nodes, and fails the test for what grows without bound.
func report(t *testing.T, tables []soakTable, messages int, peak map[string]float64) {
	t.Helper()
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 2, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "node\t\tsamples\tbase\tend\tper hour\tper 1,000 messages\tbound per hour\tgrown by\tforgiven\t\t")
	for _, table := range tables {
		for _, what := range soakOrder {
			s := table.all[what]
			if s == nil || len(s.value) < 2 {
				continue
			}
			b, verdict := soakBounds[what], "-"
			if table.judged[what] {
				verdict = "ok"
				if b.broken(s) {
					verdict = "GROWS"
					t.Errorf("%s: %s grows by %.1f an hour, from %.1f", table.of, what, s.perHour(), s.base())
				}
			}
			perThousand := 0.0
			if messages > 0 {
				perThousand = s.grown() / float64(messages) * 1000
			}
			fmt.Fprintf(w, "%s\t%s\t%d\t%.1f\t%.1f\t%+.1f\t%+.3f\t%v\t%+.1f\t%.0f\t%s\t\n", table.of, what, len(s.value),
				s.base(), s.value[len(s.value)-1], s.perHour(), perThousand, b, s.grown(), b.slack, verdict)
		}
		if p := peak[table.of]; p > 0 {
			fmt.Fprintf(w, "%s\tRSS under load, MiB\t\t\t%.1f\t\t\t\t\t\tpeak\t\n", table.of, p)
		}
	}
	_ = w.Flush() // into a string
	t.Logf("\n%s", text.String())
}
