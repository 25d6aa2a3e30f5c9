package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/madang-chat/madang/internal/config"
)

// configFlags are the flags that every command with a configuration has.
type configFlags struct {
	file    string
	dev     bool
	set     []string
	dataDir string
	pidFile string
}

func (f *configFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.file, "config", "", "configuration `file` (YAML)")
	cmd.Flags().BoolVar(&f.dev, "dev", false, "defaults for development: everybody may log in, from this machine")
	cmd.Flags().StringArrayVar(&f.set, "set", nil, "set one `key=value`; may be repeated")
}

// registerServe adds the short forms that only make sense for a node that is to run.
func (f *configFlags) registerServe(cmd *cobra.Command) {
	f.register(cmd)
	cmd.Flags().StringVar(&f.dataDir, "data-dir", "", "`directory` of everything the node stores (node.data_dir)")
	cmd.Flags().StringVar(&f.pidFile, "pid-file", "", "`file` for the process id (node.pid_file)")
}

// load reads the configuration; it is called again for a reload.
func (f *configFlags) load() (*config.Config, error) {
	o := config.Options{File: f.file, Env: os.Environ(), Dev: f.dev, Set: f.set}
	if f.dataDir != "" {
		o.Flags = append(o.Flags, config.Option{Flag: "--data-dir", Key: "node.data_dir", Value: f.dataDir})
	}
	if f.pidFile != "" {
		o.Flags = append(o.Flags, config.Option{Flag: "--pid-file", Key: "node.pid_file", Value: f.pidFile})
	}
	return config.Load(o)
}

// loadValid is load for a node that is to run: the configuration is complete and allowed, and its files can be used.
func (f *configFlags) loadValid() (*config.Config, error) {
	c, err := f.load()
	if err != nil {
		return nil, err
	}
	if err := checkAll(c); err != nil {
		return nil, err
	}
	return c, nil
}

// checkAll refuses what serve must not run with. What is in a file is looked at when all files are there.
func checkAll(c *config.Config) error {
	if err := errors.Join(c.Validate(), c.CheckFiles()); err != nil {
		return err
	}
	return checkContents(c)
}

func newConfigCommand() *cobra.Command {
	var f configFlags
	var keys, check bool
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print every configuration key with its value and where it comes from",
		Long: "Print every configuration key with its value and where it comes from, then check it as serve would.\n" +
			"The exit code is 78 when serve would refuse it.",
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if keys {
				return config.WriteKeys(cmd.OutOrStdout())
			}
			c, err := f.load()
			if err != nil {
				return err
			}
			if !check {
				if err := config.WriteValues(cmd.OutOrStdout(), c); err != nil {
					return err
				}
			}
			return checkAll(c)
		},
	}
	f.registerServe(cmd)
	cmd.Flags().BoolVar(&keys, "keys", false, "print the keys there are, with kind, default and meaning")
	cmd.Flags().BoolVar(&check, "check", false, "print nothing, only check")
	return cmd
}
