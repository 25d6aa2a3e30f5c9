//go:build !linux

package main

import (
	"context"
	"errors"
	"io"
	"os"
)

// hideTyping is not known for this system: what is typed is shown.
func hideTyping(*os.File) (restore func(), err error) { return nil, errors.ErrUnsupported }

// waitInput does not wait: the read does, and cannot be interrupted.
func waitInput(ctx context.Context, _ io.Reader) error { return ctx.Err() }

// isTerminal is not known for this system.
func isTerminal(*os.File) bool { return false }
