package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/madang-chat/madang/hooks/limit"
)

const (
	defaultReadLimit    = 16<<20 + 64<<10
	defaultPingInterval = 30 * time.Second
	defaultHandshake    = 10 * time.Second
	closeGrace          = time.Second // for a client that broke the framing or said goodbye
	maxMissedPings      = 2
)

// errPeerClosed ends feed after the client's close frame.
var errPeerClosed = errors.New("websocket: closed by the client")

// WSConfig is what a WebSocketHandler needs to know. The zero value admits pages of the same origin.
type WSConfig struct {
	Name           string          // for logs; default "ws"
	Origins        []string        // origins admitted beside the same one, e.g. https://chat.example.com; see CheckOrigins
	LocalOrigins   bool            // admit every origin on localhost, with any port
	OriginsKey     string          // the configuration key named in refusals; default listeners.web.origins
	TrustedProxies []netip.Prefix  // peers whose X-Forwarded-For is believed
	ReadLimit      int64           // bytes in one message, over all its frames; default 16 MiB and a little
	PingInterval   time.Duration   // default 30 s; after two pings without a sign of life the connection is closed
	Handshake      time.Duration   // limit for writing the answer to the upgrade; default 10 s
	QueueLimit     int             // hard limit of the outgoing queue in bytes; default DefaultQueueLimit
	MaxConnections int             // 0 = no limit
	PerAddress     int             // connections per client address (IPv6: per /64); 0 = no limit
	Refusals       *limit.Refusals // counts who is refused by a limit; nil = nobody does

	// Busy returns when to come again, while there is no place for another client; 0 or nil = there is one.
	Busy func() time.Duration

	// Refuse answers a request that is no acceptable handshake; default http.Error.
	Refuse func(w http.ResponseWriter, status int, why string)
}

// WebSocketStats are counters since the start, and Active.
type WebSocketStats struct {
	Active        int64
	Accepted      int64
	RefusedOrigin int64
	RefusedOther  int64 // no subprotocol, no upgrade, above a limit
	PingTimeouts  int64
	Panics        int64
}

// WebSocketHandler answers the WebSocket handshake of MQTT clients and runs a function per connection, each on a
// goroutine of its own. It does not care which path it is registered under.
type WebSocketHandler struct {
	cfg      WSConfig
	reads    atomic.Int64 // WSConfig.ReadLimit, as it is now
	origins  originPolicy
	host     *host
	handle   Handler
	upgrader websocket.Upgrader
	limit    *limiter
	pings    pinger

	mu      sync.Mutex
	ended   bool           // Wait was called: nobody is taken any more
	running sync.WaitGroup // requests in ServeHTTP and connections; added to under mu

	active, accepted, refusedOrigin, refusedOther atomic.Int64
}

// NewWebSocketHandler returns a handler that runs handle for each MQTT client. The connection is closed when handle
// returns or panics. Connections of NetListener and plain TCP connections of any http.Server can be served; TLS that
// somebody else terminated in this process cannot.
func NewWebSocketHandler(cfg WSConfig, handle Handler, log *slog.Logger) *WebSocketHandler {
	if cfg.Name == "" {
		cfg.Name = "ws"
	}
	if cfg.OriginsKey == "" {
		cfg.OriginsKey = "listeners.web.origins"
	}
	if cfg.ReadLimit <= 0 {
		cfg.ReadLimit = defaultReadLimit
	}
	if cfg.PingInterval <= 0 {
		cfg.PingInterval = defaultPingInterval
	}
	if cfg.Handshake <= 0 {
		cfg.Handshake = defaultHandshake
	}
	if cfg.Refuse == nil {
		cfg.Refuse = func(w http.ResponseWriter, status int, why string) { http.Error(w, why, status) }
	}
	h := &WebSocketHandler{
		cfg:     cfg,
		origins: newOriginPolicy(cfg.Origins, cfg.LocalOrigins),
		host:    newHost(cfg.Name, cfg.QueueLimit, log),
		handle:  handle,
		limit:   newLimiter(cfg.MaxConnections, cfg.PerAddress),
		// The buffers are gorilla's for the handshake alone; frames are read and written by Conn.
		upgrader: websocket.Upgrader{
			HandshakeTimeout: cfg.Handshake, ReadBufferSize: 128, WriteBufferSize: 128,
			Subprotocols: []string{"mqtt", "mqttv3.1"},
			CheckOrigin:  func(*http.Request) bool { return true }, // judged before
			Error: func(w http.ResponseWriter, _ *http.Request, status int, reason error) {
				cfg.Refuse(w, status, reason.Error())
			},
		},
	}
	h.reads.Store(cfg.ReadLimit)
	h.pings.init(cfg.PingInterval)
	return h
}

// SetLimits changes ReadLimit, for connections to come, PerAddress and QueueLimit.
func (h *WebSocketHandler) SetLimits(readLimit int64, perAddress, queueLimit int) {
	if readLimit <= 0 {
		readLimit = defaultReadLimit
	}
	h.reads.Store(readLimit)
	h.limit.setPer(perAddress)
	h.host.setLimit(queueLimit)
}

// Stats returns the counters.
func (h *WebSocketHandler) Stats() WebSocketStats {
	return WebSocketStats{
		Active: h.active.Load(), Accepted: h.accepted.Load(), RefusedOrigin: h.refusedOrigin.Load(),
		RefusedOther: h.refusedOther.Load(), PingTimeouts: h.pings.timeouts.Load(), Panics: h.host.panics.Load(),
	}
}

// Wait refuses whoever comes from now on and returns when every connection has ended, those included that were just
// being upgraded, which http.Server.Shutdown does not wait for. Close the connections and the http.Server first.
func (h *WebSocketHandler) Wait() {
	h.mu.Lock()
	h.ended = true
	h.mu.Unlock()
	h.running.Wait()
	h.pings.wait()
}

// enter counts a request, unless the handler has ended.
func (h *WebSocketHandler) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ended {
		h.running.Add(1)
	}
	return !h.ended
}

// ServeHTTP upgrades the connection or says why not.
func (h *WebSocketHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.enter() {
		h.refusedOther.Add(1)
		w.Header().Set("Connection", "close")
		h.cfg.Refuse(w, http.StatusServiceUnavailable, "the server is shutting down")
		return
	}
	defer h.running.Done()
	addr := ClientAddr(r, h.cfg.TrustedProxies)
	if status, reason := h.refusal(r); status != 0 {
		if status == http.StatusForbidden {
			h.refusedOrigin.Add(1)
		} else {
			h.refusedOther.Add(1)
		}
		if status == http.StatusUpgradeRequired {
			w.Header().Set("Upgrade", "websocket")
			w.Header().Set("Connection", "Upgrade")
		}
		h.host.log.Debug("websocket refused", "listener", h.cfg.Name, "remote", addr, "status", status, "reason", reason)
		h.cfg.Refuse(w, status, reason)
		return
	}
	if h.cfg.Busy != nil {
		if wait := h.cfg.Busy(); wait > 0 {
			h.refusedOther.Add(1)
			h.cfg.Refusals.Add(limit.ConnectQueue)
			w.Header().Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
			w.Header().Set("Connection", "close")
			h.cfg.Refuse(w, http.StatusServiceUnavailable, fmt.Sprintf("too many connect at once, try again later (%v)", limit.ConnectQueue))
			return
		}
	}
	key := addr.Addr()
	if contains(h.cfg.TrustedProxies, key) {
		key = netip.Addr{} // a proxy that does not tell whose connection it is: these are many clients
	}
	release, err := h.limit.acquire(key)
	if err != nil {
		h.refusedOther.Add(1)
		h.cfg.Refusals.Add(limitOf(err))
		w.Header().Set("Retry-After", "10")
		h.cfg.Refuse(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	up, err := h.upgrader.Upgrade(w, r, nil) // answers on failure
	if err != nil {
		h.refusedOther.Add(1)
		release()
		return
	}
	c, err := h.adopt(up.NetConn(), addr)
	if err != nil {
		h.refusedOther.Add(1)
		h.host.log.Error("websocket connection cannot be served", "listener", h.cfg.Name, "remote", addr, "err", err)
		_ = up.NetConn().Close()
		release()
		return
	}
	c.client = key
	h.accepted.Add(1)
	h.active.Add(1)
	// net/http's goroutine ends here, and with it the request, the response and their buffers.
	h.running.Go(func() {
		defer release()
		defer h.active.Add(-1)
		h.pings.add(c)
		defer h.pings.remove(c)
		c.run(h.handle)
	})
}

// refusal returns the status and text for a request that is no acceptable handshake, or 0.
func (h *WebSocketHandler) refusal(r *http.Request) (int, string) {
	if !websocket.IsWebSocketUpgrade(r) || !r.ProtoAtLeast(1, 1) {
		return http.StatusUpgradeRequired,
			"this address speaks MQTT over WebSocket: connect with an MQTT client, e.g. mqtt.connect(\"ws://host/mqtt\")"
	}
	if origin := r.Header.Get("Origin"); !h.origins.allow(origin, r.Host) {
		return http.StatusForbidden, fmt.Sprintf("pages of origin %q may not connect: add it to %s", origin, h.cfg.OriginsKey)
	}
	offered := websocket.Subprotocols(r)
	if !slices.ContainsFunc(h.upgrader.Subprotocols, func(p string) bool { return slices.Contains(offered, p) }) {
		// What it offered is not repeated: pages put tokens there.
		return http.StatusBadRequest, fmt.Sprintf(
			"subprotocol \"mqtt\" is required in Sec-WebSocket-Protocol, it is not among the %d that the client offered", len(offered))
	}
	return 0, ""
}

// adopt makes a Conn of an upgraded connection.
func (h *WebSocketHandler) adopt(nc net.Conn, addr netip.AddrPort) (*Conn, error) {
	var (
		tcp  *net.TCPConn
		sock *socket
		sec  *tls.Conn
	)
	switch t := nc.(type) {
	case *net.TCPConn:
		tcp = t
	case *socket:
		sock, tcp = t, t.TCPConn
	case *tls.Conn:
		s, ok := t.NetConn().(*socket)
		if !ok {
			return nil, fmt.Errorf("TLS over %T: use the listener of this package", t.NetConn())
		}
		sec, sock, tcp = t, s, s.TCPConn
	default:
		return nil, fmt.Errorf("connection is a %T: use the listener of this package", nc)
	}
	stream, err := newNetStream(tcp)
	if err != nil {
		return nil, err
	}
	c := newConn(h.host, stream, addr)
	c.sock, c.tls = sock, sec
	c.ws = &wsConn{frames: frameReader{limit: uint64(h.reads.Load())}}
	if sock != nil {
		sock.attach(c)
	}
	return c, nil
}

// wsConn is what a Conn needs for WebSocket.
type wsConn struct {
	frames frameReader
	err    error  // ends reading; the reader's
	peer   int    // code of the client's close frame
	pong   []byte // answer to the last ping, made while reading

	closeFrame []byte // set under Conn.mu before the state is closing

	heard      atomic.Bool // bytes came since the last ping
	reading    atomic.Bool // somebody is in Read, so that a pong would be seen
	unanswered int         // pings since the last sign of life; the pinger's
	slot       int         // place in the pinger
}

// unframe takes the frames off p in place and returns how many bytes of MQTT are left.
func (c *Conn) unframe(p []byte) int {
	ws := c.ws
	if !ws.heard.Load() {
		ws.heard.Store(true)
	}
	n, err := ws.frames.feed(p, ws)
	if ws.pong != nil {
		c.control(ws.pong)
		ws.pong = nil
	}
	if err == nil {
		return n
	}
	var broken *frameError
	switch {
	case errors.Is(err, errPeerClosed):
		ws.err = io.EOF
		c.CloseWithStatus(closeGrace, ws.peer, "")
	case errors.As(err, &broken):
		ws.err = err
		c.CloseWithStatus(closeGrace, broken.code, broken.reason)
	}
	return n
}

// onControl remembers what to answer. Of several pings in one read only the last is answered, as RFC 6455 allows.
func (ws *wsConn) onControl(op byte, payload []byte) error {
	switch op {
	case opPing:
		ws.pong = append(appendFrameHeader(make([]byte, 0, 2+len(payload)), opPong, len(payload)), payload...)
	case opClose:
		code, ok := closeStatus(payload)
		if !ok {
			return protocolError("bad close frame")
		}
		ws.peer = code
		return errPeerClosed
	}
	return nil
}

var _ http.Handler = (*WebSocketHandler)(nil)
