package storage

import (
	"encoding/binary"
	"fmt"
)

// bootPlace is the common place of the live sessions of one boot of a node.
type bootPlace struct {
	Pos   uint64
	Epoch uint64 // newest epoch that Pos speaks of
	Ended int64  // log time (ms) when a newer boot took over, or when the node was lost before that; 0 = current
}

const bootPlaceVersion = 1

func bootPlaceKey(node string, boot uint64) []byte {
	return withNumber(key(prefixBootPlace, node), boot)
}

func (p bootPlace) encode() []byte {
	b := append(make([]byte, 0, 24), bootPlaceVersion)
	for _, v := range [...]uint64{p.Pos, p.Epoch, uint64(p.Ended)} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

// decodeBootPlace reads a stored value; none is the zero place.
func decodeBootPlace(b []byte) (bootPlace, error) {
	if b == nil {
		return bootPlace{}, nil
	}
	r := readRecord(b, bootPlaceVersion)
	p := bootPlace{Pos: r.uvarint(), Epoch: r.uvarint(), Ended: int64(r.uvarint())}
	if !r.end() {
		return bootPlace{}, fmt.Errorf("%w: place of a boot", ErrEntry)
	}
	return p, nil
}

func (t *tx) bootPlace(node string, boot uint64) bootPlace {
	p, err := decodeBootPlace(t.get(bootPlaceKey(node, boot)))
	if err != nil {
		t.fail(fmt.Errorf("node %q: %w", node, err))
	}
	return p
}

// endBoot notes that what an older boot held has been without a connection since now, or since its node was lost.
func (t *tx) endBoot(node string, st nodeState) {
	p := t.bootPlace(node, st.Boot)
	p.Ended = max(t.now, 1)
	if st.Lost != 0 {
		p.Ended = st.Lost
	}
	t.set(bootPlaceKey(node, st.Boot), p.encode())
	t.changed.Wills = true
}

// node returns where a node stands, the group in hand included.
func (t *tx) node(name string) nodeState {
	if t.group.state != nil && t.group.node == name {
		return *t.group.state
	}
	return t.s.nodes[name]
}

// setLost marks a node as lost at a time, or alive (0).
func (t *tx) setLost(name string, st nodeState, at int64) {
	if t.group.state != nil && t.group.node == name {
		t.group.state.Lost = at // written with the group
	} else {
		st.Lost = at
		t.s.nodes[name] = st
		t.write(key(prefixNode, name), st.encode())
	}
	t.changed.Nodes = append(t.changed.Nodes, NodeChange{Node: name, Boot: st.Boot, Up: at == 0})
}

// nodeUp: that the node has a new boot was the numbering's to see; what is left is a node that comes back from being lost.
func (t *tx) nodeUp(c *NodeUp) Result {
	st := t.node(c.Node)
	if c.Node != t.group.node || st.Boot != c.Boot {
		return Result{Outcome: Conflict, Detail: "a node speaks for its own current boot"}
	}
	if st.Lost != 0 {
		t.setLost(c.Node, st, 0)
	}
	return Result{}
}

func (t *tx) nodeLost(c *NodeLost) Result {
	st := t.node(c.Node)
	if st.Boot != c.Boot || st.Boot == 0 {
		return Result{Outcome: Conflict, Detail: "that is not the node's current boot"}
	}
	if st.Lost == 0 {
		t.setLost(c.Node, st, max(t.now, 1))
		t.changed.Wills = true
	}
	return Result{}
}

// Node is what the log says of a node.
type Node struct {
	Name string
	Boot uint64 // newest one
	Up   bool
	At   int64 // log time (ms) since when it is up, or lost
}

// Nodes returns every node that ever took part, in byte order of their names.
func (s *Store) Nodes() ([]Node, error) {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	var out []Node
	err := s.scanNodes(func(name string, st nodeState) {
		n := Node{Name: name, Boot: st.Boot, Up: st.Lost == 0, At: st.Since}
		if !n.Up {
			n.At = st.Lost
		}
		out = append(out, n)
	})
	return out, err
}

func (s *Store) scanNodes(f func(name string, st nodeState)) error {
	if s.db == nil {
		return ErrClosed
	}
	return scan(s.db, []byte{prefixNode}, nil, func(k, v []byte) (bool, error) {
		names := split(k, 1)
		st, err := decodeNode(v)
		if err != nil || names == nil {
			return false, fmt.Errorf("%w: node record %q", ErrEntry, k)
		}
		f(names[0], st)
		return true, nil
	})
}
