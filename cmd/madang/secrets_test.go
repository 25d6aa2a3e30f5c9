package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/internal/mqtttest"
)

// vault holds what must be nowhere but where it was sent.
type vault struct {
	mu      sync.Mutex
	secrets []string
}

// keep makes a secret, or takes one over.
func (v *vault) keep(s string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.secrets = append(v.secrets, s)
	return s
}

// make makes a secret that says what it is.
func (v *vault) make(what string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := fmt.Sprintf("Sesame-%s-%d", what, len(v.secrets))
	v.secrets = append(v.secrets, s)
	return s
}

// token keeps a token, and its signature alone.
func (v *vault) token(s string) string {
	v.keep(s[strings.LastIndexByte(s, '.')+1:])
	return v.keep(s)
}

// absent fails where a text shows a secret, in any of the usual clothes.
func (v *vault) absent(t *testing.T, where, text string) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.secrets {
		// In base64 a part of it always stands as it would alone.
		inner := func(skip int) string {
			b := base64.StdEncoding.EncodeToString([]byte(s)[skip:])
			return b[2 : len(b)-4]
		}
		for _, as := range []string{s, hex.EncodeToString([]byte(s)), url.QueryEscape(s), inner(0), inner(1), inner(2)} {
			if at := strings.Index(text, as); at >= 0 {
				t.Errorf("%s shows %q: %q", where, s, text[max(0, at-200):min(len(text), at+len(as)+100)])
				break
			}
		}
	}
}

// secretive is a node that knows many secrets.
type secretive struct {
	*node
	*vault
	t                   *testing.T
	config, opsToken    string
	jwt, forged, key    string
	alice, root         string // passwords
	refusedHTTP, refuse int
}

func startSecretive(t *testing.T, format string) *secretive {
	t.Helper()
	s := &secretive{vault: &vault{}, t: t}
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		rewrite(t, path, text)
		return path
	}
	s.alice, s.root, s.opsToken = s.make("password"), s.make("password"), s.make("ops-token")
	users := filepath.Join(dir, "users")
	addUser(t, users, "alice", s.alice)
	addUser(t, users, "root", s.root)
	hmac := s.make("jwt-secret-of-at-least-32-bytes")
	var err error
	if s.jwt, err = auth.IssueToken([]byte(hmac), "carol", auth.TokenClaims{}, time.Hour); err != nil {
		t.Fatal(err)
	}
	if s.forged, err = auth.IssueToken([]byte(strings.Repeat("another secret ", 3)), "carol", auth.TokenClaims{}, time.Hour); err != nil {
		t.Fatal(err)
	}
	s.token(s.jwt)
	s.token(s.forged)
	key, line, err := auth.NewServiceKey("bot", "chat", auth.ScopeAdmin)
	if err != nil {
		t.Fatal(err)
	}
	s.key = s.keep(key)
	whsec := []byte(s.make("webhook-secret-of-24-bytes"))
	// Whoever is asked, or told, fails and sends back what it got.
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Echo", hex.EncodeToString(body[:min(len(body), 500)]))
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write(body)
	}))
	t.Cleanup(echo.Close)
	s.config = file("madang.yaml", "")
	s.configure(fmt.Sprintf(`
auth:
  users_file: %s
  service_keys_file: %s
  admins: [root]
  register: open
  guest: read
  jwt: {hmac_secret_file: %s}
rooms: {auto_create: public}
log: {level: debug, format: %s}
limits: {register_rate: 0}
listeners:
  ops: {token_file: %s}
hooks:
  before_send: {url: "%s/%s?token=%s", secret_file: %s, allow_private: true, timeout: 5s}
webhooks:
  - {name: push, url: "%s/%s?token=%s", secret_file: %s, allow_private: true, retries: [1s]}
`, users, file("keys", line+"\n"), file("hmac", hmac), format, file("ops", s.opsToken),
		echo.URL, s.make("hook-path"), s.make("hook-query"), file("whsec", "whsec_"+base64.StdEncoding.EncodeToString(whsec)),
		echo.URL, s.make("hook-path"), s.make("hook-query"), filepath.Join(dir, "whsec")))
	s.node = startNode(t, nodeArgs(filepath.Join(dir, "data"), "--config", s.config)...)
	return s
}

func (s *secretive) configure(text string) { rewrite(s.t, s.config, text) }

// dial connects; a refusal must not show what was sent.
func (s *secretive) dial(o mqtttest.Options) *mqtttest.Client {
	s.t.Helper()
	c, err := mqtttest.TryDial(s.t, s.at(), o)
	if err == nil {
		return c
	}
	if c == nil {
		s.t.Fatal(err)
	}
	s.refuse++
	s.absent(s.t, "a CONNACK", c.Connack.Properties.ReasonString)
	return nil
}

// talkMQTT says over one flavour of MQTT whatever holds a secret.
func (s *secretive) talkMQTT(as mqtttest.Flavour) {
	s.t.Helper()
	o := mqtttest.Options{Flavour: as, User: "alice", Password: s.alice, ClientID: forgeries[0] + as.String()}
	will := mqtttest.Message("chat/rooms/secrets/send", s.make("will"), 1)
	o.Will = &will
	if as.Version == mqtttest.V5 {
		o.Properties = func(p *packets.Properties) {
			p.User = []packets.UserProperty{{Key: "backlog", Val: s.make("property")}, {Key: s.make("property"), Val: forgeries[1]}}
		}
	}
	alice := s.dial(o)
	if alice == nil {
		s.t.Fatal("alice is not let in")
	}
	alice.Subscribe("chat/me/#", "chat/rooms/secrets/#")
	text := func(what string) string { return s.make(what) }
	for _, pk := range []packets.Packet{
		mqtttest.Message("chat/rooms/secrets/send", text("payload"), 1),
		mqtttest.Message("chat/rooms/secrets/send", text("payload"), 2),
		mqtttest.Message("chat/rooms/secrets/send", `{"data":{"text":"`+text("payload")+`"},"cid":"c-`+as.String()+`"}`, 1),
		mqtttest.Message("chat/rooms/secrets/send", `{"data":{"text":"`+text("payload")+`"},"cid":"c-`+as.String()+`"}`, 1), // cid_conflict
		mqtttest.Message("chat/rooms/secrets/send", `{"data":{"text":"`+text("payload")+`"},"cid":"`+strings.Repeat(text("cid"), 9)+`"}`, 1),
		mqtttest.Message("chat/rooms/secrets/send", `{"data":1,"cid":"x","pass":"`+text("payload")+`"}`, 1), // bad_payload
		mqtttest.Message("chat/rooms/secrets/send/edit", `{"target":"`+text("payload")+`","data":{}}`, 1),
		mqtttest.Message("chat/rooms/secrets/send", strings.Repeat(text("payload"), 20_000), 1), // too_large
		mqtttest.Message("chat/rooms/secrets/state/key", `"`+text("payload")+`"`, 1),
		mqtttest.Message("chat/rooms/secrets/read", `{"seq":"`+text("payload")+`"}`, 1),
		mqtttest.Message("chat/rooms/secrets/live/typing/alice", text("payload"), 0),
		mqtttest.Message("chat/broadcast/text", text("payload"), 1), // forbidden
		mqtttest.Message("chat/me/rpc/auth.renew", `{"id":1,"params":{"token":"`+s.forged+`"}}`, 1),
		mqtttest.Message("chat/me/rpc/auth.renew", `{"id":2,"params":{"tokn":"`+text("token")+`"}}`, 1),
		mqtttest.Message("chat/me/rpc/user.set", `{"id":3,"params":{"user":"alice","password":"`+text("password")+`","current":"`+text("password")+`"}}`, 1),
		mqtttest.Message("chat/me/rpc/user.register", `{"id":4,"params":{"user":"alice","password":"`+text("password")+`"}}`, 1),
		mqtttest.Message("chat/me/rpc/user.register", `{"id":5,"params":{"user":"x","password":["`+text("password")+`"]}}`, 1),
		mqtttest.Message("chat/me/rpc/no.such", `{"id":6,"params":{"password":"`+text("password")+`"}}`, 1),
		mqtttest.Message("chat/me/rpc/whoami", `{"id":7,"params":"`+text("password"), 1),
	} {
		if as.Version == mqtttest.V5 && pk.FixedHeader.Qos > 0 {
			pk.Properties.User = []packets.UserProperty{{Key: s.make("property"), Val: s.make("property")}}
		}
		ack := alice.Publish(pk)
		s.absent(s.t, "the answer to "+pk.TopicName, ack.Properties.ReasonString)
	}
	for range 40 { // what is said on me/reply and me/error of what was refused; messages come back to their room
		if alice.Waiting() == 0 && alice.Ping() != nil {
			break
		}
		if alice.Waiting() == 0 {
			break
		}
		if pk := alice.Next(); strings.HasPrefix(pk.TopicName, "chat/me/") {
			s.absent(s.t, pk.TopicName, string(pk.Payload))
		}
	}
	alice.Cut()

	for range 7 { // until it is slowed down
		s.dial(mqtttest.Options{Flavour: as, User: "alice" + as.String(), Password: s.make("password"), ClientID: "x"})
	}
	for user, password := range map[string]string{"-": s.jwt, "carol": s.jwt} {
		s.dial(mqtttest.Options{Flavour: as, User: user, Password: password}).Cut()
	}
	for user, password := range map[string]string{
		"-": s.forged, "bob": s.jwt, "carol": s.forged, s.forged: s.make("password"), "alice": s.alice + "x", "a b": s.make("password"),
		"x/y/z": s.make("password"),
	} {
		if s.dial(mqtttest.Options{Flavour: as, User: user, Password: password, ClientID: "y"}) != nil {
			s.t.Errorf("%q is let in", user)
		}
	}
	s.dial(mqtttest.Options{Flavour: as, User: "-", Password: s.key}).Cut()
	for i := range 3 { // packets that cannot be decoded
		conn, err := mqtttest.Open(s.at(), as)
		if err != nil {
			s.t.Fatal(err)
		}
		b := []byte("GET /?token=" + s.make("token") + " HTTP/1.1\r\nAuthorization: Bearer " + s.make("token") + "\r\n\r\n")
		if i > 0 {
			pk := mqtttest.ConnectPacket(mqtttest.Options{Flavour: as, User: "alice", Password: s.make("password"), ClientID: "z"})
			if b, err = mqtttest.Encode(pk); err != nil {
				s.t.Fatal(err)
			}
			b[len(b)/i-1] ^= 0xff
		}
		_, _ = conn.Write(b)
		_ = conn.SetReadDeadline(clock.Now().Add(time.Second))
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
}
