package broker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/broker/transport"
	"github.com/madang-chat/madang/hooks"
	"github.com/madang-chat/madang/hooks/before"
	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/storage"
)

// closing ends a connection with a reason.
type closing struct{ reason byte }

func (e closing) Error() string { return "connection ends" }

// read takes packets until the client is silent and its connection can rest, or until it ends. A connection that cannot
// rest is never reported as silent.
func (c *client) read(pr *transport.PacketReader) (silent bool) {
	for {
		err := c.calm()
		if err == nil && pr.Idle() {
			return true
		}
		var first byte
		var body []byte
		if err == nil {
			first, body, err = pr.Next(c.heldPacket())
		}
		var large *transport.TooLargeError
		switch {
		case err == nil:
			c.lastRead.Store(c.b.now())
			err = c.packet(first, body)
		case errors.As(err, &large):
			err = c.oversize(pr, large)
			c.lastRead.Store(c.b.now())
		}
		if err == nil {
			continue
		}
		var end closing
		var over excess
		switch {
		case errors.As(err, &over):
			c.end(over.reason, "", over.why)
		case errors.As(err, &end):
			if end.reason != 0 {
				c.disconnect(end.reason)
			}
		case errors.Is(err, transport.ErrMalformed):
			c.disconnect(reasonMalformed)
		case errors.Is(err, os.ErrDeadlineExceeded):
			if p := c.leaving.Load(); p != nil {
				c.acks.settled(p.ctx)
				c.disconnectTo(p.reason, p.reference)
			}
		}
		return false
	}
}

// atOnce handles a PUBLISH for which the reader would not have to wait for anything, and returns true; anything else it
// leaves alone. The poller calls it in place of the reader, while there is none.
func (c *client) atOnce(first byte, body []byte) bool {
	l := c.b.limits()
	if first&typeMask != typePublish || first>>1&3 > 1 || len(body) > c.heldPacket() || c.flooding > 0 ||
		c.space() != nil || c.acks.full(int64(len(body)), c.told.inFlight, l.InFlightBytes) {
		return false
	}
	c.lastRead.Store(c.b.now())
	var end closing
	var over excess
	switch err := c.packet(first, body); {
	case err == nil:
	case errors.As(err, &over):
		c.end(over.reason, "", over.why)
	case errors.As(err, &end):
		if end.reason != 0 {
			c.disconnect(end.reason)
		} else {
			_ = c.conn.Close()
		}
	}
	return true
}

// packet handles one packet; body is valid during the call only.
func (c *client) packet(first byte, body []byte) error {
	switch first & typeMask {
	case typePublish:
		c.acts()
		return c.publish(first, bytes.Clone(body))
	case typePuback:
		if len(body) < 2 {
			return closing{reasonMalformed}
		}
		c.acked(binary.BigEndian.Uint16(body))
		return nil
	case typePubrel:
		if len(body) < 2 || first&0x0f != flagsPubrel {
			return closing{reasonMalformed}
		}
		return c.pubrel(binary.BigEndian.Uint16(body))
	case typePubrec, typePubcomp:
		return nil // answers to QoS 2 deliveries, which are never sent
	case typeSubscribe:
		if first&0x0f != flagsPubrel {
			return closing{reasonMalformed}
		}
		c.acts()
		c.slow()
		return c.subscribe(bytes.Clone(body))
	case typeUnsubscribe:
		if first&0x0f != flagsPubrel {
			return closing{reasonMalformed}
		}
		c.acts()
		c.slow()
		return c.unsubscribe(bytes.Clone(body))
	case typePingreq:
		c.ping()
		return nil
	case typeDisconnect:
		return c.goodbye(body)
	case typeAuth:
		c.slow()
		return c.authPacket(bytes.Clone(body))
	}
	return closing{reasonProtocol} // a second CONNECT, or what only servers send
}

// goodbye handles DISCONNECT: no will, unless v5 asks for it with 0x04.
func (c *client) goodbye(body []byte) error {
	c.normal.Store(true)
	c.goodbyes.Store(true)
	if c.version == version5 && len(body) > 0 {
		pk := packets.Packet{ProtocolVersion: c.version, FixedHeader: packets.FixedHeader{Type: packets.Disconnect, Remaining: len(body)}}
		if err := decode(func() error { return pk.DisconnectDecode(bytes.Clone(body)) }); err != nil {
			c.normal.Store(false)
			return closing{reasonMalformed}
		}
		c.normal.Store(pk.ReasonCode != packets.CodeDisconnectWillMessage.Code)
		if pk.Properties.SessionExpiryIntervalFlag {
			if (!c.stored || c.expires == 0) && pk.Properties.SessionExpiryInterval > 0 {
				return closing{reasonProtocol} // MQTT 5, 3.14.2.2.2
			}
			c.expiry.Store(int64(c.b.expiryOf(pk.Properties.SessionExpiryInterval)))
		}
	}
	return closing{}
}

// publish handles PUBLISH. The answer, good or bad, leaves through the ordered queue.
func (c *client) publish(first byte, body []byte) error {
	pk := packets.Packet{ProtocolVersion: c.version, FixedHeader: packets.FixedHeader{Type: packets.Publish, Remaining: len(body)}}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return closing{reasonMalformed}
	}
	if err := decode(func() error { return pk.PublishDecode(body) }); err != nil {
		return closing{reasonMalformed}
	}
	if code := pk.PublishValidate(topicAliasMaximum); code != packets.CodeSuccess {
		return closing{code.Code}
	}
	if err := c.resolveAlias(&pk); err != nil {
		return err
	}
	a, done, err := c.begin(&pk, int64(len(pk.Payload)))
	if done || err != nil {
		return err
	}
	bad := c.b.checkTopic(pk.TopicName)
	if bad == nil {
		bad = c.throttle(pk.TopicName, pk.Payload, len(pk.Payload))
	}
	if bad != nil {
		c.settle(a, storage.Result{}, bad)
		return nil
	}
	c.decide(a, &pk)
	return nil
}

// begin gives the answer to a publish its place in the queue; size is what is held until then. done says that there is
// nothing more to do: it is a QoS 2 publish that was received before.
func (c *client) begin(pk *packets.Packet, size int64) (a *ack, done bool, err error) {
	a = &ack{pid: pk.PacketID, since: c.b.now(), size: size, topic: pk.TopicName}
	switch pk.FixedHeader.Qos {
	case 1:
		a.kind = typePuback
	case 2:
		a.kind = typePubrec
		if done, err := c.repeated(a); done || err != nil {
			return nil, true, err
		}
	}
	c.b.stats.published.Add(1)
	if err := c.hold(a); err != nil {
		return nil, true, err
	}
	delete(c.previous, pk.PacketID) // heard of: from here on it is this connection's to account for
	return a, false, nil
}

// resolveAlias puts the topic an alias stands for in the packet (MQTT 5, 3.3.2.3.4).
func (c *client) resolveAlias(pk *packets.Packet) error {
	if !pk.Properties.TopicAliasFlag {
		return nil
	}
	if pk.TopicName == "" {
		t, ok := c.aliases[pk.Properties.TopicAlias]
		if !ok {
			return closing{reasonAliasInvalid}
		}
		pk.TopicName = t
		return nil
	}
	if c.aliases == nil {
		c.aliases = map[uint16]string{}
	}
	c.aliases[pk.Properties.TopicAlias] = strings.Clone(pk.TopicName)
	return nil
}

// repeated deals with a QoS 2 publish whose id is in use: it is the same message.
func (c *client) repeated(a *ack) (done bool, err error) {
	known, repeat := c.acks.again(a.pid)
	if !known {
		if c.version == version5 && c.acks.waiting() >= c.told.inFlight {
			return true, c.over(limit.InFlight, reasonReceiveMaximum, "at most %d publishes may wait for their outcome", c.told.inFlight)
		}
		return false, nil
	}
	c.slow()
	if repeat {
		a.ready = true
		if err := c.hold(a); err != nil {
			return true, err
		}
		c.dirty()
	}
	return true, nil
}

// hold gives the answer its place in the queue. A v5 client above its Receive Maximum broke the protocol (0x93); any
// other waits here until there is room, that is: it is read more slowly. So does everybody while the node has too much to
// write.
func (c *client) hold(a *ack) error {
	l := c.b.limits()
	if c.version == version5 && a.kind != 0 && c.acks.inFlight() >= c.told.inFlight {
		return c.over(limit.InFlight, reasonReceiveMaximum, "at most %d publishes may wait for their outcome", c.told.inFlight)
	}
	space := c.space()
	if space != nil || c.acks.full(a.size, c.told.inFlight, l.InFlightBytes) {
		c.waited(space != nil)
		defer c.holding()()
	}
	if space != nil {
		select {
		case <-space:
		case <-c.ctx.Done():
			return closing{}
		}
	}
	if !c.acks.push(a, c.told.inFlight+1, l.InFlightBytes) {
		return closing{}
	}
	if a.kind == typePubrec && !a.ready {
		c.acks.expect(a.pid, a)
	}
	return nil
}

// decide applies the rules to a publish and sets its answer in motion.
func (c *client) decide(a *ack, pk *packets.Packet) {
	p := hooks.Publish{
		From: c.identity(), Device: c.device, Topic: pk.TopicName, Payload: pk.Payload, Dup: pk.FixedHeader.Dup,
		PacketID: pk.PacketID, Epoch: c.sessionEpoch(), Expiry: pk.Properties.MessageExpiryInterval,
	}
	if len(pk.Properties.User) > 0 {
		p.CID = userProperty(pk.Properties.User, "cid")
	}
	action, bad := c.b.cfg.Rules.Decide(&p)
	switch {
	case bad != nil:
		c.settle(a, storage.Result{}, bad)
	case action.Append != nil:
		a.room, a.cid, a.hash = action.Append.Room.Room, action.Append.CID, action.Append.Hash
		if c.line.Empty() && !c.b.cfg.Before.Asks(action.Append) {
			c.propose(a, action.Append)
		} else {
			c.ask(a, action.Append)
		}
	case action.State != nil:
		a.room = action.State.Room.Room
		if c.line.Empty() {
			c.propose(a, action.State)
		} else {
			c.ask(a, action.State)
		}
	case action.Live != nil:
		c.b.publishLive(c, action.Live, true)
		c.settle(a, storage.Result{}, nil)
	case action.Cheer != nil:
		c.settle(a, storage.Result{}, c.b.cheers.add(action.Cheer.Room, action.Cheer.Name))
	case action.Mark != nil:
		c.b.takeMark(action.Mark)
		c.settle(a, storage.Result{}, nil)
	case action.Call != nil:
		c.settle(a, storage.Result{}, c.call(action.Call, pk.FixedHeader.Qos, pk.Properties.CorrelationData))
	}
}

// propose hands a message or a state to the log.
func (c *client) propose(a *ack, cmd storage.Command) {
	if c.unanswered.Load() { // what comes after it must not come before it in the log
		c.unsaid(a, calls.Refused(calls.ErrStorageFull))
		return
	}
	c.b.cfg.Log.Propose(cmd, func(r storage.Result, err error) { c.answered(a, r, err) })
}

// ask is propose for what must be asked about first, and for what comes after such a message.
func (c *client) ask(a *ack, cmd storage.Command) {
	if c.line == nil {
		c.line = &before.Line{}
	}
	c.line.Do(c.b.cfg.Before, cmd, func(bad *problem.Problem) {
		if bad != nil {
			c.settle(a, storage.Result{}, bad)
			return
		}
		c.propose(a, cmd)
	})
}

// space returns nil, or, while too much waits for the log, or for an answer of the hook before a send, a channel that is
// closed when that has passed. For the hook waits only who has something there: others send on.
func (c *client) space() <-chan struct{} {
	if s := c.b.cfg.Log.Space(); s != nil {
		return s
	}
	if c.line.Empty() {
		return nil
	}
	return c.b.cfg.Before.Space()
}

// answered is the log's answer to a message; it runs on the log's goroutine and does not block.
func (c *client) answered(a *ack, r storage.Result, err error) {
	if err != nil {
		// A message that is certainly not in the log is refused; of any other nobody can say more.
		bad := calls.RefusedPublish(err, c.version == version5)
		if bad != nil && a.kind != typeSubscribe && a.kind != typeUnsubscribe {
			c.settle(a, storage.Result{}, bad)
			return
		}
		if errors.Is(err, calls.ErrStorageFull) && a.kind != typeSubscribe && a.kind != typeUnsubscribe {
			c.unsaid(a, calls.Refused(err))
			return
		}
	}
	if err != nil || r.Outcome == storage.Fenced {
		c.acks.settle(a, func(a *ack) { a.fenced = true })
		c.dirty()
		return
	}
	c.settle(a, r, calls.ProblemOf(r))
}

// unsaid is a refusal that a v3.1.1 client would take for success: it gets no PUBACK, waits for one, and sends the message
// again on another connection once limits.ack_wait has ended this one. Who listens to me/error is told.
func (c *client) unsaid(a *ack, bad *problem.Problem) {
	if a.kind == 0 { // QoS 0 waits for nothing
		c.settle(a, storage.Result{}, bad)
		return
	}
	c.notify(problem.Event{Op: problem.OpPublish, Topic: a.topic, CID: a.cid, MID: a.pid, Problem: bad})
	c.unanswered.Store(true)
	c.acks.leave(a)
}

func (c *client) settle(a *ack, r storage.Result, bad *problem.Problem) {
	c.acks.settle(a, func(a *ack) { a.result, a.refusal = r, bad })
	c.dirty()
}

// pubrel ends a QoS 2 exchange; PUBCOMP takes its turn among the answers.
func (c *client) pubrel(pid uint16) error {
	if pid == 0 {
		return closing{reasonProtocol}
	}
	a := &ack{kind: typePubcomp, pid: pid, ready: true, since: c.b.now()}
	_, before := c.previous[pid]
	delete(c.previous, pid)
	if !c.acks.release(pid) && !before {
		a.refusal = unknownPacketID
		c.slow()
	}
	if !c.acks.push(a, 1<<16, 0) {
		return closing{}
	}
	c.dirty()
	return nil
}

// authPacket handles v5 AUTH: method JWT with a new token renews the connection's time (design.md, "Who may").
func (c *client) authPacket(body []byte) error {
	if c.version != version5 {
		return closing{reasonProtocol}
	}
	pk := packets.Packet{ProtocolVersion: c.version, FixedHeader: packets.FixedHeader{Type: packets.Auth, Remaining: len(body)}}
	if err := decode(func() error { return pk.AuthDecode(body) }); err != nil {
		return closing{reasonMalformed}
	}
	if pk.Properties.AuthenticationMethod != "JWT" {
		return closing{reasonBadMethod}
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.b.limits().ConnectTimeout)
	defer cancel()
	if bad := c.renew(ctx, string(pk.Properties.AuthenticationData)); bad != nil {
		c.notify(problem.Event{Op: problem.OpSession, Problem: bad})
		return closing{bad.Reason()}
	}
	out := packets.Packet{ProtocolVersion: version5, FixedHeader: packets.FixedHeader{Type: packets.Auth}}
	out.Properties.AuthenticationMethod = "JWT"
	var buf bytes.Buffer
	if err := out.AuthEncode(&buf); err != nil {
		return closing{reasonImplementation}
	}
	c.conn.Queue(buf.Bytes(), false)
	c.dirty()
	return nil
}
