package broker

import (
	"strconv"

	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
)

// unknownPacketID answers a PUBREL whose PUBLISH is not known; v5 has a code for it (3.7.2.1).
var unknownPacketID = problem.New(problem.NotFound, "No publish with this packet id waits for its release.")

const reasonUnknownPacketID = 0x92

// answer writes the answers that are due, in order. What explains an answer goes before it.
func (w *worker) answer(c *client) {
	for {
		a := c.acks.next()
		if a == nil {
			return
		}
		if a.fenced { // nobody may be told: the outcome is another connection's, or unknown
			c.taken.Store(true)
			c.disconnect(reasonBusy)
			return
		}
		w.explain(c, a)
		w.write(c, a)
		if a.after != nil {
			a.after()
		}
		w.touch(c)
	}
}

func (w *worker) write(c *client, a *ack) {
	switch a.kind {
	case typePuback, typePubrec:
		reason, why := byte(0), ""
		if a.refusal != nil {
			reason = a.refusal.Reason()
			if c.problemInfo {
				why = a.refusal.Sentence()
			}
			if a.kind == typePubrec && c.version == version5 {
				c.acks.release(a.pid) // MQTT 5, 4.3.3: a PUBREC of 0x80 or more ends the exchange
			}
		}
		seq := a.result.Seq
		if a.refusal != nil || !c.problemInfo {
			seq = 0
		}
		w.scratch = appendAck(w.scratch[:0], a.kind, a.pid, c.version, reason, why, seq, c.maxPacket)
		c.conn.Queue(w.scratch, false)
	case typePubcomp:
		reason := byte(0)
		if a.refusal != nil {
			reason = reasonUnknownPacketID
		}
		w.scratch = appendAck(w.scratch[:0], a.kind, a.pid, c.version, reason, "", 0, c.maxPacket)
		c.conn.Queue(w.scratch, false)
	case typeSubscribe:
		if a.refusal == nil {
			c.conn.Queue(a.raw, false)
		}
	}
}

// explain tells of a publish's outcome on me/ack or me/error, for those who subscribed to them.
func (w *worker) explain(c *client, a *ack) {
	switch {
	case a.refusal != nil && a.kind != typePubcomp:
		w.b.stats.refused.Add(1)
		w.b.count(a.refusal)
		w.tell(c, problem.Event{Op: problem.OpPublish, Topic: a.topic, CID: a.cid, MID: a.pid, Problem: a.refusal})
	case a.refusal == nil && a.room != "":
		s := c.wants(topic.MeAck)
		if s == nil {
			return
		}
		b := []byte{'{'}
		if a.cid != "" {
			b = append(problem.AppendString(append(b, `"cid":`...), a.cid), ',')
		}
		if a.pid != 0 {
			b = append(strconv.AppendUint(append(b, `"mid":`...), uint64(a.pid), 10), ',')
		}
		b = problem.AppendString(append(b, `"room":`...), a.room)
		b = strconv.AppendUint(append(b, `,"seq":`...), a.result.Seq, 10)
		b = strconv.AppendInt(append(b, `,"ts":`...), a.result.TS, 10)
		if a.result.Duplicate {
			b = append(b, `,"duplicate":true`...)
		}
		w.sendMe(c, s, topic.MeAck, append(b, '}'), 0, nil)
	}
}

// wants returns the subscription that takes a topic under me, nil when there is none.
func (c *client) wants(name string) *sub {
	for _, s := range c.subs {
		if s.filter.MatchMe(name) {
			return s
		}
	}
	return nil
}

// tell sends me/error if the client subscribed to it.
func (w *worker) tell(c *client, e problem.Event) {
	if s := c.wants(topic.MeError); s != nil {
		w.sendMe(c, s, topic.MeError, e.Append(nil), 0, nil)
	}
}

// notify is tell for other goroutines.
func (c *client) notify(e problem.Event) {
	c.w.post(func() {
		if !c.gone {
			c.w.tell(c, e)
		}
	})
}

// sendMe sends a message on one of the topics under me. At QoS 1 it waits for room in the window and reports false.
func (w *worker) sendMe(c *client, s *sub, name string, payload []byte, qos byte, correlation []byte) bool {
	qos = min(qos, s.qos)
	if qos > 0 && c.inFlight() {
		return false
	}
	p := publish{topic: topic.MeTopic(c.sid.NS, name), payload: payload, qos: qos, correlation: correlation, text: true}
	if s.id != 0 && c.version == version5 {
		p.ids = []uint32{s.id}
	}
	f := p.encode(nil, c.version)
	w.send(c, &f, nil, 0)
	return true
}

// tellSync says where the client stands in a room: whenever a cursor reaches the head and before a jump.
func (w *worker) tellSync(cur *cursor, to uint64, gap, live bool) {
	s := cur.client.wants(topic.MeSync)
	if s == nil {
		return
	}
	first := uint64(1)
	if st, err := w.b.cfg.Store.Room(cur.room.key); err == nil && st != nil {
		first = st.Head.First
	}
	from := cur.from
	if gap {
		from = cur.next
	}
	b := problem.AppendString([]byte(`{"room":`), cur.room.key.Room)
	b = strconv.AppendUint(append(b, `,"from":`...), from, 10)
	b = strconv.AppendUint(append(b, `,"to":`...), to, 10)
	b = strconv.AppendUint(append(b, `,"skipped":{"expired":`...), cur.expired, 10)
	b = strconv.AppendUint(append(b, `,"collapsed":`...), cur.collapsed, 10)
	b = append(b, `},"gap":`...)
	b = strconv.AppendBool(b, gap)
	b = strconv.AppendUint(append(b, `,"first":`...), first, 10)
	b = strconv.AppendBool(append(b, `,"live":`...), live)
	w.sendMe(cur.client, s, topic.MeSync, append(b, '}'), 0, nil)
	cur.expired, cur.collapsed = 0, 0
}
