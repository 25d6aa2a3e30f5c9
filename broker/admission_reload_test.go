package broker_test

import (
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/gorilla/websocket"

	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/porttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// The line in front of a node follows a reload. The node of this test waits for two others that never come, so whoever
// connects stays in line: a second one finds no place, by MQTT or as a WebSocket, and does after a reload.
func TestConnectQueueIsReloaded(t *testing.T) {
	t.Parallel()
	seeds := []string{porttest.Free(t), porttest.Free(t), porttest.Free(t)}
	n, err := testcluster.TryStart(t, testcluster.Options{Set: []string{
		"cluster.bind=" + seeds[0], "cluster.join=" + strings.Join(seeds, ","), "cluster.bootstrap_expect=3",
	}}, vfs.NewCrashableMem())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Stop)
	l := &limited{Node: n, t: t, key: limit.ConnectQueue.String(), file: filepath.Join(t.TempDir(), "madang.yaml")}
	l.set("1")
	inLine := func(want float64) {
		t.Helper()
		mqtttest.Eventually(t, "they stand in line", func() bool { return n.Metric("madang_connections_waiting") == want })
	}
	wait := func() (ended chan error) {
		ended = make(chan error, 1)
		go func() {
			_, err := mqtttest.TryDial(t, n.At(), mqtttest.Options{Flavour: mqtttest.Flavours[1], User: "first"})
			ended <- err
		}()
		return ended
	}
	first := wait()
	inLine(1)
	code, why := l.refusedConnect(mqtttest.Options{})
	if code != 0x89 || !strings.Contains(why, "("+l.key+")") {
		t.Errorf("refused with %#x %q", code, why)
	}
	if got := l.refusals(); got != 1 {
		t.Errorf("%v refusals are counted", got)
	}
	d := websocket.Dialer{Subprotocols: []string{"mqtt"}}
	_, resp, err := d.Dial("ws://"+n.At().Web+"/mqtt", http.Header{})
	if !errors.Is(err, websocket.ErrBadHandshake) {
		t.Fatalf("a WebSocket: %v", err)
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(text), "("+l.key+")") {
		t.Errorf("a WebSocket: %v %d %s", err, resp.StatusCode, text)
	}
	if got := l.refusals(); got != 2 {
		t.Errorf("%v refusals are counted, with that of the WebSocket", got)
	}
	l.set("2")
	<-first // the line is empty
	inLine(0)
	first = wait()
	second := wait()
	inLine(2)
	<-first
	if err := <-second; err == nil || strings.Contains(err.Error(), "0x89") {
		t.Errorf("the second in a line of two: %v", err)
	}
}
