// Command peers compares Madang with other brokers on this machine: it builds Madang, finds the others, puts each
// through the same scenarios of madang bench, and writes the medians as tables into docs/performance.md.
//
//	main -> find      builds and finds brokers: *broker
//	     -> compare   every row, every run, every broker: measure -> *outcome
//	            measure   start, madang bench, stop
//	     -> page      tables, between the markers of the document
//
// Whatever it starts is gone when it ends, after Ctrl-C too. Only ratios within one comparison say something, and only
// when nothing else runs on the machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/madang-chat/madang/internal/clock"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	rows              *regexp.Regexp
	runs              int
	duration, timeout time.Duration
	peers             []string
	out, json         string
	hostile           bool
}

func parse(args []string, stderr io.Writer) (*options, error) {
	o := new(options)
	fl := flag.NewFlagSet("peers", flag.ContinueOnError)
	fl.SetOutput(stderr)
	rows := fl.String("rows", "", "measure only rows whose name matches this `regexp`")
	peers := fl.String("peers", strings.Join(peerNames(), ","), "`list` of brokers beside madang")
	fl.BoolVar(&o.hostile, "hostile", false, "measure what hostile clients cost others instead")
	fl.IntVar(&o.runs, "runs", 3, "`number` of runs, of which the median counts")
	fl.DurationVar(&o.duration, "duration", 10*time.Second, "`time` that is measured in a run")
	fl.DurationVar(&o.timeout, "timeout", 3*time.Minute, "longest `time` of a run, with all before and after")
	fl.StringVar(&o.out, "out", "docs/performance.md", "`file` to write the tables into; - = standard output")
	fl.StringVar(&o.json, "json", "", "`file` for the report of every run, one line of JSON each")
	if err := fl.Parse(args); err != nil {
		return nil, flag.ErrHelp // fl has said what is wrong
	}
	var err error
	if o.rows, err = regexp.Compile(*rows); err != nil {
		return nil, fmt.Errorf("-rows: %w", err)
	}
	o.peers = strings.FieldsFunc(*peers, func(r rune) bool { return r == ',' || r == ' ' })
	for _, p := range o.peers {
		if !slices.Contains(peerNames(), p) {
			return nil, fmt.Errorf("-peers: %q is unknown; there are %s", p, strings.Join(peerNames(), ", "))
		}
	}
	switch {
	case fl.NArg() > 0:
		return nil, fmt.Errorf("%q is no flag; see -help", fl.Arg(0))
	case o.runs < 1:
		return nil, errors.New("-runs: at least 1")
	case o.duration <= 0 || o.timeout <= o.duration:
		return nil, errors.New("-duration must be above 0 and below -timeout")
	}
	return o, nil
}

// run is the whole program.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	groups := rowGroups()
	if o.hostile {
		groups = hostileGroups()
	}
	groups, err = selected(groups, o.rows)
	if err != nil {
		return err
	}
	if o.out != "-" { // what cannot be written must show before the measuring
		if err := check(o.out); err != nil {
			return err
		}
	}
	if err := liftFileLimit(); err != nil {
		return fmt.Errorf("raise the limit of open files: %w", err)
	}
	dir, err := os.MkdirTemp("", "madang-peers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c := &comparison{groups: groups, runs: o.runs, journal: io.Discard}
	c.say = func(format string, args ...any) { fmt.Fprintf(stderr, format+"\n", args...) }
	if o.json != "" {
		f, err := os.Create(o.json)
		if err != nil {
			return err
		}
		defer f.Close()
		c.journal = f
	}
	c.say("builds and looks for the brokers")
	if c.brokers, c.missing, err = find(ctx, dir, o.peers); err != nil {
		return err
	}
	for _, err := range c.missing {
		c.say("not measured: %v", err)
	}
	c.meter = meter{madang: c.brokers[0].program, dir: dir, duration: o.duration, timeout: o.timeout}
	if err := c.compare(ctx); err != nil {
		return fmt.Errorf("the comparison did not come to its end, no table is written: %w", err)
	}
	page := c.page(clock.Now().UTC(), thisMachine(dir))
	if o.out == "-" {
		_, err := io.WriteString(stdout, page)
		return err
	}
	return writeInto(o.out, page)
}
