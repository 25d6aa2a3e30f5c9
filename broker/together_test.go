package broker_test

import (
	"fmt"
	"testing"

	"github.com/madang-chat/madang/broker/transport"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// Readers of one room and of several, at both versions and QoS, over all transports, get every message once and in order,
// whether sends share system calls or not; whether they do is told.
func TestSendsTogether(t *testing.T) {
	t.Parallel()
	batch, err := transport.NewBatch()
	if err == nil {
		_ = batch.Close()
	}
	for _, on := range []bool{true, false} {
		t.Run(fmt.Sprint("io_uring=", on), func(t *testing.T) {
			t.Parallel()
			n := testcluster.Start(t, testcluster.Options{Set: []string{fmt.Sprint("node.io_uring=", on)}})
			alice := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "alice", ClientID: "a"})
			alice.Say("one", "made")
			alice.Say("two", "made")
			var readers []*mqtttest.Client
			for i := range 40 {
				c := mqtttest.Dial(t, n.At(), mqtttest.Options{
					Flavour: mqtttest.Flavours[i%len(mqtttest.Flavours)], User: fmt.Sprint("reader", i), ClientID: "r",
				})
				c.SubscribeAs(nil, mqtttest.Filter{Filter: "chat/rooms/one/msg/#", Qos: byte(i / 8 % 2)})
				if i%4 == 0 { // what comes for these goes through a queue, as both rooms may be swept
					c.SubscribeAs(nil, mqtttest.Filter{Filter: "chat/rooms/two/msg/#", Qos: 1})
				}
				readers = append(readers, c)
			}
			const count = 50
			for i := range count {
				alice.Say("two", fmt.Sprint(i))
				alice.Say("one", fmt.Sprint(i))
			}
			for i, c := range readers {
				next := map[string]int{}
				all := count
				if i%4 == 0 {
					all *= 2
				}
				for range all {
					e := parse(t, c.Next())
					if want := fmt.Sprint(next[e.Room]); e.text() != want {
						t.Fatalf("reader %d got %q of %s, want %q", i, e.text(), e.Room, want)
					}
					next[e.Room]++
				}
			}
			together := n.Metric("madang_sends_together_total")
			if want := on && err == nil; (together > 0) != want {
				t.Errorf("%v sends shared a call; shared: %v (%v)", together, want, err)
			}
		})
	}
}
