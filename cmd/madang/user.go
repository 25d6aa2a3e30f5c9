package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/madang-chat/madang/hooks/auth"
)

const maxPassword = 64 << 10 // bytes read from stdin; what a password may be is decided by auth

func newUserCommand() *cobra.Command {
	group := newGroup("user", "Keep the file of users and passwords")
	var f userFile
	sub := func(use, short string, args int, run func(cmd *cobra.Command, args []string) error) {
		cmd := &cobra.Command{Use: use, Short: short, Args: exactly(args), RunE: run}
		f.register(cmd)
		group.AddCommand(cmd)
	}
	sub("add NAME", "Add a user; the password is the first line of stdin", 1, f.add)
	sub("passwd NAME", "Change a user's password; it is the first line of stdin", 1, f.passwd)
	sub("del NAME", "Remove a user", 1, f.del)
	sub("list", "List the users", 0, f.list)
	return group
}

// userFile are the flags that say which users file is meant.
type userFile struct {
	configFlags
	path string
}

func (f *userFile) register(cmd *cobra.Command) {
	f.configFlags.register(cmd)
	cmd.Flags().StringVar(&f.path, "file", "", "users `file` (default: auth.users_file of the configuration)")
}

// open reads the users file. A missing one is an empty one where make is set.
func (f *userFile) open(create bool) (*auth.UsersFile, string, error) {
	path := f.path
	if path == "" {
		c, err := f.load()
		if err != nil {
			return nil, "", err
		}
		if path = c.Auth.UsersFile; path == "" {
			return nil, "", usagef("no users file: give --file, or --config with auth.users_file")
		}
	}
	u, err := auth.LoadUsersFile(path)
	if create && errors.Is(err, fs.ErrNotExist) {
		return auth.NewUsersFile(path), path, nil
	}
	return u, path, err
}

func (f *userFile) add(cmd *cobra.Command, args []string) error {
	u, path, err := f.open(true)
	if err != nil {
		return err
	}
	if u.Has(args[0]) {
		return fmt.Errorf("user %q is in %s already; change the password with: madang user passwd", args[0], path)
	}
	return setPassword(cmd, u, args[0])
}

func (f *userFile) passwd(cmd *cobra.Command, args []string) error {
	u, path, err := f.open(false)
	if err != nil {
		return err
	}
	if !u.Has(args[0]) {
		return fmt.Errorf("user %q is not in %s; add it with: madang user add", args[0], path)
	}
	return setPassword(cmd, u, args[0])
}

func setPassword(cmd *cobra.Command, u *auth.UsersFile, name string) error {
	password, err := readPassword(cmd.Context(), cmd.InOrStdin(), cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	if err := u.Set(name, password); err != nil {
		return err
	}
	return u.Save()
}

func (f *userFile) del(_ *cobra.Command, args []string) error {
	u, _, err := f.open(false)
	if err != nil {
		return err
	}
	if err := u.Delete(args[0]); err != nil {
		return err
	}
	return u.Save()
}

// list prints what can be read and fails when some lines cannot.
func (f *userFile) list(cmd *cobra.Command, _ []string) error {
	u, _, err := f.open(false)
	if err != nil {
		return err
	}
	for _, name := range u.List() {
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), name); err != nil {
			return err
		}
	}
	return u.Check()
}

// readPassword returns the first line of in without its end. On a terminal it asks, and the terminal does not show
// what is typed.
func readPassword(ctx context.Context, in io.Reader, prompt io.Writer) ([]byte, error) {
	if file, ok := in.(*os.File); ok {
		if restore, err := hideTyping(file); err == nil {
			fmt.Fprint(prompt, "Password: ")
			defer fmt.Fprintln(prompt)
			defer restore()
		}
	}
	line, err := bufio.NewReader(io.LimitReader(input{ctx, in}, maxPassword+1)).ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read password: %w", err)
	}
	line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	switch {
	case len(line) == 0:
		return nil, usagef("no password on stdin")
	case len(line) > maxPassword:
		return nil, errors.New("the password is too long")
	}
	return line, nil
}
