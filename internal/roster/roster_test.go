package roster

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"
)

func tell(t *testing.T, r *Roster, n Node) {
	t.Helper()
	data, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	r.Told(n.Name, data)
}

func names(nodes []Node) (out string) {
	for _, n := range nodes {
		out += n.Name + " "
	}
	return out
}

func TestBest(t *testing.T) {
	r := New(func() Node { return Node{Name: "me", Zone: "a", MQTT: "mqtt://me:1883", Load: 0.99} })
	tell(t, r, Node{Name: "near", Zone: "a", MQTT: "mqtt://near:1883", WS: "wss://chat/near", Load: 0.7})
	tell(t, r, Node{Name: "idle", Zone: "b", MQTT: "mqtt://idle:1883", Load: 0})
	tell(t, r, Node{Name: "busy", Zone: "b", MQTT: "mqtt://busy:1883", MQTTS: "mqtts://busy:8883", Load: 0.5})
	tell(t, r, Node{Name: "leaves", Zone: "a", MQTT: "mqtt://leaves:1883", Draining: true})
	tell(t, r, Node{Name: "stuffed", Zone: "a", MQTT: "mqtt://stuffed:1883", Full: true})
	r.Told("liar", []byte(`{"node":"near"}`))
	r.Told("garbage", []byte(`{`))
	for zone, want := range map[string]string{
		"": "idle busy near ", "a": "near idle busy ", "b": "idle busy near ", "elsewhere": "idle busy near ",
	} {
		if got := names(r.Best(zone)); got != want {
			t.Errorf("zone %q: %s, want %s", zone, got, want)
		}
	}
	for transport, want := range map[string]string{
		"tcp": "near:1883 idle:1883 busy:1883", "tls": "busy:8883", "ws": "wss://chat/near", "wss": "wss://chat/near",
	} {
		if got := r.Elsewhere(transport); got != want {
			t.Errorf("%s: %q, want %q", transport, got, want)
		}
	}
	if got := names(r.All()); got != "me busy idle leaves near stuffed " {
		t.Errorf("all: %s", got)
	}
}

// Clients that ask one after the other are spread over nodes that are about equally busy.
func TestEqualsTakeTurns(t *testing.T) {
	r := New(func() Node { return Node{Name: "a", Load: 0.31} })
	tell(t, r, Node{Name: "b", Load: 0.39})
	first := map[string]int{}
	for range 1000 {
		first[r.Best("")[0].Name]++
	}
	if first["a"] < 300 || first["b"] < 300 {
		t.Errorf("first were %v", first)
	}
}

func TestWhoSaysNothingIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(func() Node { return Node{Name: "me"} })
		tell(t, r, Node{Name: "other"})
		time.Sleep(Fresh)
		if len(r.All()) != 2 {
			t.Error("forgotten too early")
		}
		time.Sleep(time.Second)
		if len(r.All()) != 1 {
			t.Error("not forgotten")
		}
	})
}
