package broker_test

import (
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// Without a quorum calls are refused with no_quorum, by HTTP and as rpc, as soon as it is no election any more; a refused one is
// never in the log, and with the quorum they go on.
func TestCallsWithoutAQuorum(t *testing.T) {
	t.Parallel()
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{Set: []string{"limits.ack_wait=3s"}})
	n := c.Nodes[0]
	owner := openRoom(t, c.Nodes, "r")
	bearer := token(t, n, "owner")
	for _, o := range c.Nodes[1:] {
		o.Stop()
	}
	refused := 0
	mqtttest.Eventually(t, "calls are refused", func() bool {
		got := by(t, n, bearer, "GET /rooms/r/messages?consistency=strong", "")
		return got.status == 503
	})
	mqtttest.Eventually(t, "writes are refused", func() bool {
		r := tryCall(t, owner, "mod.pin", `{"room":"r","seq":1}`)
		if !r.OK && r.Error.Code == "no_quorum" {
			refused++
		}
		return refused > 0
	})
	for line, body := range map[string]string{
		"POST /rooms/r/messages": `{"data":{"text":"never"}}`, "POST /rooms/r/freeze": `{}`, "PATCH /rooms/r": `{"name":"never"}`,
	} {
		if got := by(t, n, bearer, line, body); got.status != 503 || !strings.Contains(got.body, `"no_quorum"`) {
			t.Errorf("%s: %d %s", line, got.status, got.body)
		}
	}
	for _, o := range c.Nodes[1:] {
		o.Restart()
	}
	mqtttest.Eventually(t, "calls go on", func() bool {
		return by(t, n, bearer, "POST /rooms/r/messages", `{"data":{"text":"after"}}`).status == 201
	})
	if got := by(t, n, bearer, "GET /rooms/r/messages", ""); strings.Contains(got.body, "never") {
		t.Errorf("a refused call is in the log: %s", got.body)
	}
	if got := by(t, n, bearer, "GET /rooms/r", ""); strings.Contains(got.body, "never") || strings.Contains(got.body, `"frozen":true`) {
		t.Errorf("a refused call is in the log: %s", got.body)
	}
}
