package authority

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/internal/mqtttest"
)

// needs is which scope a service key needs for what is offered; "" = any.
var needs = map[string][]string{
	"": {
		"GET /health", "GET /connect", "POST /auth/login", "POST /auth/guest",
		"GET /whoami", "whoami", "session.set", "auth.renew",
	},
	"send_as": {
		"POST /publish", "POST /publish/bulk", "POST /rooms/{room}/messages", "PUT /rooms/{room}/state/{key}", "state.set",
		"POST /rooms/{room}/read", "read",
	},
	"read": {
		"GET /rooms", "rooms.list", "GET /rooms/{room}", "room.get", "GET /rooms/{room}/messages", "history", "sync", "replay",
		"POST /sync", "room.search", "state.get", "broadcast.list",
		"GET /rooms/{room}/events", "GET /rooms/{room}/state/{key}", "GET /rooms/{room}/members", "members",
		"GET /rooms/{room}/presence", "GET /users/{user}/presence", "presence.get", "GET /search", "search",
		"GET /rooms/{room}/export", "GET /broadcast",
	},
	"rooms": {
		"POST /rooms", "room.create", "PATCH /rooms/{room}", "room.set", "DELETE /rooms/{room}", "room.delete",
		"POST /rooms/{room}/join", "room.join", "POST /rooms/{room}/leave", "room.leave", "POST /rooms/{room}/invite", "room.invite",
		"POST /rooms/{room}/role", "mod.role",
	},
	"moderate": {
		"POST /rooms/{room}/freeze", "mod.freeze", "POST /rooms/{room}/unfreeze", "mod.unfreeze", "POST /rooms/{room}/slow", "mod.slow",
		"POST /rooms/{room}/mute", "mod.mute", "POST /rooms/{room}/unmute", "mod.unmute", "POST /rooms/{room}/ban", "mod.ban",
		"POST /rooms/{room}/unban", "mod.unban", "POST /rooms/{room}/kick", "mod.kick", "POST /rooms/{room}/pin", "mod.pin",
		"POST /rooms/{room}/announce", "mod.announce", "GET /rooms/{room}/audit", "mod.audit",
		"DELETE /rooms/{room}/messages/{seq}", "mod.delete",
	},
	"users": {
		"POST /users", "user.register", "GET /users", "user.search", "GET /users/{user}", "user.get", "PATCH /users/{user}", "user.set",
		"DELETE /users/{user}", "user.delete", "POST /auth/logout", "logout", "POST /auth/register_token", "register_token",
		"GET /users/{user}/export",
		"GET /me/contacts", "contacts.list", "PUT /me/contacts/{user}", "contacts.add", "DELETE /me/contacts/{user}", "contacts.remove",
		"GET /me/blocks", "blocks.list", "PUT /me/blocks/{user}", "blocks.add", "DELETE /me/blocks/{user}", "blocks.remove",
		"GET /me/inbox", "inbox", "POST /me/inbox/read", "GET /me/devices", "devices.list", "PUT /me/devices/{device}/push", "devices.push",
		"GET /users/{user}/devices", "DELETE /me/devices", "DELETE /me/devices/{device}", "DELETE /users/{user}/devices",
		"DELETE /users/{user}/devices/{device}", "devices.kick",
	},
	"broadcast": {"POST /broadcast", "broadcast.post"},
	"admin": {
		"GET /webhooks", "GET /webhooks/{name}/dead", "POST /webhooks/{name}/dead/retry", "webhooks", "webhooks.dead", "webhooks.retry",
		"POST /rooms/{room}/import", "GET /cluster", "GET /cluster/backup", "POST /cluster/add", "POST /cluster/drain",
		"POST /cluster/promote", "POST /cluster/remove", "POST /cluster/transfer",
	},
}

// keyed is a stage with a service key of each scope, which are roles of their scope's name.
func keyed(t testing.TB) (*stage, []role) {
	var names []role
	text := ""
	tokens := map[role]string{}
	for scope := range needs {
		if scope == "" {
			continue
		}
		set, err := auth.ParseScopes(scope)
		if err != nil {
			t.Fatal(err)
		}
		key, line, err := auth.NewServiceKey(scope, "chat", set)
		if err != nil {
			t.Fatal(err)
		}
		names, text, tokens[role(scope)] = append(names, role(scope)), text+line+"\n", key
	}
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newStage(t, "auth.service_keys_file="+path)
	maps.Copy(s.tokens, tokens)
	slices.Sort(names)
	return s, names
}

var lacks = regexp.MustCompile(`^For \S+ a service key needs the scope (\S+); this one has (\S+)\.$`)

// Whatever is offered, over HTTP and by rpc with both versions: a service key without the scope for it is told which one that
// is, and one that has it is not refused for that.
func TestEveryScope(t *testing.T) {
	s, keys := keyed(t)
	scope := map[string]string{}
	for name, ops := range needs {
		for _, op := range ops {
			scope[op] = name
		}
	}
	offers := offered(t, s)
	for _, op := range offers {
		if _, ok := scope[op]; !ok {
			t.Errorf("%s is offered, and the table does not say what a service key needs for it", op)
		}
	}
	if len(offers) != len(scope) {
		t.Errorf("%d calls are offered, the table knows %d", len(offers), len(scope))
	}
	params := map[string]any{
		"room": string(nowhere), "user": outcast, "key": "k", "seq": 1, "device": "d", "name": "n",
	}
	for i, key := range keys {
		c := s.dial(key, mqtttest.Flavours[i%2], func(o *mqtttest.Options) { o.User, o.Password = "-", s.tokens[key] })
		c.Subscribe("chat/me/reply")
		for _, op := range offers {
			need := scope[op]
			has := need == "" || need == string(key) || key == "admin"
			if has && (key == "admin" && strings.Contains(op, "/cluster") || op == "GET /rooms/{room}/export") {
				continue // it would end the node, or the answer is no JSON
			}
			var code, detail string
			if strings.Contains(op, " ") {
				status, answer := s.ask(key, op, params)
				if status >= 300 {
					code, _ = answer["code"].(string)
					detail, _ = answer["detail"].(string)
				}
			} else {
				e := answerOf(t, c, key, op, params).Error
				code, detail = e.Code, e.Detail
			}
			m := lacks.FindStringSubmatch(detail)
			switch {
			case has && m != nil:
				t.Errorf("%s, %s: %s", key, op, detail)
			case !has && (code != "forbidden" || m == nil || m[1] != need || m[2] != string(key)):
				t.Errorf("%s, %s: %q %q", key, op, code, detail)
			}
		}
		c.Disconnect()
	}
}
