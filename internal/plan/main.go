// Plan computes what docs/scale.md says about one room with a million connections and about 60 billion messages a day.
//
//	go run ./internal/plan                        prints the tables
//	go run ./internal/plan -write docs/scale.md   puts them between the markers of that file
//
// It is a plan, not a measurement: figures of one node (costs.go) are carried to many nodes by a simulation of queues and
// by arithmetic. The same build prints the same bytes every time.
//
//	costs.go     what one node costs, and where each figure comes from
//	timeline.go  events in order of time
//	gather.go    the one idea of the broker's queues: what gathers while a server works is its next lot
//	latency.go   millions of latencies, exactly; stream.go: when messages come
//	room.go      a room: publisher, leader's log, replicas, relays, sweeps
//	storm.go     everybody connects again
//	zipf.go      how messages are spread over rooms; place.go: how rooms are spread over groups
//	disk.go      several groups, one disk
//	day.go       a day's messages: groups, nodes, bytes
//	report*.go   the tables; table.go: how they are written
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "plan:", err)
		os.Exit(1)
	}
}

// run prints the report, or writes it into the file that -write names.
func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("plan", flag.ContinueOnError)
	file := flags.String("write", "", "put the tables between the markers of this `file` instead of printing them")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected %q: there are no arguments, only -write FILE", flags.Arg(0))
	}
	tables, err := report()
	if err != nil {
		return err
	}
	if *file != "" {
		return put(*file, tables)
	}
	_, err = out.Write(tables)
	return err
}

// put replaces what stands between the markers of a file by tables. A file without markers is left as it is.
func put(file string, tables []byte) error {
	page, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the page for -write: %w", err)
	}
	before, _, after, err := cut(page)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, bytes.Join([][]byte{before, tables, after}, nil), 0o644)
}

// The lines of a page between which the tables stand.
const (
	beginMark = "<!-- plan: begin -->\n"
	endMark   = "<!-- plan: end -->\n"
)

// cut returns what stands before, between and after the markers.
func cut(page []byte) (before, tables, after []byte, err error) {
	i := bytes.Index(page, []byte(beginMark))
	j := bytes.Index(page, []byte(endMark))
	if i < 0 || j < i {
		return nil, nil, nil, fmt.Errorf("needs the line %q and after it the line %q", beginMark[:len(beginMark)-1], endMark[:len(endMark)-1])
	}
	i += len(beginMark)
	return page[:i], page[i:j], page[j:], nil
}
