package broker_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
	"github.com/madang-chat/madang/storage"
)

// tallied reads tallies until so many hearts have come, and returns how many tallies that were.
func tallied(t *testing.T, c *mqtttest.Client, hearts uint64) (tallies int) {
	t.Helper()
	for got := uint64(0); got < hearts; tallies++ {
		var x struct{ Cheer map[string]uint64 }
		pk := c.Next()
		if err := json.Unmarshal(pk.Payload, &x); err != nil {
			t.Fatalf("%s: %v", pk.Payload, err)
		}
		if got += x.Cheer["heart"]; got > hearts {
			t.Fatalf("%d hearts of %d", got, hearts)
		}
	}
	return tallies
}

// A flood of hearts, from one node and from three, is a few numbers for each reader, and nothing for the log.
func TestCheers(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			all := []*testcluster.Node{}
			if nodes == 1 {
				all = append(all, testcluster.Start(t, testcluster.Options{}))
			} else {
				all = testcluster.StartCluster(t, nodes, 0, testcluster.Options{}).Nodes
			}
			owner := caller(t, all[0], mqtttest.Flavours[1], "owner")
			call(t, owner, "room.create", `{"room":"r","kind":"public"}`)
			k := storage.RoomKey{NS: "chat", Room: "r"}
			var readers []*mqtttest.Client
			for i, n := range all {
				mqtttest.Eventually(t, "the room is there", func() bool { r, err := n.Store().Room(k); return err == nil && r != nil })
				as := mqtttest.Flavours[i%len(mqtttest.Flavours)]
				c := mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: fmt.Sprint("reader", i), ClientID: "r"})
				c.Subscribe("chat/rooms/r/tally")
				readers = append(readers, c)
			}
			var fans []*mqtttest.Client
			for i, n := range all {
				as := mqtttest.Flavours[(i+1)%len(mqtttest.Flavours)]
				fans = append(fans, mqtttest.Dial(t, n.At(), mqtttest.Options{Flavour: as, User: fmt.Sprint("fan", i), ClientID: "f"}))
			}
			seen := map[string]bool{} // that a node has readers comes to the others a moment later: what is cheered before is not for them
			mqtttest.Eventually(t, "every reader hears every node", func() bool {
				for i, c := range fans {
					c.Publish(mqtttest.Message(fmt.Sprint("chat/rooms/r/cheer/ready", i), "", 0))
				}
				for i, c := range readers {
					for c.Waiting() > 0 {
						var x struct{ Cheer map[string]uint64 }
						if err := json.Unmarshal(c.Next().Payload, &x); err != nil {
							t.Fatal(err)
						}
						for name := range x.Cheer {
							seen[fmt.Sprint(i, name)] = true
						}
					}
				}
				return len(seen) == len(readers)*len(fans)
			})
			const each = 200
			for _, c := range fans {
				for k := range each {
					c.Publish(mqtttest.Message("chat/rooms/r/cheer/heart", "", byte(k%2)))
				}
			}
			for _, c := range readers {
				if n := tallied(t, c, uint64(each*len(all))); n > 20 {
					t.Errorf("%d tallies", n)
				}
			}
			if r, err := all[0].Store().Room(k); err != nil || r.Head.Seq != 0 {
				t.Errorf("head %+v, %v", r.Head, err)
			}
		})
	}
}

// In a room of more than a hundred members, or with so many online, reactions are no entries: they are in the tally and in the
// message's present form.
func TestReactionsOfALargeRoom(t *testing.T) {
	t.Parallel()
	for _, large := range []string{"members", "online"} {
		t.Run(large, func(t *testing.T) {
			oneAndThree(t, testcluster.Options{}, func(t *testing.T, nodes []*testcluster.Node) { reactInALargeRoom(t, nodes, large) })
		})
	}
}

func reactInALargeRoom(t *testing.T, nodes []*testcluster.Node, large string) {
	const many, reacting = 101, 50
	owner := openRoom(t, nodes, "r")
	if large == "members" {
		for i := range many {
			call(t, owner, "room.invite", fmt.Sprintf(`{"room":"r","user":"u%d"}`, i))
		}
	}
	owner.Say("r", "react to this")
	at := head(t, nodes[0], "r")
	for _, n := range nodes {
		mqtttest.Eventually(t, "every node has it", func() bool { return head(t, n, "r") == at })
	}
	last := nodes[len(nodes)-1]
	reader := mqtttest.Dial(t, last.At(), mqtttest.Options{Flavour: mqtttest.Flavours[1], User: "reader", ClientID: "r"})
	reader.Subscribe("chat/rooms/r/tally")
	var clients []*mqtttest.Client
	for i := range many {
		c := mqtttest.Dial(t, nodes[i%len(nodes)].At(), mqtttest.Options{Flavour: mqtttest.Flavours[i%2], User: fmt.Sprint("u", i), ClientID: "c"})
		if large == "online" {
			c.Subscribe(msgs("r"))
		}
		clients = append(clients, c)
	}
	if large == "online" {
		for _, n := range nodes {
			mqtttest.Eventually(t, "every node knows that many are online", func() bool {
				return strings.Contains(by(t, n, token(t, n, "owner"), "GET /rooms/r/presence", "").body, `"mode":"count"`)
			})
		}
	}
	for _, c := range clients[:reacting] {
		c.Publish(mqtttest.Message("chat/rooms/r/send/reaction", fmt.Sprintf(`{"target":%d,"data":{"emoji":"👍","on":true}}`, at), 1))
	}
	for {
		var x struct {
			Reactions map[string]map[string]uint64
		}
		if err := json.Unmarshal(reader.Next().Payload, &x); err != nil {
			t.Fatal(err)
		}
		if x.Reactions[fmt.Sprint(at)]["👍"] == reacting {
			break
		}
	}
	if got := head(t, last, "r"); got != at {
		t.Errorf("%d reactions are entries", got-at)
	}
	var page struct {
		Messages []struct{ Reactions map[string]uint64 }
	}
	if err := json.Unmarshal(call(t, owner, "history", `{"room":"r"}`), &page); err != nil || page.Messages[0].Reactions["👍"] != reacting {
		t.Errorf("%+v, %v", page, err)
	}
}
