package app

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/madang-chat/madang/api"
	"github.com/madang-chat/madang/broker/transport"
	"github.com/madang-chat/madang/internal/config"
)

// webServer is a port that speaks HTTP.
type webServer struct {
	name     string
	listener *transport.Listener
	http     *http.Server
	ws       *transport.WebSocketHandler // of the web port
}

func (s *webServer) start(a *App) {
	if s == nil {
		return
	}
	ln := s.listener.NetListener() // here, so that it does not begin beside a Stop that comes at once
	a.running.Go(func() {
		if err := s.http.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) && a.ctx.Err() == nil {
			a.log.Error("listener ended", "listener", s.name, "err", err)
		}
	})
}

// stop ends the port: requests in hand have stopGrace.
func (s *webServer) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopGrace)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	return errors.Join(err, s.listener.Close())
}

// openPorts opens every configured port, so that an address in use is known before anything starts.
func (a *App) openPorts(*Options) error {
	c := a.cfg
	a.onStop("work", a.stopWork)
	for _, p := range []struct {
		name string
		l    *config.Listener
	}{{"mqtt", &c.Listeners.MQTT}, {"mqtts", &c.Listeners.MQTTS}} {
		if p.l.Bind == "" || p.name == "mqtts" && !p.l.TLS() {
			continue
		}
		l, err := transport.Listen(a.listenerConfig(p.name, p.l), a.log.With("component", "transport"))
		if err != nil {
			return err
		}
		a.listeners[p.name] = l
		a.onStop("listener "+p.name, func(context.Context) error { return l.Close() })
	}
	if err := a.openWeb(); err != nil {
		return err
	}
	return a.openOps()
}

func (a *App) listenerConfig(name string, l *config.Listener) transport.ListenerConfig {
	return transport.ListenerConfig{
		Name: name, Bind: l.Bind, CertFile: l.CertFile, KeyFile: l.KeyFile, ProxyProtocol: l.ProxyProtocol,
		TrustedProxies: prefixes(l.TrustedProxies), Total: a.places,
		PerAddress: a.cfg.Limits.ConnectionsPerAddress, QueueLimit: queueLimit(a.cfg), SendBuffer: sendBuffer, Refusals: a.refusals,
		Traffic: a.broker.Traffic,
	}
}

// sendBuffer is what the kernel may hold for one client; it takes twice as much, with what it adds itself. Left alone it
// grows to 4 MB for a client that never reads, outside all budgets, and what is in there is lost to a QoS 0 reader that
// goes away. Measured over loopback, a client that never reads: 4,068 KB without, 515 KB with; 1 GB to one that does:
// 0.41 s and 0.42 s. 512 KB on the way are 2.5 MB/s around the world.
const sendBuffer = 256 << 10

func (a *App) openWeb() error {
	c := a.cfg
	if c.Listeners.Web.Bind == "" {
		return nil
	}
	log := a.log.With("component", "transport")
	l, err := transport.Listen(a.listenerConfig("web", &c.Listeners.Web.Listener), log)
	if err != nil {
		return err
	}
	trusted := prefixes(c.Listeners.Web.TrustedProxies)
	local := false
	var origins []string
	for _, o := range c.Listeners.Web.Origins {
		if o == "localhost" {
			local = true
			continue
		}
		origins = append(origins, o)
	}
	ws := transport.NewWebSocketHandler(transport.WSConfig{
		Origins: origins, LocalOrigins: local, TrustedProxies: trusted, ReadLimit: readLimit(c),
		QueueLimit: queueLimit(c), PerAddress: c.Limits.ConnectionsPerAddress, // the listener cannot tell clients of a proxy apart
		Refuse: api.Refuse, Refusals: a.refusals, Busy: a.broker.Busy,
	}, a.broker.Serve, log)
	h, err := api.New(api.Config{
		Calls: a.calls, Ready: a, Rules: a.rules, Version: a.version, Logger: a.log, Quotas: a.quotas.users, Addresses: a.quotas.addresses,
		Refusals: a.refusals, Discard: func() int64 { return a.limits().Packet },
		Shared: func(addr netip.Addr) bool {
			return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(addr.Unmap()) })
		},
		Address:     func(r *http.Request) netip.Addr { return transport.ClientAddr(r, trusted).Addr() },
		AllowOrigin: c.Listeners.Web.AllowOrigin, Members: a, Barrier: a.barrier,
	})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	front := &api.Front{MQTT: ws, API: h}
	if c.Auth.Trust {
		known := hostsOf(c, c.Listeners.Web.Bind)
		front.AllowHost = known.allow
	}
	a.web = &webServer{name: "web", listener: l, http: transport.NewHTTPServer(front), ws: ws}
	a.web.http.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	a.web.http.RegisterOnShutdown(h.EndStreams)
	a.onStop("listener web", func(ctx context.Context) error { return a.web.stop(ctx) })
	return nil
}

func (a *App) openOps() error {
	c := a.cfg
	if c.Listeners.Ops.Bind == "" {
		return nil
	}
	log := a.log.With("component", "ops")
	token := ""
	if f := c.Listeners.Ops.TokenFile; f != "" {
		b, err := os.ReadFile(f)
		if err != nil {
			return fmt.Errorf("listeners.ops.token_file: %w", err)
		}
		token = strings.TrimSpace(string(b))
	}
	oc := api.OpsConfig{Node: health{a}, Digester: a.store, Metrics: a.metrics, Token: token, Logger: log}
	if f := c.Listeners.Ops.ClientCAFile; f != "" {
		pool, err := Authorities(f)
		if err != nil {
			return fmt.Errorf("listeners.ops.client_ca_file: %w", err)
		}
		oc.ClientCAs = pool
	}
	if token == "" && oc.ClientCAs == nil {
		known := hostsOf(c, c.Listeners.Ops.Bind)
		oc.AllowHost = known.allow
	}
	lc := a.listenerConfig("ops", &c.Listeners.Ops.Listener)
	lc.Total, lc.MaxConnections = nil, opsConnections // operators come in when clients have every place
	lc.AskClientCert = oc.ClientCAs != nil
	l, err := transport.Listen(lc, log)
	if err != nil {
		return err
	}
	h := api.NewOps(oc)
	a.ops = &webServer{name: "ops", listener: l, http: transport.NewHTTPServer(h)}
	a.ops.http.WriteTimeout = 0 // profiles take as long as they are asked to
	a.ops.http.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	a.onStop("listener ops", func(ctx context.Context) error { return a.ops.stop(ctx) })
	return nil
}

// Authorities reads the certificates (PEM) of authorities from a file; its errors name the file.
func Authorities(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", file)
	}
	return pool, nil
}

// stopWork ends what listeners feed: connections first, then the duties and the wait for readiness.
func (a *App) stopWork(ctx context.Context) error {
	a.handOver(ctx) // first: the publishes of other nodes' clients wait for nobody who leaves
	a.broker.Stop(ctx)
	a.cancel()
	if a.web != nil {
		a.web.ws.Wait()
	}
	a.running.Wait()
	return nil
}
