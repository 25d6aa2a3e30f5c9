package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/spf13/cobra"

	"github.com/madang-chat/madang/internal/app"
)

const (
	dialTimeout = 10 * time.Second
	keepAlive   = 30               // seconds
	answerWait  = 40 * time.Second // above limits.ack_wait: the broker closes first, and says why
)

// mqttFlags are the flags that pub and sub share, named as mosquitto's are.
type mqttFlags struct {
	url, host, user, password string
	port                      uint16
	clientID, caFile          string
	qos                       uint8
}

func (f *mqttFlags) register(cmd *cobra.Command) {
	f.registerAddress(cmd)
	fl := cmd.Flags()
	fl.StringVarP(&f.user, "username", "u", "", "user `name`; none = guest")
	fl.StringVarP(&f.password, "pw", "P", "", "`password`, or a token with the user name -")
	fl.StringVarP(&f.clientID, "id", "i", "", "client `id`, the device (default: made up by the broker)")
	fl.Uint8VarP(&f.qos, "qos", "q", 1, "`QoS` 0, 1 or 2")
}

// registerAddress adds the flags that say where the broker is.
func (f *mqttFlags) registerAddress(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.Bool("help", false, "print this help") // without its letter: -h is the host, as with mosquitto's tools
	fl.StringVarP(&f.host, "host", "h", "127.0.0.1", "`host` of the broker")
	fl.Uint16VarP(&f.port, "port", "p", 1883, "`port` of the broker")
	fl.StringVar(&f.url, "url", "", "mqtt://, mqtts://, ws:// or wss:// `URL`, instead of host and port")
	fl.StringVar(&f.caFile, "cafile", "", "`file` with the certificates (PEM) to trust for TLS")
}

const tokenHelp = "Without -u and -P, a token in MADANG_TOKEN is used to log in."

// target returns where to connect, and who to be there.
func (f *mqttFlags) target() (u *url.URL, user, password string, err error) {
	if f.qos > 2 {
		return nil, "", "", usagef("QoS %d: it is 0, 1 or 2", f.qos)
	}
	u = &url.URL{Scheme: "mqtt", Host: net.JoinHostPort(f.host, strconv.Itoa(int(f.port)))}
	if f.url != "" {
		if u, err = url.Parse(f.url); err != nil {
			return nil, "", "", usagef("--url: %w", err)
		}
	}
	switch u.Scheme {
	case "mqtt", "tcp", "mqtts", "ssl", "ws", "wss":
	default:
		return nil, "", "", usagef("--url: %q is not mqtt, mqtts, ws or wss", u.Scheme)
	}
	if u.Host == "" {
		return nil, "", "", usagef("--url %q names no host", f.url)
	}
	user, password = f.user, f.password
	if u.User != nil {
		user = cmp.Or(user, u.User.Username())
		if p, ok := u.User.Password(); ok {
			password = cmp.Or(password, p)
		}
		u.User = nil
	}
	if token := os.Getenv("MADANG_TOKEN"); token != "" && user == "" && password == "" {
		user, password = "-", token
	}
	return u, user, password, nil
}

// trust is how a client checks whom it talks to over TLS: by the certificates in a file (PEM), or the system's.
func trust(caFile string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile == "" {
		return c, nil
	}
	var err error
	if c.RootCAs, err = app.Authorities(caFile); err != nil {
		return nil, fmt.Errorf("--cafile: %w", err)
	}
	return c, nil
}

// dial opens the connection of the URL's scheme; conf is for TLS.
func dial(ctx context.Context, u *url.URL, conf *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	withPort := func(port string) string { return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port)) }
	switch u.Scheme {
	case "mqtts", "ssl":
		conn, err := (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", withPort("8883"))
		if err != nil {
			return nil, err
		}
		return packets.NewThreadSafeConn(conn), nil
	case "ws", "wss":
		return dialWebSocket(ctx, u, conf)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", withPort("1883"))
}

// link is one MQTT v5 connection. Its ctx ends with the connection or the one it was made with, whichever is first; the
// cause is why. The library leaves calls waiting whose connection the broker has ended, so they are made with this ctx.
type link struct {
	client *paho.Client
	ctx    context.Context
	end    context.CancelCauseFunc
}

// connect dials and logs in. received is called with each message, one at a time; it may be nil. A keep above 0 asks
// the broker to keep the session for that many seconds and to go on with one it has.
func (f *mqttFlags) connect(ctx context.Context, keep uint32, received func(*paho.Publish)) (*link, error) {
	u, user, password, err := f.target()
	if err != nil {
		return nil, err
	}
	conf, err := trust(f.caFile)
	if err != nil {
		return nil, err
	}
	conn, err := dial(ctx, u, conf)
	if err != nil {
		return nil, unreached(u.Host, err)
	}
	l := new(link)
	l.ctx, l.end = context.WithCancelCause(ctx)
	l.client = paho.NewClient(paho.ClientConfig{
		Conn:          conn,
		PacketTimeout: answerWait,
		OnClientError: func(err error) { l.end(fmt.Errorf("connection lost: %w", err)) },
		OnServerDisconnect: func(d *paho.Disconnect) {
			text := ""
			if d.Properties != nil {
				text = d.Properties.ReasonString
			}
			l.end(fmt.Errorf("disconnected by the broker: %s", reason(d.ReasonCode, text)))
		},
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			if received != nil {
				received(p.Packet)
			}
			return true, nil
		}},
	})
	cp := &paho.Connect{
		ClientID: f.clientID, KeepAlive: keepAlive, CleanStart: keep == 0,
		Username: user, UsernameFlag: user != "", Password: []byte(password), PasswordFlag: password != "",
		Properties: &paho.ConnectProperties{RequestProblemInfo: true, SessionExpiryInterval: &keep},
	}
	ack, err := l.client.Connect(ctx, cp)
	if err == nil {
		return l, nil
	}
	l.end(err)
	if ack != nil && ack.ReasonCode >= 0x80 {
		text := ""
		if ack.Properties != nil {
			text = ack.Properties.ReasonString
		}
		return nil, fmt.Errorf("login refused: %s", reason(ack.ReasonCode, text))
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("connect to %s: %w; is it a port for MQTT over what the URL says?", u.Host, err)
}

// unreached puts what to look at behind an error of a connection that was not made.
func unreached(host string, err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("connect to %s: %w; is a broker running there?", host, err)
	}
	return fmt.Errorf("connect to %s: %w", host, err)
}

// close says goodbye and waits until the connection is gone.
func (l *link) close() {
	_ = l.client.Disconnect(&paho.Disconnect{}) // what can fail here is the connection that is given up
	<-l.client.Done()
	l.end(nil)
}

// explain turns an error of the library into the reason the broker gave, where it gave one.
func (l *link) explain(err error) error {
	if l.ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %v: whether it was taken is not known", answerWait)
	}
	select {
	case <-l.ctx.Done():
		return context.Cause(l.ctx)
	default:
	}
	select {
	case <-l.client.Done():
	default:
		return err // not about the connection
	}
	select {
	case <-l.ctx.Done(): // told by the library soon after Done
		return context.Cause(l.ctx)
	case <-time.After(time.Second):
		return err
	}
}

// forever is the session expiry that stands for "as long as the broker allows".
const forever = math.MaxUint32

// reason puts what a reason code means beside the broker's own words.
func reason(code byte, text string) string {
	meaning := (&packets.Disconnect{ReasonCode: code}).Reason()
	if text != "" {
		return fmt.Sprintf("%s (0x%02X)", text, code)
	}
	if meaning == "" {
		return fmt.Sprintf("reason code 0x%02X", code)
	}
	return fmt.Sprintf("%s (0x%02X)", meaning, code)
}
