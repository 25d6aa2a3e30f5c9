//go:build race

package transport

// raceEnabled: under the race detector sync.Pool drops at random, so allocations mean nothing.
const raceEnabled = true
