package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"

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
	change("promote NODE", "Give a replica a vote", "/cluster/promote")
	change("remove NODE", "Take a node out of the cluster; stop it first, or it goes on asking for votes nobody counts", "/cluster/remove")
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
		if _, err := fmt.Fprintf(w, "%s\t%s\t%s\n", n.Node, role, n.Address); err != nil {
			return err
		}
	}
	return nil
}
