package cluster

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/clock"
)

// A node that cannot be reached is a line every ten seconds and not one per try; what else raft says is as it was.
func TestTroublesWithANodeAreSaidOnce(t *testing.T) {
	var b bytes.Buffer
	l := newHCLogger(slog.New(slog.NewTextHandler(&b, nil)), "raft")
	try := func() {
		for range 5 {
			l.Error("failed to heartbeat to", "peer", "a:1", "error", errors.New("refused"))
			l.With("x", 1).Named("y").Error("failed to heartbeat to", "peer", "b:1", "error", errors.New("refused"))
			l.Error("failed to take snapshot", "error", errors.New("disk"))
		}
	}
	try()
	defer clock.SetOffset(troubleEvery + time.Second)()
	try()
	for line, want := range map[string]int{
		`level=WARN msg="failed to heartbeat to" component=raft peer=a:1`:     2,
		`level=WARN msg="failed to heartbeat to" component=raft x=1 peer=b:1`: 2,
		`level=ERROR msg="failed to take snapshot"`:                           10,
	} {
		if n := strings.Count(b.String(), line); n != want {
			t.Errorf("%d times %s, want %d", n, line, want)
		}
	}
}
