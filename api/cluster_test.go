package api

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/problem"
)

// members is a cluster that does what it is told to nodes called n..., and notes it.
type members struct{ done []string }

func (m *members) Cluster() ClusterStatus {
	return ClusterStatus{Node: "n1", Leader: "n2", Role: "follower", Term: 3, Applied: 4, Nodes: []ClusterNode{{"n1", "a:1", true}}}
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

func (m *members) Promote(_ context.Context, node string) error  { return m.do("promote", node) }
func (m *members) Remove(_ context.Context, node string) error   { return m.do("remove", node) }
func (m *members) Transfer(_ context.Context, node string) error { return m.do("transfer", node) }

func TestClusterIsForAdmins(t *testing.T) {
	m := &members{}
	r := newRig(t, func(_ *calls.Config, c *Config) { c.Members = m })
	const status = `{"node":"n1","leader":"n2","role":"follower","term":3,"applied":4,"nodes":[{"node":"n1","address":"a:1","voter":true}]}`
	for _, tc := range []struct{ line, body, did string }{
		{"GET /cluster", "", ""},
		{"POST /cluster/promote", `{"node":"n3"}`, "promote n3"},
		{"POST /cluster/remove", `{"node":"n3"}`, "remove n3"},
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
