package api

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/madang-chat/madang/hooks/calls"
)

// moderation is a conversation in a room of alice: HTTP, the same as an rpc, and what both answer. carol becomes an
// operator, dave and eve are nobody, admin is admin.
var moderation = []struct {
	by, line, body, method, params, want string
}{
	{
		"alice", "POST /rooms/pub/invite", `{"user":"bob"}`, "room.invite", `{"room":"pub","user":"bob"}`,
		`{"room":"pub","seq":1,"ts":TS,"changed":true}`,
	},
	{"alice", "POST /rooms/pub/invite", `{"user":"bob"}`, "room.invite", `{"room":"pub","user":"bob"}`, `{"room":"pub","seq":1,"changed":false}`},
	{"alice", "POST /rooms/pub/invite", `{"user":"b o"}`, "room.invite", `{"room":"pub","user":"b o"}`, "not_found"},
	{"eve", "POST /rooms/pub/invite", `{"user":"dave"}`, "room.invite", `{"room":"pub","user":"dave"}`, "forbidden"},
	{
		"alice", "POST /rooms/pub/invite", `{"user":"carol","reason":"helps"}`, "room.invite", `{"room":"pub","user":"carol","reason":"helps"}`,
		`{"room":"pub","seq":2,"ts":TS,"changed":true}`,
	},
	{
		"alice", "POST /rooms/pub/role", `{"user":"carol","role":"operator"}`, "mod.role", `{"room":"pub","user":"carol","role":"operator"}`,
		`{"room":"pub","seq":3,"ts":TS,"changed":true}`,
	},
	{"alice", "POST /rooms/pub/role", `{"user":"carol","role":"king"}`, "mod.role", `{"room":"pub","user":"carol","role":"king"}`, "bad_payload"},
	{"carol", "POST /rooms/pub/role", `{"user":"bob","role":"operator"}`, "mod.role", `{"room":"pub","user":"bob","role":"operator"}`, "forbidden"},
	{"guest~1", "POST /rooms/pub/freeze", ``, "mod.freeze", `{"room":"pub"}`, "guest_read_only"},
	{"carol", "POST /rooms/pub/freeze", ``, "mod.freeze", `{"room":"pub"}`, `{"room":"pub","seq":4,"ts":TS,"changed":true}`},
	{"bob", "POST /rooms/pub/messages", "hi", "", "", "room_frozen"},
	{
		"carol", "POST /rooms/pub/announce", `{"text":"hear"}`, "mod.announce", `{"room":"pub","text":"hear"}`,
		`{"room":"pub","seq":5,"ts":TS,"changed":true}`,
	},
	{"carol", "POST /rooms/pub/announce", `{}`, "mod.announce", `{"room":"pub"}`, "bad_payload"},
	{"carol", "POST /rooms/pub/unfreeze", `{"reason":"over"}`, "mod.unfreeze", `{"room":"pub","reason":"over"}`, `{"room":"pub","seq":6,"ts":TS,"changed":true}`},
	{"bob", "POST /rooms/pub/messages", "hi", "", "", `{"seq":7,"ts":TS}`},
	{"carol", "POST /rooms/pub/slow", `{"seconds":30}`, "mod.slow", `{"room":"pub","seconds":30}`, `{"room":"pub","seq":8,"ts":TS,"changed":true}`},
	{"carol", "POST /rooms/pub/slow", `{"seconds":-1}`, "mod.slow", `{"room":"pub","seconds":-1}`, "bad_payload"},
	{"dave", "POST /rooms/pub/messages", "hi", "", "", `{"seq":9,"ts":TS}`},
	{"dave", "POST /rooms/pub/messages", "hi again", "", "", "slow_mode"},
	{"carol", "POST /rooms/pub/slow", `{"seconds":0}`, "mod.slow", `{"room":"pub","seconds":0}`, `{"room":"pub","seq":10,"ts":TS,"changed":true}`},
	{"carol", "POST /rooms/pub/pin", `{"seq":7}`, "mod.pin", `{"room":"pub","seq":7}`, `{"room":"pub","seq":11,"ts":TS,"changed":true}`},
	{"carol", "POST /rooms/pub/pin", `{"seq":99}`, "mod.pin", `{"room":"pub","seq":99}`, "not_found"},
	{"carol", "POST /rooms/pub/pin", `{"seq":8}`, "mod.pin", `{"room":"pub","seq":8}`, "conflict"},
	{"carol", "POST /rooms/pub/pin", `{"seq":7,"on":false}`, "mod.pin", `{"room":"pub","seq":7,"on":false}`, `{"room":"pub","seq":12,"ts":TS,"changed":true}`},
	{
		"carol", "POST /rooms/pub/mute", `{"user":"bob","seconds":60,"reason":"loud"}`, "mod.mute", `{"room":"pub","user":"bob","seconds":60,"reason":"loud"}`,
		`{"room":"pub","seq":13,"ts":TS,"changed":true}`,
	},
	{"carol", "POST /rooms/pub/mute", `{"user":"alice"}`, "mod.mute", `{"room":"pub","user":"alice"}`, "forbidden"},
	{"bob", "POST /rooms/pub/messages", "hi", "", "", "muted"},
	{"carol", "POST /rooms/pub/unmute", `{"user":"bob"}`, "mod.unmute", `{"room":"pub","user":"bob"}`, `{"room":"pub","seq":14,"ts":TS,"changed":true}`},
	{"dave", "DELETE /rooms/pub/messages/7", ``, "mod.delete", `{"room":"pub","seq":7}`, "forbidden"},
	{"carol", "DELETE /rooms/pub/messages/7?reason=spam", ``, "mod.delete", `{"room":"pub","seq":7,"reason":"spam"}`, `{"room":"pub","seq":15,"ts":TS,"changed":true}`},
	{"dave", "DELETE /rooms/pub/messages/9", ``, "mod.delete", `{"room":"pub","seq":9}`, `{"room":"pub","seq":16,"ts":TS,"changed":true}`},
	{"dave", "DELETE /rooms/pub/messages/9", ``, "mod.delete", `{"room":"pub","seq":9}`, "conflict"},
	{"carol", "POST /rooms/pub/kick", `{"user":"bob"}`, "mod.kick", `{"room":"pub","user":"bob"}`, `{"room":"pub","seq":17,"ts":TS,"changed":true}`},
	{"admin", "POST /rooms/pub/ban", `{"user":"dave"}`, "mod.ban", `{"room":"pub","user":"dave"}`, `{"room":"pub","seq":18,"ts":TS,"changed":true}`},
	{"dave", "GET /rooms/pub", ``, "room.get", `{"room":"pub"}`, "banned"},
	{"dave", "GET /rooms/pub/messages", ``, "history", `{"room":"pub"}`, "banned"},
	{"dave", "POST /rooms/pub/messages", "hi", "", "", "banned"},
	{"dave", "POST /rooms/pub/join", ``, "room.join", `{"room":"pub"}`, "banned"},
	{"carol", "POST /rooms/pub/unban", `{"user":"dave"}`, "mod.unban", `{"room":"pub","user":"dave"}`, `{"room":"pub","seq":19,"ts":TS,"changed":true}`},
	{"dave", "POST /rooms/pub/join", ``, "room.join", `{"room":"pub"}`, `{"room":"pub","role":"member","seq":20}`},
	{
		"dave", "GET /rooms/pub/members?limit=2", ``, "members", `{"room":"pub","limit":2}`,
		`{"members":[{"user":"alice","role":"owner","since":0,"joined_at":TS},{"user":"carol","role":"operator","since":2,"joined_at":TS}],` +
			`"total":3,"next":"carol","more":true}`,
	},
	{
		"dave", "GET /rooms/pub/members?after=carol", ``, "members", `{"room":"pub","after":"carol"}`,
		`{"members":[{"user":"dave","role":"member","since":20,"joined_at":TS}],"total":3,"more":false}`,
	},
	{"guest~1", "GET /rooms/pub/members", ``, "members", `{"room":"pub"}`, "guest_read_only"},
	{
		"carol", "GET /rooms/pub/audit?limit=2", ``, "mod.audit", `{"room":"pub","limit":2}`,
		`{"acts":[{"ts":TS,"seq":19,"by":"carol","act":"unban","user":"dave"},{"ts":TS,"seq":18,"by":"admin","act":"ban","user":"dave"}],"next":NEXT,"more":true}`,
	},
	{"dave", "GET /rooms/pub/audit", ``, "mod.audit", `{"room":"pub"}`, "forbidden"},
	{"alice", "POST /rooms/none/freeze", ``, "mod.freeze", `{"room":"none"}`, "not_found"},
	{
		"dave", "GET /rooms/pub/messages", ``, "history", `{"room":"pub"}`,
		`{"messages":[{"room":"pub","seq":7,"n":1,"ts":TS,"type":"text","from":{"user":"bob"},"data":{},"deleted":true},` +
			`{"room":"pub","seq":9,"n":2,"ts":TS,"type":"text","from":{"user":"dave"},"data":{},"deleted":true}],"head":20,"first":1,"more":false}`,
	},
}

func TestModerationByHTTP(t *testing.T) {
	r := newRig(t)
	r.do("alice", "POST /rooms", `{"room":"pub","kind":"public"}`, "Content-Type: application/json")
	for _, c := range moderation {
		w := r.do(c.by, c.line, c.body, contentType(c.line, c.body)...)
		got := strings.TrimSpace(w.Body.String())
		if w.Code >= 300 {
			var p struct{ Code string }
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatalf("%s: %v", c.line, err)
			}
			got = p.Code
		}
		if d := cmp.Diff(c.want, next(stamps(got))); d != "" {
			t.Errorf("%s %s %s: %s", c.by, c.line, c.body, d)
		}
	}
}

// next replaces the place of a page's end, which counts over all rooms.
func next(s string) string {
	if i := strings.Index(s, `"next":`); i >= 0 && s[i+7] != '"' {
		end := strings.IndexByte(s[i:], ',')
		return s[:i] + `"next":NEXT` + s[i+end:]
	}
	return s
}

// The same by rpc: the same names, the same results.
func TestModerationByRPC(t *testing.T) {
	r := newRig(t)
	r.do("alice", "POST /rooms", `{"room":"pub","kind":"public"}`, "Content-Type: application/json")
	for _, c := range moderation {
		got := ""
		if c.method == "" {
			w := r.do(c.by, c.line, c.body, contentType(c.line, c.body)...)
			got = strings.TrimSpace(w.Body.String())
			if w.Code >= 300 {
				var p struct{ Code string }
				if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
					t.Fatal(err)
				}
				got = p.Code
			}
		} else {
			got = r.call(c.by, c.method, c.params)
		}
		if d := cmp.Diff(c.want, next(stamps(got))); d != "" {
			t.Errorf("%s %s %s: %s", c.by, c.method, c.params, d)
		}
	}
}

// call is an rpc by whom the token names; a refusal is its code.
func (r *rig) call(token, method, params string) string {
	r.t.Helper()
	id, err := r.cfg.Calls.Identify(r.t.Context(), token)
	if err != nil {
		r.t.Fatal(err)
	}
	out, err := r.cfg.Calls.Dispatch(r.t.Context(), id, method, json.RawMessage(params))
	if err != nil {
		return string(calls.ProblemFrom(err).Code)
	}
	return string(out)
}
