package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/madang-chat/madang/cluster"
	"github.com/madang-chat/madang/cluster/link"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

// devSecret is what the nodes of --dev trust each other by. Everybody knows it, so --dev listens on loopback only.
const devSecret = "madang --dev: known to everybody"

// openCluster opens the port for other nodes, if there are to be any.
func (a *App) openCluster(cc *cluster.Config, o *Options) error {
	c := &a.cfg.Cluster
	if !c.Several() {
		return nil
	}
	id, err := a.identity()
	if err != nil {
		return err
	}
	port, err := link.Listen(c.Bind, id, a.log.With("component", "cluster"))
	if err != nil {
		return err
	}
	if o.Dial != nil {
		port.DialWith(o.Dial)
	}
	cc.Port, cc.Address, cc.Seeds = port, c.Reached(), c.Join
	cc.Invited = c.CertFile != ""
	cc.Expect, cc.Replica = c.BootstrapExpect, a.cfg.Node.Role == "replica"
	cc.Several(c.Heartbeat)
	return nil
}

func closePort(p *link.Port) error {
	if p == nil {
		return nil
	}
	return p.Close()
}

// identity is what this node proves itself with to others.
func (a *App) identity() (*link.Identity, error) {
	c := &a.cfg.Cluster
	switch {
	case c.CertFile != "":
		return link.FromFiles(a.nodeName(), c.CertFile, c.KeyFile, c.CAFile)
	case c.SecretFile != "":
		secret, err := os.ReadFile(c.SecretFile)
		if err != nil {
			return nil, fmt.Errorf("cluster.secret_file: %w", err)
		}
		id, err := link.FromSecret(a.nodeName(), bytes.TrimSpace(secret))
		if err != nil {
			return nil, fmt.Errorf("cluster.secret_file %s: %w", c.SecretFile, err)
		}
		return id, nil
	}
	return link.FromSecret(a.nodeName(), []byte(devSecret))
}

// Promote gives a replica a vote.
func (a *App) Promote(ctx context.Context, node string) error {
	return changeProblem(a.node.Promote(ctx, node))
}

// Add lets a node come in; with an address it is also told whom to ask.
func (a *App) Add(ctx context.Context, node, address string) error {
	return changeProblem(a.node.Add(ctx, node, address))
}

// Backup writes everything this node has applied to w, as one file.
func (a *App) Backup(w io.Writer) error { return a.node.Backup(w, a.version) }

// Remove takes a node out of the cluster.
func (a *App) Remove(ctx context.Context, node string) error {
	return changeProblem(a.node.Remove(ctx, node))
}

// Transfer hands leadership over, to the fittest voter where node is empty.
func (a *App) Transfer(ctx context.Context, node string) error {
	for _, n := range a.roster.All() {
		if n.Name == node && (n.Draining || n.Full) {
			return asItWas("Node %q is draining or has no room on its disk, and would not keep leadership.", node)
		}
	}
	return changeProblem(a.node.Transfer(ctx, node))
}

// changeProblem tells an admin why the cluster is as it was.
func changeProblem(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, cluster.ErrNotMember):
		return problem.New(problem.NotFound, "%s.", err)
	case errors.Is(err, cluster.ErrNoLeader):
		return problem.New(problem.NoQuorum, "%s.", err)
	case errors.Is(err, cluster.ErrUnknown):
		return problem.New(problem.OutcomeUnknown, "%s.", err)
	}
	return asItWas("%s.", err)
}

// asItWas is a change of the cluster that was refused.
func asItWas(format string, args ...any) error {
	p := problem.New(problem.Conflict, format, args...)
	p.Title = "The cluster is as it was."
	return p
}

// barrier waits until this node has everything that was acknowledged anywhere before: a command that changes nothing
// takes its place behind it.
func (a *App) barrier(ctx context.Context) error {
	if a.node.IsLeader() && len(a.node.Members()) == 1 {
		return nil // what one node acknowledged it has applied
	}
	done := make(chan error, 1)
	a.commands().Propose(&storage.NodeUp{Node: a.nodeName(), Boot: a.node.Boot()}, func(_ storage.Result, err error) { done <- err })
	if a.node.Leader() == "" {
		return problem.New(problem.NoQuorum, "")
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return problem.New(problem.NoQuorum, "")
	}
}
