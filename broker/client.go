package broker

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"golang.org/x/time/rate"

	"github.com/madang-chat/madang/broker/presence"
	"github.com/madang-chat/madang/broker/transport"
	"github.com/madang-chat/madang/hooks"
	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/before"
	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/quota"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/internal/clock"
	"github.com/madang-chat/madang/storage"
)

// client is one MQTT connection after its CONNECT was accepted.
type client struct {
	b    *Broker
	conn *transport.Conn
	next transport.Handler // reads on after a rest
	w    *worker

	// Fixed at CONNECT.
	sid         storage.SessionID
	device      string // client id as the client sent it or as assigned
	unnamed     bool   // it was assigned
	version     byte   // 3 (MQIsdp), 4 or 5
	stored      bool   // the session outlives the connection; changed by holds only
	epoch       uint64 // of the stored session; likewise
	claimed     uint64 // number of its claim (claims.go); guarded by Broker.mu
	expires     uint32 // seconds the session is kept after the connection, as granted
	keepAlive   time.Duration
	told        told   // what its CONNACK said
	maxPacket   uint32 // the client's Maximum Packet Size, 0 = none
	problemInfo bool   // the client wants reason strings and user properties in answers
	will        *will
	quota       *quota.Quota // shared with the user's other connections; nil = no limits
	address     *quota.Quota // shared with everybody at its address, nil where many clients have one

	since  int64            // wall clock (ms) of its CONNECT
	online *presence.Device // set with its CONNACK

	ctx       context.Context // ends with the connection
	cancel    context.CancelFunc
	finished  chan struct{} // closed when nothing of the connection is left
	released  chan struct{} // closed after it, when the log has taken note of the end, or will not
	running   sync.WaitGroup
	departure ending
	releasing bool // the log is told of the end; set before finished is closed

	id         atomic.Pointer[auth.Identity] // renewed by auth.renew
	lastRead   atomic.Int64                  // coarse ms
	held       atomic.Bool                   // the reader waits: silence is ours
	taken      atomic.Bool                   // a newer connection owns the session
	fenced     atomic.Bool                   // and the log says so: it takes nothing more of this one
	reason     atomic.Uint32                 // first reason code given for closing, plus 1
	unanswered atomic.Bool                   // a message is left without an answer, and so are all after it (unsaid)
	normal     atomic.Bool                   // the client said DISCONNECT: no will
	goodbyes   atomic.Bool                   // it did, and may have asked for its will all the same
	leaving    atomic.Pointer[parting]       // the node sends the client away: what was read is answered first
	expiry     atomic.Int64                  // session expiry (s) of a v5 DISCONNECT, -1 = as it was

	acks    acks
	replies *calls.Replies
	calling atomic.Int32 // calls that run

	farewell farewell

	// Shared with the worker through its inbox.
	queued  atomic.Bool // on the worker's dirty list
	pubacks pubacks

	// Owned by the reader.
	filters  *topic.Held // granted, counted against limits.filters_per_session
	aliases  map[uint16]string
	line     *before.Line                  // of what waits for the hook before a send; nil = nothing ever did
	previous map[uint16]storage.Unfinished // what the connection before left and the client has not come back to
	pings    uint64                        // PINGREQs so far
	flood    *flood                        // of its device; nil = it was never above the quota
	flooding int                           // how often its device was, 0 = not lately
	others   *rate.Limiter                 // of packets that are no messages
	hasty    bool                          // the last time has not been waited for
	hastyAt  int64                         // coarse ms of that
	lastSent uint64                        // hash of the last message, while flooding is above 0

	// Owned by the worker.
	place    int // in the worker's list of clients
	gone     bool
	touched  bool  // has bytes queued in this round
	counted  int64 // bytes of its queue in Broker.queued
	subs     []*sub
	cursors  map[storage.RoomKey]*cursor
	behind   []*cursor
	owing    []*cursor // with values to be sent
	window   window
	takes    int              // deliveries the client takes at once, whatever limits.window is
	resuming *storage.Session // until every room of a stored session has its cursor
	joining  int              // filters whose joined rooms are being looked up
	joinPos  uint64           // where the oldest of these filters began

	overseenFrom uint64 // pos at which the last $all/ filter on every room began
	sentPos      uint64 // what a resumed session was sent before is at or below this pos
	backlog      uint64
	focus        map[string]bool
	notices      []problem.Event // refusals that came before the client subscribed to me/error
	expiring     bool            // token_expiring was sent
	live         map[liveKey]struct{}
	looks        looks
}

// sub is one subscription of a client. Immutable.
type sub struct {
	filter  topic.Filter
	qos     byte
	id      uint32
	noLocal bool
	rap     bool
	pos     uint64 // where a stored one began
}

// will is what is to be published when the connection ends without a DISCONNECT.
type will struct {
	action  hooks.Action
	publish hooks.Publish // it came from
	delay   uint32        // seconds
}

func (c *client) identity() auth.Identity { return *c.id.Load() }

// holding says that the reader waits: it is not the client that is silent. Call what it returns when it goes on.
func (c *client) holding() (end func()) {
	c.held.Store(true)
	return func() {
		c.lastRead.Store(c.b.now()) // its keep alive begins anew
		c.held.Store(false)
	}
}

// dirty asks the worker to look at the client. Any goroutine.
func (c *client) dirty() {
	if !c.queued.Swap(true) {
		c.w.enqueue(c)
	}
}

// acked takes note of a PUBACK. The reader calls it.
func (c *client) acked(id uint16) {
	if c.pubacks.add(id) {
		c.dirty()
	}
}

// takeAcks settles in the window what the client acknowledged. The worker calls it.
func (c *client) takeAcks() {
	for _, id := range c.pubacks.take() {
		c.window.ack(id)
	}
}

// fitWindow makes the window as large as limits.window is now. The worker calls it.
func (c *client) fitWindow() { c.window.setLimit(min(c.takes, c.b.limits().Window)) }

// inFlight reports whether the client has as many deliveries in flight as it may. Then the next PUBACK brings the worker
// back to it. The worker calls it.
func (c *client) inFlight() bool {
	c.fitWindow()
	for c.window.full() {
		c.takeAcks()
		if c.window.full() && c.pubacks.want() {
			c.b.cfg.Refusals.Add(limit.Window)
			return true
		}
	}
	return false
}

// disconnect ends the connection with a reason; v5 clients are told. Any goroutine, does not wait.
func (c *client) disconnect(reason byte) { c.disconnectTo(reason, "") }

// disconnectTo is disconnect, with where the client may go instead.
func (c *client) disconnectTo(reason byte, reference string) { c.end(reason, reference, "") }

// end is disconnectTo, with a sentence that says why. A client that takes small packets only hears the code alone.
func (c *client) end(reason byte, reference, why string) {
	if !c.reason.CompareAndSwap(0, uint32(reason)+1) {
		return
	}
	if c.version == version5 {
		pk := encodeDisconnect(reason, reference, why)
		if c.maxPacket > 0 && uint32(len(pk)) > c.maxPacket {
			pk = encodeDisconnect(reason, "", "")
		}
		c.conn.Queue(pk, false)
	}
	c.conn.CloseAfterFlush(disconnectGrace)
	c.cancel()
	c.acks.shut()
}

// encodeDisconnect makes a DISCONNECT of MQTT 5.
func encodeDisconnect(reason byte, reference, why string) []byte {
	if reference == "" && why == "" {
		return []byte{typeDisconnect, 2, reason, 0}
	}
	pk := packets.Packet{
		ProtocolVersion: version5, FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, ReasonCode: reason,
		Properties: packets.Properties{ServerReference: reference, ReasonString: why},
	}
	var buf bytes.Buffer
	if err := pk.DisconnectEncode(&buf); err != nil {
		return []byte{typeDisconnect, 2, reason, 0}
	}
	return buf.Bytes()
}

// parting is how the node sends a client away.
type parting struct {
	ctx       context.Context // how long what was read may take to be answered
	reason    byte
	reference string // where to go instead, if anywhere
}

// leave makes the reader stop, answer what it has read, and disconnect. Any goroutine, does not wait.
func (c *client) leave(p *parting) {
	c.leaving.Store(p)
	_ = c.conn.SetReadDeadline(clock.Now()) // fails only on a connection that has ended
}

// disconnectGrace is how long a DISCONNECT packet may take to leave.
const disconnectGrace = 500 * time.Millisecond

// session returns the reference of commands to the stored session, zero for others.
func (c *client) sessionEpoch() uint64 {
	if c.stored {
		return c.epoch
	}
	return 0
}
