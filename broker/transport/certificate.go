package transport

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/madang-chat/madang/internal/clock"
)

// certificate is the server certificate of a listener, exchanged while it runs.
type certificate struct {
	name              string
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
	config            *tls.Config
}

func loadCertificate(name, certFile, keyFile string) (*certificate, error) {
	c := &certificate{name: name, certFile: certFile, keyFile: keyFile}
	if err := c.reload(); err != nil {
		return nil, err
	}
	c.config = &tls.Config{
		MinVersion: tls.VersionTLS12,
		// MQTT clients rarely name a protocol. Browsers must stay with HTTP/1.1, which WebSocket needs.
		NextProtos:     []string{"mqtt", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current.Load(), nil },
		// Small records at first help pages to render early; here a flush is one record.
		DynamicRecordSizingDisabled: true,
	}
	return c, nil
}

// reload reads both files. On an error the current certificate stays.
func (c *certificate) reload() error {
	key := func(k string) string { return "listeners." + c.name + "." + k }
	if c.certFile == "" {
		return fmt.Errorf("%s is set but %s is not: TLS needs both", key("key_file"), key("cert_file"))
	}
	if c.keyFile == "" {
		return fmt.Errorf("%s is set but %s is not: TLS needs both", key("cert_file"), key("key_file"))
	}
	certPEM, err := os.ReadFile(c.certFile)
	if err != nil {
		return fmt.Errorf("%s: %w", key("cert_file"), err)
	}
	keyPEM, err := os.ReadFile(c.keyFile)
	if err != nil {
		return fmt.Errorf("%s: %w", key("key_file"), err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return fmt.Errorf("%s %s with %s %s: %w", key("cert_file"), c.certFile, key("key_file"), c.keyFile, err)
	}
	c.current.Store(&pair)
	return nil
}

// until is when the certificate stops being valid.
func (c *certificate) until() time.Time {
	if leaf := c.current.Load().Leaf; leaf != nil {
		return leaf.NotAfter
	}
	return time.Time{}
}

func (c *certificate) warnIfExpired(log *slog.Logger) {
	if until := c.until(); !until.IsZero() && clock.Until(until) < 0 {
		log.Warn("the certificate has expired; clients will refuse it", "listener", c.name, "file", c.certFile,
			"until", until)
	}
}
