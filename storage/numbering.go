package storage

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/madang-chat/madang/internal/logentry"
)

// resultSlots is how many groups of results are kept per node. A node has at most a few entries in flight, each with one
// group of its own, so what it may ask for again is among them.
const resultSlots = 64

// nodeState is where a node stands in its numbering: Apply takes number Last+1 of the current boot, answers lower ones
// from the ring and ignores everything else, so that a node may always propose again.
type nodeState struct {
	Boot   uint64
	Last   uint64 // number of its last command applied
	Groups uint64 // groups of results written; the ring slot is Groups mod resultSlots
	Since  int64  // log time (ms) of the first entry of the boot
	Lost   int64  // log time (ms) of NodeLost, 0 = alive
}

const nodeVersion = 1

func (n nodeState) encode() []byte {
	b := append(make([]byte, 0, 32), nodeVersion)
	for _, v := range [...]uint64{n.Boot, n.Last, n.Groups, uint64(n.Since), uint64(n.Lost)} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func decodeNode(b []byte) (nodeState, error) {
	r := readRecord(b, nodeVersion)
	n := nodeState{
		Boot: r.uvarint(), Last: r.uvarint(), Groups: r.uvarint(), Since: int64(r.uvarint()), Lost: int64(r.uvarint()),
	}
	if !r.end() {
		return nodeState{}, fmt.Errorf("%w: node record", ErrEntry)
	}
	return n, nil
}

// group is the run of commands in hand and what they were answered.
type group struct {
	node    string
	first   uint64 // number of results[0]
	results [][]byte
	state   *nodeState
}

// applyGroup applies the commands of g that are due and returns an answer per command; nil where there is none.
func (t *tx) applyGroup(g *logentry.Group) [][]byte {
	results := make([][]byte, len(g.Commands))
	if !good(g.Node) {
		return results
	}
	st, known := t.s.nodes[g.Node]
	switch {
	case !known || g.Boot > st.Boot:
		if known {
			t.endBoot(g.Node, st)
		}
		st = nodeState{Boot: g.Boot, Groups: st.Groups, Since: t.now}
		t.changed.Nodes = append(t.changed.Nodes, NodeChange{Node: g.Node, Boot: g.Boot, Up: true})
	case g.Boot < st.Boot:
		return results
	}
	t.group = group{node: g.Node, first: st.Last + 1, state: &st, results: make([][]byte, 0, len(g.Commands))}
	for i, c := range g.Commands {
		switch n := g.First + uint64(i); {
		case n == st.Last+1 && n != 0:
			results[i] = t.applyCommand(c)
			st.Last = n
			t.group.results = append(t.group.results, results[i])
		case n <= st.Last && n != 0:
			results[i] = t.remembered(n)
		}
		if t.err != nil {
			return results
		}
	}
	t.writeGroup()
	return results
}

// ringRecord is one slot of a node's ring, as this batch wrote it.
type ringRecord struct {
	node  string
	slot  uint64
	value []byte
}

const ringVersion = 1

func ringKey(node string, slot uint64) []byte { return append(key(prefixGroup, node), byte(slot)) }

// writeGroup puts the results of the group in the ring and the numbering in the batch.
func (t *tx) writeGroup() {
	g := &t.group
	if len(g.results) > 0 {
		size := 24
		for _, r := range g.results {
			size += len(r) + 2
		}
		b := append(make([]byte, 0, size), ringVersion)
		for _, v := range [...]uint64{g.state.Boot, g.first, uint64(len(g.results))} {
			b = binary.AppendUvarint(b, v)
		}
		for _, r := range g.results {
			b = appendSized(b, r)
		}
		slot := g.state.Groups % resultSlots
		t.write(ringKey(g.node, slot), b)
		t.rings = append(t.rings, ringRecord{g.node, slot, b})
		g.state.Groups++
	}
	t.s.nodes[g.node] = *g.state
	t.write(key(prefixNode, g.node), g.state.encode())
	t.group = group{}
}

// remembered returns the result of command n of the node and boot in hand, nil when it is older than what is kept.
func (t *tx) remembered(n uint64) []byte {
	g := &t.group
	if i := n - g.first; n >= g.first && i < uint64(len(g.results)) {
		return g.results[i]
	}
	groups := g.state.Groups
	for back := uint64(1); back <= resultSlots && back <= groups; back++ {
		b := t.ring(g.node, (groups-back)%resultSlots)
		r := readRecord(b, ringVersion)
		boot, first, count := r.uvarint(), r.uvarint(), r.uvarint()
		if r.bad || first > math.MaxUint64-count || count > uint64(len(b)) {
			t.fail(fmt.Errorf("%w: results of node %q", ErrEntry, g.node))
			return nil
		}
		if boot != g.state.Boot {
			return nil // older boots lie behind it
		}
		if n < first || n >= first+count {
			continue
		}
		for range n - first {
			r.sized()
		}
		out := r.sized()
		if r.bad {
			t.fail(fmt.Errorf("%w: results of node %q", ErrEntry, g.node))
			return nil
		}
		return slices.Clip(out)
	}
	return nil
}

// ring returns a slot of the node's ring as the batch leaves it. What the store holds is read once per batch.
func (t *tx) ring(node string, slot uint64) []byte {
	for i := len(t.rings) - 1; i >= 0; i-- {
		if r := &t.rings[i]; r.slot == slot && r.node == node {
			return r.value
		}
	}
	b, err := t.s.get(ringKey(node, slot))
	if err != nil {
		t.fail(err)
	}
	t.rings = append(t.rings, ringRecord{node, slot, b})
	return b
}
