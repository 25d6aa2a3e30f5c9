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
	link [2]string
	once sync.Once
	gone chan struct{} // closed by Close
}

// dialer returns what a node makes connections with.
func (n *network) dialer(from string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, kind, address string) (net.Conn, error) {
		n.mu.Lock()
		link := linkOf(from, n.at[address])
		c := n.cuts[link]
		n.mu.Unlock()
		if c != nil { // nobody answers
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-c.healed:
			}
		}
		conn, err := new(net.Dialer).DialContext(ctx, kind, address)
		if err != nil {
			return nil, err
		}
		nc := &netConn{Conn: conn, n: n, link: link, gone: make(chan struct{})}
		n.mu.Lock()
		n.conns[nc] = struct{}{}
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

func (c *netConn) isCut() *cut {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	return c.n.cuts[c.link]
}

// Read gives nothing of what arrives while the link is cut, and does not tell that the other side has closed.
func (c *netConn) Read(b []byte) (int, error) {
	for {
		k, err := c.Conn.Read(b)
		cut := c.isCut()
		switch {
		case cut == nil:
			return k, err
		case err == nil:
			continue
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
	if c.isCut() != nil {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// Close ends the connection; the other side of a cut link is not told before it is healed.
func (c *netConn) Close() error {
	c.once.Do(func() { close(c.gone) })
	if c.isCut() != nil {
		return c.SetReadDeadline(time.Unix(1, 0)) // whoever reads here goes on
	}
	c.n.mu.Lock()
	delete(c.n.conns, c)
	c.n.mu.Unlock()
	return c.Conn.Close()
}
