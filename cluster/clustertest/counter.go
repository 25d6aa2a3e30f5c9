package clustertest

import (
	"errors"

	"github.com/madang-chat/madang/cluster"
	"github.com/madang-chat/madang/internal/logentry"
)

// Counter is the cheapest state machine: it takes every command and answers all with the same bytes. For benchmarks
// of the way to it.
type Counter struct {
	index    uint64
	time     int64
	Commands uint64
}

var ok = []byte("ok")

// Apply implements cluster.StateMachine.
func (c *Counter) Apply(entries []logentry.Entry) ([][][][]byte, error) {
	results := make([][][][]byte, len(entries))
	for i := range entries {
		results[i] = make([][][]byte, len(entries[i].Groups))
		for g := range entries[i].Groups {
			answers := make([][]byte, len(entries[i].Groups[g].Commands))
			for k := range answers {
				answers[k] = ok
			}
			results[i][g] = answers
			c.Commands += uint64(len(answers))
		}
		c.index, c.time = entries[i].Index, entries[i].Time
	}
	return results, nil
}

// Applied implements cluster.StateMachine.
func (c *Counter) Applied() (uint64, int64) { return c.index, c.time }

// Sync implements cluster.StateMachine.
func (c *Counter) Sync() error { return nil }

var errNoFiles = errors.New("a counter has no files")

// Checkpoint implements cluster.StateMachine.
func (c *Counter) Checkpoint(string) error { return errNoFiles }

// Swap implements cluster.StateMachine.
func (c *Counter) Swap(string) error { return errNoFiles }

var _ cluster.StateMachine = (*Counter)(nil)
