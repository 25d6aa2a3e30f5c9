package mqtttest

import (
	"testing"
	"time"
)

// Eventually waits, for Patience at most, for a condition that others bring about. It may be called by the test's own
// goroutine only.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(Patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", Patience, what)
		}
	}
}
