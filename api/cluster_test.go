package api

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/problem"
)

// members is a cluster that does what it is told to nodes called n..., and notes it.
type members struct{ done []string }

func (m *members) Cluster() ClusterStatus {
	return ClusterStatus{Node: "n1", Leader: "n2", Role: "follower", Term: 3, Applied: 4, Nodes: []ClusterNode{{Node: "n1", Address: "a:1", Voter: true, Up: true, Zone: "z"}}}
}

func (m *members) do(what, node string) error {
	switch {
	case node == "stuck":
		return problem.New(problem.NoQuorum, "no leader is known")
	case node != "" && !strings.HasPrefix(node, "n"):
		return problem.New(problem.NotFound, "no such node")
	}
	m.done = append(m.done, what+" "+node)
	return nil
}

func (m *members) Servers(zone string) []Server {
	return []Server{{Node: "n1", Zone: zone, MQTT: "mqtt://a:1883", Load: 0.5}}
}

func (m *members) Add(_ context.Context, node, address string) error {
	return m.do("add "+address+" of", node)
}

func (m *members) Drain(_ context.Context, node string, on bool) error {
	return m.do(fmt.Sprint("drain ", on), node)
}

func (m *members) Backup(w io.Writer) error {
	m.done = append(m.done, "backup")
	_, err := io.WriteString(w, "a backup")
	return err
}

func (m *members) Promote(_ context.Context, node string) error  { return m.do("promote", node) }
func (m *members) Remove(_ context.Context, node string) error   { return m.do("remove", node) }
func (m *members) Transfer(_ context.Context, node string) error { return m.do("transfer", node) }

func TestClusterIsForAdmins(t *testing.T) {
	m := &members{}
	r := newRig(t, func(_ *calls.Config, c *Config) { c.Members = m })
	const status = `{"node":"n1","leader":"n2","role":"follower","term":3,"applied":4,"nodes":[{"node":"n1","address":"a:1","voter":true,"up":true,"zone":"z","connections":0}]}`
	for _, tc := range []struct{ line, body, did string }{
		{"GET /cluster", "", ""},
		{"POST /cluster/promote", `{"node":"n3"}`, "promote n3"},
		{"POST /cluster/remove", `{"node":"n3"}`, "remove n3"},
		{"POST /cluster/add", `{"node":"n3","address":"a:2"}`, "add a:2 of n3"},
		{"POST /cluster/drain", `{"node":"n3"}`, "drain true n3"},
		{"POST /cluster/drain", `{"node":"n3","end":true}`, "drain false n3"},
		{"POST /cluster/transfer", `{"node":"n3"}`, "transfer n3"},
		{"POST /cluster/transfer", `{}`, "transfer "},
	} {
		m.done = nil
		if w := r.do("admin", tc.line, tc.body); w.Code != 200 || answerOf(w) != status {
			t.Errorf("%s: %d %s", tc.line, w.Code, w.Body)
		}
		if got := fmt.Sprint(m.done); got != fmt.Sprint([]string{tc.did}) && tc.did != "" {
			t.Errorf("%s did %s", tc.line, got)
		}
		m.done = nil
		r.refused(r.do("alice", tc.line, tc.body), 403, problem.Forbidden, "admin")
		r.refused(r.do("other/admin", tc.line, tc.body), 403, problem.Forbidden, "admin")
		r.refused(r.do("", tc.line, tc.body), 403, problem.Forbidden, "admin")
		if len(m.done) > 0 {
			t.Errorf("%s: somebody did %q", tc.line, m.done)
		}
	}
	r.refused(r.do("admin", "POST /cluster/remove", `{"node":"x"}`), 404, problem.NotFound, "no such node")
	r.refused(r.do("admin", "POST /cluster/transfer", `{"node":"stuck"}`), 503, problem.NoQuorum, "no leader")
	r.refused(r.do("admin", "POST /cluster/remove", `{"node":""}`), 400, problem.BadPayload, "")
}

// Where to connect is for everybody.
func TestConnect(t *testing.T) {
	r := newRig(t, func(_ *calls.Config, c *Config) { c.Members = &members{} })
	const want = `{"servers":[{"node":"n1","zone":"kr","mqtt":"mqtt://a:1883","load":0.5}]}`
	for _, user := range []string{"", "alice"} {
		if w := r.do(user, "GET /connect?zone=kr", ""); w.Code != 200 || answerOf(w) != want {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	r.refused(r.do("", "GET /connect?where=kr", ""), 400, problem.BadPayload, "where")
}

// A backup is everything, so it is for admins.
func TestBackupIsForAdmins(t *testing.T) {
	m := &members{}
	r := newRig(t, func(_ *calls.Config, c *Config) { c.Members = m })
	w := r.do("admin", "GET /cluster/backup", "")
	if w.Code != 200 || w.Body.String() != "a backup" || w.Header().Get("Content-Type") != backupType {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	m.done = nil
	for _, user := range []string{"alice", "other/admin", ""} {
		r.refused(r.do(user, "GET /cluster/backup", ""), 403, problem.Forbidden, "admin")
	}
	if len(m.done) > 0 {
		t.Errorf("somebody got a backup: %q", m.done)
	}
}
