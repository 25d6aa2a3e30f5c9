package app

import (
	"cmp"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/madang-chat/madang/broker"
	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/quota"
	"github.com/madang-chat/madang/internal/config"
)

// limits are the limits in effect. They are not changed in place.
func (a *App) limits() *config.Limits { return &a.limited.Load().Limits }

// most is how many connections of clients there may be.
func (a *App) most() int {
	most, _ := a.share(a.limits())
	return most
}

// quotas are the rates of a node.
type quotas struct {
	users     *quota.Quotas // and guests' addresses, by MQTT and HTTP together
	rooms     *quota.Quotas
	addresses *quota.Quotas
	logins    *quota.Quotas
	registers *quota.Quotas
}

func newQuotas(l *config.Limits) quotas {
	none := func() *quota.Quotas { return quota.New(quota.Limits{}) }
	q := quotas{none(), none(), none(), none(), none()}
	q.set(l)
	return q
}

func (q *quotas) set(l *config.Limits) {
	rate := func(r config.Rate, says string, messages, bytes limit.Key) quota.Limits {
		return quota.Limits{
			Messages: r.Messages, Bytes: r.Bytes, Largest: l.Message, Says: says, MessagesKey: messages, BytesKey: bytes,
		}
	}
	q.users.Set(rate(l.OfUser, "A user sends at most", limit.MessagesPerSecond, limit.BytesPerSecond))
	q.rooms.Set(rate(l.OfRoom, "A room takes at most", limit.RoomMessagesPerSecond, limit.RoomBytesPerSecond))
	q.addresses.Set(rate(l.OfAddress, "An address sends at most", limit.AddressMessagesPerSecond, limit.AddressBytesPerSecond))
	q.logins.Set(quota.Limits{Messages: l.ConnectRate})
	q.registers.Set(quota.Limits{Messages: l.RegisterRate})
}

func callLimits(l *config.Limits) calls.Limits {
	return calls.Limits{
		Message: int(cmp.Or(l.Message, mostEntry)), RoomsPerDay: l.RoomsPerDay, RoomsPerUser: l.RoomsPerUser, Contacts: l.Contacts,
		ContactsPerDay: l.ContactsPerDay, StateKeys: l.StateKeys, StateValue: int(l.StateValue), AckWait: l.AckWait,
	}
}

func (a *App) brokerLimits(c *config.Config) broker.Limits {
	l := &c.Limits
	most, _ := a.share(l)
	return broker.Limits{
		Connect: int(l.Connect), Packet: int(l.Packet), Message: int(l.Message), AckWait: l.AckWait, InFlight: l.InFlight,
		InFlightBytes: l.InFlightBytes, Window: l.Window, ConnectionBytes: int(l.ConnectionBytes), OutboundBytes: l.OutboundBytes,
		QoS0Lag: uint64(l.QoS0Lag), QoS0LagTime: l.QoS0LagTime, Filters: l.FiltersPerSubscribe, SessionFilters: l.FiltersPerSession,
		SessionsPerUser: l.SessionsPerUser, SessionExpiry: l.SessionExpiry, WillDelay: l.WillDelay, RoomsPerUser: l.RoomsPerUser,
		Connections: most, Connecting: l.Connecting, ConnectQueue: l.ConnectQueue, FloodRefusals: l.FloodRefusals,
		ConnectTimeout: l.ConnectTimeout, KeepAliveMin: l.KeepaliveMin, KeepAliveMax: l.KeepaliveMax,
		Stalled: l.Stalled, TopicLevels: l.TopicLevels, TopicLength: l.TopicLength, ClientID: l.ClientID,
		PresenceGrace: c.Rooms.Grace, LiveTTL: c.Rooms.LiveTTL, TypingTTL: c.Rooms.TypingTTL,
	}
}

// dedupe is how long cids are kept at least, and of how many entries.
func (a *App) dedupe() (window time.Duration, keep uint64) {
	l := a.limits()
	return l.DedupeWindow, uint64(l.DedupeMin)
}

// pendingBytes is limits.pending_bytes, or more than there can be where it is off.
func pendingBytes(l *config.Limits) int64 {
	if l.PendingBytes <= 0 {
		return math.MaxInt64 / 4
	}
	return l.PendingBytes
}

// largestPacket is what a packet of MQTT has at most, without its first bytes.
const largestPacket = 1<<28 - 1

// readLimit is the largest message of a WebSocket: a packet of the largest size, with its header.
func readLimit(c *config.Config) int64 { return cmp.Or(c.Limits.Packet, largestPacket) + 64 }

// queueLimit is the hard bound of an outgoing queue: what delivery may leave there, and one answer or message more.
func queueLimit(c *config.Config) int {
	if c.Limits.ConnectionBytes <= 0 || c.Limits.Message <= 0 {
		return math.MaxInt
	}
	return int(2*c.Limits.ConnectionBytes + 4*c.Limits.Message + 1<<20)
}

// ReloadLimits puts the limits of a new configuration into effect. Connections keep what their CONNACK has told them.
func (a *App) ReloadLimits(c *config.Config) {
	a.limited.Store(c)
	l := &c.Limits
	a.quotas.set(l)
	a.calls.SetLimits(callLimits(l))
	a.broker.SetLimits(a.brokerLimits(c))
	a.node.SetPendingBytes(pendingBytes(l))
	a.store.SetTailBytes(l.TailBytes)
	_, places := a.share(l)
	a.places.SetLimit(places)
	for _, p := range a.listeners {
		p.SetLimits(l.ConnectionsPerAddress, queueLimit(c))
	}
	for _, s := range []*webServer{a.web, a.ops} {
		if s == nil {
			continue
		}
		s.listener.SetLimits(l.ConnectionsPerAddress, queueLimit(c))
		if s.ws != nil {
			s.ws.SetLimits(readLimit(c), l.ConnectionsPerAddress, queueLimit(c))
		}
	}
}

// limitMetrics are every limit's value and how often it refused something.
type limitMetrics struct{ a *App }

var (
	limitValue = prometheus.NewDesc("madang_limit",
		"Value of a limit, by its configuration key; sizes in bytes, times in seconds, 0 = off.", []string{"limit"}, nil)
	limitRefusals = prometheus.NewDesc("madang_limit_refusals_total",
		"How often a limit refused, cut, slowed or ended something, by its configuration key.", []string{"limit"}, nil)
)

// Describe implements prometheus.Collector.
func (limitMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- limitValue
	out <- limitRefusals
}

// Collect implements prometheus.Collector.
func (m limitMetrics) Collect(out chan<- prometheus.Metric) {
	c := m.a.limited.Load()
	for _, k := range config.Keys() {
		if k.Section() == "limits" {
			out <- prometheus.MustNewConstMetric(limitValue, prometheus.GaugeValue, k.Number(c), k.Name)
		}
	}
	for _, k := range limit.Keys() {
		out <- prometheus.MustNewConstMetric(limitRefusals, prometheus.CounterValue, float64(m.a.refusals.Of(k)), k.String())
	}
}
