// Package limit names the limits that can refuse somebody, and counts how often each of them did. A limit's name is the
// configuration key by which it is changed: refusals say it, metrics have it as a label.
package limit

import (
	"strings"
	"sync/atomic"
)

// Key is a limit. The zero Key is none.
type Key uint8

// The limits, in the order of the documentation.
const (
	None Key = iota
	Message
	Packet
	ConnectPacket
	AckWait
	InFlight
	InFlightBytes
	PendingBytes
	OutboundBytes
	ConnectionBytes
	Window
	QoS0Lag
	QoS0LagTime
	Stalled
	RoomsPerUser
	Contacts
	ContactsPerDay
	RoomsPerDay
	SessionsPerUser
	SessionExpiry
	WillDelay
	FiltersPerSubscribe
	FiltersPerSession
	TopicLevels
	TopicLength
	ClientID
	StateKeys
	StateValue
	DiskFree
	Connections
	ConnectionsPerAddress
	ConnectRate
	ConnectQueue
	RegisterRate
	ConnectTimeout
	KeepaliveMin
	KeepaliveMax
	MessagesPerSecond
	BytesPerSecond
	FloodRefusals
	RoomMessagesPerSecond
	RoomBytesPerSecond
	AddressMessagesPerSecond
	AddressBytesPerSecond
	end
)

var names = [end]string{
	Message: "message", Packet: "packet", ConnectPacket: "connect_packet", AckWait: "ack_wait", InFlight: "in_flight",
	InFlightBytes: "in_flight_bytes", PendingBytes: "pending_bytes", OutboundBytes: "outbound_bytes",
	ConnectionBytes: "connection_bytes", Window: "window", QoS0Lag: "qos0_lag", QoS0LagTime: "qos0_lag_time", Stalled: "stalled",
	RoomsPerUser: "rooms_per_user", Contacts: "contacts", ContactsPerDay: "contacts_per_day", RoomsPerDay: "rooms_per_day",
	SessionsPerUser: "sessions_per_user", SessionExpiry: "session_expiry", WillDelay: "will_delay",
	FiltersPerSubscribe: "filters_per_subscribe", FiltersPerSession: "filters_per_session", TopicLevels: "topic_levels",
	TopicLength: "topic_length", ClientID: "client_id", StateKeys: "state_keys", StateValue: "state_value", DiskFree: "disk_free",
	Connections: "connections", ConnectionsPerAddress: "connections_per_address", ConnectRate: "connect_rate",
	ConnectQueue: "connect_queue", FloodRefusals: "flood_refusals",
	RegisterRate: "register_rate", ConnectTimeout: "connect_timeout", KeepaliveMin: "keepalive_min", KeepaliveMax: "keepalive_max",
	MessagesPerSecond: "messages_per_second", BytesPerSecond: "bytes_per_second",
	RoomMessagesPerSecond: "room_messages_per_second", RoomBytesPerSecond: "room_bytes_per_second",
	AddressMessagesPerSecond: "address_messages_per_second", AddressBytesPerSecond: "address_bytes_per_second",
}

// prefix of the configuration keys.
const prefix = "limits."

// String returns the configuration key, "" for None.
func (k Key) String() string {
	if k == None || k >= end {
		return ""
	}
	return prefix + names[k]
}

// Keys returns every limit.
func Keys() []Key {
	all := make([]Key, 0, end-1)
	for k := None + 1; k < end; k++ {
		all = append(all, k)
	}
	return all
}

var byName = func() map[string]Key {
	m := make(map[string]Key, end)
	for _, k := range Keys() {
		m[k.String()] = k
	}
	return m
}()

// In returns the limit that a text names in brackets at its end, as in "200 contacts are the limit (limits.contacts)": the
// log's refusals are texts. None when there is none.
func In(text string) Key {
	at := strings.LastIndexByte(text, '(')
	if name, ok := strings.CutSuffix(text[at+1:], ")"); ok && at >= 0 {
		return byName[name]
	}
	return None
}

// Refusals counts, for each limit, how often it refused, slowed, cut or ended something. Any number of goroutines may use
// it; nil counts nothing.
type Refusals struct {
	n [end]atomic.Uint64
}

// Add counts one of a limit, nothing for None.
func (r *Refusals) Add(k Key) {
	if r != nil && k != None && k < end {
		r.n[k].Add(1)
	}
}

// Of returns the count of a limit.
func (r *Refusals) Of(k Key) uint64 {
	if r == nil || k >= end {
		return 0
	}
	return r.n[k].Load()
}
