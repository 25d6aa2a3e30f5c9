package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
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
	a.running.Go(func() {
		if err := s.http.Serve(s.listener.NetListener()); err != nil && !errors.Is(err, http.ErrServerClosed) && a.ctx.Err() == nil {
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
		TrustedProxies: prefixes(l.TrustedProxies), MaxConnections: a.cfg.Limits.Connections,
		PerAddress: a.cfg.Limits.ConnectionsPerAddress, QueueLimit: queueLimit(a.cfg),
	}
}

// queueLimit is the hard bound of an outgoing queue: what delivery may leave there, and one answer or message more.
func queueLimit(c *config.Config) int {
	return int(2*c.Limits.ConnectionBytes + 4*c.Limits.Message + 1<<20)
}

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
		Origins: origins, LocalOrigins: local, TrustedProxies: trusted, ReadLimit: c.Limits.Packet + 64,
		QueueLimit: queueLimit(c),
	}, a.broker.Serve, log)
	h, err := api.New(api.Config{
		Calls: a.calls, Ready: a, Version: a.version, Logger: a.log,
		Address:     func(r *http.Request) netip.Addr { return transport.ClientAddr(r, trusted).Addr() },
		AllowOrigin: c.Listeners.Web.AllowOrigin,
	})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("/mqtt", ws)
	mux.Handle("/", h)
	a.web = &webServer{name: "web", listener: l, http: transport.NewHTTPServer(mux), ws: ws}
	a.web.http.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
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
	l, err := transport.Listen(a.listenerConfig("ops", &c.Listeners.Ops.Listener), log)
	if err != nil {
		return err
	}
	h := api.NewOps(api.OpsConfig{Node: health{a}, Digester: a.store, Metrics: a.metrics, Token: token, Logger: log})
	if f := c.Listeners.Ops.ClientCAFile; f != "" {
		if h, err = askCertificate(f, h); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	a.ops = &webServer{name: "ops", listener: l, http: transport.NewHTTPServer(h)}
	a.ops.http.WriteTimeout = 0 // profiles take as long as they are asked to
	a.ops.http.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	a.onStop("listener ops", func(ctx context.Context) error { return a.ops.stop(ctx) })
	return nil
}

// askCertificate admits callers with a client certificate signed by one of the authorities in file.
func askCertificate(file string, next http.Handler) (http.Handler, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("listeners.ops.client_ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("listeners.ops.client_ca_file: %s holds no certificate in PEM form", file)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := verify(r.TLS, pool); err != nil {
			http.Error(w, "a client certificate is needed", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	}), nil
}

func verify(state *tls.ConnectionState, pool *x509.CertPool) error {
	if state == nil || len(state.PeerCertificates) == 0 {
		return errors.New("no client certificate")
	}
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: pool, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}

// stopWork ends what listeners feed: connections first, then the duties and the wait for readiness.
func (a *App) stopWork(ctx context.Context) error {
	err := a.broker.Stop(ctx)
	a.cancel()
	if a.web != nil {
		a.web.ws.Wait()
	}
	a.running.Wait()
	return err
}
