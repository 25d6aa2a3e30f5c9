package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/testcluster"
)

// hostileTo is a run whose readers get 200 messages a second of a node, alone and beside others.
func hostileTo(n *testcluster.Node, at Target, version byte) *Hostile {
	prefix := fmt.Sprintf("hostile-%d", version)
	return &Hostile{
		Target: at, Readers: 3, Publishers: 2, Rate: 200, Size: 128, Turns: 2, Each: 200 * time.Millisecond,
		SendTopic: "chat/rooms/" + prefix + "/send", ReadTopic: "chat/rooms/" + prefix + "/msg/+",
		SessionTopic: "chat/rooms/" + prefix + "-sessions/msg/+",
		FloodTopic:   "chat/rooms/" + prefix + "-flood/send", FloodMessage: `{"cid":"again","data":{"text":"again"}}`,
	}
}

// All sessions of a storm come back, as sessions that were there, and others lose nothing by it.
func TestStorm(t *testing.T) {
	n := startNode(t)
	for version := byte(4); version <= version5; version++ {
		o := hostileTo(n.Node, n.target(t, "tcp", version), version)
		o.Sessions = 100
		r := check(t, o)
		if got := faults(r); got != flawless || r.SessionsPresent != 100 || r.DrainSeconds <= 0 || r.Connections != 105 {
			t.Errorf("version %d: %s; %+v", version, got, r)
		}
		if r.LiveBefore == nil || r.LiveDuring == nil || r.AlonePerSecond <= 0 || r.Delivered != 3*r.Published {
			t.Errorf("version %d, of the others: %+v", version, r)
		}
	}
}

// A flood is answered, and others lose nothing by it.
func TestFlood(t *testing.T) {
	n := startNode(t)
	for version := byte(4); version <= version5; version++ {
		o := hostileTo(n.Node, n.target(t, "tcp", version), version)
		o.Floods = 2
		r := check(t, o)
		if got := faults(r); got != flawless || r.FloodAcked == 0 || r.DrainSeconds != 0 || r.Connections != 7 {
			t.Errorf("version %d: %s; %+v", version, got, r)
		}
		if r.BesidePerSecond <= 0 || r.Delivered != 3*r.Published {
			t.Errorf("version %d, of the others: %+v", version, r)
		}
	}
}

// What nobody can run is said.
func TestHostileNeedsSomebody(t *testing.T) {
	if _, err := (&Hostile{Readers: 1, Publishers: 1, Rate: 1, Size: 128, Turns: 1, Each: time.Second}).Run(t.Context()); err == nil {
		t.Error("a run without hostile clients")
	}
}
