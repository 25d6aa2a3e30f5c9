package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/madang-chat/madang/api"
)

func newClusterCommand() *cobra.Command {
	group := newGroup("cluster", "See and change which nodes make the cluster, as an admin, through any node")
	var c apiClient
	add := func(cmd *cobra.Command) {
		c.register(cmd)
		group.AddCommand(cmd)
	}
	add(newTable(&c, "status", "List the nodes", "/cluster", printCluster))
	add(&cobra.Command{
		Use: "leader", Short: "Print the name of the node that leads", Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s api.ClusterStatus
			if err := c.call(cmd, http.MethodGet, "/cluster", nil, &s); err != nil {
				return err
			}
			if s.Leader == "" {
				return fmt.Errorf("node %s knows of no leader", s.Node)
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), s.Leader)
			return err
		},
	})
	change := func(use, short, path string) {
		add(&cobra.Command{
			Use: use, Short: short, Args: exactly(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return c.call(cmd, http.MethodPost, path, map[string]string{"node": args[0]}, nil)
			},
		})
	}
	add(&cobra.Command{
		Use: "add NODE [ADDRESS]", Short: "Let a node come in; with the host:port of its cluster.bind it is told whom to join",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usagef("want a node, and an address where it is to be told")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]string{"node": args[0]}
			if len(args) == 2 {
				body["address"] = args[1]
			}
			return c.call(cmd, http.MethodPost, "/cluster/add", body, nil)
		},
	})
	add(newDrainCommand(&c))
	group.AddCommand(newRecoverCommand())
	change("promote NODE", "Give a replica a vote", "/cluster/promote")
	change("remove NODE", "Take a node out of the cluster; one that still runs finds out within some ten seconds, and ends", "/cluster/remove")
	add(&cobra.Command{
		Use: "transfer [NODE]", Short: "Hand leadership to a voter, the fittest when none is named",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("want one node at most")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]string{}
			if len(args) == 1 {
				body["node"] = args[0]
			}
			return c.call(cmd, http.MethodPost, "/cluster/transfer", body, nil)
		},
	})
	return group
}

// drainLook is how often a command asks how far a node is.
const drainLook = 500 * time.Millisecond

// newDrainCommand returns the command that empties a node of clients before it is stopped.
func newDrainCommand(c *apiClient) *cobra.Command {
	var end bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "drain NODE", Short: "Send a node's clients to the others, let no new ones in, and wait until none is left",
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var s api.ClusterStatus
			if err := c.call(cmd, http.MethodPost, "/cluster/drain", map[string]any{"node": args[0], "end": end}, &s); err != nil || end {
				return err
			}
			late := time.NewTimer(wait)
			defer late.Stop()
			for {
				i := slices.IndexFunc(s.Nodes, func(n api.ClusterNode) bool { return n.Node == args[0] })
				if i < 0 || s.Nodes[i].Draining && s.Nodes[i].Connections == 0 {
					return nil
				}
				select {
				case <-time.After(drainLook):
				case <-late.C:
					return fmt.Errorf("node %s still has %d connections after %v", args[0], s.Nodes[i].Connections, wait)
				case <-cmd.Context().Done():
					return cmd.Context().Err()
				}
				if err := c.call(cmd, http.MethodGet, "/cluster", nil, &s); err != nil {
					return err
				}
			}
		},
	}
	cmd.Flags().BoolVar(&end, "end", false, "let clients come again")
	cmd.Flags().DurationVar(&wait, "wait", time.Minute, "how long to wait")
	return cmd
}

// printCluster prints a line for each node.
func printCluster(w io.Writer, answer []byte) error {
	var s api.ClusterStatus
	if err := json.Unmarshal(answer, &s); err != nil {
		return fmt.Errorf("the answer is no status of a cluster: %w", err)
	}
	for _, n := range s.Nodes {
		role := "replica"
		switch {
		case n.Node == s.Leader:
			role = "leader"
		case n.Voter:
			role = "voter"
		}
		state := "up"
		switch {
		case !n.Up:
			state = "silent"
		case n.Draining:
			state = "draining"
		}
		if _, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", n.Node, role, n.Address, state, n.Connections, cmp.Or(n.Zone, "-")); err != nil {
			return err
		}
	}
	return nil
}
