//go:build stepclock

package main

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"github.com/madang-chat/madang/internal/clock"
)

// init sets the wall clock of the process off by the duration that stands in the file MADANG_CLOCK names, again and again,
// and says in a file beside it, .seen, what it has read. Programs built like this are for make chaos: a process cannot be
// given a wall clock of its own.
func init() {
	name := os.Getenv("MADANG_CLOCK")
	if name == "" {
		return
	}
	var seen []byte
	look := func() {
		text, err := os.ReadFile(name)
		if err != nil || bytes.Equal(text, seen) {
			return
		}
		off, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil {
			return
		}
		clock.Step(time.Duration(off))
		if os.WriteFile(name+".seen", text, 0o600) == nil {
			seen = text
		}
	}
	look()
	go func() {
		for range time.Tick(10 * time.Millisecond) {
			look()
		}
	}()
}
