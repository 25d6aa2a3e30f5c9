package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// meter puts brokers through scenarios, one at a time.
type meter struct {
	madang   string // the program that measures
	dir      string // below it a run has its files
	duration time.Duration
	timeout  time.Duration // of one run, from the start of the broker
}

// errTimeout says that a run had no result in its time.
var errTimeout = errors.New("no result in time")

// measure starts a broker on an empty directory, puts it through a scenario and stops it. When it returns, in whatever
// way, nothing of the run is left. The error is errTimeout, errEnded, what the load generator says, or the cause of ctx.
func (m *meter) measure(ctx context.Context, b *broker, w *row) (*report, error) {
	timed, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	r, err := m.run(timed, b, w)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil && timed.Err() != nil:
		return nil, fmt.Errorf("%w (%v)", errTimeout, m.timeout)
	}
	return r, err
}

func (m *meter) run(ctx context.Context, b *broker, w *row) (*report, error) {
	dir := filepath.Join(m.dir, "run")
	defer os.RemoveAll(dir)
	if b.name == ours && len(w.madang) > 0 {
		limited := *b
		limited.args = slices.Concat(b.args, w.madang)
		b = &limited
	}
	p, err := start(ctx, b, dir)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	cmd := command(ctx, m.madang, m.bench(w, b, p)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, cmp.Or(p.gone(), errors.New(cmp.Or(complaint(stderr.String()), err.Error())))
	}
	return parseReport(stdout.Bytes())
}

// complaint finds what madang complains about: its first line with its name, which may not be the only line.
func complaint(stderr string) string {
	for line := range strings.Lines(stderr) {
		if what, ok := strings.CutPrefix(line, "madang: "); ok {
			return strings.TrimSpace(what)
		}
	}
	return lastLine([]byte(stderr))
}

// bench returns the arguments of madang for a row and a broker that runs.
func (m *meter) bench(w *row, b *broker, p *process) []string {
	args := slices.Concat([]string{"bench"}, m.scenario(w), []string{
		fmt.Sprintf("--port=%d", p.port), fmt.Sprintf("--pid=%d", p.pid), "--json",
	})
	if b.plain {
		args = append(args, "--plain")
	}
	return args
}

// scenario returns the arguments that are the same for every broker.
func (m *meter) scenario(w *row) []string {
	if !w.timed {
		return w.args
	}
	return append(slices.Clone(w.args), fmt.Sprintf("-d=%v", m.duration), fmt.Sprintf("--warmup=%v", min(time.Second, m.duration/4)))
}
