package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/madang-chat/madang/api"
	"github.com/madang-chat/madang/internal/roster"
)

// Version is what Options named.
func (a *App) Version() string { return a.version }

// Live says whether the process should go on.
func (a *App) Live(context.Context) []api.Check {
	check := api.Check{Name: "log"}
	if err := a.dead.Load(); err != nil {
		check.Err = *err
	}
	return []api.Check{check}
}

// Cluster is how the node sees its cluster.
func (a *App) Cluster() api.ClusterStatus {
	applied, _ := a.store.Applied()
	out := api.ClusterStatus{
		Node: a.nodeName(), Leader: a.node.Leader(), Role: a.node.Role(), Term: a.node.Term(), Applied: applied,
	}
	known := map[string]roster.Node{}
	for _, n := range a.roster.All() {
		known[n.Name] = n
	}
	for _, m := range a.node.Members() {
		n, up := known[m.ID]
		out.Nodes = append(out.Nodes, api.ClusterNode{
			Node: m.ID, Address: m.Address, Voter: m.Voter, Up: up, Zone: n.Zone, Connections: n.Connections, Draining: n.Draining,
		})
	}
	return out
}

// health is how the ops listener asks for readiness; App.Ready is the channel.
type health struct{ *App }

// Ready says whether clients should be sent here.
func (h health) Ready(context.Context) []api.Check {
	caughtUp := api.Check{Name: "log", Err: errors.New("what was committed before the start is not applied yet")}
	select {
	case <-h.node.Ready():
		caughtUp.Err = nil
	default:
	}
	out := []api.Check{caughtUp}
	if h.broker.Draining() {
		out = append(out, api.Check{Name: "drain", Err: errors.New("clients are sent to other nodes")})
	}
	if h.full.Load() {
		err := errors.New("the disk is nearly full: no writes are taken until there is room")
		if free, total, ok := h.space.look(); ok {
			err = fmt.Errorf("%w: %d of %d MiB are free, limits.disk_free is %d MiB", err, free>>20, total>>20, h.limits().DiskFree>>20)
		}
		out = append(out, api.Check{Name: "disk", Err: err})
	}
	if err := h.node.Stalled(); err != nil {
		out = append(out, api.Check{Name: "disk", Err: fmt.Errorf("%w in %s: nothing is acknowledged until it ends", err, h.space.dir)})
	}
	if h.cfg.Dev {
		c := api.Check{Name: "lobby"}
		if r, err := h.store.Room(Lobby); err != nil || r == nil {
			c.Err = errors.New("room lobby does not exist yet")
		}
		out = append(out, c)
	}
	return out
}

// register makes the node's metrics.
func (a *App) register() {
	a.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	a.metrics.MustRegister(a.broker.Collectors()...)
	a.metrics.MustRegister(a.webhooks.Collector())
	a.metrics.MustRegister(a.before.Collectors()...)
	a.metrics.MustRegister(limitMetrics{a})
	counter := func(name, help string, f func() float64) {
		a.metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "madang", Name: name, Help: help}, f))
	}
	a.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "madang", Name: "disk_free_bytes", Help: "Free space on the disk of the data.",
	}, func() float64 { free, _, _ := a.space.look(); return float64(free) }))
	gauge := func(name, help string, f func() float64) {
		a.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "madang", Name: name, Help: help}, f))
	}
	truth := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	gauge("disk_stalled", "Whether the node waits for a write that has not ended for limits.disk_patience.", func() float64 { return truth(a.node.Stalled() != nil) })
	counter("disk_stalls_total", "How often it has.", func() float64 { return float64(a.node.Stats().DiskStalls) })
	gauge("raft_leader", "Whether this node leads.", func() float64 { return truth(a.node.IsLeader()) })
	gauge("raft_has_leader", "Whether this node knows a leader: without one, writes wait.", func() float64 { return truth(a.node.Leader() != "") })
	gauge("raft_term", "Raft's term.", func() float64 { return float64(a.node.Term()) })
	gauge("raft_applied_index", "Last entry of the log that the store has.", func() float64 {
		applied, _ := a.store.Applied()
		return float64(applied)
	})
	gauge("cluster_members", "Nodes that belong to the cluster.", func() float64 { return float64(len(a.node.Members())) })
	gauge("cluster_members_up", "Nodes that have told of themselves within the last seconds, this one among them.", func() float64 {
		return float64(len(a.roster.All()))
	})
	counter("log_commands_total", "Commands of this node whose result is known.", func() float64 { return float64(a.node.Stats().Answered) })
	counter("log_entries_total", "Entries of the log handed to raft by this node.", func() float64 { return float64(a.node.Stats().Entries) })
	counter("log_syncs_total", "Appends of the log store, one fsync each.", func() float64 { return float64(a.node.Stats().LogAppends) })
	counter("log_sync_seconds_total", "Time spent in them.", func() float64 { return a.node.Stats().LogAppendTime.Seconds() })
}
