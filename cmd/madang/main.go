// Command madang is an MQTT broker made for chat, and the tools that go with it.
//
// Exit codes: 0 success, 1 failure, 2 usage, 78 configuration.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/internal/config"
)

// Exit codes that scripts depend on.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitConfig  = 78
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole program: it returns the exit code, and what it started has ended by then. A cancelled ctx ends it
// as SIGTERM does.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(stderr, "madang: %s\n", line)
	}
	_, usage := errors.AsType[*usageError](err)
	switch {
	case usage:
		fmt.Fprintf(stderr, "try: %s --help\n", cmd.CommandPath())
		return exitUsage
	case errors.Is(err, config.ErrInvalid), errors.Is(err, auth.ErrBadConfig):
		return exitConfig
	}
	return exitFailure
}

func newRootCommand() *cobra.Command {
	root := newGroup("madang", "An MQTT broker made for chat")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		newServeCommand(), newConfigCommand(), newUserCommand(), newTokenCommand(), newRoomCommand(),
		newClusterCommand(), newBackupCommand(), newRestoreCommand(), newVerifyCommand(),
		newPubCommand(), newSubCommand(), newBenchCommand(), newVersionCommand(),
	)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	return root
}

// usageError is an error in how the program was called (exit code 2).
type usageError struct{ error }

// Unwrap returns what was wrong.
func (e *usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// exactly asks for that many arguments.
func exactly(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := cobra.ExactArgs(n)(cmd, args); err != nil {
			return &usageError{fmt.Errorf("%w; usage: %s", err, cmd.UseLine())}
		}
		return nil
	}
}

// newGroup makes a command that only holds others.
func newGroup(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short,
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("which command? one of %s", strings.Join(names(cmd), ", "))
			}
			cmd.SuggestionsMinimumDistance = 2
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				return usagef("unknown command %q (did you mean %s?)", args[0], near[0])
			}
			return usagef("unknown command %q; one of %s", args[0], strings.Join(names(cmd), ", "))
		},
	}
}

func names(cmd *cobra.Command) []string {
	var all []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" {
			all = append(all, c.Name())
		}
	}
	return all
}
