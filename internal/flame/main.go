// Command flame draws a CPU profile as a flame graph: width is time, what stands on something was called by it.
//
// usage: flame [-title TEXT] [-least SHARE] PROFILE >graph.svg
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/google/pprof/profile"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "flame:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("flame", flag.ContinueOnError)
	title := flags.String("title", "CPU", "`text` above the graph")
	least := flags.Float64("least", 0.004, "`share` of the time below which a frame is left out")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("one profile is drawn at a time, %d are given; usage: flame [flags] PROFILE >graph.svg", flags.NArg())
	}
	f, err := os.Open(flags.Arg(0))
	if err != nil {
		return err
	}
	defer f.Close()
	p, err := profile.Parse(f)
	if err != nil {
		return fmt.Errorf("%s: %w; it must be a profile of /debug/pprof/profile or go test -cpuprofile", flags.Arg(0), err)
	}
	w := bufio.NewWriter(out)
	draw(w, *title, fold(p), *least)
	return w.Flush()
}
