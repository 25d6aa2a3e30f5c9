package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/madang-chat/madang/hooks/limit"
)

const defaultProxyTimeout = 5 * time.Second

// ListenerConfig describes one port. Its configuration keys are listeners.{Name}.bind and so on; errors name them.
type ListenerConfig struct {
	Name             string // mqtt, mqtts, web
	Bind             string // host:port; :port is all addresses
	CertFile         string // PEM; with it the port speaks TLS and nothing else
	KeyFile          string
	AskClientCert    bool            // ask TLS clients for a certificate; the caller verifies it, clients without one come in too
	ProxyProtocol    bool            // every connection starts with a PROXY protocol v2 header
	TrustedProxies   []netip.Prefix  // who may send one; others are refused then. Their connections have no PerAddress limit
	ProxyTimeout     time.Duration   // for the PROXY header; default 5 s
	HandshakeTimeout time.Duration   // for TLS; default 10 s
	MaxConnections   int             // 0 = no limit
	Total            *Total          // bounds this and other listeners together; nil = nothing does
	PerAddress       int             // connections per client address (IPv6: per /64); 0 = no limit
	QueueLimit       int             // hard limit of an outgoing queue in bytes; default DefaultQueueLimit
	SendBuffer       int             // SO_SNDBUF of the connections; 0 = the kernel's choice
	Refusals         *limit.Refusals // counts who is refused by a limit; nil = nobody does

	// Traffic rises with what those who are connected send and receive, whoever they are, so that who comes and goes makes way
	// for them; nil = nobody has to. It is called by several goroutines at once, once Serve or NetListener has been.
	Traffic func() uint64
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
	file  *os.File        // tcp once more, for Serve without TLS: net lets nobody wait for its own
	raw   syscall.RawConn // of file
	host  *host
	limit *limiter
	cert  *certificate // nil without TLS
	done  chan struct{}
	once  sync.Once

	web     sync.WaitGroup // accept loop and handshakes of NetListener
	running sync.WaitGroup // connections of Serve
	pollers []*poller      // Serve's; without TLS

	mu        sync.Mutex
	preparing map[io.Closer]struct{} // in a handshake; nil once closed

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
		preparing: make(map[io.Closer]struct{}),
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
	if err := l.again(); err != nil {
		_ = ln.Close()
		return nil, bindError(cfg, err)
	}
	return l, nil
}

// again opens the listening socket a second time.
func (l *Listener) again() (err error) {
	if l.file, err = l.tcp.File(); err != nil {
		return err
	}
	if l.raw, err = l.file.SyscallConn(); err != nil {
		_ = l.file.Close()
	}
	return err
}

// unsentBytes is what the kernel takes for a connection beyond what its window lets out: enough to be sent while the next
// sweep comes round. More would be copies that wait in the kernel's memory for a reader who is slow, out of reach of newer
// live values and of every budget; it waits in the log instead. What is on its way to a reader far away is not counted.
const unsentBytes = 32 << 10

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
		set(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		set(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes)
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

// SetLimits changes PerAddress and QueueLimit.
func (l *Listener) SetLimits(perAddress, queueLimit int) {
	l.limit.setPer(perAddress)
	l.host.setLimit(queueLimit)
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
		_ = l.file.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		for s := range l.preparing {
			_ = s.Close()
		}
		l.preparing = nil
	})
}

// Serve accepts MQTT connections over TCP or TLS and runs handle for each on a goroutine of its own; without TLS they may
// rest. The connection is closed when its last Handler returns nil or panics; a panic is logged and counted. When ctx is
// done or Close is called no more is accepted, and Serve returns nil as soon as the last connection has ended: close them
// to get there.
func (l *Listener) Serve(ctx context.Context, handle Handler) error {
	release := context.AfterFunc(ctx, l.stop)
	defer release()
	if l.cert != nil {
		l.accept(func() error {
			s, err := l.acceptNet()
			if err == nil {
				l.running.Go(func() { l.serveTLS(s, handle) })
				runtime.Gosched()
			}
			return err
		})
		l.running.Wait()
		return nil
	}
	for range max(runtime.GOMAXPROCS(0)/2, 1) {
		p, err := newPoller(l.cfg.Traffic)
		if err != nil {
			l.stop()
			l.closePollers()
			return err
		}
		l.pollers = append(l.pollers, p)
	}
	defer l.closePollers()
	l.accept(func() error {
		d, peer, err := l.acceptDescriptor()
		if err == nil {
			l.running.Add(1)
			go l.serve(d, peer, handle)
			runtime.Gosched() // those who are connected have their turn before the next one comes in
		}
		return err
	})
	l.running.Wait()
	return nil
}

func (l *Listener) closePollers() {
	for _, p := range l.pollers {
		p.close()
	}
}

// serve begins the life of a connection of plain TCP.
func (l *Listener) serve(d *descriptor, peer netip.AddrPort, handle Handler) {
	l.active.Add(1)
	end := func() {
		l.active.Add(-1)
		l.running.Done()
	}
	remote, key, err := l.admit(d, peer)
	if err != nil {
		_ = d.Close()
		end()
		return
	}
	c := newConn(l.host, d, remote)
	c.client = key
	c.free, c.end = func() { l.limit.give(key) }, end
	c.run(handle)
}

// serveTLS is the life of one connection of TLS.
func (l *Listener) serveTLS(s *socket, handle Handler) {
	l.active.Add(1)
	defer l.active.Add(-1)
	t, key, err := l.prepare(s)
	if err != nil {
		return
	}
	s.release = func() { l.limit.give(key) }
	tcp, err := newNetStream(s.TCPConn)
	if err != nil {
		_ = s.Close()
		return
	}
	c := newConn(l.host, tcp, s.remote)
	c.tls, c.sock, c.client = t, s, key
	s.attach(c)
	c.run(handle)
}

// prepare does what comes before the first byte of the client's protocol. On success the caller gives key back; on
// failure the connection is closed and counted.
func (l *Listener) prepare(s *socket) (t *tls.Conn, key netip.Addr, err error) {
	defer func() {
		if err != nil {
			_ = s.TCPConn.Close()
		}
	}()
	s.remote, key, err = l.admit(s.TCPConn, s.remote)
	if err != nil || l.cert == nil {
		return nil, key, err
	}
	t = tls.Server(s, l.cert.config)
	if err = l.guarded(s.remote, func() error { return l.timed(s.TCPConn, l.cfg.HandshakeTimeout, t.Handshake) }); err != nil {
		l.handshakeFailed.Add(1)
		l.limit.give(key)
		l.refused(s.remote, err)
	}
	return t, key, err
}

// guarded runs a step of the handshake and makes an error of its panic.
func (l *Listener) guarded(remote netip.AddrPort, step func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			l.host.panicked(&Conn{remote: remote}, v)
			err = fmt.Errorf("handshake panicked: %v", v)
		}
	}()
	return step()
}

// admit reads the PROXY header, where there has to be one, and takes a place under the limits, which the caller gives
// back by key. It returns the client's address, as far as that is known, and counts a refusal.
func (l *Listener) admit(conn io.ReadCloser, peer netip.AddrPort) (remote netip.AddrPort, key netip.Addr, err error) {
	remote = peer
	if l.cfg.ProxyProtocol {
		err = l.guarded(peer, func() (err error) {
			remote, err = l.readProxy(conn, peer)
			return err
		})
		if err != nil {
			l.refusedProxy.Add(1)
			l.refused(remote, err)
			return remote, key, err
		}
	}
	if !contains(l.cfg.TrustedProxies, remote.Addr()) {
		key = addressKey(remote.Addr())
	}
	if err = l.limit.take(key); err != nil {
		l.cfg.Refusals.Add(limitOf(err))
		l.refusedLimit.Add(1)
		if n, ok := l.limitGate.pass(); ok {
			l.log.Warn("connections refused", "listener", l.cfg.Name, "remote", remote, "err", err, "since_last", n)
		}
		l.refused(remote, err)
	}
	return remote, key, err
}

func (l *Listener) refused(remote netip.AddrPort, err error) {
	l.log.Debug("connection refused", "listener", l.cfg.Name, "remote", remote, "err", err)
}

// readProxy returns the address in the PROXY header, the peer's where it tells none.
func (l *Listener) readProxy(conn io.ReadCloser, peer netip.AddrPort) (netip.AddrPort, error) {
	if !contains(l.cfg.TrustedProxies, peer.Addr()) {
		return peer, fmt.Errorf("%w: add %v to listeners.%s.trusted_proxies if it is a proxy of yours", ErrUntrustedPeer,
			peer.Addr(), l.cfg.Name)
	}
	remote := peer
	err := l.timed(conn, l.cfg.ProxyTimeout, func() error {
		addr, ok, err := readProxyHeader(conn)
		if ok {
			remote = addr
		}
		return err
	})
	return remote, err
}

// timed runs a step of the handshake and closes the connection when it takes too long or the listener is closed.
func (l *Listener) timed(conn io.Closer, limit time.Duration, step func() error) (err error) {
	l.mu.Lock()
	if l.preparing == nil {
		l.mu.Unlock()
		return net.ErrClosed
	}
	l.preparing[conn] = struct{}{}
	l.mu.Unlock()
	timer := time.AfterFunc(limit, func() { _ = conn.Close() })
	defer func() { // also after a panic
		if !timer.Stop() {
			err = fmt.Errorf("%w after %v", ErrHandshakeTimeout, limit)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.preparing, conn)
	}()
	return step()
}
