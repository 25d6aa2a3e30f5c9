package broker_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/internal/webtest"
)

// httpCall makes a call over HTTP as a user and returns its status and body.
func httpCall(t testing.TB, n *testcluster.Node, user, method, path, body string) (int, []byte) {
	t.Helper()
	return webtest.Login(t, n.At().Web, user, "x").Send(t, method+" "+path, body)
}

// A user's devices are listed from all nodes, connected and not, by whatever way they come; a kick ends them everywhere,
// and what is left of them.
func TestDevices(t *testing.T) {
	t.Parallel()
	oneAndThree(t, testcluster.Options{}, func(t *testing.T, nodes []*testcluster.Node) {
		last := nodes[len(nodes)-1]
		odd := "my/phone 안녕 #+%"
		protocols := map[string]string{}
		var conns []*mqtttest.Client
		for i, as := range mqtttest.Flavours {
			o := mqtttest.Options{Flavour: as, User: "ann", ClientID: as.String(), Keep: i%2 == 0}
			conns = append(conns, mqtttest.Dial(t, nodes[i%len(nodes)].At(), o))
			protocols[o.ClientID] = map[byte]string{mqtttest.V311: "mqtt 3.1.1", mqtttest.V5: "mqtt 5"}[as.Version] + map[bool]string{false: " tcp", true: " ws"}[as.Web]
		}
		away := mqtttest.Dial(t, last.At(), mqtttest.Options{Flavour: mqtttest.Flavours[1], User: "ann", ClientID: odd, Keep: true})
		away.Disconnect()
		mqtttest.Dial(t, nodes[0].At(), mqtttest.Options{User: "bob", ClientID: "bobs"})

		list := func(n *testcluster.Node, as, path string) (out calls.DeviceList) {
			t.Helper()
			if status, body := httpCall(t, n, as, "GET", path, ""); status != 200 || json.Unmarshal(body, &out) != nil {
				t.Fatalf("GET %s as %s: %d %s", path, as, status, body)
			}
			return out
		}
		names := func(l calls.DeviceList) (out []string) {
			for _, d := range l.Devices {
				out = append(out, d.Device)
			}
			return out
		}
		for _, n := range nodes {
			mqtttest.Eventually(t, "the session is stored everywhere", func() bool {
				s, err := n.Store().Session(sessionID("ann", odd))
				return err == nil && s != nil && !s.Connected
			})
			l := list(n, "ann", "/me/devices")
			if l.User != "ann" || len(l.Devices) != 5 || len(l.Missing) > 0 {
				t.Fatalf("%s lists %+v", n.Name(), l)
			}
			for _, d := range l.Devices {
				if d.Device == odd {
					if d.Connected || !d.Stored || d.LastActive == 0 || d.Node != "" {
						t.Errorf("away: %+v", d)
					}
					continue
				}
				i := slices.IndexFunc(mqtttest.Flavours, func(as mqtttest.Flavour) bool { return as.String() == d.Device })
				if want := protocols[d.Device]; !d.Connected || d.Protocol+" "+d.Transport != want || d.Node != nodes[i%len(nodes)].Name() ||
					d.Stored != (i%2 == 0) || d.Address != "127.0.0.1" || d.Since == 0 || d.LastActive < d.Since {
					t.Errorf("%s is %s: %+v", d.Device, want, d)
				}
			}
		}

		// Where a device is woken is shown to its user alone.
		if status, body := httpCall(t, nodes[0], "ann", "PUT", "/me/devices/"+url.PathEscape(odd)+"/push", `{"provider":"fcm","token":"secret"}`); status != 200 {
			t.Fatalf("push: %d %s", status, body)
		}
		mqtttest.Eventually(t, "the token is everywhere", func() bool { p, err := last.Store().Pushes("chat", "ann"); return err == nil && len(p) == 1 })
		if b, _ := json.Marshal(list(last, "ann", "/me/devices")); !strings.Contains(string(b), `"provider":"fcm","token":"secret"`) {
			t.Errorf("its user sees %s", b)
		}
		if b, _ := json.Marshal(list(last, "admin", "/users/ann/devices")); !strings.Contains(string(b), `"fcm"`) || strings.Contains(string(b), "secret") {
			t.Errorf("an admin sees %s", b)
		}
		if status, body := httpCall(t, last, "bob", "GET", "/users/ann/devices", ""); status != 403 || strings.Contains(string(body), odd) {
			t.Errorf("another user sees %d %s", status, body)
		}

		// One device, that is away; then the one on the first node, by rpc from the last.
		if status, body := httpCall(t, last, "ann", "DELETE", "/me/devices/"+url.PathEscape(odd), ""); status != 200 || !strings.Contains(string(body), `"devices":["my/phone`) {
			t.Errorf("kick: %d %s", status, body)
		}
		if status, body := httpCall(t, last, "ann", "DELETE", "/me/devices/none", ""); status != 404 {
			t.Errorf("kick of none: %d %s", status, body)
		}
		if s, _ := last.Store().Session(sessionID("ann", odd)); s != nil {
			t.Error("its session is there")
		}
		if p, _ := last.Store().Pushes("chat", "ann"); len(p) > 0 {
			t.Errorf("its tokens are there: %v", p)
		}
		admin := caller(t, last, mqtttest.Flavours[1], "admin")
		first := mqtttest.Flavours[0].String()
		if got := string(call(t, admin, "devices.kick", `{"user":"ann","device":"`+first+`"}`)); got != `{"user":"ann","devices":["`+first+`"]}` {
			t.Errorf("kick: %s", got)
		}
		if got := conns[0].Ended(); got != 0 {
			t.Errorf("v3.1.1 ended with %#x", got)
		}
		// All but one, then all.
		keep := mqtttest.Flavours[1].String()
		if status, body := httpCall(t, nodes[0], "ann", "DELETE", "/me/devices?except="+keep, ""); status != 200 {
			t.Errorf("kick of all but one: %d %s", status, body)
		}
		if got := conns[3].Ended(); got != 0x98 {
			t.Errorf("v5 ended with %#x", got)
		}
		conns[2].Ended()
		if !conns[1].Alive() || conns[1].Ping() != nil {
			t.Error("the one that was to stay is gone")
		}
		mqtttest.Eventually(t, "one is left", func() bool { return fmt.Sprint(names(list(last, "ann", "/me/devices"))) == "["+keep+"]" })
		if status, body := httpCall(t, last, "admin", "DELETE", "/users/ann/devices", ""); status != 200 {
			t.Errorf("kick of all: %d %s", status, body)
		}
		if got := conns[1].Ended(); got != 0x98 {
			t.Errorf("the last ended with %#x", got)
		}
		mqtttest.Eventually(t, "nothing is left", func() bool { return len(list(nodes[0], "ann", "/me/devices").Devices) == 0 })
		for _, n := range nodes { // there is no grace after a kick
			mqtttest.Eventually(t, "ann is offline", func() bool { return n.Broker().UserPresence("chat", "ann").Devices == 0 })
		}
		for params, code := range map[string]string{
			`{}`: "bad_payload", `{"device":"x","all":true}`: "bad_payload", `{"device":"x","except":"y"}`: "bad_payload",
			`{"user":"a b","all":true}`: "not_found",
		} {
			if r := tryCall(t, admin, "devices.kick", params); r.OK || r.Error.Code != code {
				t.Errorf("kick %s: %+v", params, r)
			}
		}
		for _, method := range []string{"devices.list", "devices.push"} {
			guest := mqtttest.Dial(t, last.At(), mqtttest.Options{})
			guest.Subscribe("chat/me/reply")
			if r := tryCall(t, guest, method, `{}`); r.OK || r.Error.Code != "guest_read_only" {
				t.Errorf("%s of a guest: %+v", method, r)
			}
		}
	})
}

// A node that cannot be asked is named: a kick says where a connection may live on.
func TestDevicesOfANodeThatIsCutOff(t *testing.T) {
	t.Parallel()
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{})
	all := c.Followers()
	clean := mqtttest.Dial(t, all[0].At(), mqtttest.Options{Flavour: mqtttest.Flavours[1], User: "ann", ClientID: "clean"})
	kept := mqtttest.Dial(t, all[0].At(), mqtttest.Options{Flavour: mqtttest.Flavours[1], User: "ann", ClientID: "kept", Keep: true})
	mqtttest.Eventually(t, "the other node knows", func() bool { return len(connected(t, []*testcluster.Node{all[1]}, "ann")) == 2 })
	c.Cut(all[0], all[1])
	var out calls.Kicked
	admin := caller(t, all[1], mqtttest.Flavours[1], "admin")
	if err := json.Unmarshal(call(t, admin, "devices.kick", `{"user":"ann","all":true}`), &out); err != nil || fmt.Sprint(out.Missing) != "["+all[0].Name()+"]" {
		t.Errorf("%+v, %v", out, err)
	}
	kept.Ended() // by the log
	if !clean.Alive() || clean.Ping() != nil {
		t.Error("nobody could tell the node of this connection")
	}
	c.Heal()
	mqtttest.Eventually(t, "the node answers", func() bool {
		var out calls.Kicked
		return json.Unmarshal(call(t, admin, "devices.kick", `{"user":"ann","all":true}`), &out) == nil && len(out.Missing) == 0
	})
	if got := clean.Ended(); got != 0x98 {
		t.Errorf("it ended with %#x", got)
	}
}
