package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/mqtttest"
)

// The process is killed at random moments under load, and now and then while it starts. Nothing that was acknowledged
// is missing, seq has no holes, each sender's order is kept, nothing is there twice, readers with stored sessions miss
// nothing; and what the room holds is the same whichever way it is read.
func TestCrashKilled(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	args := nodeArgs(t.TempDir(), "--dev")
	n := startNode(t, args...)
	crew := mqtttest.NewCrew("r")
	crew.Enter(t, n.at())
	all := mqtttest.Rounds(t)
	var recovery []time.Duration
	for range all {
		crew.Talk(t, n.at(), 1+rng.IntN(1500), n.kill)
		if rng.IntN(3) == 0 {
			startNode(t, args...).kill() // before it is ready, as likely as not
		}
		n = startNode(t, args...)
		mqtttest.Dial(t, n.at(), mqtttest.Options{User: "probe"}).Cut() // answered when the node is ready
		recovery = append(recovery, time.Since(n.began))
	}
	acks := crew.Acks()
	total := crew.Finish(t, n.at())
	entries := checkHistory(t, n, "r", crew, total)
	checkReplay(t, n, "r", entries)
	n.stop()
	slices.Sort(recovery)
	t.Logf("%d acknowledgements in %d rounds, %d messages in the end; from start to an answered CONNECT: median %v, longest %v",
		acks, all, total, recovery[len(recovery)/2].Round(time.Millisecond), recovery[len(recovery)-1].Round(time.Millisecond))
}

// checkHistory reads the room over HTTP: it is what the crew knows, and all of it.
func checkHistory(t *testing.T, n *node, room string, crew *mqtttest.Crew, total int) []json.RawMessage {
	t.Helper()
	entries := history(t, n, room)
	if len(entries) != total {
		t.Errorf("%d entries, %d messages", len(entries), total)
	}
	var envelopes [][]byte
	for _, e := range entries {
		envelopes = append(envelopes, e)
	}
	crew.Check(t, envelopes)
	return entries
}

// checkReplay reads the room from its beginning over MQTT: it is what HTTP says, byte for byte.
func checkReplay(t *testing.T, n *node, room string, want []json.RawMessage) {
	t.Helper()
	for _, f := range mqtttest.Flavours {
		c := mqtttest.Dial(t, n.at(), mqtttest.Options{Flavour: f, User: "late", ClientID: f.String()})
		c.Subscribe(fmt.Sprintf("$since/0/chat/rooms/%s/msg/#", room))
		for i, w := range want {
			pk := c.Next()
			if !bytes.Equal(compact(t, w), pk.Payload) {
				t.Fatalf("%v: entry %d is %s, over HTTP %s", f, i+1, pk.Payload, w)
			}
			if seq := property(pk, "seq"); f.Version == mqtttest.V5 && seq != strconv.Itoa(i+1) {
				t.Fatalf("%v: entry %d has the property seq %q", f, i+1, seq)
			}
		}
		c.Disconnect()
	}
}

// compact removes what a JSON encoder may put between the bytes of an entry.
func compact(t *testing.T, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func property(pk packets.Packet, key string) string {
	for _, p := range pk.Properties.User {
		if p.Key == key {
			return p.Val
		}
	}
	return ""
}
