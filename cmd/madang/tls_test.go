package main

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/certtest"
	"github.com/madang-chat/madang/internal/mqtttest"
)

// Over TLS a node is reached by clients that check its certificate, and by no others. A renewed certificate is shown
// to new connections after SIGHUP; the old ones stay. A bad one changes nothing.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca := certtest.New(t)
	cert, key := ca.Issue(t, filepath.Join(dir, "server.pem"), x509.ExtKeyUsageServerAuth)
	trusted := ca.File(t, dir)
	args := []string{"--dev", "--set", "listeners.mqtts.bind=127.0.0.1:0"}
	for _, l := range []string{"mqtts", "web", "ops"} {
		args = append(args, "--set", "listeners."+l+".cert_file="+cert, "--set", "listeners."+l+".key_file="+key)
	}
	n := startNode(t, nodeArgs(filepath.Join(dir, "data"), args...)...)
	mqtts, wss := n.url("MQTT over TLS"), n.url("MQTT over WebSocket")
	if !strings.HasPrefix(mqtts, "mqtts://") || !strings.HasPrefix(wss, "wss://") ||
		!strings.HasPrefix(n.url("HTTP API"), "https://") || !strings.HasPrefix(n.url("for operators"), "https://") {
		t.Errorf("the banner names no TLS:\n%s", n.banner)
	}

	// What one way brings in goes out of every other.
	const in, out = "chat/rooms/lobby/send", "$last/1/chat/rooms/lobby/msg/#"
	for _, u := range []string{mqtts, wss} {
		command(t, "", exitOK, "pub", "--url", u, "--cafile", trusted, "-u", "alice", "-P", "x", "-t", in, "-m", "over "+u)
		for _, v := range []string{mqtts, wss, n.url("MQTT")} {
			got, _ := command(t, "", exitOK, "sub", "--url", v, "--cafile", trusted, "-u", "bob", "-P", "x", "-t", out, "-C", "1")
			if !strings.Contains(got, "over "+u) {
				t.Errorf("through %s came %q", v, got)
			}
		}
		_, why := command(t, "", exitFailure, "pub", "--url", u, "-u", "alice", "-P", "x", "-t", in, "-m", "x")
		if !strings.Contains(why, "certificate") {
			t.Errorf("a client that does not know the authority hears %q", why)
		}
	}
	api := []string{"room", "list", "--server", "https://" + n.at().Web, "--user", "alice", "--password-stdin"}
	command(t, "x\n", exitOK, append(api, "--cafile", trusted)...)
	stranger := certtest.New(t).File(t, t.TempDir())
	for _, args := range [][]string{{"sub", "--url", mqtts, "-t", out}, api} {
		_, why := command(t, "x\n", exitFailure, append(args, "--cafile", stranger)...)
		if !strings.Contains(why, "certificate signed by unknown authority") {
			t.Errorf("%s of one who knows another authority says %q", args[0], why)
		}
	}

	// The certificate is renewed.
	old := dialTLS(t, ca, mqtts)
	shown := map[string]string{}
	for what, u := range n.urls() {
		if what != "MQTT" {
			shown[what] = serial(t, ca, u)
		}
	}
	ca.Issue(t, filepath.Join(dir, "server.pem"), x509.ExtKeyUsageServerAuth)
	n.reload(taken)
	renewed := serial(t, ca, mqtts)
	for what, before := range shown {
		if now := serial(t, ca, n.url(what)); now == before || now != renewed {
			t.Errorf("%s shows %s, before %s", what, now, before)
		}
	}
	old.ping()

	good, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	rewrite(t, cert, "no certificate")
	if text := n.reload(notTaken); !strings.Contains(text, "listeners.mqtts.cert_file") {
		t.Errorf("the log does not name the key:\n%s", text)
	}
	if now := serial(t, ca, mqtts); now != renewed {
		t.Errorf("a bad file changed the certificate from %s to %s", renewed, now)
	}
	rewrite(t, cert, string(good))
	old.ping()
	n.stop()
}

// tlsClient is an MQTT connection over TLS that can ping.
type tlsClient struct {
	t    testing.TB
	conn net.Conn
}

func dialTLS(t testing.TB, ca *certtest.Authority, to string) *tlsClient {
	t.Helper()
	c := &tlsClient{t, handshake(t, ca, to)}
	t.Cleanup(func() { c.conn.Close() })
	c.ask(&packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Connect}, ProtocolVersion: mqtttest.V311,
		Connect: packets.ConnectParams{ProtocolName: []byte("MQTT"), ClientIdentifier: "old", Clean: true},
	}, packets.Connack)
	return c
}

func (c *tlsClient) ping() {
	c.t.Helper()
	c.ask(&packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}}, packets.Pingresp)
}

func (c *tlsClient) ask(pk *packets.Packet, want byte) {
	c.t.Helper()
	b, err := mqtttest.Encode(pk)
	if err != nil {
		c.t.Fatal(err)
	}
	_ = c.conn.SetDeadline(time.Now().Add(patience)) // fails with the connection, and so does the next line
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
	if got, err := mqtttest.ReadPacket(c.conn, mqtttest.V311); err != nil || got.FixedHeader.Type != want || got.ReasonCode != 0 {
		c.t.Fatalf("packet type %d, code %#x, %v; want type %d", got.FixedHeader.Type, got.ReasonCode, err, want)
	}
}

// handshake connects to where a URL of the banner points and checks the certificate.
func handshake(t testing.TB, ca *certtest.Authority, to string) *tls.Conn {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", u.Host, &tls.Config{RootCAs: ca.Pool})
	if err != nil {
		t.Fatalf("%s: %v", to, err)
	}
	return conn
}

// serial is the serial number of the certificate that a new connection is shown.
func serial(t testing.TB, ca *certtest.Authority, to string) string {
	t.Helper()
	conn := handshake(t, ca, to)
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}
