package api_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/internal/certtest"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// reply is an answer of a node, read whole.
type reply struct {
	status int
	header http.Header
	body   string
}

// code is the code of a problem, "" when the answer is none.
func (r reply) code() string {
	var p struct{ Code string }
	if r.header.Get("Content-Type") != "application/problem+json" || json.Unmarshal([]byte(r.body), &p) != nil {
		return ""
	}
	return p.Code
}

var client = &http.Client{
	Timeout:       mqtttest.Patience,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// ask sends "POST http://127.0.0.1/x" with headers that are "Name: value" each; Host is one of them.
func ask(t testing.TB, line, body string, headers ...string) reply {
	t.Helper()
	method, url, _ := strings.Cut(line, " ")
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			req.Host = value
			continue
		}
		req.Header.Add(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return reply{resp.StatusCode, resp.Header, string(b)}
}

// login returns the header of a user on a node with --dev.
func login(t testing.TB, web, user string) string {
	t.Helper()
	r := ask(t, "POST "+web+"/api/v1/auth/login", `{"user":"`+user+`","password":"x"}`, "Content-Type: application/json")
	var token struct{ Token string }
	if err := json.Unmarshal([]byte(r.body), &token); err != nil || token.Token == "" {
		t.Fatalf("%d %s", r.status, r.body)
	}
	return "Authorization: Bearer " + token.Token
}

func web(n *testcluster.Node) string { return "http://" + n.Addr("web") }

// handshake tries a WebSocket and returns the status. The connection stays open until the test ends.
func handshake(t testing.TB, addr string, conn net.Conn, headers ...string) int {
	t.Helper()
	h := http.Header{}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	d := websocket.Dialer{Subprotocols: []string{"mqtt"}, HandshakeTimeout: mqtttest.Patience}
	if conn != nil {
		d.NetDial = func(string, string) (net.Conn, error) { return conn, nil }
	}
	ws, resp, err := d.Dial("ws://"+addr+"/mqtt", h)
	if err == nil {
		t.Cleanup(func() { _ = ws.Close() })
	} else if resp == nil {
		return 0
	}
	return resp.StatusCode
}

// A message that the log cannot take is refused for certain: not "outcome unknown", which a client would send again.
func TestNodeRefusesWhatTheLogCannotTake(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	alice := login(t, web(n), "alice")
	post := "POST " + web(n) + "/api/v1/rooms/lobby/messages"
	r := ask(t, post, strings.Repeat("\x01", 256<<10), alice) // as JSON six times as long
	if r.status != http.StatusRequestEntityTooLarge || r.code() != "too_large" {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := ask(t, post, strings.Repeat("x", 256<<10), alice); r.status != http.StatusCreated {
		t.Errorf("%d %s", r.status, r.body)
	}
	large := testcluster.Start(t, testcluster.Options{Set: []string{"limits.message=2MiB", "limits.connection_bytes=2MiB"}})
	r = ask(t, "POST "+web(large)+"/api/v1/rooms/lobby/messages", strings.Repeat("x", 2<<20), login(t, web(large), "alice"))
	if r.status != http.StatusCreated {
		t.Errorf("a message of limits.message: %d %s", r.status, r.body)
	}
}

func TestNodeSendsNobodyElsewhere(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	alice := login(t, web(n), "alice")
	for _, method := range []string{"GET", "POST", "DELETE"} {
		for _, path := range []string{"//api/v1/rooms", "/api/../x", "/api/v1/rooms/", "/../api/v1/rooms", "/", "//"} {
			r := ask(t, method+" "+web(n)+path, "", alice)
			if r.status != http.StatusNotFound || r.code() != "not_found" || r.header.Get("Location") != "" {
				t.Errorf("%s %s: %d %s to %q", method, path, r.status, r.body, r.header.Get("Location"))
			}
		}
		if r := ask(t, method+" http://"+n.Addr("ops")+"//livez", ""); r.status != http.StatusNotFound || r.code() != "not_found" {
			t.Errorf("%s //livez: %d %s", method, r.status, r.body)
		}
	}
	if r := ask(t, "GET "+web(n)+"/mqtt", ""); r.status != http.StatusUpgradeRequired || r.code() != "unsupported" {
		t.Errorf("/mqtt without a handshake: %d %s", r.status, r.body)
	}
}

// With --dev everybody is believed, so a page whose name was made to point at this machine must be kept out.
func TestNodeKnowsItsNames(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{Set: []string{"listeners.web.origins=localhost,https://chat.example"}})
	_, port, _ := net.SplitHostPort(n.Addr("web"))
	for host, ok := range map[string]bool{
		"127.0.0.1:" + port: true, "localhost:" + port: true, "LocalHost": true, "localhost.": true, "app.localhost:" + port: true,
		"[::1]:" + port: true, "127.8.8.8": true, "chat.example": true, "chat.example:" + port: true,
		"evil.example": false, "evil.example:" + port: false, "localhost.evil.example": false, "127.0.0.1.nip.io": false,
		"chat.example.evil.example": false, "192.0.2.1": false, "0.0.0.0": false, "madang": false, "localhost:1:2": false,
	} {
		for _, url := range []string{web(n) + "/api/v1/health", "http://" + n.Addr("ops") + "/livez"} {
			r := ask(t, "GET "+url, "", "Host: "+host)
			if ok != (r.status == http.StatusOK) || !ok && (r.status != http.StatusMisdirectedRequest || r.code() != "forbidden") {
				t.Errorf("%s as %s: %d %s", url, host, r.status, r.body)
			}
		}
		// The page is of the same origin as the node, so that its Origin says nothing.
		status := handshake(t, n.Addr("web"), nil, "Host: "+host, "Origin: http://"+host)
		if want := map[bool]int{true: http.StatusSwitchingProtocols, false: http.StatusMisdirectedRequest}[ok]; status != want {
			t.Errorf("WebSocket as %s: %d", host, status)
		}
	}
	r := ask(t, "POST "+web(n)+"/api/v1/auth/login", `{"user":"admin","password":"x"}`, "Content-Type: application/json", "Host: evil.example")
	if r.status != http.StatusMisdirectedRequest {
		t.Errorf("a page logged in as admin: %d %s", r.status, r.body)
	}
}

// In a container the node is called by names of its network; those that anybody could register stay out.
func TestNodeOfANetworkKnowsItsNames(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{Set: []string{"auth.trust_network=true"}})
	for host, status := range map[string]int{
		"madang:8080": 200, "host.docker.internal": 200, "192.0.2.1:8080": 200, "box.local": 200, "evil.example": 421, "": 200,
	} {
		if r := ask(t, "GET "+web(n)+"/api/v1/health", "", "Host: "+host); r.status != status {
			t.Errorf("%q: %d %s", host, r.status, r.body)
		}
	}
	open := testcluster.Start(t, testcluster.Options{Set: []string{"listeners.web.origins=*"}})
	if r := ask(t, "GET "+web(open)+"/api/v1/health", "", "Host: any.example"); r.status != http.StatusOK {
		t.Errorf("every origin is welcome: %d %s", r.status, r.body)
	}
}

// Where users prove who they are any name will do.
func TestNodeWithUsersTakesAnyName(t *testing.T) {
	f := auth.NewUsersFile("users")
	if err := f.Set("alice", []byte("secret")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, f.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	n := testcluster.Start(t, testcluster.Options{Prod: true, Set: []string{"auth.users_file=" + path}})
	r := ask(t, "POST "+web(n)+"/api/v1/auth/login", `{"user":"alice","password":"secret"}`, "Content-Type: application/json", "Host: chat.example")
	if r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// HTTP and MQTT take from one quota.
func TestNodeHasOneQuotaPerUser(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{Set: []string{"limits.messages_per_second=1"}})
	alice := login(t, web(n), "alice")
	post := "POST " + web(n) + "/api/v1/rooms/lobby/messages"
	c := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "alice", ClientID: "a"})
	limited := 0
	for range 12 { // four seconds' worth, and those of the time this takes
		c.Say("lobby", "x")
	}
	for range 3 {
		if r := ask(t, post, "x", alice); r.status == http.StatusTooManyRequests && r.code() == "rate_limited" && r.header.Get("Retry-After") == "1" {
			limited++
		}
	}
	if limited < 2 {
		t.Errorf("%d of 3 posts were refused after 12 publishes", limited)
	}
	if r := ask(t, post, "x", login(t, web(n), "bob")); r.status != http.StatusCreated {
		t.Errorf("another user: %d %s", r.status, r.body)
	}
}

// proxyHeader is PROXY protocol version 2 for a client at addr.
func proxyHeader(addr string) []byte {
	a := netip.MustParseAddrPort(addr)
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x21, 0x11, 0, 12)
	ip := a.Addr().As4()
	b = append(b, ip[:]...)
	b = append(b, 127, 0, 0, 1)
	b = binary.BigEndian.AppendUint16(b, a.Port())
	return binary.BigEndian.AppendUint16(b, 80)
}

// limits.connections_per_address counts clients, not the proxy they come through.
func TestNodeLimitsAddressesBehindProxies(t *testing.T) {
	set := []string{"limits.connections_per_address=2", "listeners.web.trusted_proxies=127.0.0.1"}
	n := testcluster.Start(t, testcluster.Options{Set: set})
	for i, want := range []int{101, 101, 503, 503} {
		if got := handshake(t, n.Addr("web"), nil, "X-Forwarded-For: 198.51.100.9, 192.0.2.1"); got != want {
			t.Errorf("X-Forwarded-For, connection %d: %d", i+1, got)
		}
	}
	if got := handshake(t, n.Addr("web"), nil, "X-Forwarded-For: 192.0.2.1, 192.0.2.2"); got != 101 {
		t.Errorf("another client: %d", got)
	}
	for i := range 4 { // a proxy that does not tell: many clients
		if got := handshake(t, n.Addr("web"), nil); got != 101 {
			t.Errorf("the proxy itself, connection %d: %d", i+1, got)
		}
	}

	n = testcluster.Start(t, testcluster.Options{Set: append(set, "listeners.web.proxy_protocol=true", "listeners.mqtt.proxy_protocol=true",
		"listeners.mqtt.trusted_proxies=127.0.0.1")})
	open := func(listener, client string) net.Conn {
		conn, err := net.DialTimeout("tcp", n.Addr(listener), mqtttest.Patience)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(mqtttest.Patience))
		if _, err := conn.Write(proxyHeader(client)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	for i, want := range []int{101, 101, 0} {
		// What the client says of itself in X-Forwarded-For is not believed.
		got := handshake(t, n.Addr("web"), open("web", fmt.Sprintf("192.0.2.1:%d", 1000+i)), fmt.Sprintf("X-Forwarded-For: 192.0.2.%d", 50+i))
		if got != want {
			t.Errorf("WebSocket behind PROXY, connection %d: %d", i+1, got)
		}
	}
	if got := handshake(t, n.Addr("web"), open("web", "192.0.2.2:1000")); got != 101 {
		t.Errorf("another client: %d", got)
	}
	connect := func(client string) bool {
		conn := open("mqtt", client)
		_, _ = conn.Write([]byte("\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00")) // a guest
		b := make([]byte, 4)
		_, err := io.ReadFull(conn, b)
		return err == nil && bytes.Equal(b, []byte{0x20, 2, 0, 0})
	}
	for i, want := range []bool{true, true, false} {
		if got := connect("192.0.2.9:7"); got != want {
			t.Errorf("MQTT behind PROXY, connection %d: %v", i+1, got)
		}
	}
	if !connect("192.0.2.10:7") {
		t.Error("another client is refused")
	}
}

// With listeners.ops.client_ca_file callers show a certificate, and one that was made for servers is none.
func TestNodeAsksOperatorsForACertificate(t *testing.T) {
	dir := t.TempDir()
	ca := certtest.New(t)
	cert, key := ca.Issue(t, filepath.Join(dir, "server.crt"), x509.ExtKeyUsageServerAuth)
	shows := func(a *certtest.Authority, name string, use x509.ExtKeyUsage) *tls.Certificate {
		certFile, keyFile := a.Issue(t, filepath.Join(dir, name+".crt"), use)
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			t.Fatal(err)
		}
		return &pair
	}
	operator := shows(ca, "operator", x509.ExtKeyUsageClientAuth)
	server := shows(ca, "other", x509.ExtKeyUsageServerAuth)
	stranger := shows(certtest.New(t), "stranger", x509.ExtKeyUsageClientAuth)
	n := testcluster.Start(t, testcluster.Options{Set: []string{
		"listeners.ops.cert_file=" + cert, "listeners.ops.key_file=" + key, "listeners.ops.client_ca_file=" + ca.File(t, dir),
	}})
	for _, c := range []struct {
		who  string
		cert *tls.Certificate
		want int
	}{{"operator", operator, 200}, {"nobody", nil, 401}, {"a server", server, 401}, {"a stranger", stranger, 401}} {
		cfg := &tls.Config{RootCAs: ca.Pool}
		if c.cert != nil { // shown whatever the server says it wants
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.cert, nil }
		}
		tr := &http.Transport{TLSClientConfig: cfg}
		for _, path := range []string{"/livez", "/metrics", "/cluster"} {
			resp, err := (&http.Client{Transport: tr, Timeout: mqtttest.Patience}).Get("https://" + n.Addr("ops") + path)
			if err != nil {
				t.Fatalf("%s: %v", c.who, err)
			}
			b, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if r := (reply{resp.StatusCode, resp.Header, string(b)}); r.status != c.want || c.want == 401 && r.code() != "unauthenticated" {
				t.Errorf("%s, %s: %d %s", c.who, path, r.status, r.body)
			}
		}
		tr.CloseIdleConnections()
	}
}
