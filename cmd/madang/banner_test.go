package main

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/mqtttest"
)

// The banner says where to go, and what it says is so: the ports answer, and its lines can be pasted into a shell.
func TestBanner(t *testing.T) {
	n := startNode(t, nodeArgs(t.TempDir(), "--dev")...)
	t.Logf("the banner came %v after the start", time.Since(n.began).Round(time.Millisecond))
	at := n.at()
	mqtttest.Dial(t, at, mqtttest.Options{User: "alice"}).Disconnect()
	mqtttest.Dial(t, at, mqtttest.Options{User: "alice", Flavour: mqtttest.Flavour{Version: mqtttest.V5, Web: true}}).Disconnect()
	if ws := n.url("MQTT over WebSocket"); ws != "ws://"+at.Web+"/mqtt" {
		t.Errorf("WebSocket at %s, HTTP at %s", ws, at.Web)
	}
	for _, u := range []string{n.url("HTTP API") + "/openapi.json", n.url("for operators")} {
		u = strings.Replace(u, "/api/v1/openapi.json", "/api/openapi.json", 1)
		resp, err := http.Get(u)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s answers %s", u, resp.Status)
		}
	}

	host, port, err := net.SplitHostPort(at.MQTT)
	if err != nil {
		t.Fatal(err)
	}
	target := "-h " + host + " -p " + port
	for _, want := range []string{
		"  mosquitto_sub " + target + " -t chat/rooms/lobby/msg/#\n",
		"  mosquitto_pub " + target + " -u alice -P x -t chat/rooms/lobby/send -q 1 -m hello\n",
	} {
		if !strings.Contains(n.banner, want) {
			t.Errorf("the banner lacks %q:\n%s", want, n.banner)
		}
	}
	// The program's own tools take the same lines.
	for _, line := range regexp.MustCompile(`(?m)^  mosquitto_(.*)$`).FindAllStringSubmatch(n.banner, -1) {
		args := strings.Fields(line[1])
		if args[0] == "sub" {
			args[len(args)-1] = "$last/1/" + args[len(args)-1]
			args = append(args, "-W", "1")
		}
		if code, _, stderr := call(t, "", args...); code != exitOK {
			t.Errorf("%s: exit code %d: %s", line[0], code, stderr)
		}
	}
	n.stop()
}

// Who is told of a node by its banner need not wait for anything else: it stands there before systemd hears READY,
// which itself comes before the node has a leader.
func TestBannerComesFirst(t *testing.T) {
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s := newSystemd(t)
	p := surroundings{env: s.env(), out: out}.start(t, nodeArgs(t.TempDir(), "--dev")...)
	s.until("READY=1")
	t.Logf("READY came %v after the start", time.Since(p.began).Round(time.Millisecond))
	text, err := os.ReadFile(out.Name())
	if err != nil || strings.Count(string(text), "  mosquitto_") != 2 {
		t.Errorf("%v, the banner is %q", err, text)
	}
	p.stop()
}
