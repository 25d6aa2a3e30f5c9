package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spf13/cobra"
)

func newRoomExport(c *apiClient) *cobra.Command {
	return &cobra.Command{
		Use: "export ROOM", Short: "Write a room to stdout as lines of JSON: what it is, every entry, its members",
		Long: "Write a room to stdout as lines of JSON: what it is, every entry in order, state, members and marks, and a last line\n" +
			"that says that it is whole. `madang room import` makes a room of it.",
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			token, err := c.login(cmd.Context(), cmd)
			if err != nil {
				return err
			}
			resp, err := c.open(cmd.Context(), http.MethodGet, roomPath(args[0])+"/export", token, nil)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			p := &progress{of: "exported", to: cmd.ErrOrStderr()}
			if _, err := io.Copy(io.MultiWriter(cmd.OutOrStdout(), p), resp.Body); err != nil {
				return fmt.Errorf("the export broke off, what was written is not whole: %w", err)
			}
			if !bytes.HasPrefix(p.last, []byte(`{"end":`)) {
				return errors.New("the export broke off: what was written is not whole")
			}
			p.done()
			return nil
		},
	}
}

func newRoomImport(c *apiClient) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "import ROOM", Short: "Make a room of an export on stdin, as an admin",
		Long: "Make a room of an export on stdin, as an admin. The room must be a new one; entries keep their numbers, times and\n" +
			"writers. An import that broke off is begun again with the same file, and goes on where it was.",
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := cmd.InOrStdin()
			if file != "" {
				f, err := os.Open(file)
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			} else if c.passwordStdin {
				return usagef("stdin is either the password or the export: give --file, or a token")
			}
			token, err := c.login(cmd.Context(), cmd)
			if err != nil {
				return err
			}
			p := &progress{of: "sent", to: cmd.ErrOrStderr()}
			resp, err := c.stream(cmd.Context(), http.MethodPost, roomPath(args[0])+"/import", token, "application/x-ndjson", io.TeeReader(in, p))
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			var got struct{ Lines, Skipped uint64 }
			if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&got); err != nil {
				return fmt.Errorf("%s answers something that is no JSON: %w", c.server, err)
			}
			p.done()
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d lines are in, %d of them were before\n", args[0], got.Lines, got.Skipped)
			return err
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "`file` to read in place of stdin")
	return cmd
}

// progressStep is after how many bytes progress is told.
const progressStep = 64 << 20

// progress counts what is written to it and tells of it now and then.
type progress struct {
	of    string
	to    io.Writer
	bytes int64
	lines int64
	last  []byte // beginning of the last line
	ended bool   // the last byte ended a line
}

// Write never fails.
func (p *progress) Write(b []byte) (int, error) {
	before := p.bytes
	p.bytes += int64(len(b))
	for _, c := range b {
		if p.ended {
			p.last, p.ended = p.last[:0], false
		}
		if c == '\n' {
			p.lines++
			p.ended = true
		} else if len(p.last) < 16 {
			p.last = append(p.last, c)
		}
	}
	if before/progressStep != p.bytes/progressStep {
		p.done()
	}
	return len(b), nil
}

func (p *progress) done() { fmt.Fprintf(p.to, "%d lines %s, %d MB\n", p.lines, p.of, p.bytes>>20) }
