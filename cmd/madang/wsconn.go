package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// wsConn is a WebSocket as a stream of bytes. A packet is written under the lock it carries, so that packets of
// several goroutines do not mix.
type wsConn struct {
	*websocket.Conn
	sync.Mutex

	rest io.Reader // of the message being read; only the reading goroutine touches it
}

func dialWebSocket(ctx context.Context, u *url.URL, conf *tls.Config) (net.Conn, error) {
	to := *u
	if to.Path == "" || to.Path == "/" {
		to.Path = "/mqtt"
	}
	d := websocket.Dialer{Subprotocols: []string{"mqtt"}, TLSClientConfig: conf}
	conn, resp, err := d.DialContext(ctx, to.String(), nil)
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close() // holds no more than the library has read
	}
	if errors.Is(err, websocket.ErrBadHandshake) && resp != nil {
		return nil, fmt.Errorf("%s is no WebSocket: it answers %s", to.String(), resp.Status)
	}
	if err != nil {
		return nil, err
	}
	return &wsConn{Conn: conn}, nil
}

// Read returns bytes of the present message, or of the next.
func (c *wsConn) Read(p []byte) (int, error) {
	for {
		if c.rest == nil {
			_, r, err := c.NextReader()
			if err != nil {
				return 0, err
			}
			c.rest = r
		}
		n, err := c.rest.Read(p)
		if errors.Is(err, io.EOF) {
			c.rest, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// Write sends p as one message.
func (c *wsConn) Write(p []byte) (int, error) {
	if err := c.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// SetDeadline sets both deadlines.
func (c *wsConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

var (
	_ net.Conn    = (*wsConn)(nil)
	_ sync.Locker = (*wsConn)(nil)
)
