package main

import (
	"context"
	"io"
)

// input is stdin whose reads end when ctx does, where the system can wait for both.
type input struct {
	ctx context.Context
	in  io.Reader
}

// Read waits for something to read or the end of ctx.
func (r input) Read(p []byte) (int, error) {
	if err := waitInput(r.ctx, r.in); err != nil {
		return 0, err
	}
	return r.in.Read(p)
}
