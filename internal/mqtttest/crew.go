package mqtttest

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Crew is users who talk in one room, and readers with stored sessions, over and over against a broker that dies under
// them: one of each for every flavour and QoS. It remembers what was acknowledged and knows what must be true of the
// room in the end.
type Crew struct {
	room    string
	talkers []*talker
	readers []*reader

	mu      sync.Mutex
	changed sync.Cond
	acks    int
	failure error
	frozen  bool // what comes from now on may be lost with the broker, and is not believed
}

// Rounds is how often a crash test crashes: 3, or what make crash says in MADANG_CRASH_ROUNDS.
func Rounds(t testing.TB) int {
	t.Helper()
	s := os.Getenv("MADANG_CRASH_ROUNDS")
	if s == "" {
		return 3
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("MADANG_CRASH_ROUNDS: %v", err)
	}
	return n
}

// crewWindow is how many messages a talker has in flight.
const crewWindow = 20

// talker is one device that sends numbered messages, each with its number as cid, and after the end of a connection
// sends what was not acknowledged again, with DUP and in order, as libraries do.
type talker struct {
	crew  *Crew
	o     Options
	qos   byte
	made  int
	open  []openMessage // not acknowledged to the end, oldest first
	acked []int
}

type openMessage struct {
	n        int
	sent     bool
	received bool // PUBREC came: PUBREL is next
}

// reader is one device with a stored session on the room.
type reader struct {
	crew *Crew
	o    Options
	last uint64 // everything up to here has come
}

// NewCrew makes a crew for a room.
func NewCrew(room string) *Crew {
	c := &Crew{room: room}
	c.changed.L = &c.mu
	for _, f := range Flavours {
		for qos := byte(1); qos <= 2; qos++ {
			name := fmt.Sprintf("talker-%v-%d", f, qos)
			c.talkers = append(c.talkers, &talker{
				crew: c, qos: qos, o: Options{Flavour: f, User: name, ClientID: "phone", Keep: true},
			})
		}
		c.readers = append(c.readers, &reader{
			crew: c, o: Options{Flavour: f, User: fmt.Sprintf("reader-%v", f), ClientID: "phone", Keep: true, Manual: true},
		})
	}
	return c
}

// Enter connects the readers once, so that their sessions begin with the room.
func (c *Crew) Enter(t testing.TB, at Addresses) {
	t.Helper()
	for _, r := range c.readers {
		client := Dial(t, at, r.o)
		client.Subscribe("chat/rooms/" + c.room + "/msg/#")
		client.Cut()
	}
}

// Talk lets everybody talk and read until that many more acknowledgements have come, calls cut, and returns when every
// connection has ended. Nothing that comes once cut is called counts.
func (c *Crew) Talk(t testing.TB, at Addresses, acks int, cut func()) {
	t.Helper()
	c.mu.Lock()
	c.frozen = false
	goal := c.acks + acks
	c.mu.Unlock()
	var running sync.WaitGroup
	for _, k := range c.talkers {
		running.Go(func() { k.talk(t, at, 1<<30) })
	}
	for _, r := range c.readers {
		running.Go(func() { r.read(t, at, 1<<62) })
	}
	c.mu.Lock()
	for c.acks < goal && c.failure == nil {
		c.changed.Wait()
	}
	c.frozen = true
	c.mu.Unlock()
	cut()
	running.Wait()
	c.report(t)
}

// Finish brings everything to its end against a broker that stays, and returns how many messages the room has.
func (c *Crew) Finish(t testing.TB, at Addresses) (total int) {
	t.Helper()
	c.mu.Lock()
	c.frozen = false
	c.mu.Unlock()
	var running sync.WaitGroup
	for _, k := range c.talkers {
		total += k.made
		running.Go(func() { k.talk(t, at, k.made) })
	}
	for _, r := range c.readers {
		running.Go(func() { r.read(t, at, uint64(total)) })
	}
	running.Wait()
	c.report(t)
	return total
}

// Acks returns how many messages were acknowledged so far.
func (c *Crew) Acks() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.acks
}

func (c *Crew) report(t testing.TB) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure != nil {
		t.Fatal(c.failure)
	}
}

func (c *Crew) fail(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure == nil && !c.frozen {
		c.failure = fmt.Errorf(format, args...)
	}
	c.changed.Broadcast()
}

// believe runs f if what just came may be believed.
func (c *Crew) believe(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.frozen {
		f()
		c.changed.Broadcast()
	}
	return !c.frozen
}

// Check says what is wrong with the room's entries, given as envelopes in order: every seq once and without holes,
// every acknowledged message there, none twice, each sender's in the order in which it sent them.
func (c *Crew) Check(t testing.TB, entries [][]byte) {
	t.Helper()
	there := map[string][]int{}
	for i, b := range entries {
		var e struct {
			Seq  uint64
			From struct{ User string }
			Data struct{ Text string }
		}
		if err := json.Unmarshal(b, &e); err != nil {
			t.Fatalf("entry %d: %v", i+1, err)
		}
		n, err := strconv.Atoi(e.Data.Text)
		if e.Seq != uint64(i)+1 || err != nil {
			t.Fatalf("entry %d is %s", i+1, b)
		}
		there[e.From.User] = append(there[e.From.User], n)
	}
	for _, k := range c.talkers {
		mine := there[k.o.User]
		for i, n := range mine {
			if n != i {
				t.Fatalf("%s: the messages in the room are %v", k.o.User, mine)
			}
		}
		for _, n := range k.acked {
			if n >= len(mine) {
				t.Errorf("%s: message %d was acknowledged and is missing; %d are there", k.o.User, n, len(mine))
			}
		}
	}
}

// talk connects and sends until the connection ends, or until that many messages have been made and are acknowledged.
func (k *talker) talk(t testing.TB, at Addresses, most int) {
	client, err := TryDial(t, at, k.o)
	if err != nil {
		k.crew.fail("%s: %w", k.o.User, err)
		return
	}
	defer client.Cut()
	for i := range k.open {
		if err := k.send(client, &k.open[i]); err != nil {
			return
		}
	}
	for {
		for len(k.open) < crewWindow && k.made < most {
			k.open = append(k.open, openMessage{n: k.made})
			k.made++
			if err := k.send(client, &k.open[len(k.open)-1]); err != nil {
				return
			}
		}
		if len(k.open) == 0 || !k.settle(client, &k.open[0]) {
			return
		}
		k.open = slices.Delete(k.open, 0, 1)
	}
}

func (k *talker) pid(n int) uint16 { return uint16(n%60_000) + 1 }

func (k *talker) send(client *Client, m *openMessage) error {
	if m.received {
		return client.write(&packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrel}, PacketID: k.pid(m.n)})
	}
	body := fmt.Sprintf(`{"cid":"c%d","data":{"text":"%d"}}`, m.n, m.n)
	pk := Message("chat/rooms/"+k.crew.room+"/send", body, k.qos)
	pk.PacketID, pk.FixedHeader.Dup = k.pid(m.n), m.sent
	m.sent = true
	_, err := client.Send(pk)
	return err
}

// settle waits for the end of the exchange; false means that the connection ended before.
func (k *talker) settle(client *Client, m *openMessage) bool {
	if !m.received {
		typ := byte(packets.Puback)
		if k.qos == 2 {
			typ = packets.Pubrec
		}
		ack, err := client.Answer(typ, k.pid(m.n))
		if err != nil {
			return false
		}
		if ack.ReasonCode >= 0x80 {
			k.crew.fail("%s: message %d refused: %#x %s", k.o.User, m.n, ack.ReasonCode, ack.Properties.ReasonString)
			return false
		}
		if !k.crew.believe(func() { k.crew.acks++ }) {
			return false
		}
		k.acked = append(k.acked, m.n)
		if m.received = k.qos == 2; m.received {
			if err := k.send(client, m); err != nil {
				return false
			}
		}
	}
	if !m.received {
		return true
	}
	_, err := client.Answer(packets.Pubcomp, k.pid(m.n))
	return err == nil
}

// read connects and takes what comes until the connection ends or entry most has come.
func (r *reader) read(t testing.TB, at Addresses, most uint64) {
	client, err := TryDial(t, at, r.o)
	if err != nil {
		r.crew.fail("%s: %w", r.o.User, err)
		return
	}
	defer client.Cut()
	if !client.Connack.SessionPresent {
		r.crew.fail("%s: the session is gone", r.o.User)
	}
	// What was acknowledged a moment before the end may come again; after that it goes on without holes.
	for next := uint64(0); r.last < most; {
		pk, err := client.TryNext()
		if err != nil {
			if client.Alive() || most < 1<<62 {
				r.crew.fail("%s at %d: %w", r.o.User, r.last, err)
			}
			return
		}
		var e struct{ Seq uint64 }
		if err := json.Unmarshal(pk.Payload, &e); err != nil || !strings.Contains(pk.TopicName, r.crew.room) {
			r.crew.fail("%s: %s carries %q: %v", r.o.User, pk.TopicName, pk.Payload, err)
			return
		}
		if next == 0 && e.Seq > r.last+1 || next != 0 && e.Seq != next {
			r.crew.fail("%s: entry %d came after %d (last connection: %d)", r.o.User, e.Seq, next-1, r.last)
			return
		}
		next = e.Seq + 1
		// Acknowledged is only what is believed: the broker never has to send it again.
		if !r.crew.believe(func() { r.last = max(r.last, e.Seq) }) || client.Ack(pk.PacketID) != nil {
			return
		}
	}
}
