package api

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// people is a conversation by HTTP, the same as an rpc, and what both answer.
var people = []struct {
	by, line, body, method, params, want string
}{
	{"bob", "GET /me/inbox", ``, "inbox", ``, `{"entries":[],"head":0,"first":1,"read":0,"unread":0,"more":false}`},
	{"bob", "GET /me/contacts", ``, "contacts.list", ``, `{"contacts":[],"more":false}`},
	{"alice", "PUT /me/contacts/bob", ``, "contacts.add", `{"user":"bob"}`, `{"user":"bob","status":"pending","changed":true}`},
	{"alice", "PUT /me/contacts/bob", ``, "contacts.add", `{"user":"bob"}`, `{"user":"bob","status":"pending","changed":false}`},
	{"alice", "PUT /me/contacts/alice", ``, "contacts.add", `{"user":"alice"}`, "bad_payload"},
	{"alice", "PUT /me/contacts/b%20o", ``, "contacts.add", `{"user":"b o"}`, "not_found"},
	{"alice", "PUT /me/contacts/guest~1", ``, "contacts.add", `{"user":"guest~1"}`, "not_found"},
	{"guest~1", "PUT /me/contacts/bob", ``, "contacts.add", `{"user":"bob"}`, "guest_read_only"},
	{"guest~1", "GET /me/inbox", ``, "inbox", ``, "guest_read_only"},
	{"bob", "GET /me/contacts", ``, "contacts.list", ``, `{"contacts":[{"user":"alice","status":"requested","ts":TS}],"more":false}`},
	{"bob", "PUT /me/contacts/alice", ``, "contacts.add", `{"user":"alice"}`, `{"user":"alice","status":"mutual","changed":true}`},
	{"alice", "GET /me/contacts?limit=1", ``, "contacts.list", `{"limit":1}`, `{"contacts":[{"user":"bob","status":"mutual","ts":TS}],"more":false}`},
	{
		"alice", "GET /me/inbox", ``, "inbox", ``,
		`{"entries":[{"user":"alice","seq":1,"n":1,"ts":TS,"type":"contact","data":{"user":"bob","event":"added","status":"pending"}},` +
			`{"user":"alice","seq":2,"n":2,"ts":TS,"type":"contact","data":{"user":"bob","event":"accepted","status":"mutual"}}],` +
			`"head":2,"first":1,"read":1,"unread":1,"more":false}`,
	},
	{"alice", "POST /me/inbox/read", `{"seq":2}`, "read", `{"room":"inbox~alice","seq":2}`, `{"room":"inbox~alice","seq":2,"delivered":2,"unread":0}`},
	{"alice", "POST /me/inbox/read", `{"seq":1}`, "read", `{"room":"inbox~alice","seq":1}`, `{"room":"inbox~alice","seq":2,"delivered":2,"unread":0}`},
	{
		"alice", "GET /me/inbox?after=1&limit=1", ``, "inbox", `{"after":1,"limit":1,"read":2}`,
		`{"entries":[{"user":"alice","seq":2,"n":2,"ts":TS,"type":"contact","data":{"user":"bob","event":"accepted","status":"mutual"}}],` +
			`"head":2,"first":1,"read":2,"unread":0,"more":false}`,
	},
	{
		"alice", "GET /me/inbox?limit=1", ``, "inbox", `{"limit":1}`,
		`{"entries":[{"user":"alice","seq":2,"n":2,"ts":TS,"type":"contact","data":{"user":"bob","event":"accepted","status":"mutual"}}],` +
			`"head":2,"first":1,"read":2,"unread":0,"more":true,"next":2}`,
	},
	{"alice", "GET /me/inbox?after=1&before=2", ``, "inbox", `{"after":1,"before":2}`, "bad_payload"},
	{"alice", "DELETE /me/contacts/bob", ``, "contacts.remove", `{"user":"bob"}`, `{"user":"bob","status":"none","changed":true}`},
	{"alice", "DELETE /me/contacts/bob", ``, "contacts.remove", `{"user":"bob"}`, `{"user":"bob","status":"none","changed":false}`},

	{"alice", "PUT /me/blocks/bob", ``, "blocks.add", `{"user":"bob"}`, `{"user":"bob","blocked":true,"changed":true}`},
	{"alice", "PUT /me/blocks/bob", ``, "blocks.add", `{"user":"bob"}`, `{"user":"bob","blocked":true,"changed":false}`},
	{"alice", "PUT /me/blocks/alice", ``, "blocks.add", `{"user":"alice"}`, "bad_payload"},
	{"guest~1", "PUT /me/blocks/alice", ``, "blocks.add", `{"user":"alice"}`, "guest_read_only"},
	{"alice", "GET /me/blocks", ``, "blocks.list", ``, `{"blocks":[{"user":"bob","ts":TS}],"more":false}`},
	{"bob", "GET /me/blocks", ``, "blocks.list", ``, `{"blocks":[],"more":false}`},
	{"bob", "POST /rooms/dm~alice~bob/messages", "hi", "", "", "forbidden"},
	{"alice", "POST /rooms/dm~alice~bob/messages", "hi", "", "", "forbidden"},
	{"bob", "POST /rooms", `{"room":"mine","kind":"private"}`, "", "", "created"},
	{"bob", "POST /rooms/mine/invite", `{"user":"alice"}`, "room.invite", `{"room":"mine","user":"alice"}`, "forbidden"},
	{"alice", "PUT /me/contacts/bob", ``, "contacts.add", `{"user":"bob"}`, "conflict"},
	{"alice", "DELETE /me/blocks/bob", ``, "blocks.remove", `{"user":"bob"}`, `{"user":"bob","blocked":false,"changed":true}`},
	{"bob", "POST /rooms/dm~alice~bob/messages", "hi", "", "", `{"seq":1,"ts":TS}`},
	{"bob", "POST /rooms/mine/invite", `{"user":"alice"}`, "room.invite", `{"room":"mine","user":"alice"}`, `{"room":"mine","seq":1,"ts":TS,"changed":true}`},
	{
		"alice", "GET /me/inbox?after=3", ``, "inbox", `{"after":3}`,
		`{"entries":[{"user":"alice","seq":4,"n":4,"ts":TS,"type":"contact","data":{"user":"bob","event":"blocked","status":"blocked"}},` +
			`{"user":"alice","seq":5,"n":5,"ts":TS,"type":"contact","data":{"user":"bob","event":"unblocked","status":"none"}},` +
			`{"user":"alice","seq":6,"n":6,"ts":TS,"type":"invited","data":{"room":"mine","by":{"user":"bob"},"at":1}}],` +
			`"head":6,"first":1,"read":5,"unread":1,"more":false}`,
	},
	{
		"alice", "GET /rooms/inbox~alice/messages?view=log&after=5", ``, "history", `{"room":"inbox~alice","view":"log","after":5}`,
		`{"messages":[{"user":"alice","seq":6,"n":6,"ts":TS,"type":"invited","data":{"room":"mine","by":{"user":"bob"},"at":1}}],"head":6,"first":1,"more":false}`,
	},
	{
		"alice", "GET /rooms/inbox~alice/events?after=5&wait=0", ``, "", "",
		`{"messages":[{"user":"alice","seq":6,"n":6,"ts":TS,"type":"invited","data":{"room":"mine","by":{"user":"bob"},"at":1}}],"head":6,"first":1,"next":6}`,
	},

	{"bob", "POST /broadcast", `{"data":{"text":"hear"}}`, "", "", "forbidden"},
	{"auditor", "POST /broadcast", `{"data":{"text":"hear"}}`, "", "", "forbidden"},
	{"guest~1", "POST /broadcast", `{"data":{"text":"hear"}}`, "", "", "guest_read_only"},
	{"admin", "POST /broadcast", `{"data":{"text":"hear"},"type":"notice","cid":"1"}`, "", "", `{"seq":1,"ts":TS}`},
	{"admin", "POST /broadcast", `{"data":{"text":"hear"},"type":"notice","cid":"1"}`, "", "", `{"seq":1,"ts":TS,"duplicate":true}`},
	{"admin", "POST /broadcast", `{"data":{"text":"other"},"type":"notice","cid":"1"}`, "", "", "cid_conflict"},
	{"admin", "POST /broadcast", `{"data":{},"type":"delete","target":1}`, "", "", "forbidden"},
	{"admin", "POST /broadcast", `{"data":{},"type":"system"}`, "", "", "forbidden"},
	{"admin", "POST /publish", `{"topic":"chat/broadcast/text","payload":"twice"}`, "", "", `{"id":"broadcast~:2","seq":2,"ts":TS}`},
	{"bob", "POST /publish", `{"topic":"chat/broadcast/text","payload":"twice"}`, "", "", "forbidden"},
	{"admin", "POST /publish", `{"topic":"chat/users/bob/inbox","payload":"x"}`, "", "", "forbidden"},
	{
		"bob", "GET /broadcast", ``, "history", `{"room":"broadcast~"}`,
		`{"messages":[{"seq":1,"n":1,"ts":TS,"type":"notice","from":{"user":"admin"},"cid":"1","data":{"text":"hear"}},` +
			`{"seq":2,"n":2,"ts":TS,"type":"text","from":{"user":"admin"},"data":{"text":"twice"}}],"head":2,"first":1,"more":false}`,
	},
	{"guest~1", "GET /broadcast", ``, "history", `{"room":"broadcast~"}`, "not_found"},
	{"ns/bob", "GET /broadcast", ``, "history", `{"room":"broadcast~"}`, `{"messages":[],"head":0,"first":1,"more":false}`},
}

func TestPeopleByHTTPAndRPC(t *testing.T) {
	for _, rpc := range []bool{false, true} {
		r := newRig(t)
		for _, c := range people {
			var got string
			if rpc && c.method != "" {
				got = r.call(c.by, c.method, c.params)
			} else {
				w := r.do(c.by, c.line, c.body, contentType(c.line, c.body)...)
				got = strings.TrimSpace(w.Body.String())
				if w.Code >= 300 {
					var p struct{ Code string }
					if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
						t.Fatalf("%s: %v", c.line, err)
					}
					got = p.Code
				} else if c.want == "created" {
					got = c.want
				}
			}
			if d := cmp.Diff(c.want, stamps(got)); d != "" {
				t.Errorf("rpc %v: %s %s %s: %s", rpc, c.by, c.line, c.body, d)
			}
		}
	}
}

// An inbox is its user's alone, whoever asks and however its log is named; and nothing tells whether it exists. Nobody
// writes to the broker's own logs as to a room.
func TestInboxesAreTheirUsers(t *testing.T) {
	r := newRig(t)
	r.do("alice", "PUT /me/contacts/bob", "")
	closed := func(room string) {
		for _, by := range []string{"carol", "admin", "auditor", "guest~1", "ns/alice", ""} {
			for _, line := range []string{
				"GET /rooms/" + room, "GET /rooms/" + room + "/messages", "GET /rooms/" + room + "/messages?view=log&after=0",
				"GET /rooms/" + room + "/members", "GET /rooms/" + room + "/audit", "GET /rooms/" + room + "/events?after=0&wait=0",
				"GET /rooms/" + room + "/state/x", "DELETE /rooms/" + room, "DELETE /rooms/" + room + "/messages/1",
			} {
				if by == "ns/alice" && strings.HasPrefix(room, "inbox~alice") {
					continue // another inbox, their own: empty
				}
				w := r.do(by, line, "")
				if s := w.Body.String(); w.Code < 400 || w.Code >= 500 || strings.Contains(s, "added") || strings.Contains(s, "requested") {
					t.Errorf("%s %s: %d %s", by, line, w.Code, s)
				}
			}
			if by == "" {
				continue
			}
			for method, params := range map[string]string{
				"history": `{"room":"` + room + `"}`, "room.get": `{"room":"` + room + `"}`, "members": `{"room":"` + room + `"}`,
				"read": `{"room":"` + room + `","seq":1}`, "room.join": `{"room":"` + room + `"}`, "mod.freeze": `{"room":"` + room + `"}`,
				"room.set": `{"room":"` + room + `","name":"x"}`, "room.delete": `{"room":"` + room + `"}`, "mod.audit": `{"room":"` + room + `"}`,
				"room.create": `{"room":"` + room + `"}`, "mod.delete": `{"room":"` + room + `","seq":1}`,
			} {
				if by == "ns/alice" && strings.HasPrefix(room, "inbox~alice") {
					continue
				}
				if got := r.call(by, method, params); strings.HasPrefix(got, "{") {
					t.Errorf("%s %s %s: %s", by, method, params, got)
				}
			}
			if got := r.call(by, "sync", `{"rooms":{"`+room+`":0}}`); strings.Contains(got, "added") || strings.Contains(got, "requested") {
				t.Errorf("%s syncs %s: %s", by, room, got)
			}
		}
	}
	closed("inbox~alice")
	closed("inbox~bob")
	closed("inbox~nobody")
	for _, by := range []string{"alice", "admin"} {
		for _, room := range []string{"inbox~alice", "broadcast~"} {
			w := r.do(by, "POST /rooms/"+room+"/messages", "x")
			r.refused(w, 404, "not_found", "")
			for _, verb := range []string{"freeze", "join", "leave"} {
				if w := r.do(by, "POST /rooms/"+room+"/"+verb, ""); w.Code < 400 {
					t.Errorf("%s %s %s: %d %s", by, verb, room, w.Code, w.Body)
				}
			}
		}
	}
	for _, line := range []string{"GET /rooms", "GET /rooms?public=true"} {
		if w := r.do("alice", line, ""); strings.Contains(w.Body.String(), "~") {
			t.Errorf("%s: %s", line, w.Body)
		}
	}
}
