// Package mqtttest is an MQTT client for tests: it speaks v3.1.1 and v5 over TCP and WebSocket, shows every packet as it
// came, and does what it is told, wrong things included.
package mqtttest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/mochi-mqtt/server/v2/packets"
)

// Versions of the protocol.
const (
	V311 = 4
	V5   = 5
)

// Patience is how long a client waits for something that must come.
const Patience = 20 * time.Second

// Flavour is one of the ways to talk to the broker that must make no difference.
type Flavour struct {
	Version byte
	Web     bool // WebSocket instead of TCP
}

// String names the flavour in tests.
func (f Flavour) String() string {
	name := "v3.1.1"
	if f.Version == V5 {
		name = "v5"
	}
	if f.Web {
		return name + "-ws"
	}
	return name + "-tcp"
}

// Flavours are all of them.
var Flavours = []Flavour{{V311, false}, {V5, false}, {V311, true}, {V5, true}}

// Addresses are where a broker listens.
type Addresses struct{ MQTT, Web string }

// Options of Dial. The zero value is a v3.1.1 guest over TCP with a clean session.
type Options struct {
	Flavour
	User, Password string // no User = a guest
	ClientID       string
	Keep           bool          // keep the session: Clean Session 0, and with v5 an expiry of an hour
	Expiry         uint32        // v5: session expiry in seconds, in place of Keep's hour
	Resume         bool          // v5: Clean Start 0, whatever Keep says
	KeepAlive      uint16        // seconds; 0 = none
	Hears          time.Duration // how long to wait for what must come; 0 = Patience
	Will           *packets.Packet
	ReceiveMaximum uint16
	Properties     func(*packets.Properties) // v5, of the CONNECT
	Manual         bool                      // acknowledgements are sent by Ack only
	ReadBuffer     int                       // SO_RCVBUF, 0 = the system's; below 64 KiB, the MSS of loopback, a stream crawls
}

// Client is one connection. Its methods fail the test when something that must come does not. All of them may be called
// by any number of goroutines.
type Client struct {
	t       testing.TB
	o       Options
	conn    net.Conn
	Connack packets.Packet

	writing sync.Mutex

	mu       sync.Mutex
	changed  chan struct{} // closed at every change
	messages []packets.Packet
	answers  []packets.Packet
	nextID   uint16
	err      error // why reading ended
	bye      *packets.Packet
	paused   bool
	done     chan struct{}
}

// Dial connects and expects to be accepted.
func Dial(t testing.TB, at Addresses, o Options) *Client {
	t.Helper()
	c, err := TryDial(t, at, o)
	if err != nil {
		t.Fatalf("connect %q %q: %v", o.User, o.ClientID, err)
	}
	return c
}

// DialSoon is Dial at a node that may not have its place in the cluster back yet: it tries again for Patience, and waits as
// long for each answer.
func DialSoon(t testing.TB, at Addresses, o Options) *Client {
	t.Helper()
	o.Hears = Patience
	var c *Client
	Eventually(t, fmt.Sprintf("%q %q is connected", o.User, o.ClientID), func() (ok bool) {
		var err error
		c, err = TryDial(t, at, o)
		return err == nil
	})
	return c
}

// TryDial connects. A refusal is an error, with the Connack in the client it comes with; other errors come without one.
func TryDial(t testing.TB, at Addresses, o Options) (*Client, error) {
	t.Helper()
	o.Version = cmp.Or(o.Version, V311)
	o.Hears = cmp.Or(o.Hears, Patience)
	conn, err := open(at, o.Flavour, o.Hears)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok && o.ReadBuffer > 0 {
		_ = tcp.SetReadBuffer(o.ReadBuffer)
	}
	c := &Client{t: t, o: o, conn: conn, changed: make(chan struct{}), done: make(chan struct{})}
	t.Cleanup(c.Cut)
	if err := c.write(ConnectPacket(o)); err != nil {
		return nil, err
	}
	timer := time.AfterFunc(o.Hears, func() { _ = conn.Close() })
	c.Connack, err = ReadPacket(conn, o.Version)
	timer.Stop()
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("no CONNACK: %w", err)
	}
	if c.Connack.ReasonCode != 0 {
		_ = conn.Close()
		return c, fmt.Errorf("refused with %#x %q", c.Connack.ReasonCode, c.Connack.Properties.ReasonString)
	}
	go c.read()
	return c, nil
}

// Open opens a connection without saying anything.
func Open(at Addresses, f Flavour) (net.Conn, error) { return open(at, f, Patience) }

func open(at Addresses, f Flavour, within time.Duration) (net.Conn, error) {
	if !f.Web {
		return net.DialTimeout("tcp", at.MQTT, within)
	}
	d := websocket.Dialer{Subprotocols: []string{"mqtt"}, HandshakeTimeout: within}
	ws, resp, err := d.Dial("ws://"+at.Web+"/mqtt", http.Header{})
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	return &webConn{Conn: ws.NetConn(), ws: ws}, nil
}

// webConn is a WebSocket as a stream of bytes.
type webConn struct {
	net.Conn
	ws   *websocket.Conn
	rest []byte
}

// Read returns what binary frames carry.
func (c *webConn) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		kind, b, err := c.ws.ReadMessage()
		if err != nil {
			if websocket.IsCloseError(err, websocket.CloseNormalClosure) {
				return 0, io.EOF
			}
			return 0, err
		}
		if kind != websocket.BinaryMessage {
			return 0, errors.New("the broker sent a text frame")
		}
		c.rest = b
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// Write sends p as one binary frame.
func (c *webConn) Write(p []byte) (int, error) {
	return len(p), c.ws.WriteMessage(websocket.BinaryMessage, p)
}

// ConnectPacket is the CONNECT that Dial sends.
func ConnectPacket(o Options) *packets.Packet {
	pk := &packets.Packet{
		ProtocolVersion: o.Version, FixedHeader: packets.FixedHeader{Type: packets.Connect},
		Connect: packets.ConnectParams{
			ProtocolName: []byte("MQTT"), ClientIdentifier: o.ClientID, Keepalive: o.KeepAlive, Clean: !o.Keep && !o.Resume,
			Username: []byte(o.User), UsernameFlag: o.User != "", Password: []byte(o.Password), PasswordFlag: o.User != "",
		},
	}
	if o.User != "" && o.Password == "" {
		pk.Connect.Password = []byte("x")
	}
	if o.Version == V5 {
		p := &pk.Properties
		if o.Keep || o.Expiry > 0 {
			p.SessionExpiryIntervalFlag, p.SessionExpiryInterval = true, cmp.Or(o.Expiry, 3600)
		}
		p.ReceiveMaximum = o.ReceiveMaximum
		p.RequestProblemInfoFlag, p.RequestProblemInfo = true, 1
		if o.Properties != nil {
			o.Properties(p)
		}
	}
	if w := o.Will; w != nil {
		pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, w.TopicName, w.Payload
		pk.Connect.WillQos, pk.Connect.WillRetain = w.FixedHeader.Qos, w.FixedHeader.Retain
		pk.Connect.WillProperties = w.Properties
	}
	return pk
}

// Encode returns the bytes of a packet.
func Encode(pk *packets.Packet) ([]byte, error) {
	var b bytes.Buffer
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectEncode(&b)
	case packets.Publish:
		err = pk.PublishEncode(&b)
	case packets.Puback:
		err = pk.PubackEncode(&b)
	case packets.Pubrel:
		pk.FixedHeader.Qos = 1
		err = pk.PubrelEncode(&b)
	case packets.Subscribe:
		pk.FixedHeader.Qos = 1
		err = pk.SubscribeEncode(&b)
	case packets.Unsubscribe:
		pk.FixedHeader.Qos = 1
		err = pk.UnsubscribeEncode(&b)
	case packets.Pingreq:
		err = pk.PingreqEncode(&b)
	case packets.Disconnect:
		err = pk.DisconnectEncode(&b)
	case packets.Auth:
		err = pk.AuthEncode(&b)
	default:
		err = fmt.Errorf("packet type %d is not for clients", pk.FixedHeader.Type)
	}
	return b.Bytes(), err
}

// ReadPacket reads one packet of a broker.
func ReadPacket(r io.Reader, version byte) (packets.Packet, error) {
	pk := packets.Packet{ProtocolVersion: version}
	var one [1]byte
	if _, err := io.ReadFull(r, one[:]); err != nil {
		return pk, err
	}
	if err := pk.FixedHeader.Decode(one[0]); err != nil {
		return pk, err
	}
	length := 0
	for shift := 0; ; shift += 7 {
		if _, err := io.ReadFull(r, one[:]); err != nil {
			return pk, err
		}
		length |= int(one[0]&0x7f) << shift
		if one[0] < 0x80 {
			break
		}
	}
	pk.FixedHeader.Remaining = length
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return pk, err
	}
	switch pk.FixedHeader.Type {
	case packets.Connack:
		return pk, pk.ConnackDecode(body)
	case packets.Publish:
		return pk, pk.PublishDecode(body)
	case packets.Puback:
		return pk, pk.PubackDecode(body)
	case packets.Pubrec:
		return pk, pk.PubrecDecode(body)
	case packets.Pubcomp:
		return pk, pk.PubcompDecode(body)
	case packets.Suback:
		return pk, pk.SubackDecode(body)
	case packets.Unsuback:
		return pk, pk.UnsubackDecode(body)
	case packets.Pingresp:
		return pk, nil
	case packets.Disconnect:
		return pk, pk.DisconnectDecode(body)
	case packets.Auth:
		return pk, pk.AuthDecode(body)
	}
	return pk, fmt.Errorf("a broker does not send packet type %d", pk.FixedHeader.Type)
}
