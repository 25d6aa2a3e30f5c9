package mqtttest

import (
	"fmt"
	"slices"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

func (c *Client) write(pk *packets.Packet) error {
	pk.ProtocolVersion = c.o.Version
	pk.Mods.AllowResponseInfo = true // the codec drops Correlation Data without it
	b, err := Encode(pk)
	if err != nil {
		return err
	}
	return c.Raw(b)
}

// Raw sends bytes as they are.
func (c *Client) Raw(b []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err := c.conn.Write(b)
	return err
}

func (c *Client) read() {
	defer close(c.done)
	for {
		c.mu.Lock()
		for c.paused && c.err == nil {
			wait := c.changed
			c.mu.Unlock()
			<-wait
			c.mu.Lock()
		}
		c.mu.Unlock()
		pk, err := ReadPacket(c.conn, c.o.Version)
		c.mu.Lock()
		switch {
		case err != nil:
			c.err = err
		case pk.FixedHeader.Type == packets.Publish:
			c.messages = append(c.messages, pk)
		case pk.FixedHeader.Type == packets.Disconnect:
			c.bye = &pk
		default:
			c.answers = append(c.answers, pk)
		}
		close(c.changed)
		c.changed = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			_ = c.conn.Close()
			return
		}
		if pk.FixedHeader.Type == packets.Publish && pk.FixedHeader.Qos > 0 && !c.o.Manual {
			_ = c.write(&packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: pk.PacketID})
		}
	}
}

// until waits until f, called under the lock, is true, or the connection ends.
func (c *Client) until(what string, f func() bool) error {
	timer := time.NewTimer(c.o.Hears)
	defer timer.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !f() {
		if c.err != nil {
			return fmt.Errorf("waiting for %s: connection ended: %w%s", what, c.err, c.farewell())
		}
		wait := c.changed
		c.mu.Unlock()
		select {
		case <-wait:
			c.mu.Lock()
		case <-timer.C:
			c.mu.Lock()
			return fmt.Errorf("waiting for %s: nothing within %v", what, c.o.Hears)
		}
	}
	return nil
}

func (c *Client) farewell() string {
	if c.bye == nil {
		return ""
	}
	return fmt.Sprintf(" (DISCONNECT %#x %q)", c.bye.ReasonCode, c.bye.Properties.ReasonString)
}

// TryNext returns the next message.
func (c *Client) TryNext() (pk packets.Packet, err error) {
	err = c.until("a message", func() bool {
		if len(c.messages) == 0 {
			return false
		}
		pk, c.messages = c.messages[0], c.messages[1:]
		return true
	})
	return pk, err
}

// Next returns the next message; one must come.
func (c *Client) Next() packets.Packet {
	c.t.Helper()
	pk, err := c.TryNext()
	if err != nil {
		c.t.Fatalf("%s/%s: %v", c.o.User, c.o.ClientID, err)
	}
	return pk
}

// Waiting returns how many messages have come and were not taken.
func (c *Client) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.messages)
}

// Answer waits for the packet of that type and id.
func (c *Client) Answer(typ byte, id uint16) (pk packets.Packet, err error) {
	err = c.until(fmt.Sprintf("packet type %d id %d", typ, id), func() bool {
		i := slices.IndexFunc(c.answers, func(p packets.Packet) bool { return p.FixedHeader.Type == typ && p.PacketID == id })
		if i < 0 {
			return false
		}
		pk = c.answers[i]
		c.answers = slices.Delete(c.answers, i, i+1)
		return true
	})
	return pk, err
}

// NextAnswer returns the next packet that is neither a PUBLISH nor a DISCONNECT, whatever it is.
func (c *Client) NextAnswer() (pk packets.Packet, err error) {
	err = c.until("an answer", func() bool {
		if len(c.answers) == 0 {
			return false
		}
		pk, c.answers = c.answers[0], c.answers[1:]
		return true
	})
	return pk, err
}

func (c *Client) id() uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nextID++; c.nextID == 0 {
		c.nextID = 1
	}
	return c.nextID
}

// Filter is one filter of a SUBSCRIBE.
type Filter = packets.Subscription

// Subscribe subscribes at QoS 1 and expects to be granted.
func (c *Client) Subscribe(filters ...string) {
	c.t.Helper()
	var all []Filter
	for _, f := range filters {
		all = append(all, Filter{Filter: f, Qos: 1})
	}
	ack := c.SubscribeAs(nil, all...)
	for i, code := range ack.ReasonCodes {
		if code >= 0x80 {
			c.t.Fatalf("subscription to %s refused: %#x %s", filters[i], code, ack.Properties.ReasonString)
		}
	}
}

// SubscribeAs sends a SUBSCRIBE and returns the SUBACK.
func (c *Client) SubscribeAs(props func(*packets.Properties), filters ...Filter) packets.Packet {
	c.t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: c.id(), Filters: filters}
	if props != nil {
		props(&pk.Properties)
	}
	return c.ask(&pk, packets.Suback)
}

// Unsubscribe sends an UNSUBSCRIBE and returns the UNSUBACK.
func (c *Client) Unsubscribe(filters ...string) packets.Packet {
	c.t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe}, PacketID: c.id()}
	for _, f := range filters {
		pk.Filters = append(pk.Filters, Filter{Filter: f})
	}
	return c.ask(&pk, packets.Unsuback)
}

func (c *Client) ask(pk *packets.Packet, typ byte) packets.Packet {
	c.t.Helper()
	if err := c.write(pk); err != nil {
		c.t.Fatalf("%s/%s: send: %v", c.o.User, c.o.ClientID, err)
	}
	answer, err := c.Answer(typ, pk.PacketID)
	if err != nil {
		c.t.Fatalf("%s/%s: %v", c.o.User, c.o.ClientID, err)
	}
	return answer
}

// Message makes a PUBLISH.
func Message(topic, payload string, qos byte) packets.Packet {
	return packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: qos}, TopicName: topic, Payload: []byte(payload),
	}
}

// Send sends a PUBLISH, with an id if it needs one and has none, and returns the id.
func (c *Client) Send(pk packets.Packet) (id uint16, err error) {
	if pk.FixedHeader.Qos > 0 && pk.PacketID == 0 {
		pk.PacketID = c.id()
	}
	return pk.PacketID, c.write(&pk)
}

// Outcome waits for what the broker says of a PUBLISH: PUBACK, or PUBREC followed by PUBREL and PUBCOMP.
func (c *Client) Outcome(id uint16, qos byte) (packets.Packet, error) {
	switch qos {
	case 0:
		return packets.Packet{}, nil
	case 1:
		return c.Answer(packets.Puback, id)
	}
	rec, err := c.Answer(packets.Pubrec, id)
	if err != nil || rec.ReasonCode >= 0x80 {
		return rec, err
	}
	if err := c.write(&packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrel}, PacketID: id}); err != nil {
		return rec, err
	}
	_, err = c.Answer(packets.Pubcomp, id)
	return rec, err
}

// TryPublish publishes and waits for the outcome.
func (c *Client) TryPublish(pk packets.Packet) (packets.Packet, error) {
	id, err := c.Send(pk)
	if err != nil {
		return packets.Packet{}, err
	}
	return c.Outcome(id, pk.FixedHeader.Qos)
}

// Publish publishes and expects an outcome, which may be a refusal.
func (c *Client) Publish(pk packets.Packet) packets.Packet {
	c.t.Helper()
	ack, err := c.TryPublish(pk)
	if err != nil {
		c.t.Fatalf("%s/%s: publish to %s: %v", c.o.User, c.o.ClientID, pk.TopicName, err)
	}
	return ack
}

// Say sends a text to a room at QoS 1 and expects that it is taken.
func (c *Client) Say(room, text string) packets.Packet {
	c.t.Helper()
	ack := c.Publish(Message("chat/rooms/"+room+"/send", text, 1))
	if ack.ReasonCode >= 0x80 {
		c.t.Fatalf("refused: %#x %s", ack.ReasonCode, ack.Properties.ReasonString)
	}
	return ack
}

// Ack acknowledges a message.
func (c *Client) Ack(id uint16) error {
	return c.write(&packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: id})
}

// Release sends a PUBREL and returns the PUBCOMP.
func (c *Client) Release(id uint16) packets.Packet {
	c.t.Helper()
	return c.ask(&packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrel}, PacketID: id}, packets.Pubcomp)
}

// Ping sends a PINGREQ and waits for its answer: everything the broker queued before has come then.
func (c *Client) Ping() error {
	if err := c.write(&packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}}); err != nil {
		return err
	}
	_, err := c.Answer(packets.Pingresp, 0)
	return err
}

// Pause makes the client read nothing after the packet in hand, until Unpause.
func (c *Client) Pause() { c.setPaused(true) }

// Unpause lets it read on.
func (c *Client) Unpause() { c.setPaused(false) }

func (c *Client) setPaused(v bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = v
	close(c.changed)
	c.changed = make(chan struct{})
}

// Disconnect says goodbye and waits until the broker has closed the connection.
func (c *Client) Disconnect() {
	c.t.Helper()
	if err := c.write(&packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}}); err == nil {
		c.Ended()
	}
	c.Cut()
}

// DisconnectAs sends a DISCONNECT of v5 with a reason and properties.
func (c *Client) DisconnectAs(reason byte, props func(*packets.Properties)) {
	c.t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, ReasonCode: reason}
	if props != nil {
		props(&pk.Properties)
	}
	if err := c.write(&pk); err == nil {
		c.Ended()
	}
}

// Ended waits until the connection has ended and returns the reason code of the broker's DISCONNECT, 0 without one.
func (c *Client) Ended() byte {
	c.t.Helper()
	err := c.until("the end of the connection", func() bool { return c.err != nil })
	if err != nil {
		c.t.Fatalf("%s/%s: %v", c.o.User, c.o.ClientID, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bye == nil {
		return 0
	}
	return c.bye.ReasonCode
}

// Why is the reason string of the broker's DISCONNECT, once the connection has ended, or of a CONNACK that refused.
func (c *Client) Why() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bye == nil {
		return c.Connack.Properties.ReasonString
	}
	return c.bye.Properties.ReasonString
}

// Reference is the server reference of the broker's DISCONNECT, or of a CONNACK that refused.
func (c *Client) Reference() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bye == nil {
		return c.Connack.Properties.ServerReference
	}
	return c.bye.Properties.ServerReference
}

// Answered reports whether a PUBACK or PUBREC for an id has come.
func (c *Client) Answered(id uint16) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.answers, func(pk packets.Packet) bool { return pk.PacketID == id })
}

// Alive reports whether the connection has not ended.
func (c *Client) Alive() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil
}

// Cut closes the socket without a word.
func (c *Client) Cut() {
	c.Unpause()
	_ = c.conn.Close()
}
