package broker

import (
	"bytes"
	"maps"
	"slices"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// subscribeRefused is the only code a v3.1.1 SUBACK has for no.
const subscribeRefused = 0x80

// Retain Handling (MQTT 5, 3.8.3.1): what is retained is given always (0), to new subscriptions, never.
const (
	retainNew   = 1
	retainNever = 2
)

// request is a SUBSCRIBE in the making.
type request struct {
	codes   []byte
	subs    []*sub
	retain  []byte // Retain Handling, by sub
	starts  map[string]uint64
	refused []problem.Event
	wild    *topic.Replay // the largest replay asked of filters that cover the joined rooms
}

// subscribe handles SUBSCRIBE. The SUBACK of a stored session follows the commit; entries follow the SUBACK.
func (c *client) subscribe(body []byte) error {
	pk := packets.Packet{ProtocolVersion: c.version, FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Remaining: len(body)}}
	if err := decode(func() error { return pk.SubscribeDecode(body) }); err != nil {
		return closing{reasonMalformed}
	}
	if code := pk.SubscribeValidate(); code != packets.CodeSuccess && code.Code != packets.ErrProtocolViolationInvalidSharedNoLocal.Code {
		return closing{code.Code}
	}
	r := c.request(&pk)
	a := &ack{kind: typeSubscribe, pid: pk.PacketID, since: c.b.now()}
	if !c.acks.push(a, 1<<16, 0) {
		return closing{}
	}
	out := packets.Packet{ProtocolVersion: c.version, PacketID: pk.PacketID, ReasonCodes: r.codes, FixedHeader: packets.FixedHeader{Type: packets.Suback}}
	if c.version == version5 && c.problemInfo && len(r.refused) > 0 {
		out.Properties.ReasonString = r.refused[0].Problem.Sentence()
	}
	var buf bytes.Buffer
	if err := out.SubackEncode(&buf); err != nil {
		return closing{reasonImplementation}
	}
	a.raw = buf.Bytes()
	a.after = func() { c.w.subscribe(c, r) }
	if !c.stored || len(r.subs) == 0 {
		c.settle(a, storage.Result{}, nil)
		return nil
	}
	cmd := &storage.Subscribe{Session: c.sid, Epoch: c.epoch}
	for _, s := range r.subs {
		cmd.Add = append(cmd.Add, storage.Subscription{Filter: s.filter.Raw, QoS: s.qos, ID: s.id, NoLocal: s.noLocal, RAP: s.rap})
	}
	for room, seq := range c.asked(r.starts) {
		cmd.Places = append(cmd.Places, storage.RoomSeq{Room: room, Seq: seq})
	}
	slices.SortFunc(cmd.Places, func(a, b storage.RoomSeq) int { return bytes.Compare([]byte(a.Room), []byte(b.Room)) })
	c.b.cfg.Log.Propose(cmd, func(res storage.Result, err error) { c.answered(a, res, err) })
	return nil
}

// asked returns where the session is to go on, by room, when a replay from starts is asked for: where it lags behind that, it
// still does. It waits for the worker.
func (c *client) asked(starts map[string]uint64) map[string]uint64 {
	if len(starts) == 0 {
		return nil
	}
	places := maps.Clone(starts)
	c.w.call(func() {
		for room, seq := range starts {
			if cur := c.cursors[storage.RoomKey{NS: c.sid.NS, Room: room}]; cur != nil {
				if lag := c.w.lag(cur); lag > 0 {
					places[room] = min(seq, lag)
				}
			}
		}
	})
	return places
}

// request decides on every filter of the packet.
func (c *client) request(pk *packets.Packet) *request {
	r := &request{starts: map[string]uint64{}}
	id := uint32(0)
	if len(pk.Properties.SubscriptionIdentifier) > 0 {
		id = uint32(pk.Properties.SubscriptionIdentifier[0])
	}
	for i := range pk.Filters {
		s, start, bad := c.grant(pk, &pk.Filters[i], i)
		if bad != nil {
			c.b.count(bad)
			r.refused = append(r.refused, problem.Event{Op: problem.OpSubscribe, Topic: pk.Filters[i].Filter, MID: pk.PacketID, Problem: bad})
			code := byte(subscribeRefused)
			if c.version == version5 {
				code = bad.SubackReason()
			}
			r.codes = append(r.codes, code)
			continue
		}
		s.id = id
		r.codes = append(r.codes, s.qos)
		r.subs = append(r.subs, s)
		c.replayLogs(r, s)
		r.retain = append(r.retain, pk.Filters[i].RetainHandling)
		if room, named := s.filter.Room(); named && start > 0 {
			if old, again := r.starts[room]; !again || start < old {
				r.starts[room] = start
			}
		} else if last := &s.filter.Replay; last.Mode == topic.ReplayLast && s.filter.JoinedRooms() {
			if r.wild == nil || r.wild.Last < last.Last {
				r.wild = last
			}
		}
	}
	return r
}

// grant decides on one filter, and where in its room the session is to go on (0 = where it is).
func (c *client) grant(pk *packets.Packet, f *packets.Subscription, index int) (*sub, uint64, *problem.Problem) {
	l := c.b.limits()
	if l.Filters > 0 && index >= l.Filters {
		return nil, 0, problem.Over(problem.Limit, limit.FiltersPerSubscribe, "A SUBSCRIBE has at most %d filters; send several.", l.Filters)
	}
	if bad := c.b.checkFilter(f.Filter); bad != nil {
		return nil, 0, bad
	}
	filter, bad := topic.ParseFilter(f.Filter)
	if bad != nil {
		return nil, 0, bad
	}
	for _, p := range pk.Properties.User {
		if p.Key != "last" && p.Key != "since" {
			continue
		}
		replay, bad := topic.ParseReplay(p.Key, p.Val)
		if bad != nil {
			return nil, 0, bad
		}
		if filter, bad = filter.WithReplay(replay); bad != nil {
			return nil, 0, bad
		}
	}
	ident := c.identity()
	if bad := c.b.cfg.Rules.Access.Grant(ident, filter); bad != nil {
		return nil, 0, bad
	}
	s := &sub{filter: filter, qos: min(f.Qos, 1), noLocal: f.NoLocal, rap: f.RetainAsPublished}
	if filter.All {
		s.qos = 0
		c.b.log.Info("audit: everything is read", "reader", ident, "device", c.device, "filter", filter.Raw)
	}
	start := uint64(0)
	if room, named := filter.Room(); named {
		if start, bad = c.b.replayStart(storage.RoomKey{NS: ident.Namespace, Room: room}, filter.Replay); bad != nil {
			return nil, 0, bad
		}
	}
	return s, start, c.filters.Add(filter, l.SessionFilters)
}

// replayStart returns the first entry a replay asks for, 0 when there is no replay.
func (b *Broker) replayStart(k storage.RoomKey, r topic.Replay) (uint64, *problem.Problem) {
	if r.Mode == topic.ReplayNone {
		return 0, nil
	}
	room, err := b.cfg.Store.Room(k)
	if err != nil {
		return 0, problem.New(problem.NoQuorum, "")
	}
	if room == nil {
		return 1, nil // whatever comes first
	}
	h := room.Head
	if r.Mode == topic.ReplaySince {
		return min(r.Since+1, h.Seq+1), nil
	}
	return h.Back(uint64(r.Last)), nil
}

// unsubscribe handles UNSUBSCRIBE. Any form of a filter ends its subscription.
func (c *client) unsubscribe(body []byte) error {
	pk := packets.Packet{ProtocolVersion: c.version, FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe, Remaining: len(body)}}
	if err := decode(func() error { return pk.UnsubscribeDecode(body) }); err != nil {
		return closing{reasonMalformed}
	}
	if code := pk.UnsubscribeValidate(); code != packets.CodeSuccess {
		return closing{code.Code}
	}
	names := make([]string, len(pk.Filters))
	for i := range pk.Filters {
		names[i] = topic.Identity(pk.Filters[i].Filter)
		c.filters.Remove(pk.Filters[i].Filter)
	}
	a := &ack{kind: typeUnsubscribe, pid: pk.PacketID, since: c.b.now()}
	if !c.acks.push(a, 1<<16, 0) {
		return closing{}
	}
	// Which of the filters existed is known to the worker; the answer is written there.
	a.after = func() { c.w.unsubscribe(c, pk.PacketID, names) }
	if !c.stored {
		c.settle(a, storage.Result{}, nil)
		return nil
	}
	c.b.cfg.Log.Propose(&storage.Subscribe{Session: c.sid, Epoch: c.epoch, Remove: names},
		func(res storage.Result, err error) { c.answered(a, res, err) })
	return nil
}

// unsuback is the answer to UNSUBSCRIBE; v3.1.1 has no codes in it.
func (c *client) unsuback(pid uint16, codes []byte) []byte {
	out := packets.Packet{ProtocolVersion: c.version, PacketID: pid, ReasonCodes: codes, FixedHeader: packets.FixedHeader{Type: packets.Unsuback}}
	var buf bytes.Buffer
	if err := out.UnsubackEncode(&buf); err != nil {
		c.b.log.Error("encode UNSUBACK", "err", err)
	}
	return buf.Bytes()
}
