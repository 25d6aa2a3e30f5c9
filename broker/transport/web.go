package transport

import (
	"net"
	"net/http"
	"time"
)

// webListener gives a Listener's connections to an http.Server.
type webListener struct {
	l     *Listener
	ready chan net.Conn
}

// NetListener returns the port as a net.Listener for an http.Server. PROXY header and TLS handshake are done before
// Accept returns a connection, each client on a goroutine of its own, so that a slow one delays nobody. TLS connections
// are *tls.Conn, as net/http likes them. Closing it closes the Listener.
func (l *Listener) NetListener() net.Listener {
	w := &webListener{l: l, ready: make(chan net.Conn)}
	l.web.Go(func() {
		l.accept(func() error {
			s, err := l.acceptNet()
			switch {
			case err != nil:
				return err
			case l.cert == nil && !l.cfg.ProxyProtocol:
				w.admit(s)
			default:
				l.web.Go(func() { w.admit(s) })
			}
			return nil
		})
	})
	return w
}

// admit prepares a connection and waits until it is accepted.
func (w *webListener) admit(s *socket) {
	l := w.l
	l.active.Add(1)
	t, key, err := l.prepare(s)
	if err != nil {
		l.active.Add(-1)
		return
	}
	s.release = func() {
		l.limit.give(key)
		l.active.Add(-1)
	}
	var conn net.Conn = s
	if t != nil {
		conn = t
	}
	select {
	case w.ready <- conn:
	case <-l.done:
		_ = s.Close()
	}
}

// Accept waits for a connection that is ready for HTTP.
func (w *webListener) Accept() (net.Conn, error) {
	select {
	case c := <-w.ready:
		return c, nil
	case <-w.l.done:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: w.Addr(), Err: net.ErrClosed}
	}
}

// Close closes the Listener.
func (w *webListener) Close() error { return w.l.Close() }

// Addr is the address the port is open on.
func (w *webListener) Addr() net.Addr { return w.l.Addr() }

// NewHTTPServer returns a server with limits against slow and greedy clients: 10 s for the header, 30 s for a request
// with its body, 60 s for the answer, 2 min between requests, 16 KiB of header. A handler that streams (SSE, long poll)
// lifts the write limit for its response with http.ResponseController.SetWriteDeadline. WebSocket connections leave
// these limits behind with the upgrade. HTTP/1.1 only: WebSocket needs it.
func NewHTTPServer(handler http.Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:                      handler,
		DisableGeneralOptionsHandler: true, // OPTIONS * is answered as anything else is
		ReadHeaderTimeout:            10 * time.Second,
		ReadTimeout:                  30 * time.Second,
		WriteTimeout:                 60 * time.Second,
		IdleTimeout:                  2 * time.Minute,
		MaxHeaderBytes:               16 << 10,
		Protocols:                    protocols,
	}
}

var _ net.Listener = (*webListener)(nil)
