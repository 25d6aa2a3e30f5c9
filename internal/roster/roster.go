// Package roster knows where clients find the nodes of a cluster and how busy each is, for those who ask where to go and
// those who are sent elsewhere. Each node tells it of itself every second, past the log: what is a few seconds old is
// forgotten, and nothing depends on it.
package roster

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/madang-chat/madang/internal/clock"
)

// Node is what a node tells of itself. Addresses are URLs, "" where it does not listen.
type Node struct {
	Name        string  `json:"node"`
	Zone        string  `json:"zone,omitempty"`
	MQTT        string  `json:"mqtt,omitempty"`
	MQTTS       string  `json:"mqtts,omitempty"`
	WS          string  `json:"ws,omitempty"`
	Connections int     `json:"connections"`
	Load        float64 `json:"load"` // connections as a share of what the node takes
	Draining    bool    `json:"draining,omitempty"`
	Full        bool    `json:"full,omitempty"` // its disk has no room for what clients write
}

const (
	// Every is how often a node tells.
	Every = time.Second
	// Fresh is how long what it told is believed.
	Fresh = 4 * time.Second

	full    = 0.95 // of what a node takes: nobody is sent there
	similar = 10   // steps of load: nodes within one are taken in turn, or all would go to the same
	refer   = 3    // nodes in a server reference
)

// Roster is one node's view. Its methods may be called by many goroutines.
type Roster struct {
	self func() Node

	mu     sync.Mutex
	others map[string]told
}

type told struct {
	node Node
	at   time.Time // of clock.Now, compared by its monotonic reading
}

// New makes the roster of a node that is as self says.
func New(self func() Node) *Roster { return &Roster{self: self, others: map[string]told{}} }

// Own is what this node tells of itself.
func (r *Roster) Own() (name string, data []byte) {
	n := r.self()
	data, _ = json.Marshal(n) // of strings and numbers: never fails
	return n.Name, data
}

// Told takes what another node tells of itself.
func (r *Roster) Told(name string, data []byte) {
	var n Node
	if json.Unmarshal(data, &n) != nil || n.Name != name {
		return // of a version that says it otherwise
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.others[name] = told{n, clock.Now()}
}

// All returns every node that is known, this one first, the others by name.
func (r *Roster) All() []Node {
	out := []Node{r.self()}
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, t := range r.others {
		if clock.Since(t.at) > Fresh {
			delete(r.others, name)
			continue
		}
		out = append(out, t.node)
	}
	slices.SortFunc(out[1:], func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Best returns the nodes that take clients: those of a zone first, then the less busy ones, in turn among equals.
func (r *Roster) Best(zone string) []Node {
	out := slices.DeleteFunc(r.All(), func(n Node) bool { return n.Draining || n.Full || n.Load >= full })
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	slices.SortStableFunc(out, func(a, b Node) int {
		if here := zone != "" && a.Zone == zone; zone != "" && here != (b.Zone == zone) {
			if here {
				return -1
			}
			return 1
		}
		return int(a.Load*similar) - int(b.Load*similar)
	})
	return out
}

// Elsewhere is the server reference (MQTT 5, 4.13) for a client that came by a transport (tcp, tls, ws, wss) and is to go to
// another node: up to three, the best first. "" when there is none.
func (r *Roster) Elsewhere(transport string) string {
	me := r.self()
	var refs []string
	for _, n := range r.Best(me.Zone) {
		ref := ""
		switch transport {
		case "tcp":
			ref = strings.TrimPrefix(n.MQTT, "mqtt://")
		case "tls":
			ref = strings.TrimPrefix(n.MQTTS, "mqtts://")
		default:
			ref = n.WS
		}
		if n.Name != me.Name && ref != "" && len(refs) < refer {
			refs = append(refs, ref)
		}
	}
	return strings.Join(refs, " ")
}
