package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/madang-chat/madang/cluster"
	"github.com/madang-chat/madang/internal/app"
)

func newBackupCommand() *cobra.Command {
	var c apiClient
	var force bool
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Write everything that has been acknowledged to a file, from a node that runs",
		Long: "Write everything that has been acknowledged to a file, from a node that runs: rooms, sessions, members.\n" +
			"It is read back and checked before it gets its name. `madang restore` makes a new cluster of it.",
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := os.Stat(args[0]); err == nil && !force {
				return usagef("%s exists: choose another name, or replace it with --force", args[0])
			}
			return backup(cmd, &c, args[0])
		},
	}
	c.register(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "replace the file if it exists")
	return cmd
}

// backup writes beside the file first, so that half a backup never has its name.
func backup(cmd *cobra.Command, c *apiClient, file string) (err error) {
	token, err := c.login(cmd.Context(), cmd)
	if err != nil {
		return err
	}
	resp, err := c.open(cmd.Context(), http.MethodGet, "/cluster/backup", token, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	part, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*.part")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(part.Name()))
		}
	}()
	size, err := io.Copy(part, resp.Body)
	if err == nil {
		err = part.Sync()
	}
	if err = errors.Join(err, part.Close()); err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	info, err := checkBackup(part.Name())
	if err == nil {
		err = os.Rename(part.Name(), file)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d bytes, of node %s, up to entry %d\n", file, size, info.Node, info.Applied)
	return err
}

func checkBackup(file string) (cluster.BackupInfo, error) {
	f, err := os.Open(file)
	if err != nil {
		return cluster.BackupInfo{}, err
	}
	defer f.Close()
	info, err := cluster.CheckBackup(f)
	if err != nil {
		err = fmt.Errorf("%s: %w", file, err)
	}
	return info, err
}

func newRestoreCommand() *cobra.Command {
	var f configFlags
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Make a backup the data of this node, as the first one of a new cluster",
		Long: "Make a backup the data of this node, which must have none and must not run: give the configuration that it will be\n" +
			"served with. The node is a new cluster; others join it with empty disks. In every room the numbers go on a\n" +
			"million later and the first entry says so (a new era), so that nobody who saw more than the backup has takes\n" +
			"new messages for old ones.",
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.load()
			if err != nil {
				return err
			}
			file, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer file.Close()
			info, err := app.Restore(c, file, newLogger(c, nil, cmd.ErrOrStderr()), die)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "restored what node %s had on %s, up to entry %d; start the node, then the others with empty disks\n",
				info.Node, time.UnixMilli(info.Made).UTC().Format(time.RFC3339), info.Applied)
			return err
		},
	}
	f.registerServe(cmd)
	return cmd
}

// die ends the process when the store cannot be written and would try for ever.
func die(err error) {
	fmt.Fprintf(os.Stderr, "madang: %v\n", err)
	os.Exit(exitFailure)
}

func newVerifyCommand() *cobra.Command {
	var f configFlags
	cmd := &cobra.Command{
		Use: "verify [BACKUP]", Short: "Check every byte of a node's data, or of a backup, and change nothing",
		Long: "Check every byte of the data of a node that does not run, or of a backup: checksums, numbers, counts, and that\n" +
			"log, snapshot and store belong together. The exit code is 1 when something is wrong.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("want one backup at most")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				info, err := checkBackup(args[0])
				if err == nil {
					_, err = fmt.Fprintf(cmd.OutOrStdout(), "backup of node %s, up to entry %d\nok\n", info.Node, info.Applied)
				}
				return err
			}
			c, err := f.load()
			if err != nil {
				return err
			}
			return app.Verify(c, cmd.OutOrStdout())
		},
	}
	f.registerServe(cmd)
	return cmd
}

func newRecoverCommand() *cobra.Command {
	var f configFlags
	var yes bool
	cmd := &cobra.Command{
		Use: "recover", Short: "Make one node of a cluster that lost its majority for good the first of a new one",
		Long: "Make what this node has left the beginning of a new cluster with it as the only voter. Do it when most voters are\n" +
			"lost for good, on one node that does not run: the one whose log goes furthest (madang verify). What it has in its\n" +
			"log is kept, acknowledged or not; what only the lost nodes had is gone, though it may have been acknowledged.\n" +
			"Rooms open a new era, as after a restore. The other nodes must never run again with their data: empty their disks\n" +
			"and start them, and they join.",
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !yes {
				return usagef("messages may be lost, and the old cluster cannot come back: read --help, then give --yes")
			}
			c, err := f.load()
			if err != nil {
				return err
			}
			r, err := app.Recover(c, newLogger(c, nil, cmd.ErrOrStderr()), die)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "a new cluster begins at entry %d, with %d entries that only the log had; "+
				"start the node, then the others with empty disks\n", r.Index, r.Replayed)
			return err
		},
	}
	f.registerServe(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "the majority is lost for good")
	return cmd
}
