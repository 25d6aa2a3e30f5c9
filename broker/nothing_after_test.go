package broker_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// Of a steady flood: publishes a second, and how many of them meet each act before it is lifted.
const (
	floodRate = 500
	floodMet  = 100
)

// steady is a flood that keeps its pace whatever becomes of what it sends: nobody in it waits for an answer. What a busy machine
// held up is made good.
type steady struct {
	clients  []*mqtttest.Client
	room     atomic.Pointer[string] // where all of it goes
	sent     atomic.Int64
	answered atomic.Int64
	took     time.Duration // until it was stopped

	stop    chan struct{}
	sending sync.WaitGroup
	hearing sync.WaitGroup
}

func startFlood(t testing.TB, room string, clients []*mqtttest.Client) *steady {
	f := &steady{clients: clients, stop: make(chan struct{})}
	f.room.Store(&room)
	for _, c := range clients {
		f.hearing.Go(func() {
			for {
				if _, err := c.NextAnswer(); err != nil {
					return
				}
				f.answered.Add(1)
			}
		})
	}
	f.sending.Go(func() {
		began := clock.Now()
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		defer func() { f.took = clock.Since(began) }()
		for {
			for f.sent.Load() < int64(clock.Since(began).Seconds()*floodRate) {
				c := f.clients[int(f.sent.Load())%len(f.clients)]
				if _, err := c.Send(mqtttest.Message(send(*f.room.Load()), "x", 1)); err != nil {
					t.Errorf("the flood ended: %v", err)
					return
				}
				f.sent.Add(1)
			}
			select {
			case <-f.stop:
				return
			case <-tick.C:
			}
		}
	})
	return f
}

// end stops the flood, and holds it to what it was to be: as fast as that, and everything answered.
func (f *steady) end(t testing.TB) {
	t.Helper()
	close(f.stop)
	f.sending.Wait()
	sent := f.sent.Load()
	rate := float64(sent) / f.took.Seconds()
	if rate < 0.9*floodRate || rate > 1.1*floodRate {
		t.Errorf("%d publishes in %v: %.0f a second", sent, f.took, rate)
	}
	mqtttest.Eventually(t, "every publish has an answer", func() bool { return f.answered.Load() >= sent })
	for _, c := range f.clients {
		c.Cut()
	}
	f.hearing.Wait()
	t.Logf("%d publishes, %.0f a second, %d answers", sent, rate, f.answered.Load())
}

// A flood of 500 messages a second, from every node, meets a freeze, a mute, a ban and a removal, each called on any node:
// nothing that they forbid has a place between the call's and the one that lifts it, and who is banned or removed hears nothing more.
func TestNothingAfterTheCall(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			if nodes == 1 {
				nothingAfter(t, []*testcluster.Node{testcluster.Start(t, testcluster.Options{})})
				return
			}
			nothingAfter(t, testcluster.StartCluster(t, nodes, 0, testcluster.Options{}).Nodes)
		})
	}
}

// forbidden is what an act forbids, and in which part of a room's log.
type forbidden struct {
	room, act, user string
	from, to        uint64
}

func nothingAfter(t *testing.T, nodes []*testcluster.Node) {
	owners := make([]*mqtttest.Client, len(nodes))
	for i, n := range nodes {
		owners[i] = mqtttest.Dial(t, n.At(), mqtttest.Options{User: "owner", ClientID: fmt.Sprint(i)})
		owners[i].Subscribe("chat/me/reply")
	}
	call(t, owners[0], "room.create", `{"room":"flood","kind":"public"}`)
	call(t, owners[0], "room.create", `{"room":"private","kind":"private"}`) // who is removed from a public room writes on
	for _, user := range []string{"u0", "u1"} {
		call(t, owners[0], "room.invite", `{"room":"private","user":"`+user+`"}`)
	}
	last := nodes[len(nodes)-1]
	hears := map[string]*mqtttest.Client{}
	for act, who := range map[string][2]string{"mod.ban": {"u1", "flood"}, "mod.kick": {"u0", "private"}} {
		hears[act] = mqtttest.Dial(t, last.At(), mqtttest.Options{User: who[0], ClientID: "listener"})
		hears[act].Subscribe(msgs(who[1]))
	}
	clients := make([]*mqtttest.Client, 2*len(nodes))
	for i := range clients {
		clients[i] = mqtttest.Dial(t, nodes[i%len(nodes)].At(), mqtttest.Options{
			Flavour: mqtttest.Flavours[i%len(mqtttest.Flavours)], User: fmt.Sprint("u", i/len(nodes)), ClientID: fmt.Sprint(i),
		})
	}
	f := startFlood(t, "flood", clients)
	var all []forbidden
	for round := range 4 {
		for i, act := range []struct{ room, do, undo, user string }{
			{"flood", "mod.freeze", "mod.unfreeze", ""},
			{"flood", "mod.mute", "mod.unmute", "u0"},
			{"flood", "mod.ban", "mod.unban", "u1"},
			{"private", "mod.kick", "room.invite", "u0"},
		} {
			f.room.Store(&act.room)
			params := `{"room":"` + act.room + `"}`
			if act.user != "" {
				params = `{"room":"` + act.room + `","user":"` + act.user + `"}`
			}
			by := owners[(round+i)%len(owners)]
			goesOn := func(more uint64) {
				t.Helper()
				at := head(t, last, act.room)
				mqtttest.Eventually(t, "the flood goes on", func() bool { return head(t, last, act.room) > at+more })
			}
			goesOn(10)
			met := f.sent.Load() + floodMet
			this := forbidden{room: act.room, act: act.do, user: act.user, from: seqOf(t, call(t, by, act.do, params))}
			mqtttest.Eventually(t, "the flood meets the act", func() bool { return f.sent.Load() >= met })
			if act.user != "" {
				mqtttest.Eventually(t, "others go on", func() bool { return head(t, last, act.room) > this.from+20 })
			}
			if c := hears[act.do]; c != nil {
				if err := c.Ping(); err != nil {
					t.Fatal(err)
				}
				for c.Waiting() > 0 {
					c.Next()
				}
				goesOn(20)
				quiet(t, c)
			}
			this.to = seqOf(t, call(t, by, act.undo, params))
			all = append(all, this)
		}
	}
	f.end(t)
	entries := map[string][]entry{"flood": entriesOf(t, last, "flood", 1), "private": entriesOf(t, last, "private", 1)}
	for _, f := range all {
		for i := f.from; i < f.to-1; i++ { // entry i+1
			if e := &entries[f.room][i]; e.Type != "system" && (f.user == "" || e.From.User == f.user) {
				t.Errorf("%s at %d, lifted at %d: entry %d is of %s", f.act, f.from, f.to, e.Seq, e.From.User)
			}
		}
	}
	t.Logf("%d and %d entries, %d acts", len(entries["flood"]), len(entries["private"]), 2*len(all))
}

// seqOf is the place of an act.
func seqOf(t testing.TB, result json.RawMessage) uint64 {
	t.Helper()
	var a struct{ Seq uint64 }
	if err := json.Unmarshal(result, &a); err != nil {
		t.Fatal(err)
	}
	return a.Seq
}
