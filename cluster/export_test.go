package cluster

import "github.com/hashicorp/raft"

// Raft gives tests what membership will use.
func (n *Node) Raft() *raft.Raft { return n.raft }

// OpenSnapshots gives tests the snapshot store of a node that does not run.
var OpenSnapshots = openSnapshots
