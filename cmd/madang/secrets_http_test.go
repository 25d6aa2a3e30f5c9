package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/internal/mqtttest"
)

// call makes a request; a refusal must not show what was sent. It returns the answer's status and body.
func (s *secretive) call(line, body string, headers ...string) (int, string) {
	s.t.Helper()
	method, path, _ := strings.Cut(line, " ")
	req, err := http.NewRequest(method, "http://"+s.at().Web+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		s.refusedHTTP++
		s.absent(s.t, line, string(text)+fmt.Sprint(resp.Header))
	}
	return resp.StatusCode, string(text)
}

// talkHTTP calls whatever takes a secret, rightly and wrongly.
func (s *secretive) talkHTTP() {
	s.t.Helper()
	const base = "/api/v1"
	login := func(user, password string) string {
		_, text := s.call("POST "+base+"/auth/login", fmt.Sprintf(`{"user":%q,"password":%q}`, user, password))
		var in struct{ Token string }
		_ = json.Unmarshal([]byte(text), &in)
		if in.Token != "" {
			s.token(in.Token)
		}
		return in.Token
	}
	alice, root := "Authorization: Bearer "+login("alice", s.alice), "Authorization: Bearer "+login("root", s.root)
	if len(alice) < 40 || len(root) < 40 {
		s.t.Fatal("no login")
	}
	for range 7 {
		login("nobody", s.make("password"))
	}
	secret := func() string { return s.make("http") }
	for _, r := range [][]string{
		{"POST /auth/login", `{"user":"alice","password":"` + secret()},
		{"POST /auth/login", `{"user":"alice","password":["` + secret() + `"]}`},
		{"POST /auth/login", `{"user":"alice","pass":"` + secret() + `"}`},
		{"POST /auth/login?password=" + secret() + "&user=alice", `{}`},
		{"POST /auth/login", "user=alice&password=" + secret(), "Content-Type: application/x-www-form-urlencoded"},
		{"GET /whoami", "", "Authorization: Bearer " + s.forged},
		{"GET /whoami", "", "Authorization: Bearer " + secret()},
		{"GET /whoami", "", "Authorization: " + secret()},
		{"GET /whoami", "", "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+secret()))},
		{"GET /whoami?access_token=" + s.jwt, ""},
		{"GET /whoami?access_token=" + s.forged + "&token=" + secret(), ""},
		{"GET /events?access_token=" + s.forged, ""},
		{"GET /whoami", "", "Cookie: token=" + secret()},
		{"GET /whoami", "", "Authorization: Bearer " + s.jwt},
		{"GET /whoami", "", "Authorization: Bearer " + s.key},
		{"POST /users", `{"user":"newcomer","password":"` + secret() + `"}`},
		{"POST /users", `{"user":"newcomer","password":"` + secret() + `"}`}, // is there
		{"POST /users", `{"user":"a b","password":"` + secret() + `"}`},
		{"POST /users", `{"user":"long","password":"` + strings.Repeat(secret(), 300) + `"}`},
		{"POST /users", `{"user":"token","password":"` + secret() + `","token":"` + s.forged + `"}`},
		{"PATCH /users/newcomer", `{"password":"` + secret() + `"}`, alice},
		{"PATCH /users/alice", `{"password":"` + secret() + `","old_password":"` + secret() + `"}`, alice},
		{"PATCH /users/alice", `{"attributes":{"bio":"` + secret() + `","rank":"` + secret() + `"}}`, alice},
		{"DELETE /users/newcomer", `{"password":"` + secret() + `"}`, alice},
		{"PUT /me/devices/phone/push", `{"provider":"fcm","token":"` + secret() + `"}`, alice},
		{"PUT /me/devices/phone/push", `{"provider":"a b","token":"` + secret() + strings.Repeat("x", 2000) + `"}`, alice},
		{"POST /rooms/secrets/messages", `{"data":{"text":"` + secret() + `"}}`, alice},
		{"POST /rooms/secrets/messages", `{"data":{"text":"` + secret() + `"},"more":"` + secret() + `"}`, alice},
		{"POST /rooms/secrets/messages", `{"data":{"text":"` + secret(), alice},
		{"POST /rooms/secrets/messages", secret(), alice, "Content-Type: text/plain"},
		{"POST /rooms/secrets/messages?type=edit", secret(), alice, "Content-Type: text/plain"},
		{"POST /rooms/secrets/messages", strings.Repeat(secret(), 40_000), alice, "Content-Type: text/plain"},
		{"POST /rooms/secrets/messages", secret(), alice, "Content-Type: text/plain", "Content-Encoding: gzip"},
		{"POST /rooms/secrets/messages", secret(), alice, "Content-Type: text/plain", "Idempotency-Key: " + strings.Repeat(secret(), 9)},
		{"POST /rooms/secrets/messages", secret(), "Content-Type: text/plain"},
		{"PUT /rooms/secrets/state/key", `{"data":"` + secret() + `"}`, alice},
		{"PUT /rooms/secrets/state/key", `{"data":"` + secret() + `","x":1}`, alice},
		{"POST /publish", `{"topic":"chat/rooms/secrets/send","payload":"` + secret() + `"}`, alice},
		{"POST /publish", `{"topic":"chat/broadcast/text","payload":"` + secret() + `"}`, alice},
		{"POST /publish/bulk", `[{"topic":"chat/rooms/secrets/send","payload":"` + secret() + `"},{"payload":"` + secret() + `"}]`, alice},
		{"POST /auth/register_token", `{"user":"` + secret() + ` x"}`, root},
		{"DELETE /rooms/secrets/messages/1", "", root},
		{"GET /rooms/secrets/messages", "", root}, // read by an admin, which is logged
		{"GET /search?q=" + secret(), "", alice},
	} {
		method, path, _ := strings.Cut(r[0], " ")
		s.call(method+" "+base+path, r[1], r[2:]...)
	}
	_, audit := s.call("GET "+base+"/rooms/secrets/audit", "", root)
	if !strings.Contains(audit, "{") {
		s.t.Errorf("the audit log is %s", audit)
	}
	s.absent(s.t, "the audit log of the room", audit)
	for _, evil := range forgeries {
		_, _ = s.call("GET "+base+"/rooms/"+url.PathEscape(evil), "", "User-Agent: "+printable(evil),
			"X-Forwarded-For: "+printable(evil), "Forwarded: for="+printable(evil), "Origin: http://"+printable(evil), "X-Request-Id: "+printable(evil))
	}
	for _, evil := range forgeries { // who reads everything is in the log with the name of the device
		c := s.dial(mqtttest.Options{Flavour: mqtttest.Flavours[1], User: "root", Password: s.root, ClientID: evil})
		c.Subscribe("$all/chat/rooms/+/msg/#")
		c.Disconnect()
	}
	s.talkWebSocket()
	s.talkRaw()
}

// printable is what a header can carry of a text.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

// talkWebSocket is refused with tokens where pages put them, which have no header to send.
func (s *secretive) talkWebSocket() {
	s.t.Helper()
	for _, d := range []struct {
		query  string
		offers []string
		header http.Header
	}{
		{"?access_token=" + s.make("token"), nil, nil},
		{"", []string{s.make("token"), s.forged}, nil},
		{"", []string{"mqtt"}, http.Header{"Origin": {"https://evil.example"}, "Authorization": {"Bearer " + s.make("token")}}},
	} {
		dialer := websocket.Dialer{Subprotocols: d.offers}
		_, resp, err := dialer.Dial("ws://"+s.at().Web+"/mqtt"+d.query, d.header)
		if !errors.Is(err, websocket.ErrBadHandshake) {
			s.t.Fatalf("a WebSocket with %v: %v", d, err)
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		s.absent(s.t, "the refusal of a WebSocket", string(text))
	}
}

// talkRaw says what no HTTP client would.
func (s *secretive) talkRaw() {
	s.t.Helper()
	for _, text := range []string{
		"GET /?token=%s HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\nHost: %s x\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nAuthorization : Bearer %s\r\n\r\n",
		"POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: %s\r\n\r\n", "%s\r\n\r\n",
		"POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz;%s\r\n", "\x16\x03\x01%s",
	} {
		for _, at := range []string{s.at().Web, s.ops()} {
			conn, err := net.Dial("tcp", at)
			if err != nil {
				s.t.Fatal(err)
			}
			_ = conn.SetDeadline(clock.Now().Add(2 * time.Second))
			_, _ = fmt.Fprintf(conn, text, s.make("raw"))
			_ = conn.(*net.TCPConn).CloseWrite()
			answer, _ := io.ReadAll(conn)
			_ = conn.Close()
			s.absent(s.t, "an answer to garbage", string(answer))
		}
	}
}

// ops is where operators are answered.
func (s *secretive) ops() string {
	s.t.Helper()
	u, err := url.Parse(s.url("for operators"))
	if err != nil {
		s.t.Fatal(err)
	}
	return u.Host
}

// operator asks the operator's listener, with a wrong token and with the right one.
func (s *secretive) operator(path string) string {
	s.t.Helper()
	var text []byte
	for _, token := range []string{s.make("ops-token"), s.opsToken} {
		req, err := http.NewRequest(http.MethodGet, "http://"+s.ops()+path, http.NoBody)
		if err != nil {
			s.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			s.t.Fatal(err)
		}
		text, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK && token == s.opsToken {
			s.t.Fatalf("%s: %v %s %s", path, err, resp.Status, text)
		}
		s.absent(s.t, path, string(text))
	}
	return string(text)
}

// A node at log level debug is sent passwords, tokens, keys and messages by every way there is, right and wrong ones: none of
// them is in its log, in a refusal, in its metrics, in the audit log or in what operators are shown. Whatever clients call
// themselves, each record of the log stays one line.
func TestSecretsStaySecret(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			s := startSecretive(t, format)
			for _, as := range mqtttest.Flavours {
				s.talkMQTT(as)
			}
			s.talkHTTP()
			metrics := s.operator("/metrics")
			if !strings.Contains(metrics, "madang_limit") {
				t.Error("no metrics")
			}
			for _, path := range []string{"/readyz?verbose", "/cluster", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2"} {
				s.operator(path)
			}
			mqtttest.Eventually(t, "the webhook has failed", func() bool {
				return strings.Contains(s.err.String(), "the receiver takes nothing") || strings.Contains(s.err.String(), "an event is given up")
			})
			for _, bad := range []string{
				"auth: {jwt: {jwks_url: \"https://u:" + s.make("url") + "@ho st/\"}}\n",
				"webhooks: [{name: x, url: \"http://u:" + s.make("url") + "@10.0.0.1/%zz\", secret_file: /nowhere}]\n",
				"hooks: {before_send: {url: \"ftp://u:" + s.make("url") + "@h/\"}}\n",
			} {
				s.configure(bad)
				s.reload(notTaken)
			}
			s.stop()
			log := s.err.String()
			s.absent(t, "the log", log)
			s.absent(t, "stdout", s.out.String())
			records := readLog(t, format, log)
			levels, devices := map[string]int{}, map[string]bool{}
			for _, r := range records {
				levels[r["level"]]++
				devices[r["device"]] = true
				if strings.Contains(r["msg"], "owned") || r["owned"] != "" {
					t.Errorf("a forged record: %v", r)
				}
			}
			if levels["DEBUG"] < 10 || levels["WARN"] == 0 || s.refusedHTTP < 40 || s.refuse < 50 {
				t.Errorf("%v records, %d and %d refusals: it is not what this test was made for", levels, s.refusedHTTP, s.refuse)
			}
			for _, evil := range forgeries {
				if !devices[evil] {
					t.Errorf("no record holds %q as it is", evil)
				}
			}
			if !strings.Contains(log, "many failed logins") {
				t.Error("no warning of guessing")
			}
		})
	}
}
