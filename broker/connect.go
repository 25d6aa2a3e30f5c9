package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/madang-chat/madang/broker/transport"
	"github.com/madang-chat/madang/hooks"
	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/quota"
	"github.com/madang-chat/madang/hooks/topic"
	"github.com/madang-chat/madang/storage"
)

// Reason codes (MQTT 5, 2.4) used for whole connections.
const (
	reasonMalformed      = 0x81
	reasonProtocol       = 0x82
	reasonImplementation = 0x83
	reasonBadVersion     = 0x84
	reasonBadClientID    = 0x85
	reasonNotAuthorized  = 0x87
	reasonBadMethod      = 0x8c
	reasonBusy           = 0x88 // server unavailable
	reasonServerBusy     = 0x89
	reasonShuttingDown   = 0x8b
	reasonKeepAlive      = 0x8d
	reasonTakenOver      = 0x8e
	reasonReceiveMaximum = 0x93
	reasonAliasInvalid   = 0x94
	reasonPacketTooLarge = 0x95
	reasonRate           = 0x96
	reasonQuota          = 0x97
	reasonAdministrative = 0x98
	reasonUseAnother     = 0x9c // use another server
	reasonTokenExpired   = 0xa0 // maximum connect time
	topicAliasMaximum    = 16
	takeWait             = 5 * time.Second
	v3Unavailable        = 3
	v3BadVersion         = 1
	v3BadClientID        = 2
	neverExpires         = math.MaxUint32
)

// refusal is a CONNECT that is not accepted.
type refusal struct {
	v5, v3    byte
	why       string
	reference string    // where to go instead
	limit     limit.Key // that is over
	hasty     bool      // too many come: who is told at once comes again at once
}

func (r *refusal) Error() string { return r.why }

// connect reads the CONNECT and makes a client of it, or answers why not and returns nil.
func (b *Broker) connect(a *arrival) *client {
	conn, pr := a.conn, a.pr
	first, body, err := pr.Next(b.connectLimit())
	if large := (*transport.TooLargeError)(nil); errors.As(err, &large) {
		b.refuseLargeConnect(conn, pr, large)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		b.cfg.Refusals.Add(limit.ConnectTimeout)
	}
	if err != nil || first&typeMask != typeConnect {
		b.stats.rejected.Add(1)
		return nil // not MQTT, or nothing in time: there is nobody to answer
	}
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect, Remaining: len(body)}}
	if err := decode(func() error { return pk.ConnectDecode(bytes.Clone(body)) }); err != nil {
		b.stats.rejected.Add(1)
		return nil
	}
	c, err := b.accept(a, &pk)
	if err != nil {
		b.refuse(conn, pk.ProtocolVersion, err)
		return nil
	}
	_ = conn.SetReadDeadline(time.Time{})
	return c
}

// decode runs a decoder of the codec, which panics on some malformed packets.
func decode(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", packets.ErrMalformedPacket, r)
		}
	}()
	return f()
}

// refuse answers a CONNECT with its reason and closes.
func (b *Broker) refuse(conn *transport.Conn, version byte, err error) {
	total := b.stats.rejected.Add(1)
	if errors.Is(err, errLeft) {
		_ = conn.Close()
		return
	}
	r := &refusal{v5: reasonImplementation, v3: v3Unavailable, why: err.Error()}
	var ar *auth.Refusal
	var p *problem.Problem
	switch {
	case errors.As(err, &r):
	case errors.As(err, &ar):
		code := problem.Code(ar.Code)
		r = &refusal{v5: code.ConnackReason(), v3: code.V3Connack(), why: ar.Title, hasty: code == problem.RateLimited}
	case errors.As(err, &p):
		r = &refusal{v5: p.Code.ConnackReason(), v3: p.Code.V3Connack(), why: p.Sentence(), hasty: p.Code == problem.RateLimited}
		b.count(p)
	}
	if r.limit != limit.None {
		b.cfg.Refusals.Add(r.limit)
		r.why += " (" + r.limit.String() + ")"
	}
	if r.hasty {
		b.dally()
	}
	b.refusals.Do(func() {
		b.log.Info("connect refused", "addr", conn.RemoteAddr(), "why", r.why, "refused_so_far", total)
	})
	out := packets.Packet{ProtocolVersion: version, FixedHeader: packets.FixedHeader{Type: packets.Connack}, ReasonCode: r.v3}
	if version == version5 {
		out.ReasonCode = r.v5
		out.Properties.ReasonString, out.Properties.ServerReference = r.why, r.reference
	}
	var buf bytes.Buffer
	if out.ConnackEncode(&buf) == nil {
		conn.Queue(buf.Bytes(), false)
	}
	conn.CloseAfterFlush(disconnectGrace)
}

func (b *Broker) accept(a *arrival, pk *packets.Packet) (*client, error) {
	conn := a.conn
	if r := b.checkConnect(pk); r != nil {
		return nil, r
	}
	if r := b.turnAway(conn); r != nil {
		return nil, r
	}
	if err := a.takeTurn(); err != nil {
		return nil, err
	}
	if r := b.turnAway(conn); r != nil { // others have come in meanwhile
		return nil, r
	}
	cp := &pk.Connect
	ctx, cancel := context.WithTimeout(b.ctx, b.limits().ConnectTimeout)
	defer cancel()
	id, err := b.cfg.Auth.Authenticate(ctx, auth.Credentials{
		HasUsername: cp.UsernameFlag, Username: string(cp.Username), HasPassword: cp.PasswordFlag, Password: cp.Password,
		ClientID: cp.ClientIdentifier, Addr: conn.RemoteAddr().Addr(),
	})
	if err != nil {
		return nil, err
	}
	if bad := b.stillFlooding(id, cp.ClientIdentifier); bad != nil {
		return nil, bad
	}
	c := b.newClient(conn, pk, id)
	if err := b.open(c, pk); err != nil {
		c.cancel()
		c.quota.Done()
		c.address.Done()
		return nil, err
	}
	return c, nil
}

// admit takes a connection from the quota of its address. A proxy that does not say whose connection it is has none.
func (b *Broker) admit(addr netip.Addr) error {
	if !addr.IsValid() {
		return nil
	}
	q := b.cfg.Logins.Of(quota.Address(addr))
	defer q.Done()
	if wait := q.Take(0); wait > 0 {
		return problem.Over(problem.RateLimited, limit.ConnectRate, "Too many connections from this address; try again later.").After(wait)
	}
	return nil
}

// checkConnect holds what the codec decoded against the standard.
func (b *Broker) checkConnect(pk *packets.Packet) *refusal {
	code := pk.ConnectValidate()
	switch {
	case code == packets.CodeSuccess:
	case pk.Connect.WillFlag && len(pk.Connect.WillPayload) == 0 && pk.Connect.WillTopic != "": // allowed: MQTT 5, 3.1.3.4
	case pk.Connect.PasswordFlag && len(pk.Connect.Password) == 0 && code == packets.ErrProtocolViolationFlagNoPassword:
	case code.Code == packets.ErrProtocolViolationProtocolVersion.Code && code.Reason == packets.ErrProtocolViolationProtocolVersion.Reason:
		return &refusal{v5: reasonBadVersion, v3: v3BadVersion, why: "this MQTT version is not spoken here; use 3.1.1 or 5"}
	default:
		return &refusal{v5: code.Code, v3: v3BadVersion, why: code.Reason}
	}
	if r := b.checkClientID(pk.Connect.ClientIdentifier); r != nil {
		return r
	}
	if pk.ProtocolVersion < version5 && pk.Connect.ClientIdentifier == "" && !pk.Connect.Clean {
		return &refusal{v3: v3BadClientID, why: "a session that is kept needs a client id"}
	}
	if pk.Properties.AuthenticationMethod != "" {
		return &refusal{v5: reasonBadMethod, why: "log in with username and password (a password may be a token); AUTH renews it"}
	}
	if pk.Properties.ReceiveMaximum == 0 && pk.ProtocolVersion == version5 {
		pk.Properties.ReceiveMaximum = math.MaxUint16
	}
	return nil
}

func (b *Broker) newClient(conn *transport.Conn, pk *packets.Packet, id auth.Identity) *client {
	l := b.limits()
	c := &client{
		b: b, conn: conn, version: pk.ProtocolVersion, device: pk.Connect.ClientIdentifier,
		finished: make(chan struct{}), released: make(chan struct{}), problemInfo: true, replies: new(calls.Replies),
	}
	c.ctx, c.cancel = context.WithCancel(b.ctx)
	c.acks.init()
	c.expiry.Store(-1)
	c.id.Store(&id)
	c.since = b.now()
	c.lastRead.Store(c.since)
	if c.unnamed = c.device == "" || id.Guest; c.unnamed {
		c.device = "auto-" + strconv.FormatUint(b.names.Add(1), 36) + "-" + strconv.FormatUint(b.cfg.Boot, 36)
	}
	c.sid = storage.SessionID{NS: id.Namespace, User: id.User, Client: c.device}
	c.takes = packetIDs
	if c.version == version5 {
		c.takes = int(pk.Properties.ReceiveMaximum)
		c.maxPacket = pk.Properties.MaximumPacketSize
		c.problemInfo = !pk.Properties.RequestProblemInfoFlag || pk.Properties.RequestProblemInfo == 1
		for _, p := range pk.Properties.User {
			if p.Key == "backlog" {
				c.backlog, _ = strconv.ParseUint(p.Val, 10, 32)
			}
		}
	}
	c.quota = b.cfg.Quotas.Of(quota.Holder(id, conn.RemoteAddr().Addr()))
	if addr := conn.Client(); addr.IsValid() {
		c.address = b.cfg.Addresses.Of(quota.Address(addr))
	}
	c.window = newWindow(min(c.takes, l.Window))
	c.told = told{packet: l.Packet, inFlight: l.InFlight}
	c.keepAlive = b.keepAliveOf(time.Duration(pk.Connect.Keepalive)*time.Second, c.version)
	c.w = b.workerFor(c)
	return c
}

// open makes c the owner of its session and sends the CONNACK.
func (b *Broker) open(c *client, pk *packets.Packet) error {
	id := c.identity()
	expiry := b.sessionExpiry(pk)
	c.expires = expiry
	c.stored = !id.Guest && pk.Connect.ClientIdentifier != "" && expiry > 0
	refusedWill := b.prepareWill(c, pk)
	if !id.Guest {
		if err := b.own(c); err != nil {
			return err
		}
		if pk.Connect.ClientIdentifier != "" { // one that was made up is nobody else's
			if err := b.claim(c); err != nil {
				b.disown(c)
				return err
			}
		}
	}
	var present bool
	var sess *storage.Session
	if !id.Guest {
		b.beginTake(c)
		defer b.settle(c)
		var err error
		if present, sess, err = b.takeSession(c, pk, expiry); err != nil {
			b.disown(c)
			return err
		}
	}
	if refusedWill != nil {
		b.count(refusedWill)
		c.notices = append(c.notices, problem.Event{Op: problem.OpWill, Topic: pk.Connect.WillTopic, Problem: refusedWill})
	}
	var held []string
	if sess != nil {
		for i := range sess.Filters {
			held = append(held, sess.Filters[i].Filter)
		}
	}
	c.filters = topic.NewHeld(held...)
	c.conn.SetOnWritable(c.dirty)
	c.online = b.presence.Connect(c.sid, id.Guest, b.now())
	c.conn.Queue(b.connack(c, pk, present, expiry, refusedWill), false)
	b.stats.connected.Add(1)
	c.w.post(func() { c.w.adopt(c, sess) })
	return nil
}

// sessionExpiry returns the seconds a session is kept after its connection, as granted.
func (b *Broker) sessionExpiry(pk *packets.Packet) uint32 {
	if pk.ProtocolVersion == version5 {
		return b.expiryOf(pk.Properties.SessionExpiryInterval)
	}
	if pk.Connect.Clean {
		return 0
	}
	return b.longestExpiry()
}

func (b *Broker) prepareWill(c *client, pk *packets.Packet) *problem.Problem {
	if !pk.Connect.WillFlag {
		return nil
	}
	if bad := b.checkTopic(pk.Connect.WillTopic); bad != nil {
		return bad
	}
	wp := &pk.Connect.WillProperties
	p := hooks.Publish{
		From: c.identity(), Device: c.device, Topic: pk.Connect.WillTopic, Payload: pk.Connect.WillPayload,
		CID: userProperty(wp.User, "cid"), Expiry: wp.MessageExpiryInterval,
	}
	a, bad := b.cfg.Rules.Decide(&p)
	if bad == nil && a.Append == nil && a.Live == nil {
		bad = problem.New(problem.Unsupported, "A will is a message or a live value; nothing else.")
	}
	if bad == nil && a.Append != nil && b.cfg.Before.Asks(a.Append) {
		bad = b.cfg.Before.Wait(c.ctx, a.Append) // now: it is published by the log, which asks nobody
	}
	if bad != nil {
		return bad
	}
	c.will = &will{action: a, publish: p, delay: b.willDelay(wp.WillDelayInterval)}
	return nil
}

func userProperty(user []packets.UserProperty, name string) string {
	for _, p := range user {
		if p.Key == name {
			return p.Val
		}
	}
	return ""
}

// takeSession settles what the log must know before the CONNACK: who holds the stored session, or that there is none.
func (b *Broker) takeSession(c *client, pk *packets.Packet, expiry uint32) (present bool, sess *storage.Session, err error) {
	if !c.stored {
		old, err := b.cfg.Store.Session(c.sid)
		if err != nil || old == nil {
			return false, nil, err
		}
		if pk.Connect.Clean {
			_, err = b.proposeWait(c.ctx, &storage.Drop{Session: c.sid})
			return false, nil, err
		}
		b.holds(c, 0) // MQTT 5, 3.1.2.4: it goes on, and ends with this connection
	}
	take := &storage.Take{
		Session: c.sid, Node: b.cfg.Node, Boot: b.cfg.Boot, Clean: pk.Connect.Clean, Expiry: expiry,
		MaxSessions: b.limits().SessionsPerUser, Backlog: c.backlog,
	}
	if c.will != nil && c.will.action.Append != nil {
		take.Will, take.WillDelay = c.will.action.Append, c.will.delay
	}
	r, err := b.proposeWait(c.ctx, take)
	if err != nil {
		return false, nil, err
	}
	if bad := calls.ProblemOf(r); bad != nil {
		return false, nil, bad
	}
	b.holds(c, r.Epoch)
	sess, err = b.cfg.Store.Session(c.sid)
	if err != nil || sess == nil || sess.Epoch != r.Epoch {
		return false, nil, errors.Join(err, &refusal{v5: reasonTakenOver, v3: v3Unavailable, why: "the session was taken over meanwhile"})
	}
	if c.backlog == 0 {
		c.backlog = sess.Backlog
	}
	for _, u := range sess.Previous {
		if c.previous == nil {
			c.previous = map[uint16]storage.Unfinished{}
		}
		c.previous[u.PacketID] = u
	}
	return r.Present, sess, nil
}

// proposeWait proposes a command and waits for its result as long as a CONNECT may take. Its error is what to tell the
// client: a *problem.Problem when the log certainly did not take the command, else a *refusal.
func (b *Broker) proposeWait(ctx context.Context, cmd storage.Command) (storage.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, takeWait)
	defer cancel()
	r, err := proposeTo(ctx, b.cfg.Log, cmd)
	if err == nil {
		return r, nil
	}
	if bad := calls.Refused(err); bad != nil {
		return storage.Result{}, bad
	}
	return storage.Result{}, &refusal{v5: reasonBusy, v3: v3Unavailable, why: "the log does not answer; try again in a few seconds"}
}

// connack tells a client what it got and every limit it must know.
func (b *Broker) connack(c *client, pk *packets.Packet, present bool, expiry uint32, will *problem.Problem) []byte {
	out := packets.Packet{
		ProtocolVersion: c.version, FixedHeader: packets.FixedHeader{Type: packets.Connack}, SessionPresent: present,
	}
	if c.version == version5 {
		l := b.limits()
		p := &out.Properties
		p.ReceiveMaximum = uint16(min(c.told.inFlight, math.MaxUint16))
		p.MaximumPacketSize = uint32(c.told.packet)
		p.TopicAliasMaximum = topicAliasMaximum
		p.RetainAvailableFlag, p.RetainAvailable = true, 1
		p.WildcardSubAvailableFlag, p.WildcardSubAvailable = true, 1
		p.SubIDAvailableFlag, p.SubIDAvailable = true, 1
		p.SharedSubAvailableFlag, p.SharedSubAvailable = true, 0
		if pk.Connect.ClientIdentifier == "" { // MQTT 5, 3.2.2.3.7; mosquitto ends the connection over one it did not ask for
			p.AssignedClientID = c.device
		}
		if k := uint16(c.keepAlive / time.Second); k != pk.Connect.Keepalive {
			p.ServerKeepAliveFlag, p.ServerKeepAlive = true, k
		}
		kept := expiry
		if !c.stored {
			kept = 0
		}
		if kept != pk.Properties.SessionExpiryInterval {
			p.SessionExpiryIntervalFlag, p.SessionExpiryInterval = true, kept
		}
		if c.problemInfo {
			p.User = append(p.User, packets.UserProperty{Key: "message-limit", Val: strconv.Itoa(l.Message)})
			if will != nil {
				p.ReasonString = "the will is not taken: " + will.Sentence()
			}
		}
	}
	var buf bytes.Buffer
	if err := out.ConnackEncode(&buf); err != nil {
		b.log.Error("encode CONNACK", "err", err)
	}
	return buf.Bytes()
}
