package broker

import (
	"context"
	"encoding/json"
	"time"

	"github.com/madang-chat/madang/broker/presence"
	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/storage"
)

// What is known of a connection is known where it is: lists of devices are asked for, and connections are closed, on all
// nodes at once, past the log. A node that does not answer within a moment is named.

const (
	deviceAnswer = 48 << 10               // bytes of one node's list, which a frame of the peer link has room for
	kickWait     = 900 * time.Millisecond // for connections to end: less than those who asked wait
)

// deviceQuestion is what nodes ask each other about the devices of a user.
type deviceQuestion struct {
	NS     string `json:"ns"`
	User   string `json:"user"`
	Device string `json:"device,omitempty"` // "" = all
	Except string `json:"except,omitempty"`
}

// deviceNews is an answer.
type deviceNews struct {
	Node      string            `json:"node"`
	Connected []calls.Connected `json:"connected,omitempty"`
}

// askedMore answers the questions of other nodes that are no claims. It does not block.
func (b *Broker) askedMore(question []byte, answer func([]byte)) {
	kind := string(question[:min(len(question), 2)])
	if kind == askPresence {
		answer([]byte{b.presence.Heard(question[2:])})
		return
	}
	var q deviceQuestion
	if json.Unmarshal(question[len(kind):], &q) != nil {
		return // of a version that says more than this one knows
	}
	switch kind {
	case askDevices:
		answer(toJSON(deviceNews{b.cfg.Node, b.connected(&q)}))
	case askKick:
		ended := func() {
			b.kick(b.ctx, &q)
			answer(toJSON(deviceNews{Node: b.cfg.Node}))
		}
		b.goRun(ended)
	}
}

// clientsOf are the connections of a user to this node that a question is about.
func (b *Broker) clientsOf(q *deviceQuestion) (out []*client) {
	ids := b.presence.DevicesOf(presence.User{NS: q.NS, User: q.User})
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		if c := b.sessions[id]; c != nil && (q.Device == "" || q.Device == id.Client) && (q.Except == "" || q.Except != id.Client) {
			out = append(out, c)
		}
	}
	return out
}

// connected describes them, as many as fit into an answer.
func (b *Broker) connected(q *deviceQuestion) (out []calls.Connected) {
	size := 0
	for _, c := range b.clientsOf(q) {
		x := c.describe()
		if size += 256 + 6*len(x.Device); size > deviceAnswer {
			break
		}
		out = append(out, x)
	}
	return out
}

func (c *client) describe() calls.Connected {
	protocol := "mqtt 3.1.1"
	switch c.version {
	case version5:
		protocol = "mqtt 5"
	case 3:
		protocol = "mqtt 3.1"
	}
	return calls.Connected{
		Device: c.device, Node: c.b.cfg.Node, Protocol: protocol, Transport: c.conn.Transport(),
		Address: c.conn.RemoteAddr().Addr().String(), Since: c.b.onTheWall(c.since),
		LastActive: c.b.onTheWall(c.lastRead.Load()),
	}
}

// kick closes connections and returns when they have ended, and what they left is with the log, or after a moment. That of
// the client who asks for it ends after the answer.
func (b *Broker) kick(ctx context.Context, q *deviceQuestion) {
	all := b.clientsOf(q)
	for _, c := range all {
		c.sendAway(reasonAdministrative)
	}
	limit := time.NewTimer(kickWait)
	defer limit.Stop()
	for _, c := range all {
		if c == callerOf(ctx) {
			continue
		}
		select {
		case <-c.released:
		case <-limit.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// askAll puts a question to all nodes and returns what they answer, and who of those that live according to the log did not.
func (b *Broker) askAll(ctx context.Context, kind string, q *deviceQuestion) (out []deviceNews, missing []string) {
	answered := map[string]bool{b.cfg.Node: true}
	for _, a := range b.cfg.Peers.Ask(ctx, "", append([]byte(kind), toJSON(q)...)) {
		var n deviceNews
		if json.Unmarshal(a, &n) == nil {
			answered[n.Node] = true
			out = append(out, n)
		}
	}
	nodes, err := b.cfg.Store.Nodes()
	if err != nil {
		b.log.Error("read nodes", "err", err)
	}
	for _, n := range nodes {
		if n.Up && !answered[n.Name] {
			missing = append(missing, n.Name)
		}
	}
	return out, missing
}

// Connected returns the connections of a user to all nodes, and the nodes that did not say what they have.
func (b *Broker) Connected(ctx context.Context, ns, user string) (all []calls.Connected, missing []string) {
	q := &deviceQuestion{NS: ns, User: user}
	news, missing := b.askAll(ctx, askDevices, q)
	all = b.connected(q)
	for _, n := range news {
		all = append(all, n.Connected...)
	}
	return all, missing
}

// Disconnect ends connections of a user on all nodes: of a device, or with "" of all but one ("" = none). It returns when they
// have ended; missing are the nodes that did not say so.
func (b *Broker) Disconnect(ctx context.Context, ns, user, device, except string) (missing []string) {
	q := &deviceQuestion{NS: ns, User: user, Device: device, Except: except}
	done := make(chan struct{})
	if !b.goRun(func() { defer close(done); b.kick(ctx, q) }) {
		close(done)
	}
	_, missing = b.askAll(ctx, askKick, q)
	<-done
	return missing
}

// UserPresence returns whether a user is online, as all nodes see it.
func (b *Broker) UserPresence(ns, user string) calls.UserPresence {
	k := presence.User{NS: ns, User: user}
	n, active := b.presence.UserNow(k)
	return b.userPresence(k, n, active)
}

// RoomPresence returns who is in a room, as all nodes see it.
func (b *Broker) RoomPresence(k storage.RoomKey) calls.RoomPresence {
	r := b.presence.RoomNow(k)
	out := calls.RoomPresence{Room: k.Room, Mode: "full", V: r.V, Users: r.Users, Connections: r.Connections}
	if r.Count {
		out.Mode = calls.ModeCount
		return out
	}
	out.Online = make([]calls.OnlineUser, 0, len(r.Online))
	for _, o := range r.Online {
		out.Online = append(out.Online, calls.OnlineUser(o))
	}
	return out
}

var _ calls.Online = (*Broker)(nil)
