//go:build race

package broker_test

// raceEnabled: everything takes ten times as long, and what lags for that is not what a test is after.
const raceEnabled = true
