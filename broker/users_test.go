package broker_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/internal/webtest"
	"github.com/madang-chat/madang/storage"
)

// httpReply is an answer by HTTP.
type httpReply struct {
	status int
	body   string
}

func (r httpReply) String() string { return fmt.Sprintf("%d %s", r.status, r.body) }

// code is that of a problem, and its detail.
func (r httpReply) code() (code, detail string) {
	var p struct{ Code, Detail string }
	_ = json.Unmarshal([]byte(r.body), &p) // no problem has none
	return p.Code, p.Detail
}

// by makes a request: "POST /users", as whom a token or service key says. headers are "Name: value" each.
func by(t testing.TB, n *testcluster.Node, token, line, body string, headers ...string) httpReply {
	t.Helper()
	status, b := webtest.Caller{Addr: n.Addr("web"), Token: token}.Send(t, line, body, headers...)
	return httpReply{status, strings.TrimSpace(string(b))}
}

// must is by for what must succeed.
func must(t testing.TB, n *testcluster.Node, token, line, body string, headers ...string) string {
	t.Helper()
	r := by(t, n, token, line, body, headers...)
	if r.status >= 300 {
		t.Fatalf("%s: %v", line, r)
	}
	return r.body
}

// loginAs logs in over HTTP; "" when it is refused.
func loginAs(t testing.TB, n *testcluster.Node, user, password string) string {
	t.Helper()
	var answer struct{ Token string }
	r := by(t, n, "", "POST /auth/login", fmt.Sprintf(`{"user":%q,"password":%q}`, user, password))
	if r.status == http.StatusOK {
		if err := json.Unmarshal([]byte(r.body), &answer); err != nil {
			t.Fatal(err)
		}
	}
	return answer.Token
}

// keyFile makes a file with service keys, by name and scopes, and returns the keys.
func keyFile(t testing.TB, scopes map[string]auth.Scope) (path string, keys map[string]string) {
	t.Helper()
	keys = map[string]string{}
	text := "# services\n"
	for name, s := range scopes {
		key, line, err := auth.NewServiceKey(name, "chat", s)
		if err != nil {
			t.Fatal(err)
		}
		keys[name], text = key, text+line+"\n"
	}
	path = filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, keys
}

// withKeys is a node, or its options, with a key "all" of scope admin and one of each other scope.
func withKeys(t testing.TB, set ...string) (testcluster.Options, map[string]string) {
	t.Helper()
	path, keys := keyFile(t, map[string]auth.Scope{
		"all": auth.ScopeAdmin, "users": auth.ScopeUsers, "send_as": auth.ScopeSendAs, "rooms": auth.ScopeRooms,
		"moderate": auth.ScopeModerate, "read": auth.ScopeRead, "broadcast": auth.ScopeBroadcast,
	})
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("a secret of the cluster in a test"), 0o600); err != nil {
		t.Fatal(err)
	}
	return testcluster.Options{Prod: true, Set: append([]string{"auth.service_keys_file=" + path, "cluster.secret_file=" + secret, "limits.register_rate=0"}, set...)}, keys
}

// Who registered on one node logs in on another, by every transport and over HTTP; a wrong password and an unknown user look
// the same.
func TestRegisteredUsersLogInEverywhere(t *testing.T) {
	o, _ := withKeys(t, "auth.register=open", "rooms.auto_create=public", "auth.back_off=false")
	c := testcluster.StartCluster(t, 3, 0, o)
	got := must(t, c.Nodes[0], "", "POST /users", `{"user":"ann","password":"correct horse","name":"Ann 안","attributes":{"avatar":"a.png"}}`)
	if !strings.HasPrefix(got, `{"user":"ann","name":"Ann 안","attributes":{"avatar":"a.png"},"password":true,"created_at":`) || strings.Contains(got, "correct") {
		t.Error(got)
	}
	for i, n := range c.Nodes {
		var tok string
		mqtttest.Eventually(t, "the node knows the user", func() bool { tok = loginAs(t, n, "ann", "correct horse"); return tok != "" })
		if got := must(t, n, tok, "GET /whoami", ""); !strings.Contains(got, `"user":"ann","namespace":"chat","name":"Ann 안"`) {
			t.Error(got)
		}
		for _, as := range mqtttest.Flavours {
			for _, o := range []mqtttest.Options{
				{Flavour: as, User: "ann", Password: "correct horse", ClientID: "d"}, {Flavour: as, User: "-", Password: tok, ClientID: "d"},
			} {
				mqtttest.Dial(t, n.At(), o).Disconnect()
			}
			var why []string
			for _, o := range []mqtttest.Options{
				{Flavour: as, User: "ann", Password: "wrong horse", ClientID: "d"}, {Flavour: as, User: "nobody", Password: "correct horse", ClientID: "d"},
			} {
				_, err := mqtttest.TryDial(t, n.At(), o)
				if err == nil {
					t.Fatalf("node %d, %v: %s comes in", i, as, o.User)
				}
				why = append(why, err.Error())
			}
			if why[0] != why[1] {
				t.Errorf("a wrong password says %q, an unknown user %q", why[0], why[1])
			}
		}
		wrong := by(t, n, "", "POST /auth/login", `{"user":"ann","password":"wrong horse"}`)
		unknown := by(t, n, "", "POST /auth/login", `{"user":"nobody","password":"wrong horse"}`)
		if wrong != unknown || wrong.status != http.StatusUnauthorized {
			t.Errorf("%v, and %v", wrong, unknown)
		}
	}
}

// Who may register is what auth.register says, over HTTP and as a call.
func TestWhoRegisters(t *testing.T) {
	for policy, may := range map[string]struct{ open, token bool }{
		"open": {true, true}, "token": {false, true}, "closed": {false, false},
	} {
		t.Run(policy, func(t *testing.T) {
			o, keys := withKeys(t, "auth.register="+policy, "auth.guest=read", "auth.admins=boss")
			n := testcluster.Start(t, o)
			issue := func(body string) string {
				var answer struct{ Token string }
				if err := json.Unmarshal([]byte(must(t, n, keys["users"], "POST /auth/register_token", body)), &answer); err != nil {
					t.Fatal(err)
				}
				return answer.Token
			}
			anybody, zoe := issue(`{}`), issue(`{"user":"zoe","ttl":60}`)
			guest := caller(t, n, mqtttest.Flavour{Version: mqtttest.V5}, "")
			for i, tc := range []struct {
				user, token string
				ok          bool
			}{
				{"open%d", "", may.open},
				{"tok%d", anybody, may.token},
				{"zoe", zoe, may.token},
				{"zoe", zoe, false},        // taken
				{"other%d", zoe, false},    // not for that name
				{"forged%d", "x.y", false}, // no token
				{"boss", anybody, false},   // an admin by configuration
				{"a~b", anybody, false},
				{"guest~1", anybody, false},
				{"-", anybody, false},
				{"ns/x", anybody, false},
				{"", anybody, false},
			} {
				if tc.token == "x.y" && policy == "closed" {
					continue
				}
				for _, way := range []string{"http", "rpc"} {
					user := strings.ReplaceAll(tc.user, "%d", fmt.Sprint(i)+way)
					params := fmt.Sprintf(`{"user":%q,"password":"pw","token":%q}`, user, tc.token)
					ok := false
					if way == "http" {
						r := by(t, n, "", "POST /users", params)
						if ok = r.status == http.StatusCreated; strings.Contains(r.body, `"pw"`) {
							t.Error(r)
						}
					} else {
						ok = tryCall(t, guest, "user.register", params).OK
					}
					if want := tc.ok && !(way == "rpc" && user == "zoe"); ok != want {
						t.Errorf("%s with %q by %s: %v", user, tc.token, way, ok)
					}
				}
			}
			if r := by(t, n, anybody, "GET /whoami", ""); r.status != http.StatusUnauthorized {
				t.Errorf("a token for registering logs in: %v", r)
			}
			if r := by(t, n, keys["users"], "POST /users", `{"user":"boss","password":"pw"}`); r.status != http.StatusForbidden {
				t.Errorf("a key with the scope users makes an admin: %v", r)
			}
			if got := must(t, n, keys["users"], "POST /users", `{"user":"vip","password":"pw","attributes":{"level":9,"vip":true}}`); !strings.Contains(got, `"attributes":{"level":9,"vip":true}`) {
				t.Error(got)
			}
		})
	}
}

// A level that a service changes is on the user's next message: no reconnect, from whatever node, by MQTT, HTTP and as a will.
func TestLevelAtRunTime(t *testing.T) {
	o, keys := withKeys(t, "auth.register=open", "rooms.auto_create=public")
	c := testcluster.StartCluster(t, 3, 0, o)
	must(t, c.Nodes[0], "", "POST /users", `{"user":"ann","password":"pw","name":"Ann"}`)
	must(t, c.Nodes[0], "", "POST /users", `{"user":"eve","password":"pw"}`)
	must(t, c.Nodes[2], keys["all"], "POST /rooms", `{"room":"r","kind":"public"}`)
	reader := mqtttest.Dial(t, c.Nodes[2].At(), mqtttest.Options{User: "-", Password: keys["all"], ClientID: "reader"})
	reader.Subscribe(msgs("r"))
	var writers []*mqtttest.Client
	for i, n := range c.Nodes {
		mqtttest.Eventually(t, "the node knows the user", func() bool { return loginAs(t, n, "ann", "pw") != "" })
		writers = append(writers, mqtttest.Dial(t, n.At(), mqtttest.Options{
			Flavour: mqtttest.Flavours[i%len(mqtttest.Flavours)], User: "ann", Password: "pw", ClientID: fmt.Sprint(i),
		}))
	}
	tok := loginAs(t, c.Nodes[1], "ann", "pw")
	next := func() string { return string(reader.Next().Payload) }
	for level := range 3 {
		for i, n := range c.Nodes {
			value := 10*level + i
			must(t, n, keys["users"], "PATCH /users/ann", fmt.Sprintf(`{"attributes":{"level":%d},"name":"Ann %d"}`, value, value))
			want := fmt.Sprintf(`"from":{"user":"ann","name":"Ann %d","role":`, value)
			levelled := fmt.Sprintf(`"level":%d,`, value)
			for _, w := range writers {
				w.Say("r", "hi")
				if got := next(); !strings.Contains(got, want) || !strings.Contains(got, levelled) {
					t.Fatalf("after level %d: %s", value, got)
				}
			}
			must(t, c.Nodes[(i+1)%3], tok, "POST /rooms/r/messages", `{"data":{"text":"by http"}}`)
			if got := next(); !strings.Contains(got, want) || !strings.Contains(got, fmt.Sprintf(`"level":%d}`, value)) {
				t.Fatalf("by HTTP after level %d: %s", value, got)
			}
		}
	}
	for _, n := range c.Nodes { // and in their presence
		mqtttest.Eventually(t, "the presence has the level", func() bool {
			return strings.Contains(must(t, n, tok, "GET /users/ann/presence", ""), `"status":"online","devices":3,`) &&
				strings.Contains(must(t, n, tok, "GET /users/ann/presence", ""), `"level":22`)
		})
	}
	self := mqtttest.Dial(t, c.Nodes[0].At(), mqtttest.Options{User: "ann", Password: "pw", ClientID: "self"})
	self.Subscribe("chat/users/ann/presence")
	until := func(devices, level int) {
		t.Helper()
		for p := ""; !strings.Contains(p, fmt.Sprintf(`"devices":%d,`, devices)) || !strings.Contains(p, fmt.Sprintf(`"level":%d}`, level)); {
			p = string(self.Next().Payload)
		}
	}
	until(4, 22)
	must(t, c.Nodes[1], keys["users"], "PATCH /users/ann", `{"attributes":{"level":23}}`)
	must(t, c.Nodes[0], tok, "GET /users/ann?consistency=strong", "") // its node has it
	writers[0].Disconnect()
	until(3, 23)
	self.Disconnect()
	will := mqtttest.Message(send("r"), "gone", 1)
	dying := mqtttest.Dial(t, c.Nodes[0].At(), mqtttest.Options{User: "ann", Password: "pw", ClientID: "dying", Keep: true, Will: &will})
	must(t, c.Nodes[1], keys["users"], "PATCH /users/ann", `{"attributes":{"level":77}}`)
	dying.Cut()
	if got := next(); !strings.Contains(got, `"level":77,"device":"dying"`) {
		t.Errorf("will: %s", got)
	}
	// The user's own words are theirs, the level is not; others see what is public.
	for params, want := range map[string]int{
		`{"attributes":{"level":99}}`: 403, `{"attributes":{"vip":true}}`: 403, `{"disabled":true}`: 403, `{"password":"new"}`: 403,
		`{"password":"new","old_password":"wrong"}`: 403, `{}`: 400, `{"name":"a\nb"}`: 400, `{"attributes":{"bio":"hi"}}`: 200,
		`{"name":"Ann"}`: 200, `{"attributes":{"bio":{"a":[[[[[[[[[1]]]]]]]]]}}}`: 400,
	} {
		if r := by(t, c.Nodes[1], tok, "PATCH /users/ann", params); r.status != want {
			t.Errorf("%s: %v", params, r)
		}
	}
	must(t, c.Nodes[0], keys["users"], "PATCH /users/ann", `{"attributes":{"score":1}}`)
	eve := loginAs(t, c.Nodes[0], "eve", "pw")
	if got := must(t, c.Nodes[0], eve, "GET /users/ann?consistency=strong", ""); got != `{"user":"ann","name":"Ann","attributes":{"bio":"hi","level":77}}` {
		t.Errorf("others see %s", got)
	}
	if got := must(t, c.Nodes[0], eve, "GET /users?q=AN&consistency=strong", ""); got != `{"users":[{"user":"ann","name":"Ann","attributes":{"bio":"hi","level":77}}],"more":false}` {
		t.Errorf("found: %s", got)
	}
	if r := by(t, c.Nodes[0], eve, "PATCH /users/ann", `{"name":"x"}`); r.status != 403 {
		t.Error(r)
	}
	if got := must(t, c.Nodes[0], tok, "GET /users/ann", ""); !strings.Contains(got, `"score":1`) || !strings.Contains(got, `"password":true`) {
		t.Errorf("one sees of oneself %s", got)
	}
	must(t, c.Nodes[1], tok, "PATCH /users/ann", `{"password":"new","old_password":"pw"}`)
	if loginAs(t, c.Nodes[1], "ann", "pw") != "" || loginAs(t, c.Nodes[1], "ann", "new") == "" {
		t.Error("the password is the old one")
	}
}

// A service key does what its scopes say and is told which one it lacks; as a user it is that user.
func TestScopes(t *testing.T) {
	o, keys := withKeys(t, "auth.register=open", "rooms.auto_create=public")
	n := testcluster.Start(t, o)
	must(t, n, "", "POST /users", `{"user":"ann","password":"pw"}`)
	must(t, n, keys["all"], "POST /rooms", `{"room":"pub","kind":"public"}`)
	must(t, n, keys["all"], "POST /rooms", `{"room":"priv"}`)
	for _, tc := range []struct{ line, body, scope string }{
		{"POST /rooms/pub/messages", `{"data":{"text":"x"}}`, "send_as"},
		{"POST /publish", `{"topic":"chat/rooms/pub/send","payload":"x"}`, "send_as"},
		{"GET /rooms/priv/messages", "", "read"},
		{"GET /rooms/priv", "", "read"},
		{"POST /rooms/priv/freeze", "{}", "moderate"},
		{"PATCH /rooms/priv", `{"name":"x"}`, "rooms"},
		{"POST /rooms/priv/invite", `{"user":"ann"}`, "rooms"},
		{"GET /users/ann", "", "users"},
		{"PATCH /users/ann", `{"attributes":{"vip":1}}`, "users"},
		{"GET /users", "", "users"},
		{"GET /cluster", "", "admin"},
	} {
		for name, key := range keys {
			r := by(t, n, key, tc.line, tc.body)
			code, detail := r.code()
			if name == tc.scope || name == "all" {
				if r.status >= 300 {
					t.Errorf("%s with scope %s: %v", tc.line, name, r)
				}
			} else if code != "forbidden" || !strings.Contains(detail, "scope "+tc.scope+";") {
				t.Errorf("%s with scope %s: %v", tc.line, name, r)
			}
		}
	}
	// As a user.
	must(t, n, keys["send_as"], "POST /rooms/pub/messages", `{"data":{"text":"as ann"}}`, "Madang-As: ann")
	if got := must(t, n, keys["read"], "GET /rooms/pub/messages?limit=1", ""); !strings.Contains(got, `"from":{"user":"ann","role":"member"}`) {
		t.Error(got)
	}
	for _, tc := range []struct{ key, line, as, want string }{
		{"read", "POST /rooms/pub/messages", "ann", "send_as"},
		{"send_as", "GET /rooms/pub/messages", "ann", "read"},
		{"send_as", "GET /users/ann", "ann", "users"},
		{"send_as", "POST /rooms/pub/messages", "other/ann", "namespace"},
		{"send_as", "POST /rooms/pub/messages", "svc~all", "~"},
		{"all", "PATCH /users/ann", "ann", "Users change themselves"},
	} {
		body := `{"data":{"text":"x"}}`
		if strings.HasPrefix(tc.line, "PATCH") {
			body = `{"name":"x"}`
		}
		if strings.HasPrefix(tc.line, "GET") {
			body = ""
		}
		r := by(t, n, keys[tc.key], tc.line, body, "Madang-As: "+tc.as)
		if _, detail := r.code(); r.status < 400 || !strings.Contains(detail, tc.want) {
			t.Errorf("%s as %s with %s: %v", tc.line, tc.as, tc.key, r)
		}
	}
	if r := by(t, n, loginAs(t, n, "ann", "pw"), "GET /whoami", "", "Madang-As: bob"); r.status != 403 {
		t.Errorf("a user acts as another: %v", r)
	}
	// Over MQTT.
	for _, as := range mqtttest.Flavours {
		w := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "-", Password: keys["send_as"], ClientID: "w"})
		w.Say("pub", "by mqtt")
		r := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "-", Password: keys["read"], ClientID: "r"})
		r.Subscribe(msgs("pub"))
		w.Say("pub", "heard")
		if e := parse(t, r.Next()); e.text() != "heard" || e.From.User != "svc~send_as" {
			t.Errorf("%+v", e)
		}
		w.Disconnect()
		r.Disconnect()
	}
	if _, err := mqtttest.TryDial(t, n.At(), mqtttest.Options{User: "-", Password: keys["read"] + "x", ClientID: "w"}); err == nil {
		t.Error("a key that is none comes in")
	}
	// A key that is taken out of the file ends with the reload.
	reader := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "-", Password: keys["read"], ClientID: "r"})
	path := strings.TrimPrefix(o.Set[0], "auth.service_keys_file=")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.Reload(); err != nil {
		t.Fatal(err)
	}
	reader.Ended()
	if r := by(t, n, keys["all"], "GET /whoami", ""); r.status != 401 {
		t.Error(r)
	}
}

// A logout ends what it is about on every node: the connection of a device and its session, the tokens, and after a restart
// they are still ended. What was issued after it, and other devices, stay.
func TestLogout(t *testing.T) {
	o, keys := withKeys(t, "auth.register=open", "rooms.auto_create=public")
	c := testcluster.StartCluster(t, 3, 0, o)
	one, two := c.Nodes[0], c.Nodes[1]
	must(t, one, "", "POST /users", `{"user":"ann","password":"pw"}`)
	on := func(n *testcluster.Node, device string) (tok string) {
		var answer struct{ Token string }
		mqtttest.Eventually(t, "the node knows the user", func() bool { return loginAs(t, n, "ann", "pw") != "" })
		if err := json.Unmarshal([]byte(must(t, n, "", "POST /auth/login", `{"user":"ann","password":"pw","device":"`+device+`"}`)), &answer); err != nil {
			t.Fatal(err)
		}
		return answer.Token
	}
	ended := func(what, tok string, want bool) {
		t.Helper()
		for _, n := range c.Nodes {
			mqtttest.Eventually(t, what, func() bool { return (by(t, n, tok, "GET /whoami", "").status == http.StatusUnauthorized) == want })
			if r := by(t, n, tok, "GET /whoami", ""); want && !strings.Contains(r.body, "logged out") {
				t.Errorf("%s: %v", what, r)
			}
		}
	}
	phone, web, plain := on(one, "phone"), on(two, "web"), on(one, "")
	for _, as := range mqtttest.Flavours {
		dial := func(n *testcluster.Node, device, password string) *mqtttest.Client {
			user := "-"
			if password == "pw" {
				user = "ann"
			}
			return mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: user, Password: password, ClientID: device, Keep: true})
		}
		phone = on(one, "phone")
		byToken, byPassword, other := dial(two, "phone", phone), dial(c.Nodes[2], "tablet", "pw"), dial(two, "web", web)
		must(t, one, phone, "POST /auth/logout", "")
		if got := byToken.Ended(); got != v5(as, 0x87) {
			t.Errorf("%v: ended with %#x", as, got)
		}
		ended("the phone's token", phone, true)
		if s, err := one.Store().Session(sessionID("ann", "phone")); s != nil || err != nil {
			t.Errorf("session %+v, %v", s, err)
		}
		must(t, one, web, "POST /auth/logout", `{"device":"tablet"}`)
		if got := byPassword.Ended(); got != v5(as, 0x87) {
			t.Errorf("%v: ended with %#x", as, got)
		}
		byPassword = dial(one, "tablet", "pw") // the password is as good as ever
		other.Subscribe("chat/me/reply")
		if got := string(call(t, other, "logout", `{"device":"tablet"}`)); got != `{"user":"ann","device":"tablet"}` {
			t.Errorf("%v: logged out %s", as, got)
		}
		if got := byPassword.Ended(); got != v5(as, 0x87) {
			t.Errorf("%v: by rpc, ended with %#x", as, got)
		}
		if err := other.Ping(); err != nil {
			t.Errorf("another device: %v", err)
		}
		other.Disconnect()
	}
	ended("another device", web, false)
	must(t, two, plain, "POST /auth/logout", "{}")
	ended("a token of no device", plain, true)
	ended("another device", web, false)
	live := mqtttest.Dial(t, c.Nodes[2].At(), mqtttest.Options{User: "ann", Password: "pw", ClientID: "live"})
	must(t, one, web, "POST /auth/logout", `{"all":true}`)
	live.Ended()
	ended("everything", web, true)
	again := on(one, "")
	ended("a login after it", again, false)
	for _, n := range c.Nodes {
		n.Restart()
	}
	c.Meet()
	for what, tok := range map[string]string{"phone": phone, "web": web, "no device": plain} {
		ended(what+" after a restart", tok, true)
	}
	ended("a login after it, after a restart", again, false)
	must(t, one, keys["users"], "POST /auth/logout", `{"user":"ann","all":true}`)
	ended("by a service", again, true)
	if r := by(t, one, keys["users"], "POST /auth/logout", `{}`); r.status < 400 {
		t.Error(r)
	}
	// Disabled is out, and in again.
	last := on(one, "")
	must(t, one, keys["users"], "PATCH /users/ann", `{"disabled":true}`)
	mqtttest.Eventually(t, "the disabled user is out", func() bool { return by(t, two, last, "GET /whoami", "").status == 401 })
	if loginAs(t, one, "ann", "pw") != "" {
		t.Error("a disabled user logs in")
	}
	must(t, one, keys["users"], "PATCH /users/ann", `{"disabled":false}`)
	on(one, "")
}

// A user who is deleted is gone everywhere, and so is the name, from all that was written, though nodes are restarted meanwhile.
func TestDeletedUsers(t *testing.T) {
	for _, mode := range []storage.DeleteMode{storage.Anonymise, storage.Erase} {
		t.Run(string(mode), func(t *testing.T) {
			o, keys := withKeys(t, "auth.register=open", "rooms.auto_create=public", "limits.messages_per_second=0")
			c := testcluster.StartCluster(t, 3, 0, o)
			for _, u := range []string{"ann", "bob"} {
				must(t, c.Nodes[0], "", "POST /users", `{"user":"`+u+`","password":"pw"}`)
			}
			var clients []*mqtttest.Client
			for i, n := range c.Nodes {
				mqtttest.Eventually(t, "the node knows the users", func() bool { return loginAs(t, n, "ann", "pw") != "" && loginAs(t, n, "bob", "pw") != "" })
				clients = append(clients, mqtttest.Dial(t, n.At(), mqtttest.Options{User: "ann", Password: "pw", ClientID: fmt.Sprint(i), Keep: i != 0}))
			}
			ann, bob := loginAs(t, c.Nodes[0], "ann", "pw"), loginAs(t, c.Nodes[0], "bob", "pw")
			rooms := []string{"dm~ann~bob"}
			for i := range 20 {
				rooms = append(rooms, fmt.Sprint("r", i))
			}
			for i, r := range rooms {
				clients[i%3].Say(r, "ann was here")
				if i > 0 {
					must(t, c.Nodes[0], bob, "POST /rooms/"+r+"/join", "")
				}
			}
			fill(t, clients[0], "r1", 0, 600)
			must(t, c.Nodes[0], ann, "PUT /rooms/r0/state/score", `{"data":{"home":1}}`)
			reader := mqtttest.Dial(t, c.Nodes[1].At(), mqtttest.Options{User: "bob", Password: "pw", ClientID: "reader"})
			reader.Subscribe("chat/rooms/r0/head")
			if got := string(reader.Next().Payload); !strings.Contains(got, `"user":"ann"`) || !strings.Contains(got, "ann was here") {
				t.Error(got)
			}
			must(t, c.Nodes[0], bob, "POST /rooms/r1/messages", `{"data":{"text":"bob was here"}}`)
			must(t, c.Nodes[0], ann, "DELETE /users/ann?mode="+string(mode), "")
			mqtttest.Eventually(t, "the room's head is told without the name", func() bool { return !strings.Contains(string(reader.Next().Payload), `"ann"`) })
			reader.Disconnect()
			c.Leader().Restart() // whoever leads then goes on
			for _, cl := range clients {
				cl.Ended()
			}
			c.Meet()
			for _, n := range c.Nodes {
				mqtttest.Eventually(t, "the deletion is done", func() bool {
					u, err := n.Store().User("chat", "ann")
					return err == nil && u != nil && u.Deleted == mode && u.Deletion == nil
				})
				for _, r := range rooms {
					k := storage.RoomKey{NS: "chat", Room: r}
					st, err := n.Store().Room(k)
					if err != nil || st == nil {
						t.Fatalf("%s: %v", r, err)
					}
					entries, err := n.Store().Entries(k, 1, st.Head.Seq, 10_000, 64<<20)
					if err != nil || uint64(len(entries)) != st.Head.Seq {
						t.Fatalf("%s: %d of %d entries, %v", r, len(entries), st.Head.Seq, err)
					}
					for _, e := range entries {
						text := string(e.JSON)
						if e.User == "ann" || strings.Contains(text, `"ann"`) || mode == storage.Erase && strings.Contains(text, "ann was") {
							t.Fatalf("%s: %s", r, text)
						}
						if e.Seq == 1 && !strings.Contains(text, `"from":{"user":"deleted~","deleted":true}`) {
							t.Fatalf("%s: %s", r, text)
						}
					}
					if v, err := n.Store().State(k, "score"); err != nil || v != nil && strings.Contains(string(v.JSON), `"ann"`) || (v == nil) != (r != "r0") {
						t.Errorf("%s: state %+v, %v", r, v, err)
					}
					if m, err := n.Store().Member(k, "ann"); m.Role != "" || err != nil {
						t.Errorf("%s: a member still: %+v, %v", r, m, err)
					}
					if m, err := n.Store().Member(k, "bob"); m.Role == "" || err != nil {
						t.Errorf("%s: the other one is no member: %+v, %v", r, m, err)
					}
				}
				if list, err := n.Store().UserRooms("chat", "ann", "", 99); len(list) > 0 || err != nil {
					t.Errorf("rooms of the user: %v, %v", list, err)
				}
				if left, err := n.Store().ClientsOf("chat", "ann", 9); len(left) > 0 || err != nil {
					t.Errorf("sessions %v, %v", left, err)
				}
				for _, tok := range []string{ann, ""} {
					if r := by(t, n, tok, "GET /whoami", ""); r.status != 401 {
						t.Errorf("%q: %v", tok, r)
					}
				}
				if r := by(t, n, bob, "GET /users/ann", ""); r.status != 404 {
					t.Error(r)
				}
			}
			if got := must(t, c.Nodes[1], keys["all"], "GET /rooms/r1/messages?limit=1", ""); !strings.Contains(got, "bob was here") {
				t.Error(got)
			}
			if r := by(t, c.Nodes[0], "", "POST /users", `{"user":"ann","password":"pw"}`); r.status != http.StatusConflict {
				t.Errorf("the name again: %v", r)
			}
			if got := must(t, c.Nodes[0], keys["users"], "GET /users/ann", ""); !strings.Contains(got, `"deleted":"`+string(mode)+`"`) {
				t.Error(got)
			}
			must(t, c.Nodes[0], keys["users"], "POST /users", `{"user":"ann","password":"pw2"}`)
			if again := loginAs(t, c.Nodes[0], "ann", "pw2"); again == "" || by(t, c.Nodes[0], again, "POST /rooms/dm~ann~bob/messages", `{"data":{"text":"x"}}`).status != 403 {
				t.Error("the new one has what the old one had")
			}
		})
	}
}

// A profile is of a user who is trusted, too.
func TestProfilesOfTrustedUsers(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	admin := token(t, n, "admin")
	must(t, n, admin, "PATCH /users/ann", `{"name":"Ann","attributes":{"level":3}}`)
	for _, as := range mqtttest.Flavours {
		reader := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: "reader", ClientID: "r"})
		reader.Subscribe(msgs("lobby"))
		ann := caller(t, n, as, "ann")
		ann.Say("lobby", "hi")
		if got := string(reader.Next().Payload); !strings.Contains(got, `"from":{"user":"ann","name":"Ann","role":"member","level":3,`) {
			t.Error(got)
		}
		if got := string(call(t, ann, "whoami", `{}`)); !strings.Contains(got, `"name":"Ann","level":3`) {
			t.Error(got)
		}
		if got := string(call(t, ann, "user.set", `{"user":"ann","attributes":{"bio":"hi"}}`)); !strings.Contains(got, `"bio":"hi","level":3`) {
			t.Error(got)
		}
		if got := string(call(t, ann, "user.search", `{"q":"an"}`)); !strings.Contains(got, `"user":"ann"`) {
			t.Error(got)
		}
		if r := tryCall(t, ann, "user.delete", `{"user":"reader"}`); r.OK || r.Error.Code != "forbidden" {
			t.Errorf("%+v", r)
		}
		reader.Disconnect()
		ann.Disconnect()
	}
	if r := by(t, n, token(t, n, "bob"), "POST /users", `{"user":"kim","password":"x"}`); r.status != http.StatusCreated {
		t.Errorf("with --dev anybody registers: %v", r)
	}
	bob := caller(t, n, mqtttest.Flavour{Version: mqtttest.V5}, "bob")
	if _, err := bob.Send(mqtttest.Message("chat/me/rpc/user.delete", `{"params":{"user":"bob","mode":"erase"}}`, 1)); err != nil {
		t.Fatal(err)
	}
	bob.Ended() // the answer may come too late for the connection
	if _, err := mqtttest.TryDial(t, n.At(), mqtttest.Options{User: "bob", ClientID: "b"}); err == nil {
		t.Errorf("a deleted user is trusted: %v", err)
	}
}
