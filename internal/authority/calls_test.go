package authority

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
)

// one is a call under its two names. Either may be missing.
type one struct {
	rpc, http string
	params    func(s *stage, h hall) map[string]any // beside room
	may       func(r role, h hall) bool
	undo      func(s *stage, r role, h hall) // of what was allowed
	once      bool                           // not about a room
	own       bool                           // outsiders ask about a room of their own namespace
}

func anybody(role, hall) bool { return true }

func user(r role, _ hall) bool { return !r.isGuest() }

// governs is who may what only those do who run the namespace of the stage.
func governs(r role, _ hall) bool { return r == admin }

// crowded is f where a room may have more than two members.
func crowded(f func(role, hall) bool) func(role, hall) bool {
	return func(r role, h hall) bool { return h != direct && f(r, h) }
}

func with(pairs ...any) func(*stage, hall) map[string]any {
	return func(*stage, hall) map[string]any {
		p := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			p[pairs[i].(string)] = pairs[i+1]
		}
		return p
	}
}

// fresh is a message of the owner that nobody has touched.
func fresh(s *stage, h hall) map[string]any {
	if h == nowhere {
		return map[string]any{"seq": 1}
	}
	return map[string]any{"seq": s.post(owner, h, "to be deleted")}
}

// by lets the admin, who may everything, set something right again.
func by(op string, pairs ...any) func(*stage, role, hall) {
	return func(s *stage, _ role, h hall) {
		p := with(pairs...)(s, h)
		p["room"] = string(h)
		s.must(admin, op, p)
	}
}

// gives is who gives roles.
func gives(r role, h hall) bool { return r.runs(h) && r != operator }

// knowsOwner is who is in a direct or private room with the owner; the admin of a namespace sees everybody in it.
func knowsOwner(r role, _ hall) bool {
	return r.belongs(private) || r == admin || r == auditor || r == alien
}

// administers is who may look after other users, of their own namespace.
func administers(r role, _ hall) bool { return r == admin || r == alien }

const (
	outcast    = "outcast"    // somebody whom acts are about
	registered = "registered" // a user with a password
)

// newName is one that nobody has.
func newName(s *stage, _ hall) map[string]any {
	s.made++
	return map[string]any{"user": fmt.Sprint("new", s.made), "password": "a password"}
}

// newUser is one who has just registered.
func newUser(s *stage, h hall) map[string]any {
	in := newName(s, h)
	s.must(admin, "POST /users", in)
	return map[string]any{"user": in["user"]}
}

var table = []one{
	{rpc: "whoami", http: "GET /whoami", may: anybody, once: true},
	{rpc: "rooms.list", http: "GET /rooms", may: anybody, once: true},
	{rpc: "room.create", http: "POST /rooms", may: user, once: true, params: func(s *stage, _ hall) map[string]any {
		s.made++
		return map[string]any{"room": fmt.Sprint("made-", s.made), "kind": "public"}
	}},
	{rpc: "inbox", http: "GET /me/inbox", may: user, once: true},
	{http: "POST /me/inbox/read", params: with("seq", 1), may: user, once: true},
	{rpc: "contacts.list", http: "GET /me/contacts", may: user, once: true},
	{rpc: "contacts.add", http: "PUT /me/contacts/{user}", params: with("user", outcast), may: user, once: true},
	{rpc: "contacts.remove", http: "DELETE /me/contacts/{user}", params: with("user", outcast), may: user, once: true},
	{rpc: "blocks.list", http: "GET /me/blocks", may: user, once: true},
	{rpc: "blocks.add", http: "PUT /me/blocks/{user}", params: with("user", outcast), may: user, once: true},
	{rpc: "blocks.remove", http: "DELETE /me/blocks/{user}", params: with("user", outcast), may: user, once: true},
	{rpc: "room.search", params: with("q", "o"), may: anybody, once: true},
	{rpc: "broadcast.list", http: "GET /broadcast", may: user, once: true},
	{rpc: "broadcast.post", http: "POST /broadcast", params: with("data", "hear"), once: true, may: func(r role, _ hall) bool {
		return r == admin || r == alien // of their own namespace
	}},
	{rpc: "room.get", http: "GET /rooms/{room}", may: role.sees},
	{rpc: "history", http: "GET /rooms/{room}/messages", may: role.sees},
	{rpc: "search", http: "GET /search", params: with("q", "hi"), may: role.sees},
	{rpc: "members", http: "GET /rooms/{room}/members", may: func(r role, h hall) bool {
		return r.sees(h) && !r.isGuest()
	}},
	{rpc: "presence.get", http: "GET /rooms/{room}/presence", may: role.sees},
	{rpc: "presence.get", http: "GET /users/{user}/presence", params: with("user", string(owner)), may: knowsOwner, once: true},
	{rpc: "devices.list", http: "GET /me/devices", may: user, once: true},
	{http: "GET /users/{user}/devices", params: with("user", outcast), may: administers, once: true},
	{http: "DELETE /me/devices", may: user, once: true},
	{http: "DELETE /users/{user}/devices", params: with("user", outcast), may: administers, once: true},
	{rpc: "devices.kick", params: with("user", outcast, "all", true), may: administers, once: true},
	{
		rpc: "devices.push", http: "PUT /me/devices/{device}/push", params: with("device", "phone", "provider", "fcm", "token", "t"),
		may: user, once: true,
	},
	{rpc: "user.search", http: "GET /users", params: with("q", "own"), may: user, once: true},
	{rpc: "user.set", http: "PATCH /users/{user}", params: with("user", registered, "name", "x"), may: administers, once: true},
	{rpc: "user.get", http: "GET /users/{user}", params: with("user", registered), may: func(r role, _ hall) bool {
		return !r.isGuest() && r != foreign // the admin of the other namespace has just made one there
	}, once: true},
	{rpc: "user.register", http: "POST /users", params: newName, may: anybody, once: true},
	{rpc: "register_token", http: "POST /auth/register_token", params: with("user", "invited"), may: administers, once: true},
	{http: "GET /users/{user}/export", params: with("user", registered), may: administers, once: true},
	{rpc: "user.delete", http: "DELETE /users/{user}", params: newUser, may: administers, once: true},
	{http: "GET /rooms/{room}/export", may: func(r role, h hall) bool {
		return h != nowhere && (r == owner && h != direct || r == admin || r == auditor)
	}},
	{http: "GET /rooms/{room}/events", params: with("wait", 1, "after", 0), may: role.sees},
	{rpc: "state.get", http: "GET /rooms/{room}/state/{key}", params: with("key", "k"), may: role.sees},
	{rpc: "state.set", http: "PUT /rooms/{room}/state/{key}", params: with("key", "k", "data", 1), may: func(r role, h hall) bool {
		return r.writes(h) && (r.belongs(h) || r == admin)
	}},
	{http: "POST /rooms/{room}/messages", params: with("data", "hi"), may: role.writes},
	{rpc: "read", http: "POST /rooms/{room}/read", params: with("seq", 1), may: role.belongs},
	{rpc: "room.set", http: "PATCH /rooms/{room}", params: with("name", "x"), may: gives},
	{
		rpc: "room.invite", http: "POST /rooms/{room}/invite", params: with("user", outcast), may: crowded(role.runs),
		undo: by("POST /rooms/{room}/kick", "user", outcast),
	},
	{rpc: "mod.slow", http: "POST /rooms/{room}/slow", params: with("seconds", 0), may: role.runs},
	{rpc: "mod.mute", http: "POST /rooms/{room}/mute", params: with("user", outcast, "seconds", 60), may: role.runs},
	{rpc: "mod.unmute", http: "POST /rooms/{room}/unmute", params: with("user", outcast), may: role.runs},
	{rpc: "mod.ban", http: "POST /rooms/{room}/ban", params: with("user", outcast), may: role.runs},
	{rpc: "mod.unban", http: "POST /rooms/{room}/unban", params: with("user", outcast), may: role.runs},
	{rpc: "mod.kick", http: "POST /rooms/{room}/kick", params: with("user", outcast), may: role.runs},
	{rpc: "mod.pin", http: "POST /rooms/{room}/pin", params: func(s *stage, h hall) map[string]any {
		return map[string]any{"seq": max(s.first[h], 1)}
	}, may: role.runs},
	{rpc: "mod.announce", http: "POST /rooms/{room}/announce", params: with("text", "hear"), may: role.runs},
	{rpc: "mod.audit", http: "GET /rooms/{room}/audit", may: func(r role, h hall) bool {
		return r.runs(h) || r == admin || r == auditor || r == alien // of what was deleted too; of their own namespace
	}, own: true},
	{rpc: "mod.delete", http: "DELETE /rooms/{room}/messages/{seq}", params: fresh, may: func(r role, h hall) bool {
		return r.runs(h) || r == owner && r.writes(h)
	}},
	{rpc: "mod.role", http: "POST /rooms/{room}/role", params: with("user", string(operator), "role", "operator"), may: crowded(gives)},
	{rpc: "mod.freeze", http: "POST /rooms/{room}/freeze", may: role.runs, undo: func(s *stage, r role, h hall) {
		if h != frozen {
			by("POST /rooms/{room}/unfreeze")(s, r, h)
		}
	}},
	{rpc: "mod.unfreeze", http: "POST /rooms/{room}/unfreeze", may: role.runs, undo: func(s *stage, r role, h hall) {
		if h == frozen {
			by("POST /rooms/{room}/freeze")(s, r, h)
		}
	}},
}

// elsewhere is what the table leaves out, and where it is looked at.
var elsewhere = map[string]string{
	"GET /health":            "open to anybody",
	"GET /connect":           "open to anybody",
	"POST /auth/login":       "package auth",
	"POST /auth/guest":       "package auth",
	"POST /publish":          "TestEveryPublish",
	"POST /publish/bulk":     "the same rules as POST /publish",
	"GET /cluster":           "TestClusterIsTheAdmins",
	"GET /cluster/backup":    "TestClusterIsTheAdmins",
	"POST /cluster/add":      "TestClusterIsTheAdmins",
	"POST /cluster/drain":    "TestClusterIsTheAdmins",
	"POST /cluster/promote":  "TestClusterIsTheAdmins",
	"POST /cluster/remove":   "TestClusterIsTheAdmins",
	"POST /cluster/transfer": "TestClusterIsTheAdmins",

	"DELETE /me/devices/{device}":           "package broker: TestDevices",
	"DELETE /users/{user}/devices/{device}": "the same rule as DELETE /users/{user}/devices",
	"GET /webhooks":                         "TestWebhooksAreTheAdmins",
	"GET /webhooks/{name}/dead":             "TestWebhooksAreTheAdmins",
	"POST /webhooks/{name}/dead/retry":      "TestWebhooksAreTheAdmins",
	"webhooks":                              "TestWebhooksAreTheAdmins",
	"webhooks.dead":                         "TestWebhooksAreTheAdmins",
	"webhooks.retry":                        "TestWebhooksAreTheAdmins",
	"POST /rooms/{room}/import":             "calls.TestExportRoundTrip",

	"POST /rooms/{room}/join":  "TestJoinAndLeave",
	"POST /rooms/{room}/leave": "TestJoinAndLeave",
	"DELETE /rooms/{room}":     "TestDeleteRoom",
	"room.join":                "TestJoinAndLeave",
	"room.leave":               "TestJoinAndLeave",
	"room.delete":              "TestDeleteRoom",

	"POST /auth/logout": "package broker: TestLogout",
	"logout":            "package broker: TestLogout",

	"auth.renew":  "package broker: a token renews its own user only",
	"session.set": "package broker: of the connection itself",
	"replay":      "TestEveryReplay",
	"sync":        "TestEveryReplay",
	"POST /sync":  "TestEveryReplay",
}

// Whoever calls whatever about whichever room, over HTTP and by rpc with both versions: exactly what may be done is done.
func TestEveryCall(t *testing.T) {
	s := newStage(t)
	for _, r := range cast {
		for _, as := range mqtttest.Flavours[:2] {
			c := s.dial(r, as)
			c.Subscribe(r.namespace() + "/me/reply")
			s.every(r, func(row one, params map[string]any) (string, string) {
				if row.rpc == "" {
					return "", ""
				}
				return row.rpc + " by " + as.String(), rpc(s.t, c, r, row.rpc, params)
			})
			c.Disconnect()
		}
		s.every(r, func(row one, params map[string]any) (string, string) {
			if row.http == "" {
				return "", ""
			}
			return row.http, verdict(s.ask(r, row.http, params))
		})
	}
}

// every makes the calls of the table, and holds what they are answered against the rules.
func (s *stage) every(r role, ask func(row one, params map[string]any) (name, code string)) {
	s.t.Helper()
	for _, row := range table {
		for _, h := range halls {
			if row.once && h != public {
				continue
			}
			params := map[string]any{}
			if row.params != nil {
				params = row.params(s, h)
			}
			if !row.once {
				params["room"] = string(h)
			}
			name, code := ask(row, params)
			if name == "" {
				break
			}
			may := row.may(r, h) && (row.once || row.own || !r.outside())
			if may != (code == "") {
				s.t.Errorf("%s, %s, %s: %q", r, h, name, code)
			}
			if code == "" && row.undo != nil {
				row.undo(s, r, h)
			}
		}
	}
}

// verdict is the code of a refusal, "" of a success. That something is not there is for who may see that.
func verdict(status int, answer map[string]any) string {
	if status < 300 {
		return ""
	}
	code, _ := answer["code"].(string)
	return code
}

// rpc makes a call over MQTT, and returns its verdict.
func rpc(t testing.TB, c *mqtttest.Client, r role, method string, params map[string]any) string {
	t.Helper()
	return answerOf(t, c, r, method, params).Error.Code
}

// reply is what a call was answered.
type reply struct {
	OK     bool
	Result json.RawMessage
	Error  struct{ Code, Detail string }
}

func answerOf(t testing.TB, c *mqtttest.Client, r role, method string, params map[string]any) (answer reply) {
	t.Helper()
	b, err := json.Marshal(map[string]any{"params": params})
	if err != nil {
		t.Fatal(err)
	}
	c.Publish(mqtttest.Message(r.namespace()+"/me/rpc/"+method, string(b), 1))
	pk := c.Next()
	if err := json.Unmarshal(pk.Payload, &answer); err != nil {
		t.Fatal(err)
	}
	if answer.OK != (answer.Error.Code == "") {
		t.Fatalf("%s: %s", method, pk.Payload)
	}
	return answer
}

// offered is what there is to call: paths of the OpenAPI document, and methods.
func offered(t testing.TB, s *stage) (all []string) {
	t.Helper()
	resp, err := http.Get("http://" + s.Addr("web") + "/api/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.Paths {
		for _, method := range []string{"get", "put", "post", "patch", "delete"} {
			if _, there := item[method]; there {
				all = append(all, strings.ToUpper(method)+" "+path)
			}
		}
	}
	c := s.dial(stranger, mqtttest.Flavours[0])
	c.Subscribe("chat/me/reply")
	c.Publish(mqtttest.Message("chat/me/rpc/which.are.there", `{}`, 1))
	var answer struct{ Error struct{ Detail string } }
	if err := json.Unmarshal(c.Next().Payload, &answer); err != nil {
		t.Fatal(err)
	}
	_, list, ok := strings.Cut(answer.Error.Detail, "there are ")
	if !ok {
		t.Fatalf("no list of methods in %q", answer.Error.Detail)
	}
	c.Disconnect()
	return append(all, strings.Fields(strings.TrimSuffix(list, "."))...)
}

// Nothing is offered that the table does not know.
func TestTableIsComplete(t *testing.T) {
	known := map[string]bool{}
	for _, row := range table {
		known[row.rpc], known[row.http] = true, true
	}
	offered := offered(t, newStage(t))
	for _, name := range offered {
		if known[name] == (elsewhere[name] != "") {
			t.Errorf("%s is offered, and the table does not say to whom, or says it twice", name)
		}
	}
	for _, name := range append(slices.Collect(maps.Keys(known)), slices.Collect(maps.Keys(elsewhere))...) {
		if name != "" && !slices.Contains(offered, name) {
			t.Errorf("the table knows %s, which is not offered", name)
		}
	}
}

// Public rooms are joined by users, others by who is invited; who leaves is a member no more.
func TestJoinAndLeave(t *testing.T) {
	for i, way := range []string{"v3.1.1", "v5", "http"} {
		s := newStage(t)
		for _, r := range cast {
			ask := func(method string, h hall) string {
				if way == "http" {
					op := "POST /rooms/{room}/" + strings.TrimPrefix(method, "room.")
					return verdict(s.ask(r, op, map[string]any{"room": string(h)}))
				}
				c := s.dial(r, mqtttest.Flavours[i])
				defer c.Disconnect()
				c.Subscribe(r.namespace() + "/me/reply")
				return rpc(t, c, r, method, map[string]any{"room": string(h)})
			}
			for _, h := range halls {
				may := r.belongs(h) || r == admin && h != direct && h != nowhere || r.reads(h) && h != private && h != direct && !r.isGuest()
				if code := ask("room.join", h); may != (code == "") {
					t.Errorf("%s: %s joins %s: %q", way, r, h, code)
				}
				may = may && h != direct
				if r == owner && h != nowhere {
					continue // the last one stays
				}
				if code := ask("room.leave", h); may && code != "" || r.isGuest() && code == "" {
					t.Errorf("%s: %s leaves %s: %q", way, r, h, code)
				}
			}
		}
	}
}

// A room is deleted by its owners and by admins.
func TestDeleteRoom(t *testing.T) {
	for i, way := range []string{"v3.1.1", "v5", "http"} {
		for _, h := range halls {
			s := newStage(t)
			for _, r := range append(slices.Clone(cast[1:]), owner) { // the owner comes last
				if r == admin && h != direct {
					continue // may, as the owner does
				}
				var code string
				if way == "http" {
					code = verdict(s.ask(r, "DELETE /rooms/{room}", map[string]any{"room": string(h)}))
				} else {
					c := s.dial(r, mqtttest.Flavours[i])
					c.Subscribe(r.namespace() + "/me/reply")
					code = rpc(t, c, r, "room.delete", map[string]any{"room": string(h)})
				}
				if may := gives(r, h); may != (code == "") {
					t.Errorf("%s: %s deletes %s: %q", way, r, h, code)
				}
				if gives(r, h) {
					break
				}
			}
		}
	}
}

// What was missed is given to whom may read it.
func TestEveryReplay(t *testing.T) {
	s := newStage(t)
	for _, as := range mqtttest.Flavours {
		for _, r := range cast {
			c := s.dial(r, as)
			c.Subscribe(r.namespace() + "/me/reply")
			for _, h := range halls {
				asked := map[string]any{"rooms": map[string]any{string(h): 0}}
				synced := answerOf(t, c, r, "sync", asked)
				status, body := s.ask(r, "POST /sync", asked)
				web, err := json.Marshal(body)
				if err != nil {
					t.Fatal(err)
				}
				for way, got := range map[string]string{as.String(): synced.Error.Code + string(synced.Result), "http": string(web)} {
					given := strings.Contains(got, `"messages":[{`)
					refused := !strings.HasPrefix(got, "{") || strings.Contains(got, `"error":`)
					if may := r.sees(h); may != given || may == refused || status != http.StatusOK {
						t.Errorf("%s: %s syncs %s: %s", way, r, h, got)
					}
				}
				code := rpc(t, c, r, "replay", map[string]any{"room": string(h), "last": 5})
				if code == "" {
					t.Errorf("%v: %s replays %s, which they read by no filter", as, r, h)
				}
			}
			c.Disconnect()
		}
	}
}

// The cluster is run by admins of the default namespace.
func TestClusterIsTheAdmins(t *testing.T) {
	s := newStage(t)
	for op := range elsewhere {
		if !strings.Contains(op, " /cluster") {
			continue
		}
		for _, r := range cast {
			if r == admin {
				continue // what it does is package api's to test
			}
			params := map[string]any{}
			if strings.HasPrefix(op, "POST ") {
				params["node"] = "n9"
			}
			code := verdict(s.ask(r, op, params))
			if code != "forbidden" && code != "unauthenticated" && code != "guest_read_only" {
				t.Errorf("%s: %s: %q", r, op, code)
			}
		}
	}
}
