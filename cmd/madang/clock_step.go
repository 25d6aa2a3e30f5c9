//go:build stepclock

package main

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/madang-chat/madang/internal/clock"
)

// wallClock is that of the machine, off by the duration that stands in the file MADANG_CLOCK names. Programs built like
// this are for make chaos: a process cannot be given a wall clock of its own.
var wallClock = func() time.Time {
	now := clock.Now()
	text, err := os.ReadFile(os.Getenv("MADANG_CLOCK"))
	if err != nil {
		return now
	}
	off, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return now
	}
	return now.Add(time.Duration(off))
}
