package testcluster

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// network is what the nodes of a cluster reach each other by: connections that a test can cut. What goes over a cut link
// is lost, and nobody is told, as when a cable is pulled; once it is healed its old connections end.
type network struct {
	mu    sync.Mutex
	at    map[string]string // name of the node behind an address
	cuts  map[[2]string]*cut
	conns map[*netConn]struct{}
}

// cut is one link that carries nothing.
type cut struct{ healed chan struct{} }

func newNetwork() *network {
	return &network{at: map[string]string{}, cuts: map[[2]string]*cut{}, conns: map[*netConn]struct{}{}}
}

func linkOf(a, b string) [2]string {
	if a > b {
		a, b = b, a
	}
	return [2]string{a, b}
}

// netConn is a connection from one node to another.
type netConn struct {
	net.Conn
	n    *network
	from *plug
	link [2]string
	once sync.Once
	gone chan struct{} // closed by Close
	hole bool          // guarded by n.mu: its link was cut, and something may be missing
}

// plug is one start of a node, as the network sees it.
type plug struct {
	n    *network
	node string
	out  bool // guarded by n.mu: nothing goes out any more, whatever still runs of it
}

// plugIn connects a start of a node.
func (n *network) plugIn(node string) *plug { return &plug{n: n, node: node} }

// pull ends everything that this start of the node says.
func (p *plug) pull() {
	p.n.mu.Lock()
	defer p.n.mu.Unlock()
	p.out = true
	for c := range p.n.conns {
		if c.from == p {
			c.hole = true
			_ = c.Conn.Close()
		}
	}
}

// dial makes a connection to another node.
func (p *plug) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	n := p.n
	for {
		n.mu.Lock()
		link := linkOf(p.node, n.at[address])
		c, out := n.cuts[link], p.out
		n.mu.Unlock()
		if out {
			return nil, net.ErrClosed
		}
		if c != nil { // nobody answers
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-c.healed:
				continue
			}
		}
		conn, err := new(net.Dialer).DialContext(ctx, kind, address)
		if err != nil {
			return nil, err
		}
		nc := &netConn{Conn: conn, n: n, from: p, link: link, gone: make(chan struct{})}
		n.mu.Lock()
		n.conns[nc] = struct{}{}
		nc.hole = n.cuts[link] != nil || p.out
		n.mu.Unlock()
		return nc, nil
	}
}

// name says which node is behind an address.
func (n *network) name(address, node string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.at[address] = node
}

func (n *network) cut(a, b string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cuts[linkOf(a, b)] == nil {
		n.cuts[linkOf(a, b)] = &cut{healed: make(chan struct{})}
	}
	for c := range n.conns {
		c.hole = c.hole || c.link == linkOf(a, b)
	}
}

func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		if n.cuts[c.link] != nil {
			_ = c.Conn.Close()
		}
	}
	for _, c := range n.cuts {
		close(c.healed)
	}
	clear(n.cuts)
}

// isCut returns the cut of the link, and whether the connection may be used no more.
func (c *netConn) isCut() (cut *cut, hole bool) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	return c.n.cuts[c.link], c.hole
}

// Read gives nothing of what arrives while the link is cut, and does not tell that the other side has closed.
func (c *netConn) Read(b []byte) (int, error) {
	for {
		k, err := c.Conn.Read(b)
		cut, hole := c.isCut()
		switch {
		case !hole:
			return k, err
		case cut == nil:
			return 0, net.ErrClosed
		case err == nil:
			continue
		case errors.Is(err, net.ErrClosed): // by this side, or because this start of the node has no power
			return 0, err
		case errors.Is(err, os.ErrDeadlineExceeded):
			select {
			case <-c.gone:
				return 0, net.ErrClosed
			default:
				return 0, err
			}
		}
		select {
		case <-cut.healed:
		case <-c.gone:
		}
		return 0, net.ErrClosed
	}
}

// Write loses what is written while the link is cut.
func (c *netConn) Write(b []byte) (int, error) {
	switch cut, hole := c.isCut(); {
	case !hole:
		return c.Conn.Write(b)
	case cut == nil:
		return 0, net.ErrClosed
	}
	return len(b), nil
}

// Close ends the connection; the other side of a cut link is not told before it is healed.
func (c *netConn) Close() error {
	c.once.Do(func() { close(c.gone) })
	if cut, _ := c.isCut(); cut != nil {
		return c.SetReadDeadline(time.Unix(1, 0)) // whoever reads here goes on
	}
	c.n.mu.Lock()
	delete(c.n.conns, c)
	c.n.mu.Unlock()
	return c.Conn.Close()
}
