//go:build !stepclock

package main

import "time"

// wallClock is what log time follows; nil = the machine's.
var wallClock func() time.Time
