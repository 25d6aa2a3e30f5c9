package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	handshakeTime = 5 * time.Second
	handshakes    = 64 // at once; a stranger holds one for handshakeTime at most
	acceptPause   = 50 * time.Millisecond
	keepAlive     = 5 * time.Second
)

// Conn is a connection to another node. Reading and writing are those of a net.Conn.
type Conn struct {
	*tls.Conn
	// Peer is the id of the node at the other end, as its certificate says.
	Peer string
}

// Port is the node's port for other nodes. Handle what is to be spoken, then Serve.
type Port struct {
	id   *Identity
	log  *slog.Logger
	ln   net.Listener
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	slots   chan struct{} // one per handshake
	running sync.WaitGroup

	mu       sync.Mutex
	handlers map[string]func(*Conn)
	open     map[net.Conn]struct{}
	closed   bool
}

// Listen opens the port. Connections wait in the kernel's queue until Serve.
func Listen(bind string, id *Identity, log *slog.Logger) (*Port, error) {
	ln, err := net.Listen("tcp", bind)
	if err != nil {
		return nil, fmt.Errorf("cluster.bind %q: %w", bind, err)
	}
	return &Port{
		id: id, log: log, ln: ln, dial: new(net.Dialer).DialContext, slots: make(chan struct{}, handshakes), handlers: map[string]func(*Conn){},
		open: map[net.Conn]struct{}{},
	}, nil
}

// Addr is the address the port is open on.
func (p *Port) Addr() net.Addr { return p.ln.Addr() }

// ID is the id of the node.
func (p *Port) ID() string { return p.id.ID() }

// Handle sets what a protocol's connections are given to, each on a goroutine of its own. The connection is closed when
// the function returns. Call it before Serve.
func (p *Port) Handle(protocol string, f func(*Conn)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handlers[protocol] = f
}

// DialWith sets what makes connections instead of a net.Dialer: a network that a test can cut. Call it before Dial.
func (p *Port) DialWith(dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	p.dial = dial
}

// Serve accepts until Close.
func (p *Port) Serve() {
	p.mu.Lock()
	config := p.id.config(slices.Sorted(maps.Keys(p.handlers))...)
	p.mu.Unlock()
	for {
		c, err := p.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			p.log.Warn("cannot accept connections of nodes, trying again", "err", err)
			time.Sleep(acceptPause)
			continue
		}
		if !p.track(c) {
			_ = c.Close()
			return
		}
		p.slots <- struct{}{}
		p.running.Go(func() { p.serve(c, config) })
	}
}

func (p *Port) serve(c net.Conn, config *tls.Config) {
	defer p.untrack(c)
	conn, protocol, err := p.greet(c, config)
	<-p.slots
	if errors.Is(err, net.ErrClosed) {
		return // the port is closed
	}
	if err != nil {
		p.log.Warn("a connection to the cluster port was refused", "remote", c.RemoteAddr(), "err", err)
		return
	}
	p.mu.Lock()
	f := p.handlers[protocol]
	p.mu.Unlock()
	if f == nil {
		p.log.Warn("a node spoke none of the protocols of this port", "node", conn.Peer, "protocol", protocol)
		return
	}
	f(conn)
}

// greet does the handshake of a connection that was accepted.
func (p *Port) greet(c net.Conn, config *tls.Config) (*Conn, string, error) {
	setKeepAlive(c)
	t := tls.Server(c, config)
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTime)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, "", err
	}
	s := t.ConnectionState()
	peer, err := p.id.peer(&s)
	return &Conn{Conn: t, Peer: peer}, s.NegotiatedProtocol, err
}

// Dial connects to the port of another node. With want, the id of the node that must be there, anybody else is refused.
func (p *Port) Dial(ctx context.Context, address, protocol, want string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	c, err := p.dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	setKeepAlive(c)
	t := tls.Client(c, p.id.config(protocol))
	if err := t.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("greet the node at %s: %w", address, err)
	}
	s := t.ConnectionState()
	peer, err := p.id.peer(&s)
	switch {
	case err != nil:
	case want != "" && peer != want:
		err = fmt.Errorf("node %q is at %s, not %q", peer, address, want)
	case s.NegotiatedProtocol != protocol:
		err = fmt.Errorf("the node at %s does not speak %s", address, protocol)
	}
	if err != nil {
		_ = t.Close()
		return nil, err
	}
	return &Conn{Conn: t, Peer: peer}, nil
}

func setKeepAlive(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: keepAlive, Interval: keepAlive, Count: 3})
	}
}

// track notes an accepted connection, unless the port is closed.
func (p *Port) track(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.open[c] = struct{}{}
	}
	return !p.closed
}

func (p *Port) untrack(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

// Close closes the port and every connection that was accepted, and returns when no handler runs. Connections that Dial
// made are their owners'.
func (p *Port) Close() error {
	p.mu.Lock()
	again := p.closed
	p.closed = true
	for c := range p.open {
		_ = c.Close()
	}
	p.mu.Unlock()
	if again {
		return nil
	}
	err := p.ln.Close()
	p.running.Wait()
	return err
}
