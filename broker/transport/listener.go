package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const defaultProxyTimeout = 5 * time.Second

// ListenerConfig describes one port. Its configuration keys are listeners.{Name}.bind and so on; errors name them.
type ListenerConfig struct {
	Name             string // mqtt, mqtts, web
	Bind             string // host:port; :port is all addresses
	CertFile         string // PEM; with it the port speaks TLS and nothing else
	KeyFile          string
	AskClientCert    bool           // ask TLS clients for a certificate; the caller verifies it, clients without one come in too
	ProxyProtocol    bool           // every connection starts with a PROXY protocol v2 header
	TrustedProxies   []netip.Prefix // who may send one; others are refused then. Their connections have no PerAddress limit
	ProxyTimeout     time.Duration  // for the PROXY header; default 5 s
	HandshakeTimeout time.Duration  // for TLS; default 10 s
	MaxConnections   int            // 0 = no limit
	Total            *Total         // bounds this and other listeners together; nil = nothing does
	PerAddress       int            // connections per client address (IPv6: per /64); 0 = no limit
	QueueLimit       int            // hard limit of an outgoing queue in bytes; default DefaultQueueLimit
	SendBuffer       int            // SO_SNDBUF of the connections; 0 = the kernel's choice
}

// ListenerStats are counters since the start, and Active.
type ListenerStats struct {
	Active           int64 // connections open or in their handshake
	Accepted         int64 // by the kernel's accept
	AcceptErrors     int64
	RefusedLimit     int64
	RefusedProxy     int64 // untrusted peer, bad or late PROXY header
	HandshakeFailed  int64 // TLS
	Panics           int64
	CertificateUntil time.Time // zero without TLS
}

// Listener is one open port. Use either Serve or NetListener, once.
type Listener struct {
	cfg   ListenerConfig
	log   *slog.Logger
	tcp   *net.TCPListener
	host  *host
	limit *limiter
	cert  *certificate // nil without TLS
	done  chan struct{}
	once  sync.Once

	web     sync.WaitGroup // accept loop and handshakes of NetListener
	running sync.WaitGroup // connections of Serve

	mu        sync.Mutex
	preparing map[*socket]struct{} // in a handshake; nil once closed

	active, accepted, acceptErrors, refusedLimit, refusedProxy, handshakeFailed atomic.Int64

	acceptGate, limitGate logGate
}

// Listen opens the port. Connections are queued by the kernel until Serve or the first Accept.
func Listen(cfg ListenerConfig, log *slog.Logger) (*Listener, error) {
	if cfg.ProxyTimeout <= 0 {
		cfg.ProxyTimeout = defaultProxyTimeout
	}
	if cfg.HandshakeTimeout <= 0 {
		cfg.HandshakeTimeout = defaultHandshake
	}
	l := &Listener{
		cfg: cfg, log: log,
		host:      newHost(cfg.Name, cfg.QueueLimit, log),
		limit:     newLimiter(cfg.MaxConnections, cfg.PerAddress),
		done:      make(chan struct{}),
		preparing: make(map[*socket]struct{}),
	}
	l.limit.total = cfg.Total
	if cfg.ProxyProtocol && len(cfg.TrustedProxies) == 0 {
		return nil, fmt.Errorf("listeners.%s.proxy_protocol is on but listeners.%[1]s.trusted_proxies is empty: "+
			"list the addresses of the proxies", cfg.Name)
	}
	if cfg.CertFile != "" || cfg.KeyFile != "" {
		cert, err := loadCertificate(cfg.Name, cfg.CertFile, cfg.KeyFile)
		if err != nil {
			return nil, err
		}
		if cfg.AskClientCert {
			cert.config.ClientAuth = tls.RequestClientCert
		}
		l.cert = cert
		cert.warnIfExpired(log)
	}
	// The options are set once on the listening socket, from which every connection inherits them.
	lc := net.ListenConfig{KeepAlive: -1, Control: l.setOptions}
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), "tcp", cfg.Bind)
	if err != nil {
		return nil, bindError(cfg, err)
	}
	l.tcp = ln.(*net.TCPListener)
	return l, nil
}

// setOptions finds peers that vanished within two minutes and bounds what the kernel buffers.
func (l *Listener) setOptions(_, _ string, c syscall.RawConn) error {
	var err error
	set := func(fd, level, opt, value int) {
		if err == nil {
			err = unix.SetsockoptInt(fd, level, opt, value)
		}
	}
	ctlErr := c.Control(func(fd uintptr) {
		set(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
		set(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 60)
		set(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15)
		set(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4)
		if l.cfg.SendBuffer > 0 {
			set(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, l.cfg.SendBuffer)
		}
	})
	return errors.Join(ctlErr, err)
}

// bindError says which key to change and why.
func bindError(cfg ListenerConfig, err error) error {
	hint := "write it as host:port"
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		hint = "another process has this port: stop it or choose another one"
	case errors.Is(err, unix.EACCES):
		hint = "ports below 1024 need the capability CAP_NET_BIND_SERVICE or a port above"
	case errors.Is(err, unix.EADDRNOTAVAIL):
		hint = "this machine has no such address"
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		hint = "out of file descriptors: raise the limit (ulimit -n, LimitNOFILE)"
	}
	return fmt.Errorf("listeners.%s.bind %q: %w (%s)", cfg.Name, cfg.Bind, err, hint)
}

// Addr is the address the port is open on.
func (l *Listener) Addr() net.Addr { return l.tcp.Addr() }

// Stats returns the counters.
func (l *Listener) Stats() ListenerStats {
	s := ListenerStats{
		Active: l.active.Load(), Accepted: l.accepted.Load(), AcceptErrors: l.acceptErrors.Load(),
		RefusedLimit: l.refusedLimit.Load(), RefusedProxy: l.refusedProxy.Load(),
		HandshakeFailed: l.handshakeFailed.Load(), Panics: l.host.panics.Load(),
	}
	if l.cert != nil {
		s.CertificateUntil = l.cert.until()
	}
	return s
}

// ReloadCertificate reads the certificate and key again, for new connections. When they cannot be used the old ones
// stay and the error says which file is at fault. Without TLS it does nothing.
func (l *Listener) ReloadCertificate() error {
	if l.cert == nil {
		return nil
	}
	if err := l.cert.reload(); err != nil {
		return err
	}
	l.cert.warnIfExpired(l.log)
	return nil
}

// Close stops accepting and ends connections that are still in their handshake. Established ones are left to their
// owner. It may be called any number of times.
func (l *Listener) Close() error {
	l.stop()
	l.web.Wait()
	return nil
}

func (l *Listener) stop() {
	l.once.Do(func() {
		close(l.done)
		_ = l.tcp.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		for s := range l.preparing {
			_ = s.TCPConn.Close()
		}
		l.preparing = nil
	})
}

// Serve accepts MQTT connections over TCP or TLS and runs handle for each on a goroutine of its own. The connection is
// closed when handle returns or panics; a panic is logged and counted. When ctx is done or Close is called no more is
// accepted, and Serve returns nil as soon as the last handle has returned: close the connections to get there.
func (l *Listener) Serve(ctx context.Context, handle func(*Conn)) error {
	release := context.AfterFunc(ctx, l.stop)
	defer release()
	l.accept(func(tcp *net.TCPConn, peer netip.AddrPort) {
		l.running.Go(func() { l.serve(tcp, peer, handle) })
	})
	l.running.Wait()
	return nil
}

// serve is the life of one connection.
func (l *Listener) serve(tcp *net.TCPConn, peer netip.AddrPort, handle func(*Conn)) {
	l.active.Add(1)
	defer l.active.Add(-1)
	s, t, key, err := l.prepare(tcp, peer)
	if err != nil {
		return
	}
	defer l.limit.give(key)
	c, err := newConn(l.host, tcp, s.remote)
	if err != nil {
		_ = tcp.Close()
		return
	}
	if t != nil {
		c.tls, c.sock = t, s
		s.attach(c)
	}
	c.run(handle)
}

// prepare takes a place under the limits and does the handshakes. On success the caller gives key back; on failure the
// connection is closed and counted.
func (l *Listener) prepare(tcp *net.TCPConn, peer netip.AddrPort) (s *socket, t *tls.Conn, key netip.Addr, err error) {
	s = &socket{TCPConn: tcp, remote: peer}
	placed := false
	defer func() {
		if v := recover(); v != nil {
			l.host.panicked(&Conn{remote: peer}, v)
			err = fmt.Errorf("handshake panicked: %v", v)
		}
		if err != nil {
			_ = tcp.Close()
			if placed {
				l.limit.give(key)
			}
			l.log.Debug("connection refused", "listener", l.cfg.Name, "remote", s.remote, "err", err)
		}
	}()
	if l.cfg.ProxyProtocol {
		if err = l.readProxy(s); err != nil {
			l.refusedProxy.Add(1)
			return s, nil, key, err
		}
	}
	if !contains(l.cfg.TrustedProxies, s.remote.Addr()) {
		key = addressKey(s.remote.Addr())
	}
	if err = l.limit.take(key); err != nil {
		l.refusedLimit.Add(1)
		if n, ok := l.limitGate.pass(); ok {
			l.log.Warn("connections refused", "listener", l.cfg.Name, "remote", s.remote, "err", err, "since_last", n)
		}
		return s, nil, key, err
	}
	placed = true
	if l.cert != nil {
		t = tls.Server(s, l.cert.config)
		if err = l.timed(s, l.cfg.HandshakeTimeout, t.Handshake); err != nil {
			l.handshakeFailed.Add(1)
			return s, nil, key, err
		}
	}
	return s, t, key, nil
}

// readProxy replaces the peer's address by the one in the PROXY header.
func (l *Listener) readProxy(s *socket) error {
	if !contains(l.cfg.TrustedProxies, s.remote.Addr()) {
		return fmt.Errorf("%w: add %v to listeners.%s.trusted_proxies if it is a proxy of yours", ErrUntrustedPeer,
			s.remote.Addr(), l.cfg.Name)
	}
	return l.timed(s, l.cfg.ProxyTimeout, func() error {
		addr, ok, err := readProxyHeader(s.TCPConn)
		if ok {
			s.remote = addr
		}
		return err
	})
}

// timed runs a step of the handshake and closes the socket when it takes too long or the listener is closed.
func (l *Listener) timed(s *socket, limit time.Duration, step func() error) (err error) {
	l.mu.Lock()
	if l.preparing == nil {
		l.mu.Unlock()
		return net.ErrClosed
	}
	l.preparing[s] = struct{}{}
	l.mu.Unlock()
	timer := time.AfterFunc(limit, func() { _ = s.TCPConn.Close() })
	defer func() { // also after a panic
		if !timer.Stop() {
			err = fmt.Errorf("%w after %v", ErrHandshakeTimeout, limit)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.preparing, s)
	}()
	return step()
}
