package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/madang-chat/madang/internal/config"
)

func newServeCommand() *cobra.Command {
	var f configFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node",
		Long:  serveHelp(),
		Args:  exactly(0),
		RunE: func(*cobra.Command, []string) error {
			if _, err := f.loadValid(); err != nil {
				return err
			}
			return errors.New("not wired")
		},
	}
	f.registerServe(cmd)
	return cmd
}

// serveHelp is the text of `madang serve --help`, the keys of the configuration included.
func serveHelp() string {
	var b strings.Builder
	b.WriteString("Run a node until SIGTERM. SIGHUP reads the configuration again.\n\n" +
		"A value comes from --set, else the environment (MADANG_LISTENERS__MQTT__BIND), else the file,\n" +
		"else the defaults of --dev, else the default.\n")
	if err := config.WriteKeys(&b); err != nil {
		return err.Error()
	}
	return b.String()
}
