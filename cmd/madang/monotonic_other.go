//go:build !linux

package main

// monotonicMicros is for systemd, which runs on Linux only.
func monotonicMicros() int64 { return 0 }
