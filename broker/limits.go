package broker

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/madang-chat/madang/broker/transport"
	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/hooks/topic"
)

// The limits may change while the broker runs. Most are asked for where they are needed, one atomic load; what a CONNACK has
// told a client is kept with it (told). Each refusal is counted once, where it leaves the broker.

// limits are the limits as they are now. They are not changed in place.
func (b *Broker) limits() *Limits { return b.lim.Load() }

// SetLimits changes the limits; LiveTTL, TypingTTL and PresenceGrace stay. Connections that there are keep what their
// CONNACK has told them.
func (b *Broker) SetLimits(l Limits) {
	old := b.limits()
	l.LiveTTL, l.TypingTTL, l.PresenceGrace = old.LiveTTL, old.TypingTTL, old.PresenceGrace
	l = l.withoutEnd()
	b.lim.Store(&l)
	b.admission.setLimits(l.Connecting, l.ConnectQueue)
}

// endless stands for a time that is not limited, where there has to be one.
const endless = 100 * 365 * 24 * time.Hour

// withoutEnd returns the limits with the most there can be in place of those that are off and that are used as they are; the
// others are asked for whether they are off.
func (l Limits) withoutEnd() Limits {
	if l.ConnectTimeout <= 0 {
		l.ConnectTimeout = endless
	}
	if l.InFlight <= 0 || l.InFlight > packetIDs {
		l.InFlight = packetIDs
	}
	if l.Window <= 0 {
		l.Window = packetIDs
	}
	if l.ConnectionBytes <= 0 {
		l.ConnectionBytes = math.MaxInt
	}
	return l
}

// told is what the CONNACK says of the limits.
type told struct {
	packet   int // Maximum Packet Size
	inFlight int // Receive Maximum
}

// count counts a refusal by its limit.
func (b *Broker) count(p *problem.Problem) {
	if p != nil {
		b.cfg.Refusals.Add(p.Limit)
	}
}

// over counts what is over a limit, and ends the connection with a reason that names it.
func (c *client) over(key limit.Key, reason byte, format string, args ...any) error {
	c.b.cfg.Refusals.Add(key)
	return excess{reason, sayOver(key, format, args...)}
}

// excess is a closing that says why: what came was over a limit.
type excess struct {
	reason byte
	why    string
}

func (e excess) Error() string { return e.why }

// sayOver is the sentence of a DISCONNECT: what happened, and the key of the limit.
func sayOver(key limit.Key, format string, args ...any) string {
	return fmt.Sprintf(format, args...) + " (" + key.String() + ")"
}

// disconnectFor is disconnect of a client that was over a limit. Any goroutine, does not wait.
func (c *client) disconnectFor(key limit.Key, reason byte, format string, args ...any) {
	c.b.cfg.Refusals.Add(key)
	c.end(reason, "", sayOver(key, format, args...))
}

// keepAliveOf is the keep alive of a client that asks for one, 0 = none. v3.1.1 has no way to hear of another: a longer one
// than is allowed would end a client that keeps its own, so there only the floor counts.
func (b *Broker) keepAliveOf(asked time.Duration, version byte) time.Duration {
	l := b.limits()
	least := l.KeepAliveMin
	if l.KeepAliveMax > 0 {
		least = min(least, l.KeepAliveMax)
	}
	switch {
	case asked > 0 && asked < least:
		b.cfg.Refusals.Add(limit.KeepaliveMin)
		return least
	case version == version5 && l.KeepAliveMax > 0 && (asked == 0 || asked > l.KeepAliveMax):
		b.cfg.Refusals.Add(limit.KeepaliveMax)
		return l.KeepAliveMax
	}
	return asked
}

// checkTopic refuses a topic or filter that is too long.
func (b *Broker) checkTopic(name string) *problem.Problem {
	l := b.limits()
	if l.TopicLength > 0 && len(name) > l.TopicLength {
		return problem.Over(problem.Limit, limit.TopicLength, "A topic or filter has at most %d bytes; this one has %d.", l.TopicLength, len(name))
	}
	return nil
}

// checkFilter refuses a filter that is too long, or has too many levels. The topics that can be written to have few.
func (b *Broker) checkFilter(name string) *problem.Problem {
	if bad := b.checkTopic(name); bad != nil {
		return bad
	}
	l := b.limits()
	if n := strings.Count(name, "/") + 1; l.TopicLevels > 0 && n > l.TopicLevels {
		return problem.Over(problem.Limit, limit.TopicLevels, "A filter has at most %d levels; this one has %d.", l.TopicLevels, n)
	}
	return nil
}

// checkClientID refuses the client id of a CONNECT that is none, or too long.
func (b *Broker) checkClientID(id string) *refusal {
	r := &refusal{v5: reasonBadClientID, v3: v3BadClientID, why: "the client id must be UTF-8 without NUL"}
	most := topic.MaxClientID
	if n := b.limits().ClientID; n > 0 {
		most = min(n, most)
	}
	switch {
	case len(id) > most:
		r.limit = limit.ClientID
		r.why = fmt.Sprintf("the client id must have at most %d bytes; this one has %d", most, len(id))
	case topic.ValidClientID(id):
		return nil
	}
	return r
}

// mostPacket is more than a packet of MQTT can have.
const mostPacket = 1 << 28

// connectLimit is how large a CONNECT may be.
func (b *Broker) connectLimit() int {
	l := b.limits()
	return min(cmp.Or(max(l.Connect, 0), mostPacket), cmp.Or(max(l.Packet, 0), mostPacket))
}

// refuseLargeConnect answers a CONNECT that is not read, as far as its beginning tells whom.
func (b *Broker) refuseLargeConnect(conn *transport.Conn, pr *transport.PacketReader, e *transport.TooLargeError) {
	const name = "\x00\x04MQTT"
	if e.First&typeMask != typeConnect {
		return
	}
	head, err := pr.Peek(len(name) + 1)
	if err != nil || len(head) <= len(name) || string(head[:len(name)]) != name {
		return
	}
	b.refuse(conn, head[len(name)], &refusal{
		v5: reasonPacketTooLarge, v3: v3Unavailable, limit: limit.ConnectPacket,
		why: fmt.Sprintf("a CONNECT has at most %d bytes; this one has %d", e.Limit, e.Length),
	})
}

// longestExpiry is how many seconds a session may be kept.
func (b *Broker) longestExpiry() uint32 {
	if n := uint32(min(int64(b.limits().SessionExpiry/time.Second), neverExpires)); n > 0 {
		return n
	}
	return neverExpires
}

// expiryOf is what a v5 client gets that asks for a session expiry, in seconds.
func (b *Broker) expiryOf(asked uint32) uint32 {
	most := b.longestExpiry()
	if asked > most {
		b.cfg.Refusals.Add(limit.SessionExpiry)
	}
	return min(asked, most)
}

// willDelay is how long a will waits, in seconds.
func (b *Broker) willDelay(asked uint32) uint32 {
	most := int64(b.limits().WillDelay / time.Second)
	if most <= 0 || int64(asked) <= most {
		return asked
	}
	b.cfg.Refusals.Add(limit.WillDelay)
	return uint32(most)
}

// waited counts what a full queue of publishes holds up.
func (c *client) waited(overNode bool) {
	switch {
	case overNode:
		c.b.cfg.Refusals.Add(limit.PendingBytes)
	case c.acks.full(0, c.told.inFlight, 0):
		c.b.cfg.Refusals.Add(limit.InFlight)
	default:
		c.b.cfg.Refusals.Add(limit.InFlightBytes)
	}
}
