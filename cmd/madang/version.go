package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Set by the linker for releases; otherwise taken from what the go command wrote into the binary.
var (
	version string
	commit  string
)

// build says which program this is.
type build struct {
	version, commit string
	modified        bool
}

func buildInfo() build {
	b := build{version: version, commit: commit}
	info, ok := debug.ReadBuildInfo()
	if ok {
		if v := info.Main.Version; v != "" && v != "(devel)" {
			b.version = cmp.Or(b.version, v)
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.commit = cmp.Or(b.commit, s.Value)
			case "vcs.modified":
				b.modified = s.Value == "true"
			}
		}
	}
	b.version = cmp.Or(b.version, "devel")
	b.commit = cmp.Or(b.commit, "unknown")
	return b
}

func (b build) String() string {
	c := b.commit[:min(12, len(b.commit))]
	if b.modified {
		c += "+changes"
	}
	return fmt.Sprintf("madang %s (commit %s, %s %s/%s)", b.version, c, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and Go version",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), buildInfo())
			return err
		},
	}
}
