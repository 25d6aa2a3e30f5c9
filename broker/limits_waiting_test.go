package broker_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/internal/webtest"
)

// What waits for its outcome is limited: on a node that is cut off nothing has one. Each limit holds up or refuses what is
// over it, counts that, and follows a reload; when the node is back all that was sent has its outcome.
func TestLimitsOfWhatWaits(t *testing.T) {
	t.Parallel()
	c := testcluster.StartCluster(t, 3, 0, testcluster.Options{})
	n := c.Followers()[0]
	l := &limited{Node: n, t: t, file: filepath.Join(t.TempDir(), "madang.yaml")}
	room, text := roomOf(t), strings.Repeat("x", 2<<10)
	v5 := mqtttest.Options{Flavour: mqtttest.Flavours[1], User: "ann"}
	ann := mqtttest.Dial(t, n.At(), v5)
	ann.Say(room, "here")
	web := webtest.Login(t, n.At().Web, "web", "x")
	post := func() (int, string) {
		status, b := web.Send(t, "POST /rooms/"+room+"/messages", text+text, "Content-Type: text/plain")
		return status, string(b)
	}
	var ids []uint16
	send := func(by *mqtttest.Client) {
		t.Helper()
		id, err := by.Send(mqtttest.Message(send(room), text, 1))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	back := func() {
		t.Helper()
		c.Heal()
		c.Meet()
		for _, id := range ids {
			if a, err := ann.Outcome(id, 1); err != nil || a.ReasonCode >= 0x80 {
				t.Fatalf("after all: %v, %#x %q", err, a.ReasonCode, a.Properties.ReasonString)
			}
		}
		ids = nil
	}
	counted := func() {
		t.Helper()
		mqtttest.Eventually(t, l.key+" is counted", func() bool { return l.refusals() > 0 })
	}

	l.key = limit.InFlightBytes.String()
	l.set("1MiB")
	c.Isolate(n)
	send(ann)
	send(ann)
	if err := ann.Ping(); err != nil || l.refusals() != 0 {
		t.Errorf("within the limit: %v, %v refusals", err, l.refusals())
	}
	l.set("1KiB")
	send(ann)
	counted()
	back()

	l.key = limit.PendingBytes.String()
	c.Isolate(n)
	l.set("2KiB")
	send(ann)
	mqtttest.Eventually(t, "there is too much to write", func() bool { return n.App.Node().Space() != nil })
	if status, text := post(); status != http.StatusServiceUnavailable || !strings.Contains(text, `"rate_limited"`) || !strings.Contains(text, "("+l.key+")") {
		t.Errorf("HTTP: %d %s", status, text)
	}
	before := l.refusals()
	if before == 0 {
		t.Error("the refusal by HTTP is not counted")
	}
	send(ann)
	mqtttest.Eventually(t, "a client that waits is counted", func() bool { return l.refusals() > before })
	l.set("1MiB")
	if err := ann.Ping(); err != nil {
		t.Errorf("with more it is not read: %v", err)
	}
	back()
	if status, text := post(); status != http.StatusCreated {
		t.Errorf("HTTP, later: %d %s", status, text)
	}

	l.key = limit.AckWait.String()
	l.set("1h")
	old := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "old"})
	c.Isolate(n)
	for _, by := range []*mqtttest.Client{ann, old} {
		send(by)
		if err := by.Ping(); err != nil {
			t.Fatal(err)
		}
	}
	ids = nil
	l.set("1s")
	if code, why := ann.Ended(), ann.Why(); code != 0x88 || !strings.Contains(why, "("+l.key+")") {
		t.Errorf("ended with %#x %q", code, why)
	}
	old.Ended()
	if l.refusals() != 2 {
		t.Errorf("%v refusals are counted", l.refusals())
	}
	if status, text := post(); status != http.StatusServiceUnavailable || !strings.Contains(text, `"outcome_unknown"`) {
		t.Errorf("HTTP: %d %s", status, text)
	}
	c.Heal()
	c.Meet()
}
