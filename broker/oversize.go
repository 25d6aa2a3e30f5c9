package broker

import (
	"cmp"
	"encoding/binary"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/broker/transport"
	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

// aroundMessage is what a PUBLISH may hold beside its payload: a topic and properties. A packet that is larger than the
// largest message and this cannot be accepted, so it is never held in memory.
const aroundMessage = 128 << 10

// heldPacket returns the largest packet of the client that is read into memory.
func (c *client) heldPacket() int {
	most := cmp.Or(max(c.told.packet, 0), mostPacket)
	if message := c.b.limits().Message; message > 0 {
		return min(most, message+aroundMessage)
	}
	return most
}

// oversize deals with a packet that is not read into memory: a PUBLISH up to limits.packet is read, thrown away and
// refused as too_large; anything else ends the connection.
func (c *client) oversize(pr *transport.PacketReader, e *transport.TooLargeError) error {
	if e.First&typeMask != typePublish || c.told.packet > 0 && e.Length > c.told.packet {
		return c.over(limit.Packet, reasonPacketTooLarge, "a packet has at most %d bytes; this one has %d", e.Limit, e.Length)
	}
	pk, err := c.peekPublish(pr, e.First)
	if err != nil {
		return err
	}
	if err := pr.Discard(e.Length); err != nil {
		return err
	}
	if err := c.resolveAlias(&pk); err != nil {
		return err
	}
	a, done, err := c.begin(&pk, int64(0))
	if done || err != nil {
		return err
	}
	bad := c.throttle(pk.TopicName, nil, min(e.Length, max(c.b.limits().Message, 0))) // it was read as others are
	if bad == nil {
		bad = problem.Over(problem.TooLarge, limit.Message, "A message has at most %d bytes; this packet has %d.", c.b.limits().Message, e.Length)
	}
	c.settle(a, storage.Result{}, bad)
	return nil
}

// peekPublish decodes a PUBLISH up to its payload without consuming it.
func (c *client) peekPublish(pr *transport.PacketReader, first byte) (packets.Packet, error) {
	pk := packets.Packet{ProtocolVersion: c.version, FixedHeader: packets.FixedHeader{Type: packets.Publish}}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, closing{reasonMalformed}
	}
	head, err := pr.Peek(2)
	if err != nil {
		return pk, err
	}
	// The longest there can be: topic, packet id, length of the properties.
	n := 2 + int(binary.BigEndian.Uint16(head)) + 2 + 4
	if head, err = pr.Peek(n); err != nil {
		return pk, err
	}
	if c.version == version5 {
		at := n - 4
		if pk.FixedHeader.Qos == 0 {
			at -= 2
		}
		props, size := binary.Uvarint(head[min(at, len(head)):])
		if size <= 0 || size > 4 || props > aroundMessage {
			return pk, closing{reasonPacketTooLarge}
		}
		if head, err = pr.Peek(at + size + int(props)); err != nil {
			return pk, err
		}
	} else {
		head = head[:min(n-4, len(head))]
	}
	pk.FixedHeader.Remaining = len(head)
	if err := decode(func() error { return pk.PublishDecode(append([]byte(nil), head...)) }); err != nil {
		return pk, closing{reasonMalformed}
	}
	if code := pk.PublishValidate(topicAliasMaximum); code != packets.CodeSuccess {
		return pk, closing{code.Code}
	}
	return pk, nil
}
