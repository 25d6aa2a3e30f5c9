package broker_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// A node that is drained sends its clients to the others, with their answers and with where to go, and does not lead.
func TestDrain(t *testing.T) {
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{})
	leader, asked := c.Leader(), c.Followers()[0]
	room := roomOf(t)
	var clients []*mqtttest.Client
	for i, as := range mqtttest.Flavours {
		clients = append(clients, mqtttest.Dial(t, leader.At(), mqtttest.Options{Flavour: as, User: fmt.Sprint("u", i), ClientID: "c", Keep: true}))
		clients[i].Say(room, "hello")
	}
	mqtttest.Eventually(t, "the nodes know of each other", func() bool { return len(leader.Servers("")) == 3 && len(asked.Servers("")) == 3 })
	if err := asked.Drain(t.Context(), leader.Name(), true); err != nil {
		t.Fatal(err)
	}
	elsewhere := func(as mqtttest.Flavour, ref string) bool {
		for _, n := range c.Followers() {
			if as.Web && strings.Contains(ref, "ws://"+n.At().Web+"/mqtt") || !as.Web && strings.Contains(ref, n.At().MQTT) {
				return true
			}
		}
		return false
	}
	for i, as := range mqtttest.Flavours {
		if got := clients[i].Ended(); got != v5(as, 0x9c) {
			t.Errorf("%v ended with %#x", as, got)
		}
		if as.Version == mqtttest.V5 && !elsewhere(as, clients[i].Reference()) {
			t.Errorf("%v was sent to %q", as, clients[i].Reference())
		}
		refused, err := mqtttest.TryDial(t, leader.At(), mqtttest.Options{Flavour: as, User: "new", ClientID: as.String()})
		switch {
		case err == nil || refused == nil:
			t.Errorf("%v: %v instead of a refusal", as, err)
		case as.Version == mqtttest.V5 && (refused.Connack.ReasonCode != 0x9c || !elsewhere(as, refused.Reference())):
			t.Errorf("%v: %v, sent to %q", as, err, refused.Reference())
		case as.Version != mqtttest.V5 && refused.Connack.ReasonCode != 3:
			t.Errorf("%v: %v", as, err)
		}
	}
	mqtttest.Eventually(t, "another node leads", func() bool { return !leader.App.Node().IsLeader() })
	if code, text := readyz(t, leader); code != 503 || !strings.Contains(text, "drain") {
		t.Errorf("/readyz: %d %s", code, text)
	}
	if got := asked.Servers(""); len(got) > 2 {
		mqtttest.Eventually(t, "nobody is sent there", func() bool { return len(asked.Servers("")) == 2 })
	}
	if err := asked.Drain(t.Context(), leader.Name(), false); err != nil {
		t.Fatal(err)
	}
	mqtttest.Dial(t, leader.At(), mqtttest.Options{User: "new", ClientID: "again"}).Say(room, "back")
	if err := asked.Drain(t.Context(), "nobody", true); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("a node that is not there was drained: %v", err)
	}
}

// A node alone has nobody to send its clients to.
func TestDrainAlone(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	if err := n.Drain(t.Context(), n.Name(), true); err == nil || !strings.Contains(err.Error(), "no other node") &&
		!strings.Contains(err.Error(), "No other node") {
		t.Errorf("drained: %v", err)
	}
	mqtttest.Dial(t, n.At(), mqtttest.Options{User: "a", ClientID: "a"}).Say("room", "hello")
}

// A node that has all connections it may have says so, and where there is room.
func TestFull(t *testing.T) {
	alone := testcluster.Start(t, testcluster.Options{Set: []string{"limits.connections=1"}})
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{Set: []string{"limits.connections=1"}})
	mqtttest.Eventually(t, "the nodes know of each other", func() bool { return len(c.Nodes[0].Servers("")) == 3 })
	for _, tc := range []struct {
		n    *testcluster.Node
		code byte
	}{{alone, 0x89}, {c.Nodes[0], 0x9c}} {
		first := mqtttest.Dial(t, tc.n.At(), mqtttest.Options{User: "a", ClientID: "a"})
		for _, as := range mqtttest.Flavours {
			refused, err := mqtttest.TryDial(t, tc.n.At(), mqtttest.Options{Flavour: as, User: "b", ClientID: "b"})
			want := tc.code
			if as.Version != mqtttest.V5 {
				want = 3
			}
			if err == nil || refused == nil || refused.Connack.ReasonCode != want || (want == 0x9c) != (refused.Reference() != "") {
				t.Errorf("%v: %v", as, err)
			}
		}
		first.Say("room", "still here")
		first.Disconnect()
	}
}

func readyz(t *testing.T, n *testcluster.Node) (code int, text string) {
	t.Helper()
	resp, err := http.Get("http://" + n.Addr("ops") + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := io.Copy(&b, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b.String()
}
