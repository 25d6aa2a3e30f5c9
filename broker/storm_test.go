package broker_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/internal/mqtttest"
	"github.com/madang-chat/madang/internal/testcluster"
)

// stormClients is how many clients a storm has: 1,000, or what make storm says.
func stormClients(t testing.TB) int {
	t.Helper()
	s := os.Getenv("MADANG_STORM_CLIENTS")
	if s == "" {
		return 1000
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// stormLimits make a line that is far too short for a storm, so that most are refused at first.
var stormLimits = []string{"limits.connecting=16", "limits.connect_queue=200", "limits.connections_per_address=0"}

// crowd are devices with stored sessions, each of the next flavour.
type crowd struct {
	t       testing.TB
	clients []*mqtttest.Client
	refused atomic.Int64
}

func (c *crowd) options(i int) mqtttest.Options {
	return mqtttest.Options{
		Flavour: mqtttest.Flavours[i%len(mqtttest.Flavours)], User: fmt.Sprint("storm-", i), ClientID: "phone", Keep: true,
	}
}

// come connects those that where gives an address, all at once; who is refused or finds no node comes again at once.
func (c *crowd) come(present bool, where func(i int) (mqtttest.Addresses, bool)) {
	var running sync.WaitGroup
	for i := range c.clients {
		if at, ok := where(i); ok {
			running.Go(func() { c.clients[i] = c.connect(i, at, present) })
		}
	}
	running.Wait()
}

func (c *crowd) connect(i int, at mqtttest.Addresses, present bool) *mqtttest.Client {
	o := c.options(i)
	for {
		client, err := mqtttest.TryDial(c.t, at, o)
		switch {
		case err == nil:
			if present && !client.Connack.SessionPresent { // one that was refused before may be there, made without an answer
				c.t.Errorf("client %d: the session is gone", i)
			}
			return client
		case client != nil && honest(client.Connack):
		case client == nil && errors.Is(err, websocket.ErrBadHandshake): // 503: TestBusyWebSocket looks at it
		default:
			c.t.Errorf("client %d: %v", i, err)
			return nil
		}
		c.refused.Add(1)
	}
}

// honest says whether a CONNACK refuses with a reason to come again: the node is busy, or the log does not answer.
func honest(p packets.Packet) bool {
	if p.ProtocolVersion == mqtttest.V5 {
		return (p.ReasonCode == 0x88 || p.ReasonCode == 0x89) && p.Properties.ReasonString != ""
	}
	return p.ReasonCode == 3
}

// talkDuring lets alice talk in a room until the storm is over, and then sees to it that each reader who stayed has got it all.
func talkDuring(t testing.TB, at mqtttest.Addresses, room string, storm func()) {
	t.Helper()
	var stay []*mqtttest.Client
	for i := range 8 {
		as := mqtttest.Flavours[i%len(mqtttest.Flavours)]
		r := mqtttest.Dial(t, at, mqtttest.Options{Flavour: as, User: fmt.Sprint("stays-", i), ClientID: room})
		r.Subscribe(msgs(room))
		stay = append(stay, r)
	}
	alice := mqtttest.Dial(t, at, mqtttest.Options{User: "alice", ClientID: room})
	over := make(chan struct{})
	go func() {
		defer close(over)
		storm()
	}()
	said := 0
	for done := false; !done; {
		select {
		case <-over:
			done = true
		default:
		}
		alice.Say(room, strconv.Itoa(said))
		said++
		for i, r := range stay {
			if e := parse(t, r.Next()); e.Seq != uint64(said) {
				t.Fatalf("reader %d got %d, want %d", i, e.Seq, said)
			}
		}
	}
}

// A thousand devices lose their connections and come back at once, without back-off, to a node that can take a few at a
// time: each is let in or told to come again, all are there in the end with their sessions, and those who stayed get
// every message meanwhile. Then the node is started again, and all come at once.
func TestReconnectStorm(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{Set: stormLimits})
	c := &crowd{t: t, clients: make([]*mqtttest.Client, stormClients(t))}
	everybody := func(int) (mqtttest.Addresses, bool) { return n.At(), true }
	c.come(false, everybody)
	c.refused.Store(0)
	talkDuring(t, n.At(), roomOf(t), func() {
		for _, client := range c.clients {
			client.Cut()
		}
		c.come(true, everybody)
	})
	if c.refused.Load() == 0 || n.Metric("madang_connections_refused_busy_total") == 0 {
		t.Error("nobody was refused: it was no storm")
	}
	n.Restart()
	c.come(true, everybody)
	for i, client := range c.clients {
		if client != nil && !client.Alive() {
			t.Fatalf("client %d is gone", i)
		}
	}
	if waiting := n.Metric("madang_connections_waiting"); waiting != 0 {
		t.Errorf("%v still wait", waiting)
	}
}

// One of three nodes loses its power under a third of the crowd, who come to the other two at once. Who was there stays,
// and gets every message.
func TestReconnectStormOfThree(t *testing.T) {
	c3 := testcluster.StartCluster(t, 3, 0, testcluster.Options{Memory: true, Set: stormLimits})
	leader := c3.Leader()
	victim := c3.Followers()[0]
	at := c3.At()
	home := func(i int) *testcluster.Node { return c3.Nodes[i%3] }
	c := &crowd{t: t, clients: make([]*mqtttest.Client, stormClients(t)/2)}
	c.come(false, func(i int) (mqtttest.Addresses, bool) { return home(i).At(), true })
	talkDuring(t, leader.At(), roomOf(t), func() {
		c3.PowerCut(rand.New(rand.NewPCG(1, 2)), func() {
			lost := func(i int) (mqtttest.Addresses, bool) {
				to := at[(i/3)%3]
				if to == victim.At() {
					to = leader.At()
				}
				return to, home(i) == victim
			}
			c.come(true, lost)
		}, victim)
	})
	for i, client := range c.clients {
		if client != nil && !client.Alive() {
			t.Fatalf("client %d, at home on %s, is gone", i, home(i).Name())
		}
	}
}

// While the line is full a WebSocket is refused before there is one, with when to come again.
func TestBusyWebSocket(t *testing.T) {
	n := testcluster.Start(t, testcluster.Options{Set: []string{"limits.connecting=1", "limits.connect_queue=1", "limits.connect_rate=0"}})
	stop := make(chan struct{})
	var running sync.WaitGroup
	defer running.Wait()
	defer close(stop)
	for i := range 50 { // keep the line full
		running.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if c, err := mqtttest.TryDial(t, n.At(), mqtttest.Options{User: "bob", ClientID: strconv.Itoa(i), Keep: true}); err == nil {
					c.Cut()
				}
			}
		})
	}
	d := websocket.Dialer{Subprotocols: []string{"mqtt"}}
	mqtttest.Eventually(t, "a WebSocket is refused with 503", func() bool {
		ws, resp, err := d.Dial("ws://"+n.At().Web+"/mqtt", http.Header{})
		if err == nil {
			_ = ws.Close()
			return false
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("refused with %d", resp.StatusCode)
		}
		if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err != nil || s < 1 {
			t.Fatalf("Retry-After %q", resp.Header.Get("Retry-After"))
		}
		return true
	})
}
