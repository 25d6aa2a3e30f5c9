package broker_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// What a reader does not get while it may not read the room is a gap that is declared before the next entry: after a ban, and
// after the room was private for a while.
func TestGapOfOneWhoMightNotRead(t *testing.T) {
	t.Parallel()
	for what, c := range map[string][2][2]string{
		"ban":     {{"mod.ban", `{"room":"r","user":"cat"}`}, {"mod.unban", `{"room":"r","user":"cat"}`}},
		"private": {{"room.set", `{"room":"r","kind":"private"}`}, {"room.set", `{"room":"r","kind":"public"}`}},
	} {
		t.Run(what, func(t *testing.T) {
			oneAndThree(t, testcluster.Options{}, func(t *testing.T, nodes []*testcluster.Node) {
				owner := openRoom(t, nodes, "r")
				var readers []*mqtttest.Client
				for i, as := range mqtttest.Flavours {
					for _, keep := range []bool{false, true} {
						c := mqtttest.Dial(t, nodes[i%len(nodes)].At(), mqtttest.Options{Flavour: as, User: "cat", ClientID: fmt.Sprint(i, keep), Keep: keep})
						c.Subscribe(msgs("r"), "chat/me/sync")
						readers = append(readers, c)
					}
				}
				owner.Say("r", "before")
				before := head(t, nodes[0], "r")
				for _, c := range readers {
					for parse(t, nextMessage(t, c, nil)).Seq != before {
						continue
					}
				}
				call(t, owner, c[0][0], c[0][1])
				for range 3 {
					owner.Say("r", "not for cat")
				}
				call(t, owner, c[1][0], c[1][1])
				owner.Say("r", "after")
				last := head(t, nodes[0], "r")
				for _, c := range readers {
					var gaps []uint64
					at := before
					for at < last {
						e := parse(t, nextMessage(t, c, func(p syncedTo) {
							if p.Gap {
								for s := p.From; s <= p.To; s++ {
									gaps = append(gaps, s)
								}
							}
						}))
						if e.Seq != at+1 && (len(gaps) == 0 || gaps[0] != at+1 || gaps[len(gaps)-1] != e.Seq-1) {
							t.Errorf("%d follows %d, declared are %v", e.Seq, at, gaps)
						}
						at, gaps = e.Seq, nil
					}
				}
			})
		})
	}
}

// syncedTo is what me/sync says.
type syncedTo struct {
	From, To uint64
	Gap      bool
}

// nextMessage returns what c gets next in a room; what me/sync says before goes to told.
func nextMessage(t *testing.T, c *mqtttest.Client, told func(syncedTo)) packets.Packet {
	t.Helper()
	for {
		pk := c.Next()
		if pk.TopicName != "chat/me/sync" {
			return pk
		}
		var p syncedTo
		if err := json.Unmarshal(pk.Payload, &p); err != nil {
			t.Fatal(err)
		}
		if told != nil {
			told(p)
		}
	}
}
