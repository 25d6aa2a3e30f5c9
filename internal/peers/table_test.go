package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// canned is a comparison that has happened.
func canned() *comparison {
	groups := rowGroups()
	some := []group{groups[1], groups[4]}
	some[0].rows, some[1].rows = some[0].rows[:4], some[1].rows[1:]
	c := &comparison{
		meter: meter{duration: 2 * time.Second}, groups: some, runs: 3,
		brokers: []*broker{
			{name: ours, version: "v1", program: "bin/madang", args: []string{"serve", "{port}", "{dir}/data"}, remark: "Durable."},
			{name: kernel, version: "of this module", program: "null", args: []string{"127.0.0.1:{port}"}},
			{
				name: "nats", version: "2.15.2", program: "/usr/bin/nats-server", plain: true, args: []string{"-c", "{file}"},
				config: "port: {port}\nstore_dir: \"{dir}/store\"\n",
			},
			{name: "mochi", version: "2.7.9", program: "mochi"},
		},
		missing:  []error{errors.New("nanomq: go install: exit status 1\nand what go said")},
		outcomes: map[string]map[string]*outcome{},
	}
	for _, g := range some {
		for i := range g.rows {
			c.outcomes[g.rows[i].name] = cannedRow(&g.rows[i])
		}
	}
	return c
}

func cannedRow(w *row) map[string]*outcome {
	run := func(factor float64) *report {
		return &report{
			Seconds: 2, Delivered: int64(2 * w.rate * float64(w.readers)), PerCPU: 120e3 * factor, Latency: &latency{1.5 * factor},
			AcksPerSecond: 50e3 * factor, DrainSeconds: 0.2 * factor, SessionsPresent: w.sessions,
		}
	}
	three := func(factor float64) *outcome {
		return &outcome{reports: []*report{run(factor * 1.1), run(factor), run(factor * 0.5)}}
	}
	all := map[string]*outcome{ours: three(1), "nats": three(0.5), "mochi": three(0.8)}
	if w.null {
		all[kernel] = three(2)
	}
	switch w.name {
	case "offered-q0-2000": // the best peer loses, so that the other one counts
		all["mochi"].reports[1].Lost = 17
	case "offered-q0-10000": // Madang must not, and it would be said
		all[ours].reports[0].Lost, all[ours].reports[2].OutOfOrder = 1, 2
		all["nats"].reports[2].Delivered /= 4
	case "offered-q1-500":
		all["nats"] = &outcome{errs: []error{fmt.Errorf("%w (%v)", errTimeout, 3*time.Minute)}}
		all["mochi"].errs = append(all["mochi"].errs, errors.New("SUBSCRIBE was refused | code 0x80"))
		all["mochi"].reports = all["mochi"].reports[:2]
	case "return-100":
		all["mochi"].reports[0].SessionsPresent = 0
	}
	return all
}

func TestPage(t *testing.T) {
	m := machine{cpu: "Some CPU", cores: 2, kernel: "6.1.0", files: "ext4"}
	got := canned().page(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), m)
	const golden = "testdata/page.golden.md"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the page is not %s; when it should change: go test ./internal/peers -update, and read the diff. It is\n%s", golden, got)
	}
}

func TestProcessor(t *testing.T) {
	const cpuinfo = "processor\t: 0\nmodel\t\t: 1\nmodel name\t: AMD EPYC\nprocessor\t: 1\nmodel name\t: AMD EPYC\n"
	if got := processor(cpuinfo, ""); got != "AMD EPYC" {
		t.Error(got)
	}
	if got := processor("Processor: 0\n", "unknown"); got != "unknown" {
		t.Error(got)
	}
}
