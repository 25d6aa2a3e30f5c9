package broker_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/storage"
)

// The power goes at random moments under load, and of what was not synced a random part is gone with it: nothing that
// was acknowledged is missing, seq has no holes, each sender's order is kept, nothing is there twice, and readers with
// stored sessions miss nothing.
func TestCrashPowerCut(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{Memory: true})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	crew := mqtttest.NewCrew("r")
	crew.Enter(t, n.At())
	all := mqtttest.Rounds(t)
	for range all {
		crew.Talk(t, n.At(), 1+rng.IntN(2000), func() { n.PowerCut(rng) })
	}
	acks := crew.Acks()
	total := crew.Finish(t, n.At())
	entries, err := n.Store().Entries(storage.RoomKey{NS: "chat", Room: "r"}, 1, 1<<60, 1<<30, 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	var envelopes [][]byte
	for _, e := range entries {
		envelopes = append(envelopes, e.JSON)
	}
	crew.Check(t, envelopes)
	t.Logf("%d acknowledgements in %d rounds, %d messages in the end", acks, all, total)
	if len(entries) != total {
		t.Errorf("%d entries, %d messages", len(entries), total)
	}
}
