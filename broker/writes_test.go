package broker_test

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// placesSpare is how many commands may come besides the messages: the places of all live sessions together, every 5 s.
const placesSpare = 20

// What a message costs the log and the store does not depend on who is away or here: one command, and the same keys.
func TestWritesPerMessage(t *testing.T) {
	for _, tc := range []struct {
		name         string
		absent, live int
	}{
		{"nobody", 0, 0}, {"1,000 absent sessions", 1000, 0}, {"10,000 live sessions", 0, 10_000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if testing.Short() || raceEnabled {
				tc.absent, tc.live = tc.absent/10, tc.live/10
			}
			descriptors(t, tc.live+1500)
			n := testcluster.Start(t, testcluster.Options{})
			const room, messages = "r", 50
			stayAway(t, n, room, tc.absent)
			r := startReaders(t, readersOrder{At: n.At().MQTT, Room: room, Count: tc.live, Messages: messages})
			r.expect("ready")
			alice := mqtttest.Dial(t, n.At(), mqtttest.Options{User: "alice", ClientID: "a"})
			mqtttest.Eventually(t, "the log knows when all were active", func() bool { // that is of connections, not of messages
				for i := range tc.live {
					if at, err := n.Store().LastActive("chat", fmt.Sprint("reader", i)); err != nil || at == 0 {
						return false
					}
				}
				at, err := n.Store().LastActive("chat", "alice")
				return err == nil && at > 0
			})
			log, store := n.Node().Stats(), n.Store().Stats()
			sent := n.Metric("madang_publishes_sent_total")
			for range messages {
				alice.Say(room, "hello") // one at a time: what is shared in a batch would hide what each costs
				sent += float64(tc.live)
				mqtttest.Eventually(t, "everybody has it", func() bool { // a session that lags by seconds is written, and should be
					return n.Metric("madang_publishes_sent_total") >= sent
				})
			}
			r.expect("done")
			logAfter, storeAfter := n.Node().Stats(), n.Store().Stats()
			commands := logAfter.Answered - log.Answered
			keys := float64(storeAfter.BatchKeys-store.BatchKeys) / messages
			t.Logf("%d messages: %d commands in the log, %.2f keys per message in the store", messages, commands, keys)
			if commands > messages+placesSpare {
				t.Errorf("%d commands for %d messages", commands, messages)
			}
			if keys > 6+2*placesSpare/float64(messages) { // entry, head, numbering, answers, applied index, chain (storage.TestWritesPerMessage)
				t.Errorf("%.2f keys per message", keys)
			}
		})
	}
}

// descriptors skips a test for which this process may open too few files.
func descriptors(t testing.TB, need int) {
	t.Helper()
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		t.Fatal(err)
	}
	if r.Cur < uint64(need) {
		t.Skipf("this process may open %d files, the test needs %d: raise ulimit -n", r.Cur, need)
	}
}

// stayAway leaves that many sessions on a room, each with a subscription and without a connection.
func stayAway(t testing.TB, n *testcluster.Node, room string, count int) {
	t.Helper()
	for i := range count {
		c := mqtttest.Dial(t, n.At(), mqtttest.Options{User: fmt.Sprint("away", i), ClientID: "phone", Keep: true})
		c.Subscribe(msgs(room))
		c.Disconnect()
		mqtttest.Eventually(t, "the session waits", func() bool {
			s, err := n.Store().Session(sessionID(fmt.Sprint("away", i), "phone"))
			return err == nil && s != nil && !s.Connected && len(s.Filters) == 1
		})
	}
}

// Many publishers share an fsync: more than ten of their messages go to the disk with each.
func TestPublishersShareSyncs(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{})
	const publishers, each = 64, 500
	var clients []*mqtttest.Client
	for i := range publishers {
		clients = append(clients, mqtttest.Dial(t, n.At(), mqtttest.Options{
			Flavour: mqtttest.Flavours[i%4], User: fmt.Sprint("u", i), ClientID: "phone",
		}))
	}
	commands, syncs := n.Metric("madang_log_commands_total"), n.Metric("madang_log_syncs_total")
	errs := make(chan error, publishers)
	for _, c := range clients {
		go func() { errs <- publishMany(c, "r", each) }()
	}
	for range publishers {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	commands, syncs = n.Metric("madang_log_commands_total")-commands, n.Metric("madang_log_syncs_total")-syncs
	t.Logf("%.0f acknowledgements, %.0f fsyncs: %.1f per fsync", commands, syncs, commands/syncs)
	if commands < publishers*each || commands/syncs < 10 {
		t.Errorf("%.0f acknowledgements with %.0f fsyncs", commands, syncs)
	}
}

// publishMany publishes messages with up to 20 in flight.
func publishMany(c *mqtttest.Client, room string, count int) error {
	const window = 20
	var open []uint16
	for i := range count + window {
		if i < count {
			id, err := c.Send(mqtttest.Message(send(room), "hello", 1))
			if err != nil {
				return err
			}
			open = append(open, id)
		}
		if i >= window {
			if ack, err := c.Outcome(open[0], 1); err != nil || ack.ReasonCode >= 0x80 {
				return fmt.Errorf("publish: %#x, %w", ack.ReasonCode, err)
			}
			open = open[1:]
		}
	}
	return nil
}
