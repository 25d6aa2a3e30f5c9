package transport

import "errors"

var (
	// ErrTooLarge is wrapped by a TooLargeError: a packet announces more bytes than the reader allows.
	ErrTooLarge = errors.New("packet too large")
	// ErrMalformed means that the bytes are no MQTT packet: the remaining length has more than four bytes.
	ErrMalformed = errors.New("malformed remaining length")
	// ErrTextFrame means that a WebSocket client sent text. MQTT is carried in binary frames only.
	ErrTextFrame = errors.New("websocket: text frame: MQTT needs binary frames")
	// ErrFrameTooLarge means that a WebSocket frame announces more bytes than the read limit leaves to its message.
	ErrFrameTooLarge = errors.New("websocket: frame above the read limit")
	// ErrFrame means that a WebSocket client broke the framing rules of RFC 6455.
	ErrFrame = errors.New("websocket: protocol error")
	// ErrUnreadAnswers means that a TLS client kept asking for new keys and did not read the answers.
	ErrUnreadAnswers = errors.New("tls: answers to key updates are not read")
	// ErrUntrustedPeer means that a peer outside trusted_proxies connected to a port with proxy_protocol.
	ErrUntrustedPeer = errors.New("peer is not in trusted_proxies")
	// ErrProxyHeader means that a connection did not start with a correct PROXY protocol v2 header.
	ErrProxyHeader = errors.New("bad PROXY protocol header")
	// ErrTooManyConnections means that a listener is at its limit, in all or for one address.
	ErrTooManyConnections = errors.New("too many connections")
	// ErrHandshakeTimeout means that a client did not finish the PROXY header or the TLS handshake in time.
	ErrHandshakeTimeout = errors.New("handshake timed out")
)
