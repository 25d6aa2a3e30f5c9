package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/storage"
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

// The hostile clients may go to another broker than the one that is measured.
func TestStormElsewhere(t *testing.T) {
	measured, other := startNode(t), startNode(t)
	o := hostileTo(measured.Node, measured.target(t, "tcp", 4), 4)
	at := other.target(t, "tcp", 4)
	o.Sessions, o.At.Host, o.At.Port = 20, at.Host, at.Port
	r := check(t, o)
	if want := other.Addr("mqtt"); r.HostileAt != want {
		t.Errorf("the report says %q of them, want %q", r.HostileAt, want)
	}
	if got := faults(r); got != flawless || r.SessionsPresent != 20 || r.Delivered != 3*r.Published || r.Delivered == 0 {
		t.Errorf("%s; %+v", got, r)
	}
	for _, tt := range []struct {
		who  string
		n    *node
		want int
	}{{"the measured broker", measured, 0}, {"the other one", other, 20}} {
		got := 0
		if err := tt.n.Store().Sessions(func(*storage.Session) bool { got++; return true }); err != nil || got != tt.want {
			t.Errorf("%s has %d stored sessions (%v), want %d", tt.who, got, err, tt.want)
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
