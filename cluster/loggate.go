package cluster

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/madang-chat/madang/internal/clock"
)

// peerTroubles are what raft says, as an error and at each of its many tries, while a node cannot be reached: also when
// that one, or this one, has been stopped. Beginnings of lines.
var peerTroubles = []string{
	"failed to heartbeat to", "failed to appendEntries to", "failed to pipeline appendEntries to",
	"failed to make requestVote RPC", "failed to make requestPreVote RPC", "failed to decode incoming command",
	"failed to get previous log", "appendEntries rejected, sending older logs", "failed to contact",
}

const (
	troubleEvery = 10 * time.Second // how often each is said
	troublesMost = 256              // that are remembered
)

// troubleGate lets each of raft's troubles with a node through once in a while, as a warning.
type troubleGate struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// level returns at which level a line is to be logged.
func (g *troubleGate) level(level hclog.Level, msg string, args []any) hclog.Level {
	if level < hclog.Warn || !slices.ContainsFunc(peerTroubles, func(s string) bool { return strings.HasPrefix(msg, s) }) {
		return level
	}
	key := msg
	for i := 0; i+1 < len(args); i += 2 {
		if name, _ := args[i].(string); name == "peer" || name == "target" || name == "server-id" {
			key = fmt.Sprint(msg, " ", args[i+1]) // it names one node
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := clock.Now()
	if last, said := g.last[key]; said && now.Sub(last) < troubleEvery {
		return hclog.Debug
	}
	if g.last == nil || len(g.last) >= troublesMost {
		g.last = map[string]time.Time{}
	}
	g.last[key] = now
	return hclog.Warn
}
