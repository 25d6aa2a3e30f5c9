package broker

import (
	"context"
	"log/slog"
	"time"

	"github.com/madang-chat/madang/hooks"
	"github.com/madang-chat/madang/hooks/auth"
	"github.com/madang-chat/madang/hooks/before"
	"github.com/madang-chat/madang/hooks/calls"
	"github.com/madang-chat/madang/hooks/limit"
	"github.com/madang-chat/madang/hooks/quota"
	"github.com/madang-chat/madang/storage"
)

// Log is the replicated log as the broker sees it.
type Log interface {
	// Propose hands a command to the log. done is called once with its result, in the order of the calls, and must not
	// block; an error means that the outcome will never be known here.
	Propose(cmd storage.Command, done func(storage.Result, error))
	// Space returns nil, or, while too much waits for its outcome, a channel that is closed when that has passed.
	Space() <-chan struct{}
}

// Peers passes on to other nodes what does not go through the log, at most once; nil is a node alone. Only Ask blocks.
type Peers interface {
	Want(key string)   // this node has readers for what is told under a key,
	Unwant(key string) // and has them no more
	Tell(key, slot string, data []byte)
	// Ask returns what the nodes that can be reached, or the one that is named, answer within a moment.
	Ask(ctx context.Context, node string, question []byte) [][]byte
}

// Authenticator says who a connection is. Its errors are *auth.Refusal.
type Authenticator interface {
	Authenticate(ctx context.Context, c auth.Credentials) (auth.Identity, error)
	VerifyToken(ctx context.Context, token string) (auth.Identity, error)
	// OnDevice returns an identity as that of a connection with a client id, or why it has ended there.
	OnDevice(id auth.Identity, client string) (auth.Identity, error)
	// Recheck returns an identity as it stands now, or why it has ended.
	Recheck(id auth.Identity) (auth.Identity, error)
}

// Calls answers rpc methods; own are those of the connection itself. The result is the payload of the answer.
type Calls interface {
	Serve(
		ctx context.Context, id auth.Identity, replies *calls.Replies, own map[string]calls.Method, method string, payload []byte,
	) []byte
	Meta(r *storage.Room) []byte                           // payload of the room's topic meta
	Head(h storage.Head, last, edit *storage.Entry) []byte // of head; its newest message and what it says since, nil = none
	SeesUser(id auth.Identity, user string) (bool, error)  // whether the presence of a user is for id
	// Apart reports whether id is one of a direct room's two with a block between them.
	Apart(id auth.Identity, k storage.RoomKey) (bool, error)
	Knows(ns, user string) ([]string, error) // those whose presence users/+/presence is about
}

// Limits bound what one connection and the node may take. Zero means no limit where the comment does not say otherwise.
type Limits struct {
	Connect         int           // bytes of a CONNECT
	Packet          int           // bytes of a control packet; beyond it 0x95 and the connection ends
	Message         int           // bytes of a payload
	AckWait         time.Duration // an acknowledgement whose outcome stays unknown this long ends the connection
	InFlight        int           // unacknowledged publishes of a client (announced as Receive Maximum); at least 1
	InFlightBytes   int64         // of their payloads
	Window          int           // unacknowledged deliveries to a client; at least 1
	ConnectionBytes int           // queued for a socket before its cursors wait in the log
	OutboundBytes   int64         // queued for all sockets together; above it cursors wait at once
	QoS0Lag         uint64        // entries a QoS 0 reader may be behind
	QoS0LagTime     time.Duration // how long it may be behind
	Filters         int           // per SUBSCRIBE
	SessionFilters  int           // per session
	SessionsPerUser int
	SessionExpiry   time.Duration // longest granted
	RoomsPerUser    int
	Connections     int           // of the node
	Connecting      int           // CONNECTs that are worked on at once
	ConnectQueue    int           // those that wait for their turn
	FloodRefusals   int           // publishes refused since they were above the quota, before the connection ends
	ConnectTimeout  time.Duration // from the first byte to a complete CONNECT
	KeepAliveMin    time.Duration // shortest keep alive
	KeepAliveMax    time.Duration // longest keep alive of a v5 client
	Stalled         time.Duration // a socket that takes nothing this long is closed
	TopicLevels     int           // of a topic or filter
	TopicLength     int           // bytes
	ClientID        int           // bytes
	WillDelay       time.Duration // longest granted
	PresenceGrace   time.Duration // a device is online for so long after an end without DISCONNECT
	LiveTTL         time.Duration
	TypingTTL       time.Duration
}

// Config is what a Broker is made of.
type Config struct {
	Node   string
	Boot   uint64
	Store  *storage.Store
	Log    Log
	Peers  Peers // nil = none
	Auth   Authenticator
	Rules  *hooks.Publishing
	Calls  Calls
	Before *before.Asker // asked before a message is taken; nil = nobody is
	Quotas *quota.Quotas // what a user, or a guest's address, may send; nil = no limits
	Logins *quota.Quotas // how often an address may connect; nil = no limits
	// Addresses is what everybody at an address may send together; nil = no limits.
	Addresses *quota.Quotas
	Refusals  *limit.Refusals // counts refusals by their limits; nil = nobody does
	Ready     <-chan struct{} // closed when the node may serve
	// UserNews is told how many devices of a user are online, on any node, whenever that is another number; nil = nobody is.
	UserNews func(ns, user string, devices int)
	// Elsewhere is where a client that came by a transport may go instead: a server reference (MQTT 5, 4.13), "" = nowhere.
	Elsewhere func(transport string) string
	Limits    Limits // to begin with; see SetLimits
	Logger    *slog.Logger

	Workers int  // 0 = one for two processors
	Alone   bool // each send is a system call of its own, also where the kernel takes many with one
}
