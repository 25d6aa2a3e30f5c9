package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running returns the command lines of the processes that have to do with a directory.
func running(t *testing.T, dir string) (lines []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(text), dir) {
			lines = append(lines, strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return lines
}

// left fails the test when a run has left a process or a file.
func left(t *testing.T, dir string) {
	t.Helper()
	for _, l := range running(t, dir) {
		t.Errorf("it still runs: %s", l)
	}
	if _, err := os.Stat(filepath.Join(dir, "run")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the files of the last run are there: %v", err)
	}
}

// built returns a comparison of Madang and the null broker, built from this tree.
func built(t *testing.T) (*comparison, *strings.Builder) {
	t.Helper()
	dir := t.TempDir()
	brokers, missing, err := find(t.Context(), dir, []string{kernel})
	if err != nil || len(missing) > 0 {
		t.Fatal(err, missing)
	}
	journal := new(strings.Builder)
	return &comparison{
		meter:   meter{madang: brokers[0].program, dir: dir, duration: 300 * time.Millisecond, timeout: time.Minute},
		brokers: brokers, runs: 2, journal: journal, say: t.Logf,
	}, journal
}

func tiny(args ...string) []group {
	return []group{{title: "Tiny", rows: []row{{
		name: "tiny", title: "5 readers", args: append([]string{"room", "-c=5"}, args...), timed: true, null: true,
		figures: []figure{perSecond, p99},
	}}}}
}

// Real brokers are built, started, measured and stopped, whatever becomes of the run.
func TestCompare(t *testing.T) {
	c, journal := built(t)

	t.Run("measures", func(t *testing.T) {
		c.groups = tiny()
		if err := c.compare(t.Context()); err != nil {
			t.Fatal(err)
		}
		left(t, c.dir)
		w := &c.groups[0].rows[0]
		for _, b := range c.brokers {
			o := c.outcomes[w.name][b.name]
			if v, ok := o.median(w, perSecond); !ok || v <= 0 || !o.flawless(w) || len(o.reports) != c.runs {
				t.Errorf("%s: %d runs, %v deliveries/s, %s", b.name, len(o.reports), v, o.troubles(w))
			}
		}
		lines := 0
		for s := bufio.NewScanner(strings.NewReader(journal.String())); s.Scan(); lines++ {
			var rec record
			if err := json.Unmarshal(s.Bytes(), &rec); err != nil {
				t.Fatal(err)
			}
			if r, err := parseReport(rec.Report); err != nil || r.Delivered == 0 || rec.Row != "tiny" || rec.Error != "" {
				t.Errorf("%s\n%v", s.Text(), err)
			}
		}
		if want := c.runs * len(c.brokers); lines != want {
			t.Errorf("%d lines of JSON, want %d", lines, want)
		}
	})

	t.Run("a scenario that fails is a cell", func(t *testing.T) {
		c.groups = tiny("--size=1")
		if err := c.compare(t.Context()); err != nil {
			t.Fatal(err)
		}
		left(t, c.dir)
		w := &c.groups[0].rows[0]
		got := c.outcomes[w.name][ours].cell(w, 0)
		if reason, ok := strings.CutPrefix(got, "2 of 2 runs failed: "); !ok || !strings.Contains(reason, "bytes") {
			t.Errorf("the cell gives no reason: %s", got)
		}
	})

	t.Run("a scenario that takes too long is a cell", func(t *testing.T) {
		c := *c
		c.groups, c.duration, c.timeout = tiny(), time.Hour, time.Second
		if err := c.compare(t.Context()); err != nil {
			t.Fatal(err)
		}
		left(t, c.dir)
		w := &c.groups[0].rows[0]
		all := c.outcomes[w.name]
		if got, want := all[ours].cell(w, 0), "2 of 2 runs failed: no result in time (1s)"; got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		if n := all[kernel].runs(); n != 1 {
			t.Errorf("a peer that is too slow was tried %d times", n)
		}
	})

	t.Run("an interrupt ends it", func(t *testing.T) {
		c := *c
		c.groups, c.duration, c.timeout = tiny(), time.Hour, 2*time.Hour
		interrupt := errors.New("interrupt")
		ctx, cancel := context.WithCancelCause(t.Context())
		result := make(chan error, 1)
		go func() { result <- c.compare(ctx) }()
		look := time.NewTicker(10 * time.Millisecond)
		defer look.Stop()
		for !strings.Contains(strings.Join(running(t, c.dir), "\n"), "madang bench") {
			select {
			case err := <-result:
				t.Fatalf("it ended: %v", err)
			case <-look.C:
			}
		}
		cancel(interrupt)
		if err := <-result; !errors.Is(err, interrupt) {
			t.Errorf("it ended with %v", err)
		}
		left(t, c.dir)
	})
}
